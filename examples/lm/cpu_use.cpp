// cog-lm sample and eval on the CPU.
#include <cog/cog.hpp>

#include "eval.hpp"
#include "sample.hpp"

template int lm::sample<cog::cpu, float>(lm::sample_settings);
template int lm::eval<cog::cpu, float>(lm::eval_settings const&);
