// The part of the CUDA runtime that this project uses, on the emulated machine. Streams run at once; a stream that is being captured
// keeps its work for the graph. Waiting for a captured stream is an error here as it is there.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "cuda.h"
#include "machine.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static thread_local
#define __constant__ static const

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// ---- what kernels call

inline void __syncthreads() { emulated::sync(0, 0); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  emulated::exchange(mask, 0, [](auto const&) { return 0; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline unsigned emulated_lane() { return emulated::block::now()->current->linear % 32; }
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  unsigned const self = emulated_lane();
  return emulated::exchange(mask, value, [&](auto const& of) { return of((self & ~(width - 1u)) + (static_cast<unsigned>(lane) & (width - 1u))); });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  unsigned const self = emulated_lane(), from = self ^ static_cast<unsigned>(lanes);
  return emulated::exchange(mask, value, [&](auto const& of) { return of(from / width <= self / width ? from : self); });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  unsigned const self = emulated_lane();
  return emulated::exchange(mask, value, [&](auto const& of) { return of(self % width + delta < static_cast<unsigned>(width) ? self + delta : self); });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  unsigned const self = emulated_lane();
  return emulated::exchange(mask, value, [&](auto const& of) { return of(self % width >= delta ? self - delta : self); });
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return emulated::exchange(mask, predicate != 0, [&](auto const& of) {
    unsigned bits = 0;
    for (unsigned l = 0; l < 32; ++l)
      if (mask >> l & 1u && emulated::block::now()->warps[emulated::block::now()->current->linear / 32].live >> l & 1u && of(l)) bits |= 1u << l;
    return bits;
  });
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
inline int __syncthreads_or(int predicate) {  // by way of a counter of the block
  static thread_local int any;
  __syncthreads();
  any = 0;
  __syncthreads();
  any |= predicate;
  __syncthreads();
  return any;
}
template <class T> T atomicAdd(T* to, T value) { T const old = *to; *to = old + value; return old; }
template <class T> T atomicMax(T* to, T value) { T const old = *to; *to = std::max(old, value); return old; }
template <class T> T atomicCAS(T* to, T expected, T value) { T const old = *to; if (old == expected) *to = value; return old; }
template <class T> T atomicExch(T* to, T value) { T const old = *to; *to = value; return old; }
template <class T> T __ldg(T const* p) { return *p; }
inline float __expf(float x) { return std::exp(x); }
inline float exp2f_approx(float x) { return std::exp2(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline float __int_as_float(int x) { float f; std::memcpy(&f, &x, 4); return f; }
inline int __float_as_int(float x) { int i; std::memcpy(&i, &x, 4); return i; }
inline unsigned __float_as_uint(float x) { unsigned i; std::memcpy(&i, &x, 4); return i; }
inline float __uint_as_float(unsigned x) { float f; std::memcpy(&f, &x, 4); return f; }
/// Dynamic shared memory, aligned to 128 bytes.
inline void* emulated_shared() {
  auto const p = reinterpret_cast<std::uintptr_t>(emulated::block::now()->shared.get());
  return reinterpret_cast<void*>((p + 127) / 128 * 128);
}

// ---- what the host calls

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDevice = 101,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchOutOfResources = 701,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900
};
inline char const* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    default: return "cudaErrorInvalidValue";
  }
}
inline char const* cudaGetErrorString(cudaError_t e) { return cudaGetErrorName(e); }

struct emulated_graph {
  std::vector<std::function<void()>> work;
};
struct emulated_stream {
  std::shared_ptr<emulated_graph> capturing;
  void run(std::function<void()> work) {
    if (capturing) capturing->work.push_back(std::move(work));
    else work();
  }
};
struct emulated_event {};
using cudaStream_t = emulated_stream*;
using cudaEvent_t = emulated_event*;
struct CUgraph_st { std::shared_ptr<emulated_graph> graph; };
using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraph_st*;

namespace emulated {
/// Bytes that cudaMalloc gives before it fails, and what it gave.
inline std::size_t& memory_limit() { static std::size_t n = std::size_t{2} << 30; return n; }
inline std::map<void*, std::size_t>& allocations() { static auto& a = *new std::map<void*, std::size_t>; return a; }
inline std::size_t& allocated() { static std::size_t n = 0; return n; }
inline std::mutex& allocation_mutex() { static auto& m = *new std::mutex; return m; }
/// How often the host asked for memory, waited, or launched.
struct counters { std::size_t mallocs = 0, waits = 0, launches = 0; };
inline counters& count() { static counters c; return c; }
inline cudaStream_t no_stream(cudaStream_t s) { static emulated_stream all; return s ? s : &all; }
/// What the next wait reports, as if a kernel had failed.
inline cudaError_t& fault() { static cudaError_t e = cudaSuccess; return e; }
inline cudaError_t wait(cudaStream_t s) {
  ++count().waits;
  return no_stream(s)->capturing ? cudaErrorStreamCaptureUnsupported : std::exchange(fault(), cudaSuccess);
}
inline cudaError_t& last_error() { static thread_local cudaError_t e = cudaSuccess; return e; }
inline cudaError_t fail(cudaError_t e) { return last_error() = e; }
}  // namespace emulated

inline cudaError_t cudaGetLastError() { return std::exchange(emulated::last_error(), cudaSuccess); }
inline cudaError_t cudaGetDeviceCount(int* n) { *n = 1; return cudaSuccess; }
inline cudaError_t cudaSetDevice(int d) { return d == 0 ? cudaSuccess : emulated::fail(cudaErrorInvalidDevice); }
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor, cudaDevAttrMaxSharedMemoryPerBlockOptin
};
inline int& emulated_capability() { static int c = 80; return c; }
/// Of a block, when asked for.
inline std::size_t& emulated_shared_memory() { static std::size_t n = 227 << 10; return n; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr a, int) {
  switch (a) {
    case cudaDevAttrMultiProcessorCount: *value = 3; break;
    case cudaDevAttrComputeCapabilityMajor: *value = emulated_capability() / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = emulated_capability() % 10; break;
    default: *value = static_cast<int>(emulated_shared_memory());
  }
  return cudaSuccess;
}

struct cudaDeviceProp { char name[256] = "a GPU in software"; };
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) { *p = {}; return cudaSuccess; }

