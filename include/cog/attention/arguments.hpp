// What attention kernels are called with: plain views, a scale and a lowered mask. No tensors: any program can fill
// these in. Everything is trivially copyable. Strides are free, lengths and widths are any, 0 included.
#pragma once

#include <concepts>

#include <cog/attention/rule.hpp>
#include <cog/attention/visibility.hpp>
#include <cog/core/backend.hpp>
#include <cog/core/dtype.hpp>
#include <cog/core/math.hpp>
#include <cog/core/view.hpp>

namespace cog {

/// out = attention(q, k, v). Query head h reads key head h / (Hq / Hkv); Hq is a multiple of Hkv.
template <floating T, lowered_mask Mask>
struct attention_arguments {
  view<T const, 4> q;                 // [B, Hq, Nq, D]
  view<T const, 4> k;                 // [B, Hkv, Nk, D]
  view<T const, 4> v;                 // [B, Hkv, Nk, E]
  view<T, 4> out;                     // [B, Hq, Nq, E]; 0 where a query sees no key
  view<compute_t<T>, 3> logsumexp{};  // [B, Hq, Nq], of the exponents; -inf where a query sees no key. Null: not wanted
  compute_t<T> scale = 1;             // > 0
  Mask mask{};
};

/// The gradients of q, k and v, from what the forward pass gave and the gradient of out.
/// Those of k and v are summed over the query heads of the group.
template <floating T, lowered_mask Mask>
struct attention_backward_arguments {
  view<T const, 4> q, k, v;               // as above
  view<T const, 4> out;                   // [B, Hq, Nq, E]
  view<compute_t<T> const, 3> logsumexp;  // [B, Hq, Nq]
  view<T const, 4> out_gradient;          // [B, Hq, Nq, E]
  view<T, 4> dq, dk, dv;                  // the shapes of q, k, v
  compute_t<T> scale = 1;
  Mask mask{};
};

/// How two partial results, over disjoint sets of keys, join: out = first * out_1 + second * out_2.
template <class C>
struct merge_shares {
  C first, second, logsumexp;

  COG_HD merge_shares(C a, C b) {
    C const top = a > b ? a : b;
    C const x = a == top ? C(1) : math::exp(a - top);  // also where both are -inf
    C const y = b == top ? C(1) : math::exp(b - top);
    first = x / (x + y);
    second = y / (x + y);
    logsumexp = top + math::log(x + y);
  }
};

/// A backend with fused attention kernels for this rule, element type and mask. Without them the composed form is used.
template <class B, class Rule, class T, class Mask>
concept attention_backend =
    backend<B> && requires(typename B::context const& context, attention_arguments<T, Mask> const& forward,
                           attention_backward_arguments<T, Mask> const& backward) {
      B::template attention_forward<Rule>(context, forward);
      B::template attention_backward<Rule>(context, backward);
    };

}  // namespace cog
