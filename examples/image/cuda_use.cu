// cog-diffusion sample and fid on a GPU.
#include <cog/cuda.hpp>

#include "fid.hpp"
#include "sample.hpp"

template int image::sample<cog::cuda, float>(image::sample_settings const&);
template int image::sample<cog::cuda, cog::bf16>(image::sample_settings const&);
template int image::sample<cog::cuda, cog::half>(image::sample_settings const&);
template int image::fid<cog::cuda>(image::fid_settings const&);
