// Indexed access. An index out of range touches nothing; the context complains of it at the next wait.
#pragma once

#include <bit>

#include <cub/device/device_segmented_radix_sort.cuh>

#include <cog/backend/cuda/block.hpp>
#include <cog/backend/cuda/elementwise.hpp>
#include <cog/backend/cuda/intrinsics.hpp>

namespace cog::cuda_detail {

/// The indices that an operation takes, and where kernels complain of others. It is made on the host, whose text the name is: the
/// address of a text in device code would mean nothing there.
struct index_range {
  char const* operation;
  index_t limit;
  complaint* to;

  template <class I>
  __device__ COG_INLINE bool holds(I index, index_t position) const {
    if (index >= 0 && index < limit) return true;
    to->write(operation, index, position, limit);
    return false;
  }
};

template <class T, class I>
__global__ void __launch_bounds__(256) take_rows_kernel(view<T const, 2> table, I const* ids, index_t count, T* out, divider by_width, index_range range) {
  index_t const at = static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x, d = table.extent(1);
  if (at >= count * d) return;
  auto const [i, column] = by_width(at);
  if (range.holds(ids[i], i)) out[at] = table(ids[i], column);
}
template <class T, class I>
void take_rows(cuda_context const& ctx, view<T const, 2> table, I const* ids, index_t count, T* out) {
  index_t const n = count * table.extents[1];
  ctx.launch("take", {along_x("take", blocks_of(n, 256)), dim3(256)}, take_rows_kernel<T, I>, table, ids, count, out, divider(std::max<index_t>(1, table.extents[1])),
             index_range{"take", table.extents[0], ctx.complaint()});
}

/// How the rows of a table are dealt out to warps: row r is slot r / shares of share r % shares. At most 64 slots a warp.
struct row_shares {
  int log;
  index_t slots;

  explicit row_shares(index_t rows)
      : log(static_cast<int>(std::bit_width(static_cast<std::uint64_t>(std::max(blocks_of(rows, 64), std::min<index_t>(rows, 256)) - 1)))),
        slots(blocks_of(rows, count())) {}
  COG_HD index_t count() const { return index_t{1} << log; }
};

/// A warp owns 32 columns of a share of the table. It looks at 32 ids at a time, sums the rows that are its own in the order of the ids,
/// unrounded and in shared memory, and adds the sums to the table at the end: no atomics, one rounding.
template <class T, class I>
__global__ void __launch_bounds__(128) add_rows_kernel(view<T, 2> table, I const* ids, index_t count, T const* rows, row_shares shares, index_range range) {
  using C = compute_t<T>;
  int const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  index_t const d = table.extent(1), blocks = (d + 31) / 32, column = blockIdx.x % blocks * 32 + lane, share = blockIdx.x / blocks * 4 + warp;
  if (share >= shares.count()) return;
  C* const sums = static_cast<C*>(dynamic_shared()) + warp * shares.slots * 32 + lane;  // of slot s at 32 s
  for (index_t s = 0; s < shares.slots; ++s) sums[32 * s] = 0;
  std::uint64_t met = 0;  // slots
  for (index_t first = 0; first < count; first += 32) {
    I const id = first + lane < count ? ids[first + lane] : I(0);
    bool const own = first + lane < count && (id & (shares.count() - 1)) == share && range.holds(id, first + lane);
    for (unsigned found = __ballot_sync(all_lanes, own); found;) {
      constexpr int together = 4;  // loads under way
      C value[together];
      int slot[together];
#pragma unroll
      for (int k = 0; k < together; ++k) {
        slot[k] = -1;
        if (!found) continue;
        int const from = __ffs(static_cast<int>(found)) - 1;
        found &= found - 1;
        slot[k] = static_cast<int>(__shfl_sync(all_lanes, id, from) >> shares.log);
        value[k] = column < d ? static_cast<C>(rows[(first + from) * d + column]) : C(0);
      }
#pragma unroll
      for (int k = 0; k < together; ++k) {
        if (slot[k] < 0) continue;
        sums[32 * slot[k]] += value[k];
        met |= std::uint64_t{1} << slot[k];
      }
    }
  }
  for (index_t s = 0; s < shares.slots; ++s) {
    if (!(met >> s & 1) || column >= d) continue;
    T& sum = table(s << shares.log | share, column);
    sum = T(static_cast<C>(sum) + sums[32 * s]);
  }
}
template <class T, class I>
void add_rows(cuda_context const& ctx, view<T, 2> table, I const* ids, index_t count, T const* rows) {
  if (count == 0 || table.extents[1] == 0) return;
  row_shares const shares(std::max<index_t>(1, table.extents[0]));
  index_t const blocks = blocks_of(table.extents[1], 32) * blocks_of(shares.count(), 4);
  ctx.launch("add_rows", {along_x("add_rows", blocks), dim3(128), static_cast<std::size_t>(4 * shares.slots * 32) * sizeof(compute_t<T>)}, add_rows_kernel<T, I>,
             table, ids, count, rows, shares, index_range{"add_rows", table.extents[0], ctx.complaint()});
}

template <class T, class I>
__global__ void __launch_bounds__(256) take_along_kernel(T const* rows, index_t n, I const* ids, index_t count, T* out, index_range range) {
  index_t const i = static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i < count && range.holds(ids[i], i)) out[i] = rows[i * n + ids[i]];
}
template <class T, class I>
void take_along(cuda_context const& ctx, T const* rows, index_t n, I const* ids, index_t count, T* out) {
  ctx.launch("take_along", {along_x("take_along", blocks_of(count, 256)), dim3(256)}, take_along_kernel<T, I>, rows, n, ids, count, out,
             index_range{"take_along", n, ctx.complaint()});
}

