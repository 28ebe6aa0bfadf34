// expect: cog: the CPU backend is for files that g++ or clang compile
#define __NVCC__  // as nvcc does
#include <cog/cog.hpp>
