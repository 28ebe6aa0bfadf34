// Partial results of attention, over a part of the keys: the normalised output and the logsumexp of the exponents.
// They merge associatively and commutatively, with the state of no keys as identity. Split-KV decoding, attention over
// several machines and paged caches are this one operation. Signs live in the output alone: every rule merges alike.
#pragma once

#include <limits>

#include <cog/attention/arguments.hpp>
#include <cog/core/create.hpp>
#include <cog/expr/evaluate.hpp>

namespace cog {

/// Attention over a set of keys.
template <floating T, backend B>
struct attention_state {
  tensor<T, 4, B> out;                    // [B, Hq, Nq, E]; 0 where no key was seen
  tensor<compute_t<T>, 3, B> logsumexp;  // [B, Hq, Nq]; -inf where no key was seen
};

/// The state of no keys, for results of shape [B, Hq, Nq, E].
template <floating T, context Context>
attention_state<T, typename Context::backend_type> empty_attention_state(Context const& ctx, extents<4> const& shape) {
  using C = compute_t<T>;
  return {zeros<T>(ctx, shape),
          full<C>(ctx, extents<3>{shape[0], shape[1], shape[2]}, -std::numeric_limits<C>::infinity())};
}

/// Attention over the union of two disjoint sets of keys.
/// Errors: states of different shapes.
template <floating T, backend B>
attention_state<T, B> merge(attention_state<T, B> const& a, attention_state<T, B> const& b) {
  using C = compute_t<T>;
  if (a.out.extents() != b.out.extents() || a.logsumexp.extents() != b.logsumexp.extents())
    throw error("merge: attention states of ", a.out.extents(), " and ", b.out.extents());
  auto const joined = [](auto const& x, auto const& y) {
    auto const top = maximum(x, y);
    return std::pair(where(x == top, C(1), exp(x - top)), where(y == top, C(1), exp(y - top)));
  };
  auto const [x, y] = joined(unsqueeze(a.logsumexp, -1), unsqueeze(b.logsumexp, -1));
  auto const [l, m] = joined(a.logsumexp, b.logsumexp);
  return {eval(cast<T>((x * cast<C>(a.out) + y * cast<C>(b.out)) / (x + y))),
          eval(maximum(a.logsumexp, b.logsumexp) + log(l + m))};
}

}  // namespace cog
