// Threads that work together: values passed between the lanes of a warp, and states merged over a warp or a block.
#pragma once

#include <cstring>
#include <type_traits>

#include <cog/backend/cuda/runtime.hpp>

namespace cog::cuda_detail {

/// Room for values in shared memory, which must not be constructed.
template <class V, int N>
struct alignas(16) room_for {
  unsigned char bytes[N * sizeof(V)];
  __device__ V* get() { return reinterpret_cast<V*>(bytes); }
};

inline constexpr unsigned all_lanes = 0xffffffffu;

/// The value of the lane whose number differs in `lanes`; any trivially copyable type.
template <class V>
__device__ COG_INLINE V from_lane_xor(V const& value, int lanes) {
  static_assert(std::is_trivially_copyable_v<V>);
  constexpr int words = (sizeof(V) + 3) / 4;
  unsigned w[words] = {};
  memcpy(w, &value, sizeof(V));
#pragma unroll
  for (int i = 0; i < words; ++i) w[i] = __shfl_xor_sync(all_lanes, w[i], lanes);
  V out;
  memcpy(&out, w, sizeof(V));
  return out;
}

/// merge(a, b) over groups of `width` lanes (a power of 2); every lane gets the whole, and the same bits.
template <class V, class Merge>
__device__ COG_INLINE V merge_lanes(V value, int width, Merge const& merge) {
  for (int step = 1; step < width; step *= 2) {
    V const other = from_lane_xor(value, step);
    bool const upper = threadIdx.x & static_cast<unsigned>(step);
    V first = upper ? other : value;  // both partners merge in the same order
    merge(first, upper ? value : other);
    value = first;
  }
  return value;
}

/// Over a block of `Threads` (a multiple of 32); every thread gets the whole. `slots`: shared, one a warp. All threads call it.
template <int Threads, class V, class Merge>
__device__ COG_INLINE V merge_block(V value, V* slots, Merge const& merge) {
  constexpr int warps = Threads / 32;
  value = merge_lanes(value, 32, merge);
  if constexpr (warps > 1) {
    __syncthreads();  // slots may still be read from before
    if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = value;
    __syncthreads();
    value = slots[0];
    for (int w = 1; w < warps; ++w) merge(value, slots[w]);
  }
  return value;
}

}  // namespace cog::cuda_detail
