// The CUDA runtime with exceptions: status checks, and the one place that launches kernels.
// A launch that fails is reported with the name of its operation; a fault inside a kernel with the names of the last ones.
#pragma once

#if !defined(__CUDACC__)
#error "cog/cuda.hpp holds kernels: this file must be compiled by nvcc (name it .cu, and link cog::cuda in CMake)"
#endif

#include <cuda_runtime.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <string>
#include <utility>

#include <cog/core/error.hpp>
#include <cog/core/layout.hpp>

namespace cog::cuda_detail {

/// Throws what CUDA says of an operation.
inline void check(cudaError_t status, char const* operation) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // it has been reported now
  throw error(operation, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}

/// The names of what was launched last. A fault inside a kernel shows at a later call; what caused it is among these.
class launch_log {
 public:
  void add(char const* operation) noexcept { names_[count_.fetch_add(1, std::memory_order_relaxed) % names_.size()].store(operation, std::memory_order_relaxed); }
  /// What was launched so far did no harm.
  void clear() noexcept { count_.store(0, std::memory_order_relaxed); }
  /// Throws what CUDA says; where that is a fault of an earlier kernel, with those that it may be.
  void check(cudaError_t status, char const* operation) const {
    if (status >= cudaErrorIllegalAddress && status <= cudaErrorLaunchFailure && status != cudaErrorLaunchOutOfResources) {
      std::string text;
      std::size_t const count = count_.load(std::memory_order_relaxed);
      for (std::size_t i = count > names_.size() ? count - names_.size() : 0; i < count; ++i) {
        std::string const name = names_[i % names_.size()].load(std::memory_order_relaxed);
        if (!text.ends_with(name)) text += (text.empty() ? "" : ", ") + name;
      }
      throw error(operation, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ") in an earlier kernel; the last were: ", text,
                  ". A context made with {.blocking = true} says which");
    }
    cuda_detail::check(status, operation);
  }

 private:
  std::array<std::atomic<char const*>, 16> names_{};
  std::atomic<std::size_t> count_{0};
};

/// Blocks, threads of a block, and bytes of dynamic shared memory of a block.
struct grid {
  dim3 blocks, threads;
  std::size_t shared = 0;
};

constexpr index_t blocks_of(index_t n, index_t size) { return (n + size - 1) / size; }

/// kernel<<<g, stream>>>(arguments...). Nothing where the grid is empty.
template <class... P, class... A>
void launch(char const* operation, launch_log& log, cudaStream_t stream, grid const& g, void (*kernel)(P...), A&&... arguments) {
  if (g.blocks.x == 0 || g.blocks.y == 0 || g.blocks.z == 0) return;
  constexpr std::size_t granted = 48 << 10;  // more must be asked for
  if (g.shared > granted)
    log.check(cudaFuncSetAttribute(reinterpret_cast<void const*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(g.shared)),
              operation);
  cudaLaunchConfig_t config{};
  config.gridDim = g.blocks;
  config.blockDim = g.threads;
  config.dynamicSmemBytes = g.shared;
  config.stream = stream;
  log.check(cudaLaunchKernelEx(&config, kernel, static_cast<P>(std::forward<A>(arguments))...), operation);
  log.add(operation);
}

/// Blocks along x for n pieces of work. Throws where the device cannot count them.
inline dim3 along_x(char const* operation, index_t n) {
  if (n > 0x7fffffff) throw error(operation, ": ", n, " blocks are more than a grid holds");
  return dim3(static_cast<unsigned>(n));
}

}  // namespace cog::cuda_detail
