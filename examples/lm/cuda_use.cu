// cog-lm sample and eval on a GPU.
#include <cog/cuda.hpp>

#include "eval.hpp"
#include "sample.hpp"

template int lm::sample<cog::cuda, float>(lm::sample_settings);
template int lm::sample<cog::cuda, cog::bf16>(lm::sample_settings);
template int lm::sample<cog::cuda, cog::half>(lm::sample_settings);
template int lm::eval<cog::cuda, float>(lm::eval_settings const&);
template int lm::eval<cog::cuda, cog::bf16>(lm::eval_settings const&);
template int lm::eval<cog::cuda, cog::half>(lm::eval_settings const&);
