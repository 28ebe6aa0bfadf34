// expect: different backends; move one with .to(context)
#include "backends.hpp"

auto f(cog::tensor<float, 2, here> a, cog::tensor<float, 2, there> b) { return matmul(a, b); }
