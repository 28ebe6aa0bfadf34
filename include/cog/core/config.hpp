// What the compiler is asked for: the integer that counts elements, and the mark of functions that kernels call.
// Only COG_* macros exist, and these are all of them.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define COG_HD __host__ __device__
#else
#define COG_HD
#endif

#if defined(__GNUC__)
#define COG_INLINE inline __attribute__((always_inline))
#define COG_NOINLINE __attribute__((noinline))
#else
#define COG_INLINE inline
#define COG_NOINLINE
#endif

namespace cog {

/// Counts elements, extents and strides; signed, so that differences are safe.
using index_t = std::int64_t;

}  // namespace cog
