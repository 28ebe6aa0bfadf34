// expect: attention is over q, k and v of one floating type
#include "backends.hpp"

#include <cog/attention/attention.hpp>

auto f(cog::tensor<float, 4, here> q, cog::tensor<cog::bf16, 4, here> k) { return cog::cog_attention(q, k, k); }
