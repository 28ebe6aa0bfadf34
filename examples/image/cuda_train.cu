// cog-diffusion train on a GPU.
#include <cog/cuda.hpp>

#include "train.hpp"

template int image::train<cog::cuda, float>(image::train_settings, std::set<std::string> const&);
template int image::train<cog::cuda, cog::bf16>(image::train_settings, std::set<std::string> const&);
template int image::train<cog::cuda, cog::half>(image::train_settings, std::set<std::string> const&);
