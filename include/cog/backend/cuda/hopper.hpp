// What Hopper (sm_90a) has beyond intrinsics.hpp, one thin function for each instruction: mbarriers, the bulk tensor copy engine (TMA),
// named barriers, registers handed from warp to warp, stmatrix, and products of a warpgroup (wgmma). Nothing is done behind the
// caller's back: fences, commits and waits are his. Kernels that use them are empty where COG_HOPPER is 0, and must not be launched.
// tests/emulated_gpu has the same in plain C++, by the PTX manual; tests/cuda_hopper.cpp tests each by itself.
#pragma once

#include <cog/backend/cuda/intrinsics.hpp>
#include <cuda.h>

// Code for sm_90a itself: its instructions are in no other target, not in sm_90 nor in later chips.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define COG_HOPPER 1
#else
#define COG_HOPPER 0
#endif

namespace cog::cuda_detail {

/// The block's dynamic shared memory, aligned as swizzled tiles want it.
__device__ inline void* dynamic_shared_tiles() {
  extern __shared__ __align__(1024) unsigned char tiles[];
  return tiles;
}

// ---- mbarriers: 8 bytes of shared memory. A phase ends when so many threads have arrived, and every byte that is expected has too.

__device__ COG_INLINE void init_barrier(unsigned barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// Barriers made before are there for the copy engine too; other threads see them after a barrier of the block.
__device__ COG_INLINE void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ COG_INLINE void arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Arrives, and the phase waits for `bytes` more of copies.
__device__ COG_INLINE void arrive_expecting(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// Waits for the end of a phase: they have parities 0, 1, 0, 1 ... The phase before the first counts as ended, with parity 1.
__device__ COG_INLINE void wait_barrier(unsigned barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier), "r"(parity) : "memory");
}

// ---- The copy engine. Boxes of tensors of five axes, by maps (tensor_map.hpp) that are a kernel's __grid_constant__ parameters; `at` counts
// elements from the innermost axis on. What lies outside of the tensor reads as 0 and is not written. One thread calls.

struct box_place {
  int at[5];
};

/// Starts a copy to shared memory; the barrier learns of its bytes, also of those outside.
__device__ COG_INLINE void load_box(unsigned to, CUtensorMap const& from, box_place const& p, unsigned barrier) {
  asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(to),
               "l"(&from), "r"(p.at[0]), "r"(p.at[1]), "r"(p.at[2]), "r"(p.at[3]), "r"(p.at[4]), "r"(barrier)
               : "memory");
}
/// The same of bytes in a row; addresses and bytes are multiples of 16.
__device__ COG_INLINE void load_bulk(unsigned to, void const* from, unsigned bytes, unsigned barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(bytes), "r"(barrier)
               : "memory");
}
__device__ COG_INLINE void prefetch_map(CUtensorMap const& map) { asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory"); }
/// Starts a copy from shared memory.
__device__ COG_INLINE void store_box(CUtensorMap const& to, box_place const& p, unsigned from) {
  asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%1, %2, %3, %4, %5}], [%6];" ::"l"(&to), "r"(p.at[0]), "r"(p.at[1]),
               "r"(p.at[2]), "r"(p.at[3]), "r"(p.at[4]), "r"(from)
               : "memory");
}
/// to[i] += from[i] for `bytes` of float; both addresses and bytes are multiples of 16. Each addition is whole; their order is open.
__device__ COG_INLINE void add_bulk(float* to, unsigned from, unsigned bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(__cvta_generic_to_global(to)), "r"(from), "r"(bytes)
               : "memory");
}
/// The stores and additions that this thread has started since the last call are a group.
__device__ COG_INLINE void end_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// All groups of this thread but the last `Left` have read shared memory.
template <int Left>
__device__ COG_INLINE void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Left) : "memory");
}
/// ... have been written to global memory.
template <int Left>
__device__ COG_INLINE void wait_stores() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Left) : "memory");
}
/// What this thread has written to shared memory is there for the copy engine and wgmma; other threads' after a barrier that follows it.
__device__ COG_INLINE void publish_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// Waits until *flag is `turn`; what was written before pass_turn set it so is there then. By one thread.
__device__ COG_INLINE void wait_turn(int const* flag, int turn) {
  int now;
  do asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(now) : "l"(__cvta_generic_to_global(flag)) : "memory");
  while (now != turn);
  asm volatile("fence.proxy.async.global;" ::: "memory");
}
__device__ COG_INLINE void pass_turn(int* flag, int turn) {
  asm volatile("fence.proxy.async.global;\nfence.acq_rel.gpu;\nst.release.gpu.global.b32 [%0], %1;" ::"l"(__cvta_generic_to_global(flag)), "r"(turn) : "memory");
}

