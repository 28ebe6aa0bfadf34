// All floors but io, and the GPU backend, cog::cuda::context. For files that nvcc compiles, which cannot hold the CPU backend: the two
// meet where a program links, and hand each other host memory (spans, vectors) or files.
#pragma once

#include <cog/floors.hpp>

#include <cog/backend/cuda/cuda.hpp>
