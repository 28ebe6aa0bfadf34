// cog-lm train on a GPU.
#include <cog/cuda.hpp>

#include "train.hpp"

template int lm::train<cog::cuda, float>(lm::train_settings, std::set<std::string> const&);
template int lm::train<cog::cuda, cog::bf16>(lm::train_settings, std::set<std::string> const&);
template int lm::train<cog::cuda, cog::half>(lm::train_settings, std::set<std::string> const&);