// ---- Warps of different roles

/// Waits until `threads`, whole warps, have come to barrier `id` (1 to 15), some by arrive_at.
__device__ COG_INLINE void meet_at(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
__device__ COG_INLINE void arrive_at(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

/// The warpgroup's registers a thread become fewer, or more (it waits for those that others give).
template <int N>
__device__ COG_INLINE void keep_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
__device__ COG_INLINE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

// ---- Fragments

/// Four 8 x 8 matrices of 16 bits to shared memory; the inverse of load_matrices, lanes and registers alike.
__device__ COG_INLINE void store_matrices(unsigned address, unsigned const (&f)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(f[0]), "r"(f[1]), "r"(f[2]), "r"(f[3]) : "memory");
}
/// ... of load_matrices_transposed.
__device__ COG_INLINE void store_matrices_transposed(unsigned address, unsigned const (&f)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(f[0]), "r"(f[1]), "r"(f[2]), "r"(f[3]) : "memory");
}

// ---- wgmma: d [64, N] (+)= a [64, 16] b [16, N] by four warps, the first a multiple of 4. Warp w holds rows 16 w to 16 w + 15 of d, as
// multiply_add holds them: d[4 i ...] are the columns 8 i ... A fragment `a` is also multiply_add's. Asynchronous: from the call until
// wait_products nobody may touch d or the fragments, nor write the tiles.

/// Registers that were written may be read by the products that follow.
__device__ COG_INLINE void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/// The products since the last call are a group.
__device__ COG_INLINE void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// x is what it is here: nothing that reads or writes it moves past this place.
template <class T, std::size_t N>
__device__ COG_INLINE void settle(T (&x)[N]) {
#pragma unroll
  for (std::size_t i = 0; i < N; ++i)
    if constexpr (std::same_as<T, float>) asm volatile("" : "+f"(x[i])::"memory");
    else if constexpr (std::same_as<T, unsigned>) asm volatile("" : "+r"(x[i])::"memory");
    else settle(x[i]);
}
/// All groups but the last `Left` are done; the registers of those are given.
template <int Left, class... X>
__device__ COG_INLINE void wait_products(X&... x) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Left) : "memory");
  (settle(x), ...);
}

/// d (+)= a b, + where `add`. Along: the descriptor is of columns along the tile's rows.
template <reduced_float T, int N>
struct warpgroup_product;

#define COG_LIST_1 "%0, %1, %2, %3, %4, %5, %6, %7"
#define COG_LIST_2 COG_LIST_1 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define COG_LIST_3 COG_LIST_2 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define COG_LIST_4 COG_LIST_3 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define COG_LIST_5 COG_LIST_4 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define COG_LIST_6 COG_LIST_5 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define COG_LIST_7 COG_LIST_6 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define COG_LIST_8 COG_LIST_7 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define COG_LIST_9 COG_LIST_8 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define COG_LIST_10 COG_LIST_9 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define COG_LIST_11 COG_LIST_10 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define COG_LIST_12 COG_LIST_11 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define COG_LIST_13 COG_LIST_12 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define COG_LIST_14 COG_LIST_13 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define COG_LIST_15 COG_LIST_14 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define COG_LIST_16 COG_LIST_15 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define COG_OUT_1(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define COG_OUT_2(i) COG_OUT_1(i), COG_OUT_1(i + 8)
#define COG_OUT_4(i) COG_OUT_2(i), COG_OUT_2(i + 16)
#define COG_OUT_8(i) COG_OUT_4(i), COG_OUT_4(i + 32)
#define COG_OUT_16(i) COG_OUT_8(i), COG_OUT_8(i + 64)
#define COG_OUT_5(i) COG_OUT_4(i), COG_OUT_1(i + 32)
#define COG_OUT_6(i) COG_OUT_4(i), COG_OUT_2(i + 32)
#define COG_TILES(type, n, G, a, b, add, ta, tb)                                                                                          \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #add ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type            \
          " {" COG_LIST_##G "}, %" #a ", %" #b ", p, 1, 1, %" #ta ", %" #tb ";\n}"                                                        \
          : COG_OUT_##G(0) : "l"(x), "l"(y), "r"(static_cast<int>(sum)), "n"(static_cast<int>(AlongA)), "n"(static_cast<int>(AlongB)))
