// Row-wise forms. A row is read once and stays in registers, over a warp or a block of threads, while its statistics are taken and it
// is mapped; what the statistics do not ask for (the weights of a norm) is read with the map. Rows longer than 16,384 (32,768 where one
// input stays) are read again for every pass, from the second-level cache.
#pragma once

#include <cog/backend/cuda/block.hpp>
#include <cog/backend/cuda/elementwise.hpp>
#include <cog/core/unpack.hpp>
#include <cog/expr/rowwise.hpp>

namespace cog::cuda_detail {

/// An input of a row-wise kernel with the layout of its leaves: the leading axes joined, and the row.
template <class F, class Leaves, int Rank>
struct device_row;
template <class F, class... Leaf, int Rank>
struct device_row<F, pack<Leaf...>, Rank> {
  static constexpr int operands = sizeof...(Leaf);
  F f;
  pack<Leaf...> leaves;
  device_axes<Rank, operands> lead;
  index_t stride[operands == 0 ? 1 : operands] = {};
  bool vector[operands == 0 ? 1 : operands] = {};

  struct position {
    index_t offset[operands == 0 ? 1 : operands];
  };
  __device__ COG_INLINE position row(index_t r) const {
    position p{};
    lead.add_offsets(r, p.offset);
    return p;
  }
  /// Elements i, i + 1 ... of the row at p, `count` of them.
  template <class C, int N>
  __device__ COG_INLINE void read(position const& p, index_t i, int count, C (&to)[N]) const {
    [&]<int... I>(std::integer_sequence<int, I...>) {
      auto const x = make_pack(load<N>(get<I>(leaves), p.offset[I] + i * stride[I], stride[I], vector[I], count)...);
#pragma unroll
      for (int v = 0; v < N; ++v)
        if (v < count) to[v] = static_cast<C>(f(get<I>(x).at[v]...));
    }(std::make_integer_sequence<int, operands>{});
  }
};

template <int N, class F, class... Leaf, std::size_t Rank>
auto on_device(row_input<F, pack<Leaf...>> const& input, std::array<index_t, Rank> const& shape) {
  constexpr int rank = static_cast<int>(Rank), operands = sizeof...(Leaf);
  device_row<F, pack<Leaf...>, rank> row{input.f, input.leaves, {}};
  operand_strides<rank, operands> strides;
  auto const leaves = detail::as_tuple(input.leaves);
  detail::unpack([&](auto const&... leaf) { (strides.note(leaf), ...); }, leaves);
  joined_axes<rank, operands> const lead(shape.data(), rank - 1, strides.at);
  row.lead = device_axes<rank, operands>(lead);
  joined_axes<rank, operands> const whole(shape.data(), rank, strides.at, rank - 1);  // the row alone
  int k = 0;
  auto const note = [&](auto const& leaf) {
    row.stride[k] = strides.at[k][rank - 1];
    row.vector[k] = shape[rank - 1] > 1 && moves_in_vectors<N>(leaf, whole, k);
    if constexpr (requires { *leaf.data; }) {
      constexpr index_t unit = vector_alignment<std::remove_cvref_t<decltype(*leaf.data)>, N>;
      for (int a = 0; a <= lead.last; ++a)
        if (lead.extents[a] > 1 && lead.strides[k][a] % unit != 0) row.vector[k] = false;
    }
    ++k;
  };
  detail::unpack([&](auto const&... leaf) { (note(leaf), ...); }, leaves);
  return row;
}

template <class C, row_kind Kind>
struct join_terms {
  static constexpr bool is_sum = Kind == row_kind::sum;
  static __device__ C start() { return is_sum ? C(0) : -math::infinity<C>; }
  __device__ COG_INLINE void operator()(C& a, C b) const {
    if constexpr (is_sum) a += b;
    else a = math::max(a, b);
  }
};

template <class Op, class C, int K>
concept term_of_first_input = requires(Op const& op, C const* stats, C x) { op.template term<K>(stats, x); };
/// How many of its inputs the statistics of an op take: the first, where that is enough, or all.
template <class Op, class C, int Inputs>
inline constexpr int inputs_of_statistics = []<int... K>(std::integer_sequence<int, K...>) {
  return (... && term_of_first_input<Op, C, K>) ? 1 : Inputs;
}(std::make_integer_sequence<int, Op::statistics>{});

/// A row to every `Threads` threads: a warp of a block of 256, or a block. A thread holds chunks of N neighbours, Chunks of them; with
/// Chunks = 0 it holds none and reads again.
template <int Threads, int Chunks, int N, class C, class Op, class Rows>
struct row_kernel;
template <int Threads, int Chunks, int N, class C, class Op, class... Row>
struct row_kernel<Threads, Chunks, N, C, Op, pack<Row...>> {
  static constexpr int inputs = sizeof...(Row), early = inputs_of_statistics<Op, C, inputs>, late = inputs - early;
  static constexpr int held = Chunks == 0 ? 1 : Chunks;
  using places = pack<typename Row::position...>;
  using chunks = C[early][held][N];

