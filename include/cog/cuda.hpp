// All floors but io, and the GPU backend, cog::cuda::context. For files that nvcc compiles; neither Eigen nor the CPU backend is in
// here: a file that needs both backends includes cog.hpp too.
#pragma once

#include <cog/floors.hpp>

#include <cog/backend/cuda/cuda.hpp>