#define COG_FRAGMENT(type, n, G, a0, a1, a2, a3, b, add, tb)                                                                              \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #add ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type            \
          " {" COG_LIST_##G "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b ", p, 1, 1, %" #tb ";\n}"                                 \
          : COG_OUT_##G(0) : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "l"(y), "r"(static_cast<int>(sum)), "n"(static_cast<int>(AlongB)))
// n = 16 G columns; the operands after the 8 G of d.
#define COG_WGMMA(n, G, o0, o1, o2, o3, o4, o5, o6)                                                                                       \
  template <reduced_float T>                                                                                                              \
  struct warpgroup_product<T, n> {                                                                                                        \
    template <bool AlongA, bool AlongB>                                                                                                   \
    static __device__ COG_INLINE void tiles(float (&d)[n / 2], std::uint64_t x,                                                           \
                                            std::uint64_t y, bool sum) {                                                                  \
      if constexpr (std::same_as<T, bf16>) COG_TILES("bf16", n, G, o0, o1, o2, o3, o4);                                                   \
      else COG_TILES("f16", n, G, o0, o1, o2, o3, o4);                                                                                    \
    }                                                                                                                                     \
    template <bool AlongB>                                                                                                                \
    static __device__ COG_INLINE void fragment(float (&d)[n / 2], unsigned const (&x)[4],                                                 \
                                               std::uint64_t y, bool sum) {                                                               \
      if constexpr (std::same_as<T, bf16>) COG_FRAGMENT("bf16", n, G, o0, o1, o2, o3, o4, o5, o6);                                        \
      else COG_FRAGMENT("f16", n, G, o0, o1, o2, o3, o4, o5, o6);                                                                         \
    }                                                                                                                                     \
  };
COG_WGMMA(64, 4, 32, 33, 34, 35, 36, 37, 38)
COG_WGMMA(80, 5, 40, 41, 42, 43, 44, 45, 46)
COG_WGMMA(96, 6, 48, 49, 50, 51, 52, 53, 54)
COG_WGMMA(128, 8, 64, 65, 66, 67, 68, 69, 70)
COG_WGMMA(256, 16, 128, 129, 130, 131, 132, 133, 134)
#undef COG_LIST_1
#undef COG_LIST_2
#undef COG_LIST_3
#undef COG_LIST_4
#undef COG_LIST_5
#undef COG_LIST_6
#undef COG_LIST_7
#undef COG_LIST_8
#undef COG_LIST_9
#undef COG_LIST_10
#undef COG_LIST_11
#undef COG_LIST_12
#undef COG_LIST_13
#undef COG_LIST_14
#undef COG_LIST_15
#undef COG_LIST_16
#undef COG_OUT_1
#undef COG_OUT_2
#undef COG_OUT_4
#undef COG_OUT_5
#undef COG_OUT_6
#undef COG_OUT_8
#undef COG_OUT_16
#undef COG_TILES
#undef COG_FRAGMENT
#undef COG_WGMMA

/// d (+)= a b of descriptors.
template <class T, bool AlongA, bool AlongB, std::size_t R>
__device__ COG_INLINE void multiply_tiles(float (&d)[R], std::uint64_t a, std::uint64_t b, bool add) {
  warpgroup_product<T, 2 * R>::template tiles<AlongA, AlongB>(d, a, b, add);
}
/// The same of a fragment.
template <class T, bool AlongB, std::size_t R>
__device__ COG_INLINE void multiply_fragment(float (&d)[R], unsigned const (&a)[4], std::uint64_t b, bool add) {
  warpgroup_product<T, 2 * R>::template fragment<AlongB>(d, a, b, add);
}

}  // namespace cog::cuda_detail
