// Row-wise kernels on the CPU: rows over the threads; a row that is not already contiguous in the compute type is evaluated
// once into a buffer that stays in the first-level cache, then every statistic and the map are SIMD loops over it.
#pragma once

#include <cog/backend/cpu/elementwise.hpp>
#include <cog/core/unpack.hpp>
#include <cog/expr/rowwise.hpp>

namespace cog::cpu_detail {

template <class Leaf>
inline constexpr bool is_array = requires(Leaf const& leaf) { leaf.data; };

/// Gives row r of one input as contiguous values of C.
template <class C, class F, class Leaves, int Rank>
class row_reader;
template <class C, class F, class... Leaf, int Rank>
class row_reader<C, F, pack<Leaf...>, Rank> {
 public:
  static constexpr int operands = sizeof...(Leaf);

  row_reader(row_input<F, pack<Leaf...>> const& input, std::array<index_t, static_cast<std::size_t>(Rank)> const& shape)
      : f_(input.f), leaves_(as_tuple(input.leaves)), n_(shape[Rank - 1]), strides_(note(leaves_)),
        lead_(shape.data(), Rank - 1, strides_.at) {}

  /// Memory is asked for the next row, so that it comes while this one is computed.
  C const* read(index_t row, C* buffer) const {
    index_t offset[operands] = {};
    lead_.add_offsets(row, offset);
    if constexpr (operands == 1 && is_plain) {
      auto const& leaf = std::get<0>(leaves_);
      if (leaf.strides[Rank - 1] == 1 || n_ == 1) {
        constexpr index_t line = 64 / sizeof(C), most = 64 * line;
        index_t next[1] = {};
        lead_.add_offsets(row + 1, next);
        for (index_t i = 0; i < std::min(n_, most); i += line) __builtin_prefetch(leaf.data + next[0] + i, 0, 2);
        return leaf.data + offset[0];
      }
    }
    bool unit = true;
    for (int o = 0; o < operands; ++o) unit = unit && (!strides_.is_array[o] || strides_.at[o][Rank - 1] == 1);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      run_of(f_, n_, std::tuple(cursor(std::get<I>(leaves_), offset[I], strides_.at[I][Rank - 1])...),
             std::tuple(output_cursor<C>{buffer, 1, false}), unit);
    }(std::index_sequence_for<Leaf...>{});
    return buffer;
  }

 private:
  static constexpr bool is_plain = std::same_as<F, forward<arg<0, C>>> && (is_array<Leaf> && ...);
  using strides_type = operand_strides<Rank, operands>;
  static strides_type note(std::tuple<Leaf...> const& leaves) {
    strides_type s;
    detail::unpack([&](auto const&... leaf) { (s.note(leaf), ...); }, leaves);
    return s;
  }
  F f_;
  std::tuple<Leaf...> leaves_;
  index_t n_;
  strides_type strides_;
  joined_axes<Rank, operands> lead_;
};

/// The output comes from the terms of the last statistic, which are kept.
template <class Op, class C>
concept maps_terms = requires(Op const& op, simd<C> const& x) { op.map_term(&x, x); };

/// Statistic K of a row. `kept` has room for its terms, up to the end of the last register.
template <int K, class C, class Op, class... P>
C statistic(Op const& op, index_t n, simd<C> const* stats, [[maybe_unused]] C* kept, P const*... rows) {
  using S = simd<C>;
  auto const term = [&](index_t i, auto const&... x) {
    S const t = op.template term<K>(stats, x...);
    if constexpr (maps_terms<Op, C> && K + 1 == Op::statistics) t.store_aligned(kept + i);
    return t;
  };
  constexpr index_t w = S::size;
  constexpr bool is_sum = row_kind_of<Op, K> == row_kind::sum;
  S const start = is_sum ? S(C(0)) : S(-std::numeric_limits<C>::infinity());
  S acc[4] = {start, start, start, start};
  auto const join = [](S a, S b) {
    if constexpr (is_sum) return a + b;
    else return max(a, b);
  };
  index_t i = 0;
  for (; i + 4 * w <= n; i += 4 * w)
    for (int u = 0; u < 4; ++u) acc[u] = join(acc[u], term(i + u * w, S::load(rows + i + u * w)...));
  for (; i + w <= n; i += w) acc[0] = join(acc[0], term(i, S::load(rows + i)...));
  if (i < n) {
    auto const live = S::iota(C(0)) < S(static_cast<C>(n - i));
    acc[0] = join(acc[0], where(live, term(i, S::load_partial(rows + i, n - i)...), start));
  }
  S const all = join(join(acc[0], acc[1]), join(acc[2], acc[3]));
  C total;
  if constexpr (is_sum) {
    total = reduce_add(all);
  } else {
    alignas(64) C lanes[w];
    all.store_aligned(lanes);
    total = lanes[0];
    for (index_t l = 1; l < w; ++l) total = math::max(total, lanes[l]);
  }
  return op.template finish<K>(total, n);
}