template <class T, class I>
__global__ void __launch_bounds__(256) add_along_kernel(T* rows, index_t n, I const* ids, index_t count, T const* values, index_range range) {
  index_t const i = static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= count || !range.holds(ids[i], i)) return;
  T& sum = rows[i * n + ids[i]];
  sum = T(static_cast<compute_t<T>>(sum) + static_cast<compute_t<T>>(values[i]));
}
template <class T, class I>
void add_along(cuda_context const& ctx, T* rows, index_t n, I const* ids, index_t count, T const* values) {
  ctx.launch("add_along", {along_x("add_along", blocks_of(count, 256)), dim3(256)}, add_along_kernel<T, I>, rows, n, ids, count, values,
             index_range{"add_along", n, ctx.complaint()});
}

/// A warp walks one line, 32 elements at a time.
template <class T>
__global__ void __launch_bounds__(256) scan_rows_kernel(T* data, index_t lines, index_t n) {
  using C = compute_t<T>;
  index_t const line = (static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x) / 32;
  int const lane = threadIdx.x % 32;
  C before{};
  for (index_t first = 0; first < n; first += 32) {
    index_t const i = first + lane;
    bool const live = line < lines && i < n;
    C x = live ? static_cast<C>(data[line * n + i]) : C(0);
    for (int step = 1; step < 32; step *= 2) {
      C const other = __shfl_up_sync(0xffffffffu, x, static_cast<unsigned>(step));
      if (lane >= step) x = static_cast<C>(other + x);
    }
    x = static_cast<C>(before + x);
    if (live) data[line * n + i] = T(x);
    before = __shfl_sync(0xffffffffu, x, 31);
  }
}
/// A thread walks one line; neighbours walk side by side.
template <class T>
__global__ void __launch_bounds__(256) scan_columns_kernel(T* data, index_t lines, index_t n, index_t inner) {
  index_t const line = static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x;
  if (line >= lines) return;
  T* const p = data + line / inner * n * inner + line % inner;
  compute_t<T> sum{};
  for (index_t i = 0; i < n; ++i) p[i * inner] = T(sum = static_cast<compute_t<T>>(sum + static_cast<compute_t<T>>(p[i * inner])));
}
/// Running sums of n elements `inner` apart, in place.
template <class T>
void cumulative_sum(cuda_context const& ctx, T* data, index_t outer, index_t n, index_t inner) {
  index_t const lines = outer * inner;
  if (inner == 1) ctx.launch("cumulative_sum", {along_x("cumulative_sum", blocks_of(lines * 32, 256)), dim3(256)}, scan_rows_kernel<T>, data, lines, n);
  else ctx.launch("cumulative_sum", {along_x("cumulative_sum", blocks_of(lines, 256)), dim3(256)}, scan_columns_kernel<T>, data, lines, n, inner);
}

