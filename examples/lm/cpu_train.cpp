// cog-lm train on the CPU.
#include <cog/cog.hpp>

#include "train.hpp"

template int lm::train<cog::cpu, float>(lm::train_settings, std::set<std::string> const&);