/// Calls row(r, stats, values, pointers...) for every row, with its statistics known; the pointers are to the inputs or to the
/// terms that are kept.
template <class C, class Op, class... F, class... Leaves, std::size_t Rank, class Row>
void for_each_row(cpu_context const& ctx, Op const& op, std::array<index_t, Rank> const& shape,
                  pack<row_input<F, Leaves>...> const& inputs, Row const& row) {
  index_t const n = shape[Rank - 1];
  index_t rows = 1;
  for (std::size_t a = 0; a + 1 < Rank; ++a) rows *= shape[a];
  constexpr std::size_t count = sizeof...(F);
  constexpr bool keeps = maps_terms<Op, C>;
  auto const readers = detail::unpack(
      [&](auto const&... in) {
        return std::tuple(row_reader<C, F, Leaves, static_cast<int>(Rank)>(in, shape)...);
      },
      as_tuple(inputs));
  split(ctx, rows, std::max<index_t>(1, 4096 / std::max<index_t>(n, 1)), [&](index_t begin, index_t end) {
    index_t const pitch = (n + 31) / 32 * 32;
    scratch<C> const buffer(ctx, static_cast<index_t>(count + keeps) * pitch);
    C* const kept = buffer.get() + static_cast<index_t>(count) * pitch;
    for (index_t r = begin; r < end; ++r) {
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        auto const at = std::tuple(std::get<I>(readers).read(r, buffer.get() + static_cast<index_t>(I) * pitch)...);
        simd<C> stats[Op::statistics];
        C values[Op::statistics];
        [&]<std::size_t... K>(std::index_sequence<K...>) {
          ((values[K] = statistic<static_cast<int>(K), C>(op, n, stats, kept, std::get<I>(at)...), stats[K] = simd<C>(values[K])), ...);
        }(std::make_index_sequence<Op::statistics>{});
        if constexpr (keeps) row(r, stats, values, kept);
        else row(r, stats, values, std::get<I>(at)...);
      }(std::make_index_sequence<count>{});
    }
    if (exceeds_caches(rows * n)) stores_done();
  });
}

/// Outputs are row-major tensors of `shape`, aligned as the pool gives memory.
template <class Op, class Inputs, std::size_t Rank, class... T>
void rowwise(cpu_context const& ctx, Op const& op, std::array<index_t, Rank> const& shape, Inputs const& inputs,
             pack<T*...> const& outputs) {
  using C = compute_t<std::tuple_element_t<0, std::tuple<T...>>>;
  using S = simd<C>;
  index_t const n = shape[Rank - 1];
  auto const out = as_tuple(outputs);
  index_t total = 1;
  for (index_t extent : shape) total *= extent;
  bool const past = exceeds_caches(total) && n % S::size == 0;
  for_each_row<C>(ctx, op, shape, inputs, [&](index_t r, S const* stats, C const*, auto const*... rows) {
    auto const put = [&](auto const& value, index_t i, index_t live) {
      auto const one = [&]<class U>(U* to, S v) {
        if constexpr (std::same_as<U, C>)
          if (past) return store_past_caches(to + r * n + i, v.v);
        if (live == S::size) v.store(to + r * n + i);
        else v.store_partial(to + r * n + i, live);
      };
      if constexpr (is_pack<std::remove_cvref_t<decltype(value)>>) {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
          (one(std::get<I>(out), get<static_cast<int>(I)>(value)), ...);
        }(std::index_sequence_for<T...>{});
      } else {
        one(std::get<0>(out), value);
      }
    };
    auto const map = [&](auto const&... x) {
      if constexpr (maps_terms<Op, C>) return op.map_term(stats, x...);
      else return op.map(stats, x...);
    };
    index_t i = 0;
    for (; i + S::size <= n; i += S::size) put(map(S::load(rows + i)...), i, S::size);
    if (i < n) put(map(S::load_partial(rows + i, n - i)...), i, n - i);
  });
}

/// One value a row.
template <class Op, class Inputs, std::size_t Rank, class T>
void row_reduce(cpu_context const& ctx, Op const& op, std::array<index_t, Rank> const& shape, Inputs const& inputs, T* out) {
  using C = compute_t<T>;
  for_each_row<C>(ctx, op, shape, inputs,
                  [&](index_t r, simd<C> const*, C const* values, auto const*...) { out[r] = T(op.result(values)); });
}

}  // namespace cog::cpu_detail
