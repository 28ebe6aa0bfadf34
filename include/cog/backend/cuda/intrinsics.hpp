// What kernels need of the hardware beyond CUDA C++, one thin function each. tests/emulated_gpu has the same in plain C++.
// Tensor cores: mma.sync m16n8k16, sm_80 and newer; g = lane / 4, t = lane % 4. Shared memory is addressed in bytes, 32 bits wide.
#pragma once

#include <cog/backend/cuda/runtime.hpp>
#include <cog/core/dtype.hpp>

namespace cog::cuda_detail {

/// The block's dynamic shared memory, aligned to 128 bytes.
__device__ inline void* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char memory[];
  return memory;
}
__device__ COG_INLINE unsigned shared_address(void const* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// ---- Shared memory

__device__ COG_INLINE void store_shared(unsigned to, uint4 const& x) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}
__device__ COG_INLINE void store_shared(unsigned to, unsigned x) { asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(x) : "memory"); }
__device__ COG_INLINE void store_shared(unsigned to, std::uint16_t x) { asm volatile("st.shared.b16 [%0], %1;" ::"r"(to), "h"(x) : "memory"); }
__device__ COG_INLINE uint4 load_shared(unsigned from) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from) : "memory");
  return x;
}

/// Starts a copy of 16 bytes, the first `bytes` of them from global memory and zeros after. Both addresses are multiples of 16.
__device__ COG_INLINE void copy_chunk(unsigned to, void const* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
/// The copies that this thread has started since the last call are a group.
__device__ COG_INLINE void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// All groups of this thread but the last `Left` are done. Other threads see them after a barrier.
template <int Left>
__device__ COG_INLINE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

// ---- Tensor cores

/// Four 8 x 8 matrices of 16 bits. Lane 8 i + r gives the address of row r of matrix i; f[i] is (row g, columns 2 t and 2 t + 1) of it.
__device__ COG_INLINE void load_matrices(unsigned (&f)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3]) : "r"(address));
}
/// The same of the transposed matrices: f[i] is (rows 2 t and 2 t + 1, column g).
__device__ COG_INLINE void load_matrices_transposed(unsigned (&f)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f[0]), "=r"(f[1]), "=r"(f[2]), "=r"(f[3])
               : "r"(address));
}

/// c += a b in float. a [16, 16]: a[0] is (g, 2 t ...), a[1] (g + 8, 2 t ...), a[2] (g, 2 t + 8 ...), a[3] (g + 8, 2 t + 8 ...);
/// b [16, 8]: b0 is (2 t ..., g), b1 (2 t + 8 ..., g); c [16, 8]: c[0], c[1] are (g, 2 t ...), c[2], c[3] (g + 8, 2 t ...).
template <reduced_float T>
__device__ COG_INLINE void multiply_add(float (&c)[4], unsigned const (&a)[4], unsigned b0, unsigned b1) {
  if constexpr (std::same_as<T, bf16>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Two numbers, rounded to nearest even; the first in the lower half.
template <reduced_float T>
__device__ COG_INLINE unsigned packed(float low, float high) {
  unsigned out;
  if constexpr (std::same_as<T, bf16>) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}

// ---- Arithmetic

/// 2^x to 2^-22 of itself; below 2^-126, 0.
__device__ COG_INLINE float exp2_approx(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

/// min(magnitude, |s|) with the sign of s, for magnitude >= 0; NaN if one is.
__device__ COG_INLINE float signed_min(float magnitude, float s) {
  float out;
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 860
  asm("min.NaN.xorsign.abs.f32 %0, %1, %2;" : "=f"(out) : "f"(magnitude), "f"(s));
  return out;
#else
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(out) : "f"(magnitude), "f"(fabsf(s)));
  return copysignf(out, s);
#endif
}

}  // namespace cog::cuda_detail
