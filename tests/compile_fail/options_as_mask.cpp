// expect: before options write no_mask
#include "backends.hpp"

#include <cog/attention/attention.hpp>

auto f(cog::tensor<float, 4, here> q, cog::attention_options o) { return cog::softmax_attention(q, q, q, o); }
