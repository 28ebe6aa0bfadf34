// Whether kernels for Hopper (sm_90a) can run: on such a device, and only if the program has code for it.
#pragma once

#include <cog/backend/cuda/context.hpp>
#include <cog/backend/cuda/hopper.hpp>

namespace cog::cuda_detail {

/// Its static shared memory tells whether it was compiled for sm_90a.
template <class = void>
__global__ void hopper_probe([[maybe_unused]] int* out) {
#if COG_HOPPER
  __shared__ int volatile taken[1];
  taken[0] = *out;
  *out = taken[0];
#endif
}

struct hopper_support {
  bool present = false;
  explicit hopper_support(cuda_context const& ctx) {
    if (ctx.capability() != 90) return;
    cudaFuncAttributes attributes{};
    check(cudaFuncGetAttributes(&attributes, hopper_probe<>), "hopper");
    present = attributes.sharedSizeBytes > 0;
  }
};

inline bool runs_hopper_kernels(cuda_context const& ctx) { return ctx.capability() == 90 && ctx.part<hopper_support>().present; }

}  // namespace cog::cuda_detail