  /// f(i, count, x...) for the chunks of this thread, x being arrays of N: of all inputs, or of those that the statistics take.
  template <bool All, class F>
  static __device__ COG_INLINE void each(pack<Row...> const& rows, places const& at, chunks& x, index_t n, int lane, F const& f) {
    auto const give = [&](int c, index_t i, int count) {
      [&]<int... I, int... L>(std::integer_sequence<int, I...>, std::integer_sequence<int, L...>) {
        [[maybe_unused]] C more[late + 1][N];
        (get<early + L>(rows).read(get<early + L>(at), i, count, more[L]), ...);
        f(i, count, x[I][c]..., more[L]...);
      }(std::make_integer_sequence<int, early>{}, std::make_integer_sequence<int, All ? late : 0>{});
    };
    if constexpr (Chunks > 0) {
#pragma unroll
      for (int c = 0; c < Chunks; ++c) {
        index_t const i = (static_cast<index_t>(c) * Threads + lane) * N;
        if (i < n) give(c, i, n - i < N ? static_cast<int>(n - i) : N);
      }
    } else {
      for (index_t i = static_cast<index_t>(lane) * N; i < n; i += static_cast<index_t>(Threads) * N) {
        int const count = n - i < N ? static_cast<int>(n - i) : N;
        read(rows, at, x, 0, i, count);
        give(0, i, count);
      }
    }
  }
  static __device__ COG_INLINE void read(pack<Row...> const& rows, places const& at, chunks& x, int c, index_t i, int count) {
    [&]<int... I>(std::integer_sequence<int, I...>) {
      (get<I>(rows).read(get<I>(at), i, count, x[I][c]), ...);
    }(std::make_integer_sequence<int, early>{});
  }

