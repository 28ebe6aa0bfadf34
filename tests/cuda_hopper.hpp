// For tests of kernels for Hopper: on the emulated GPU they run on one of capability 9.0.
#pragma once

#include "backend_loops.hpp"
#include "cuda.hpp"

/// Can they run? If so, the context of the tests is on such a device.
inline bool on_hopper() {
#if defined(COG_EMULATED_GPU)
  emulated_capability() = 90;
#endif
  return cog::cuda_detail::runs_hopper_kernels(gpu());
}