inline cudaError_t cudaMalloc(void** p, std::size_t n) {
  std::lock_guard lock(emulated::allocation_mutex());
  ++emulated::count().mallocs;
  if (n > emulated::memory_limit() - std::min(emulated::memory_limit(), emulated::allocated())) return emulated::fail(cudaErrorMemoryAllocation);
  *p = std::aligned_alloc(256, (n + 255) / 256 * 256);
  if (!*p) return emulated::fail(cudaErrorMemoryAllocation);
  std::memset(*p, 0xff, n);
  emulated::allocations()[*p] = n;
  emulated::allocated() += n;
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* p) {
  std::lock_guard lock(emulated::allocation_mutex());
  auto const at = emulated::allocations().find(p);
  if (at == emulated::allocations().end()) return p ? emulated::fail(cudaErrorInvalidValue) : cudaSuccess;
  emulated::allocated() -= at->second;
  emulated::allocations().erase(at);
  std::free(p);
  return cudaSuccess;
}
constexpr unsigned cudaHostAllocDefault = 0, cudaHostAllocMapped = 2, cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2;
inline cudaError_t cudaHostAlloc(void** p, std::size_t n, unsigned) { *p = std::aligned_alloc(64, (n + 63) / 64 * 64); return cudaSuccess; }
inline cudaError_t cudaFreeHost(void* p) { std::free(p); return cudaSuccess; }
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
inline cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t n, cudaMemcpyKind, cudaStream_t s) {
  emulated::no_stream(s)->run([=] { std::memcpy(to, from, n); });
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t n, cudaStream_t s) {
  emulated::no_stream(s)->run([=] { std::memset(to, value, n); });
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { *s = new emulated_stream; return cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t s) { delete s; return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t s) { auto const e = emulated::wait(s); return e == cudaSuccess ? e : emulated::fail(e); }
inline cudaError_t cudaDeviceSynchronize() { ++emulated::count().waits; return cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned = 0) { return cudaSuccess; }
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { *e = new emulated_event; return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t e) { delete e; return cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return emulated::wait(nullptr); }
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) { *ms = 0; return cudaSuccess; }

enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
inline cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  if (s->capturing) return emulated::fail(cudaErrorStreamCaptureUnsupported);
  s->capturing = std::make_shared<emulated_graph>();
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) {
  *g = new CUgraph_st{std::exchange(s->capturing, nullptr)};
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long = 0) { *e = new CUgraph_st{g->graph}; return cudaSuccess; }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
  emulated::no_stream(s)->run([g = e->graph] { for (auto const& w : g->work) w(); });
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t g) { delete g; return cudaSuccess; }
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g) { delete g; return cudaSuccess; }

#define CUDART_VERSION 13000
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess, cudaDriverEntryPointSymbolNotFound };
constexpr unsigned long long cudaEnableDefault = 0;
inline cudaError_t cudaGetDriverEntryPointByVersion(char const* symbol, void** found, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* result) {
  bool const known = std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
  *found = known ? reinterpret_cast<void*>(&emulated::encode) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
inline cudaError_t cudaFuncSetAttribute(void const*, cudaFuncAttribute, int bytes) {
  return static_cast<std::size_t>(bytes) <= emulated_shared_memory() ? cudaSuccess : emulated::fail(cudaErrorInvalidValue);
}
struct cudaFuncAttributes {
  std::size_t sharedSizeBytes;
};
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* a, Kernel) { a->sharedSizeBytes = 4; return cudaSuccess; }
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  void* attrs;
  unsigned numAttrs;
};
template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* c, void (*kernel)(P...), A&&... a) {
  if (c->blockDim.x * c->blockDim.y * c->blockDim.z > 1024 || c->dynamicSmemBytes > emulated_shared_memory()) return emulated::fail(cudaErrorInvalidConfiguration);
  ++emulated::count().launches;
  emulated::no_stream(c->stream)->run([config = *c, kernel, arguments = std::tuple<std::remove_cvref_t<P>...>(a...)] {
    emulated::run(config.gridDim, config.blockDim, config.dynamicSmemBytes, [&] { std::apply(kernel, arguments); });
  });
  return cudaSuccess;
}
