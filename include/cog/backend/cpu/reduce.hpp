// Reductions on the CPU. Either lanes run along the reduced axes, or, where those are strided and the kept ones are not,
// each lane is one output. The reduced range is cut into pieces of fixed length whose partial states are merged in pairs,
// so the result does not depend on the number of threads. Memory-bound.
#pragma once

#include <bit>

#include <cog/backend/cpu/elementwise.hpp>
#include <cog/core/unpack.hpp>

namespace cog::cpu_detail {

template <class R, class C>
struct reducer {
  using scalar_state = typename R::template state<C>;

  /// Joins the lanes of a SIMD state.
  template <class S>
  static scalar_state join(typename R::template state<S> const& s) {
    scalar_state out{};
    for (int i = 0; i < S::size; ++i)
      R::merge(out, R::template lanes<C>(s, [i](S const& v) {
                 alignas(64) C lanes[S::size];
                 v.store_aligned(lanes);
                 return lanes[i];
               }));
    return out;
  }
};

/// Merges n states that lie `step` apart into the first, in order and pairwise: errors of sums grow with log n, not with n.
template <class R, class State>
void merge_pairwise(State* states, index_t n, index_t step = 1) {
  for (index_t width = 1; width < n; width *= 2)
    for (index_t i = 0; i + width < n; i += 2 * width) R::merge(states[i * step], states[(i + width) * step]);
}

/// One value per element of the first `kept` axes of `shape`, over all the others; `out` is row-major.
template <class R, class F, class... In, std::size_t Rank, class T>
void reduce(cpu_context const& ctx, F const& f, std::array<index_t, Rank> const& shape, int kept, pack<In...> const& inputs, T* out) {
  constexpr int operands = sizeof...(In);
  constexpr bool positional = requires { R::positional; };
  using C = std::conditional_t<positional, compute_t<typename F::value_type>, compute_t<T>>;
  constexpr bool lanes = !positional && std::same_as<typename F::lane, C> && floating<typename F::value_type>;
  using state = typename R::template state<C>;
  using axes_type = joined_axes<static_cast<int>(Rank), operands>;

  auto const ins = as_tuple(inputs);
  operand_strides<static_cast<int>(Rank), operands> strides;
  detail::unpack([&](auto const&... leaf) { (strides.note(leaf), ...); }, ins);
  axes_type const keep(shape.data(), kept, strides.at);
  axes_type const over(shape.data(), static_cast<int>(Rank), strides.at, kept);
  index_t const outputs = keep.size(), length = over.size();
  if (outputs == 0) return;
  if (length == 0) {
    for (index_t i = 0; i < outputs; ++i) out[i] = T(R::finish(state{}, 0));
    return;
  }
  auto const cursors = [&](index_t const* offset, axes_type const& along) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::tuple(cursor(std::get<I>(ins), offset[I], along.inner_stride(I))...);
    }(std::index_sequence_for<In...>{});
  };
  auto const plain = [&](axes_type const& along) {  // no gathers along the inner axis
    for (int o = 0; o < operands; ++o)
      if (strides.is_array[o] && along.inner_stride(o) != 1 && along.inner_stride(o) != 0) return false;
    return true;
  };

  if constexpr (lanes) {
    using S = simd<C>;
    constexpr index_t w = S::size;
    if (keep.inner() >= w && plain(keep) && !(plain(over) && over.inner() >= w)) {
      using wide = typename R::template state<S>;
      constexpr index_t unroll = 2048 / sizeof(S);  // SIMD values of one strip: long enough for the prefetcher, and its states stay in the first-level cache
      index_t const piece = 256;                                               // rows
      index_t const pieces = (length + piece - 1) / piece;
      index_t const strips = (keep.inner() + unroll * w - 1) / (unroll * w);   // of one kept run
      index_t const runs = outputs / keep.inner();
      std::vector<wide> partial(static_cast<std::size_t>(pieces > 1 ? pieces * runs * strips * unroll : 0));
      auto const strip_of = [&](index_t task, index_t begin, index_t end, wide* states) {
        index_t const first = task % strips * unroll * w;
        index_t base[operands == 0 ? 1 : operands] = {};
        keep.add_offsets(task / strips * keep.inner() + first, base);
        index_t const n = std::min(unroll * w, keep.inner() - first);
        std::fill_n(states, (n + w - 1) / w, wide{});
        for (index_t at = begin; at < end; ++at) {
          index_t offset[operands == 0 ? 1 : operands];
          std::copy_n(base, operands, offset);
          over.add_offsets(at, offset);
          auto const cs = cursors(offset, keep);
          for (index_t u = 0; u * w < n; ++u) {
            index_t const i = u * w;
            if (i + w <= n) R::push(states[u], detail::unpack([&](auto const&... c) { return f(c.template lanes<C, false>(i)...); }, cs));
            else R::push(states[u], detail::unpack([&](auto const&... c) { return f(c.template partial<C>(i, n - i)...); }, cs));
          }
        }
      };
      auto const deliver = [&](index_t task, wide const* states) {
        index_t const first = task % strips * unroll * w;
        index_t const n = std::min(unroll * w, keep.inner() - first);
        T* to = out + task / strips * keep.inner() + first;
        for (index_t u = 0; u * w < n; ++u) R::finish(states[u], length).store_partial(to + u * w, std::min(w, n - u * w));
      };
      if (pieces == 1) {
        split(ctx, runs * strips, std::max<index_t>(1, 16384 / (length * unroll * w)), [&](index_t begin, index_t end) {
          wide states[unroll];
          for (index_t task = begin; task < end; ++task) {
            strip_of(task, 0, length, states);
            deliver(task, states);
          }
        });
      } else {
        ctx.run(pieces * runs * strips, [&](index_t i) {
          wide states[unroll];
          index_t const p = i / (runs * strips);
          strip_of(i % (runs * strips), p * piece, std::min(length, (p + 1) * piece), states);
          std::copy_n(states, unroll, &partial[static_cast<std::size_t>(i * unroll)]);
        });
        for (index_t task = 0; task < runs * strips; ++task) {
          wide* const states = &partial[static_cast<std::size_t>(task * unroll)];
          for (index_t u = 0; u < unroll; ++u) merge_pairwise<R>(states + u, pieces, runs * strips * unroll);
          deliver(task, states);
        }
      }
      return;
    }
  }

  // One output at a time, in pieces of `piece` elements.
  constexpr index_t piece = 32768;
  index_t const pieces = (length + piece - 1) / piece;
  index_t const leaf = lanes && over.inner() >= 16 ? 4096 : 512;  // what a few accumulators take up one after the other
  auto const leaf_of = [&](index_t at, index_t begin, index_t end) {
    index_t base[operands == 0 ? 1 : operands] = {};
    keep.add_offsets(at, base);
    state total{};
    while (begin < end) {
      index_t offset[operands == 0 ? 1 : operands];
      std::copy_n(base, operands, offset);
      over.add_offsets(begin, offset);
      index_t const n = std::min(over.inner() - begin % over.inner(), end - begin);
      auto const cs = cursors(offset, over);
      index_t i = 0;
      if constexpr (lanes) {
        using S = simd<C>;
        constexpr index_t w = S::size;
        if (n >= w) {
          typename R::template state<S> states[4];
          auto const push = [&](int u) { R::push(states[u], detail::unpack([&](auto const&... c) { return f(c.template lanes<C, false>(i + u * w)...); }, cs)); };
          for (; i + 4 * w <= n; i += 4 * w) {
            push(0);
            push(1);
            push(2);
            push(3);
          }
          for (; i + w <= n; i += w) push(0);
          R::merge(states[0], states[1]);
          R::merge(states[2], states[3]);
          R::merge(states[0], states[2]);
          R::merge(total, reducer<R, C>::template join<S>(states[0]));
        }
      }
      for (; i < n; ++i) {
        C const x = static_cast<C>(detail::unpack([&](auto const&... c) { return f(c.template scalar<void>(i)...); }, cs));
        if constexpr (positional) R::push(total, x, begin + i);
        else R::push(total, x);
      }
      begin += n;
    }
    return total;
  };
  auto const partial_of = [&](index_t at, index_t begin, index_t end) {
    state level[8];  // 64 leaves at most; level l holds 2^l leaves where bit l of `leaves` is set
    unsigned leaves = 0;
    for (; begin < end; begin += leaf) {
      state sum = leaf_of(at, begin, std::min(end, begin + leaf));
      int l = 0;
      for (; leaves >> l & 1; ++l) {
        R::merge(level[l], sum);
        sum = level[l];
      }
      level[l] = sum;
      ++leaves;
    }
    int const top = static_cast<int>(std::bit_width(leaves)) - 1;
    for (int l = top; l-- > 0;)
      if (leaves >> l & 1) R::merge(level[top], level[l]);
    return level[top];
  };
  if (pieces == 1) {
    split(ctx, outputs, std::max<index_t>(1, 16384 / length), [&](index_t begin, index_t end) {
      for (index_t at = begin; at < end; ++at) out[at] = T(R::finish(partial_of(at, 0, length), length));
    });
    return;
  }
  std::vector<state> partial(static_cast<std::size_t>(outputs * pieces));
  ctx.run(outputs * pieces, [&](index_t i) {
    index_t const p = i % pieces;
    partial[static_cast<std::size_t>(i)] = partial_of(i / pieces, p * piece, std::min(length, (p + 1) * piece));
  });
  for (index_t at = 0; at < outputs; ++at) {
    state* const states = &partial[static_cast<std::size_t>(at * pieces)];
    merge_pairwise<R>(states, pieces);
    out[at] = T(R::finish(*states, length));
  }
}

}  // namespace cog::cpu_detail
