// expect: a tensor of bool is one as boolean{x}
#include "backends.hpp"

#include <cog/attention/attention.hpp>

auto f(cog::tensor<float, 4, here> q, cog::tensor<bool, 4, here> m) { return cog::cog_attention(q, q, q, m); }
