// CUB's stable segmented sort on the emulated machine.
#pragma once

#include <numeric>

#include <cuda_runtime.h>

namespace cub {

struct DeviceSegmentedRadixSort {
  template <class K, class V, class Offset>
  static cudaError_t SortPairsDescending(void* temporary, std::size_t& bytes, K const* keys, K* keys_out, V const* values, V* values_out, int, int segments,
                                         Offset begin, Offset end, int, int, cudaStream_t stream) {
    if (!temporary) {
      bytes = 1;
      return cudaSuccess;
    }
    emulated::no_stream(stream)->run([=] {
      for (int s = 0; s < segments; ++s) {
        std::vector<int> order(static_cast<std::size_t>(end[s] - begin[s]));
        std::iota(order.begin(), order.end(), begin[s]);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return keys[a] > keys[b]; });
        for (int i = begin[s]; int from : order) {
          keys_out[i] = keys[from];
          values_out[i++] = values[from];
        }
      }
    });
    return cudaSuccess;
  }
};

}  // namespace cub