/// A number whose unsigned order is that of x, NaN above all, -0 with +0.
template <class T>
using sort_key_t = std::conditional_t<sizeof(compute_t<T>) == 8, unsigned long long, unsigned>;
template <class T>
__device__ sort_key_t<T> sort_key(T value) {
  using C = compute_t<T>;
  using K = sort_key_t<T>;
  constexpr K top = K(1) << (8 * sizeof(K) - 1);
  C const x = static_cast<C>(value);
  if constexpr (std::is_floating_point_v<C>) {
    if (x != x) return ~K(0);
    K const bits = bits_as<K>(x == C(0) ? C(0) : x);
    return bits & top ? K(~bits) : K(bits | top);
  } else if constexpr (sizeof(C) < 4) {
    return static_cast<K>(x);
  } else {
    return static_cast<K>(static_cast<K>(x) ^ top);
  }
}
template <class K, class T>
__global__ void __launch_bounds__(256) sort_keys_kernel(T const* data, index_t count, divider by_row, K* keys, int* indices) {
  index_t const i = static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= count) return;
  keys[i] = sort_key(data[i]);
  indices[i] = static_cast<int>(by_row(i).remainder);
}
template <class T>
__global__ void __launch_bounds__(256) take_top_kernel(T const* data, index_t n, int const* order, index_t rows, divider by_k, index_t k, T* values, std::int64_t* indices) {
  index_t const at = static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x;
  if (at >= rows * k) return;
  auto const [row, i] = by_k(at);
  int const from = order[row * n + i];
  values[at] = data[row * n + from];
  indices[at] = from;
}

/// By CUB's stable segmented sort of (key, index).
template <class T>
void top_k(cuda_context const& ctx, T const* data, index_t rows, index_t n, index_t k, T* values, std::int64_t* indices) {
  if (rows * n > 0x7fffffff) {  // CUB counts in int: in parts
    index_t const part = 0x7fffffff / n;
    if (part == 0) throw error("top_k: rows of ", n);
    for (index_t r = 0; r < rows; r += part) top_k(ctx, data + r * n, std::min(part, rows - r), n, k, values + r * k, indices + r * k);
    return;
  }
  using K = sort_key_t<T>;
  index_t const count = rows * n;
  scratch<K> const keys(ctx, 2 * count);
  scratch<int> const order(ctx, 2 * count), starts(ctx, rows + 1);
  auto const grid_of = [](index_t size) { return grid{along_x("top_k", blocks_of(size, 256)), dim3(256)}; };
  ctx.launch("top_k", grid_of(count), sort_keys_kernel<K, T>, data, count, divider(n), keys.get(), order.get());
  for_each(ctx, std::array<index_t, 1>{rows + 1}, forward<branch<op::cast<std::int32_t>, branch<op::multiply, arg<0, std::int64_t>, arg<1, std::int64_t>>>>{},
           make_pack(position_leaf<1>{{1}}, constant_leaf<std::int64_t>{n}), make_pack(detail::output<std::int32_t, 1>{starts.get(), {1}, false}));
  auto const sort = [&](void* temporary, std::size_t& bytes) {
    check(cub::DeviceSegmentedRadixSort::SortPairsDescending(temporary, bytes, keys.get(), keys.get() + count, order.get(), order.get() + count,
                                                             static_cast<int>(count), static_cast<int>(rows), starts.get(), starts.get() + 1, 0,
                                                             8 * static_cast<int>(sizeof(K)), ctx.stream()),
          "top_k");
  };
  std::size_t bytes = 0;
  ctx.activate();
  sort(nullptr, bytes);
  scratch<unsigned char> const temporary(ctx, static_cast<index_t>(std::max<std::size_t>(bytes, 1)));
  sort(temporary.get(), bytes);
  ctx.launch("top_k", grid_of(rows * k), take_top_kernel<T>, data, n, order.get() + count, rows, divider(std::max<index_t>(k, 1)), k, values, indices);
}

}  // namespace cog::cuda_detail
