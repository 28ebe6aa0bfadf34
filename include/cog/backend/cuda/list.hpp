// Lists of element-wise kernels and sums: up to 128 entries travel as arguments of one launch, and each block finds its own.
#pragma once

#include <algorithm>
#include <span>

#include <cog/backend/cuda/reduce.hpp>
#include <cog/expr/list.hpp>

namespace cog::cuda_detail {

/// Entries of one launch, and the first block of each.
template <class Entry>
struct entry_table {
  // A launch takes 32,764 bytes of arguments (compute capability 7.0, CUDA 12.1).
  static constexpr int capacity = static_cast<int>(std::clamp<std::size_t>(30000 / (sizeof(Entry) + sizeof(unsigned)), 1, 128));
  Entry entries[capacity];
  unsigned first[capacity + 1];
  int count;

  /// The entry of this block.
  __device__ int own() const {
    int low = 0, high = count;
    while (high - low > 1) {
      int const middle = (low + high) / 2;
      if (first[middle] <= blockIdx.x) low = middle;
      else high = middle;
    }
    return low;
  }
};

/// Calls run(table, blocks) for as many entries at a time as fit; entry e takes ceil(e.n / per_block) blocks.
template <class Entry, class Run>
void in_tables(char const* operation, std::span<Entry const> entries, index_t per_block, Run const& run) {
  for (std::size_t at = 0; at < entries.size();) {
    entry_table<Entry> table{};
    index_t blocks = 0;
    while (at < entries.size() && table.count < table.capacity) {
      table.entries[table.count] = entries[at];
      table.first[table.count++] = along_x(operation, blocks).x;
      blocks += blocks_of(entries[at++].n, per_block);
    }
    if (blocks > 0) run(table, blocks);
  }
}

inline constexpr index_t list_share = 2048;  // elements of a block

/// Stride of a flat operand, and whether its memory allows whole vectors.
template <int N, class L>
__device__ COG_INLINE void note_flat(L const& leaf, index_t& stride, bool& vector) {
  if constexpr (requires { *leaf.data; }) {
    using T = std::remove_cvref_t<decltype(*leaf.data)>;
    stride = leaf.strides[0];
    vector = stride == 1 && reinterpret_cast<std::uintptr_t>(leaf.data) % alignof(vector_of<T, N>) == 0;
  } else {
    stride = 0;
    vector = false;
  }
}

template <int N, class F, class In, class Out>
__global__ void __launch_bounds__(256) for_each_of_kernel(__grid_constant__ entry_table<list_entry<F, In, Out>> const table) {
  constexpr int inputs = size_of_pack<In>, operands = inputs + size_of_pack<Out>;
  int const own = table.own();
  auto const& e = table.entries[own];
  index_t stride[operands], offset[operands];
  bool vector[operands];
  [&]<int... I, int... O>(std::integer_sequence<int, I...>, std::integer_sequence<int, O...>) {
    (note_flat<N>(get<I>(e.in), stride[I], vector[I]), ...);
    (note_flat<N>(get<O>(e.out), stride[inputs + O], vector[inputs + O]), ...);
  }(std::make_integer_sequence<int, inputs>{}, std::make_integer_sequence<int, size_of_pack<Out>>{});
  index_t const begin = (blockIdx.x - table.first[own]) * list_share;
  for (index_t first = begin + static_cast<index_t>(threadIdx.x) * N; first < begin + list_share && first < e.n; first += 256 * N) {
    for (int k = 0; k < operands; ++k) offset[k] = first * stride[k];
    apply_to_group<N>(e.f, e.in, e.out, offset, stride, vector, e.n - first < N ? static_cast<int>(e.n - first) : N);
  }
}

/// Every entry's outputs = f(inputs).
template <class F, class... In, class... Out>
void for_each_of(cuda_context const& ctx, std::span<list_entry<F, pack<In...>, pack<Out...>> const> entries) {
  constexpr int n = group_of<In..., Out...>;
  in_tables("list of kernels", entries, list_share, [&](auto const& table, index_t blocks) {
    ctx.launch("list of kernels", {along_x("list of kernels", blocks), dim3(256)}, for_each_of_kernel<n, F, pack<In...>, pack<Out...>>, table);
  });
}

inline constexpr index_t sum_share = 16384;

template <class C, int N, class F, class In, class Out>
__global__ void __launch_bounds__(256) sum_of_kernel(__grid_constant__ entry_table<list_entry<F, In, Out>> const table, reduction::sum::state<C>* partial) {
  constexpr int inputs = size_of_pack<In>;
  int const own = table.own();
  auto const& e = table.entries[own];
  index_t stride[inputs];
  bool vector[inputs];
  C total = 0;
  index_t const begin = (blockIdx.x - table.first[own]) * sum_share;
  [&]<int... I>(std::integer_sequence<int, I...>) {
    (note_flat<N>(get<I>(e.in), stride[I], vector[I]), ...);
    for (index_t first = begin + static_cast<index_t>(threadIdx.x) * N; first < begin + sum_share && first < e.n; first += 256 * N) {
      int const count = e.n - first < N ? static_cast<int>(e.n - first) : N;
      auto const x = make_pack(load<N>(get<I>(e.in), first * stride[I], stride[I], vector[I], count)...);
#pragma unroll
      for (int v = 0; v < N; ++v)
        if (v < count) total += static_cast<C>(e.f(get<I>(x).at[v]...));
    }
  }(std::make_integer_sequence<int, inputs>{});
  __shared__ C slots[8];
  total = merge_block<256>(total, slots, [](C& a, C b) { a += b; });
  if (threadIdx.x == 0) partial[blockIdx.x].value = total;
}

/// out = the sum of f(inputs) over all entries, in an order that depends on their lengths alone.
template <class C, class F, class... In>
void sum_of(cuda_context const& ctx, std::span<list_entry<F, pack<In...>, pack<>> const> entries, C* out) {
  constexpr int n = group_of<In...>;
  index_t blocks = 0, at = 0, elements = 0;
  for (auto const& e : entries) blocks += blocks_of(e.n, sum_share), elements += e.n;
  scratch<reduction::sum::state<C>> const partial(ctx, blocks);
  in_tables("sum of a list", entries, sum_share, [&](auto const& table, index_t share) {
    ctx.launch("sum of a list", {along_x("sum of a list", share), dim3(256)}, sum_of_kernel<C, n, F, pack<In...>, pack<>>, table, partial.get() + at);
    at += share;
  });
  ctx.launch("sum of a list", {dim3(1), dim3(256)}, merge_pieces_kernel<reduction::sum, C, C>, partial.get(), index_t{1}, blocks, elements, out);
}

}  // namespace cog::cuda_detail