  /// Calls finish(statistics, each) once the statistics of row r are known to all its threads.
  template <class Finish>
  static __device__ COG_INLINE void run(index_t r, index_t count_of_rows, index_t n, Op const& op, pack<Row...> const& rows, Finish const& finish) {
    int const lane = threadIdx.x % Threads;
    bool const live = r < count_of_rows;
    index_t const row = live ? r : 0, length = live ? n : 0;
    places const at = [&]<int... I>(std::integer_sequence<int, I...>) {
      return make_pack(get<I>(rows).row(row)...);
    }(std::make_integer_sequence<int, inputs>{});
    chunks x;
    if constexpr (Chunks > 0) {
#pragma unroll
      for (int c = 0; c < Chunks; ++c) {
        index_t const i = (static_cast<index_t>(c) * Threads + lane) * N;
        if (i < length) read(rows, at, x, c, i, length - i < N ? static_cast<int>(length - i) : N);
      }
    }
    __shared__ C slots[Threads / 32];
    C stats[Op::statistics];
    auto const statistic = [&]<int K>(std::integral_constant<int, K>) {
      using join = join_terms<C, row_kind_of<Op, K>>;
      C total = join::start();
      each<false>(rows, at, x, length, lane, [&](index_t, int count, auto const&... chunk) {
#pragma unroll
        for (int v = 0; v < N; ++v)
          if (v < count) join{}(total, op.template term<K>(stats, chunk[v]...));
      });
      if constexpr (Threads == 32) total = merge_lanes(total, 32, join{});
      else total = merge_block<Threads>(total, slots, join{});
      stats[K] = op.template finish<K>(total, n);
    };
    [&]<int... K>(std::integer_sequence<int, K...>) {
      (statistic(std::integral_constant<int, K>{}), ...);
    }(std::make_integer_sequence<int, Op::statistics>{});
    if (live) finish(stats, [&](auto const& f) { each<true>(rows, at, x, length, lane, f); });
  }
};

template <int Threads>
inline constexpr int block_threads = Threads == 32 ? 256 : Threads;
/// The row of this thread.
template <int Threads>
__device__ COG_INLINE index_t own_row() {
  return Threads == 32 ? static_cast<index_t>(blockIdx.x) * 8 + threadIdx.x / 32 : blockIdx.x;
}

template <class T>
__device__ COG_INLINE detail::output<T, 1> row_output(T* data) {
  return {data, {1}, false};
}

template <int Threads, int Chunks, int N, class C, class Op, class Rows, class Out>
__global__ void __launch_bounds__(block_threads<Threads>) map_rows_kernel(index_t count, index_t n, Op op, Rows rows, Out out, bool vector) {
  index_t const r = own_row<Threads>();
  row_kernel<Threads, Chunks, N, C, Op, Rows>::run(r, count, n, op, rows, [&](C const* stats, auto const& each) {
    each([&](index_t i, int live, auto const&... chunk) {
      [&]<int... K>(std::integer_sequence<int, K...>) {
        values<C, N> result[size_of_pack<Out>];
#pragma unroll
        for (int v = 0; v < N; ++v) {
          if (v >= live) break;
          auto const value = op.map(stats, chunk[v]...);
          if constexpr (is_pack<std::remove_cvref_t<decltype(value)>>) ((result[K].at[v] = get<K>(value)), ...);
          else result[0].at[v] = value;
        }
        (store<N>(row_output(get<K>(out)), r * n + i, 1, vector, live, result[K]), ...);
      }(std::make_integer_sequence<int, size_of_pack<Out>>{});
    });
  });
}

template <int Threads, int Chunks, int N, class C, class Op, class Rows, class T>
__global__ void __launch_bounds__(block_threads<Threads>) reduce_rows_to_value_kernel(index_t count, index_t n, Op op, Rows rows, T* out) {
  index_t const r = own_row<Threads>();
  row_kernel<Threads, Chunks, N, C, Op, Rows>::run(r, count, n, op, rows, [&](C const* stats, auto const&) {
    if (threadIdx.x % Threads == 0) out[r] = T(op.result(stats));
  });
}

/// Calls go<Threads, Chunks> with the shape of kernel that rows of n elements want, N of them a chunk, where `Held` inputs stay.
template <int N, int Held, class Go>
void for_row_length(index_t n, Go const& go) {
  if (n <= 32 * 8) return go.template operator()<32, 8 / N>();
  if (n <= 32 * 32) return go.template operator()<32, 32 / N>();
  if (n <= 256 * 16) return go.template operator()<256, 16 / N>();
  if (n <= 512 * 32) return go.template operator()<512, 32 / N>();
  if constexpr (Held == 1)
    if (n <= 512 * 64) return go.template operator()<512, 64 / N>();
  go.template operator()<512, 0>();
}

/// Calls run<Threads, Chunks>(rows, grid, count, n) for the inputs of a row-wise form.
template <int N, int Held, class... F, class... Leaves, std::size_t Rank, class Run>
void prepare_rows(char const* operation, std::array<index_t, Rank> const& shape, pack<row_input<F, Leaves>...> const& inputs, Run const& run) {
  index_t const n = shape[Rank - 1];
  index_t count = 1;
  for (std::size_t a = 0; a + 1 < Rank; ++a) count *= shape[a];
  auto const rows = detail::unpack([&](auto const&... in) { return make_pack(on_device<N>(in, shape)...); }, detail::as_tuple(inputs));
  for_row_length<N, Held>(n, [&]<int Threads, int Chunks>() {
    run.template operator()<Threads, Chunks>(rows, grid{along_x(operation, Threads == 32 ? blocks_of(count, 8) : count), dim3(block_threads<Threads>)},
                                             count, n);
  });
}

template <class... L>
struct widest_group;
template <class... F, class... Leaf>
struct widest_group<row_input<F, Leaf>...> {
  template <class... L>
  static constexpr int of_leaves(std::type_identity<pack<L...>>) { return group_of<L...>; }
  static constexpr int value = std::max({1, of_leaves(std::type_identity<Leaf>{})...});
};

/// Outputs are row-major tensors of `shape`.
template <class Op, class... Input, std::size_t Rank, class... T>
void rowwise(cuda_context const& ctx, Op const& op, std::array<index_t, Rank> const& shape, pack<Input...> const& inputs, pack<T*...> const& outputs) {
  using C = compute_t<std::tuple_element_t<0, std::tuple<T...>>>;
  constexpr int N = widest_group<Input...>::value;
  if (size_of(shape) == 0) return;
  bool const vector = shape[Rank - 1] % N == 0;  // outputs are aligned by themselves
  prepare_rows<N, inputs_of_statistics<Op, C, sizeof...(Input)>>("row-wise form", shape, inputs, [&]<int Threads, int Chunks>(auto const& rows, grid const& g, index_t count, index_t n) {
    ctx.launch("row-wise form", g, map_rows_kernel<Threads, Chunks, N, C, Op, std::remove_cvref_t<decltype(rows)>, pack<T*...>>, count, n, op, rows, outputs, vector);
  });
}

/// One value a row.
template <class Op, class... Input, std::size_t Rank, class T>
void row_reduce(cuda_context const& ctx, Op const& op, std::array<index_t, Rank> const& shape, pack<Input...> const& inputs, T* out) {
  using C = compute_t<T>;
  constexpr int N = widest_group<Input...>::value;
  prepare_rows<N, inputs_of_statistics<Op, C, sizeof...(Input)>>("row-wise form", shape, inputs, [&]<int Threads, int Chunks>(auto const& rows, grid const& g, index_t count, index_t n) {
    ctx.launch("row-wise form", g, reduce_rows_to_value_kernel<Threads, Chunks, N, C, Op, std::remove_cvref_t<decltype(rows)>, T>, count, n, op, rows, out);
  });
}

}  // namespace cog::cuda_detail
