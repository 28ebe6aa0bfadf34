// expect: attention is over q, k and v of shape [batch, head, position, width]
#include "backends.hpp"

#include <cog/attention/attention.hpp>

auto f(cog::tensor<float, 3, here> q) { return cog::cog_attention(q, q, q); }
