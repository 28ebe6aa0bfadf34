// Training and sampling of a small U-ViC in bf16 and half on the GPU.
#include "cuda_uvit.hpp"

TEST_CASE("gpu: a diffusion model learns in bf16, and every solver draws") { cuda_uvit::learns<cog::bf16>(); }
TEST_CASE("gpu: a diffusion model learns in half, its loss scaled, and every solver draws") { cuda_uvit::learns<cog::half>(); }
