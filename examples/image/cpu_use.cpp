// cog-diffusion sample and fid on the CPU.
#include <cog/cog.hpp>

#include "fid.hpp"
#include "sample.hpp"

template int image::sample<cog::cpu, float>(image::sample_settings const&);
template int image::fid<cog::cpu>(image::fid_settings const&);
