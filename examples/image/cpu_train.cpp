// cog-diffusion train on the CPU.
#include <cog/cog.hpp>

#include "train.hpp"

template int image::train<cog::cpu, float>(image::train_settings, std::set<std::string> const&);
