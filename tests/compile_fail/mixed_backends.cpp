// expect: different backends; move one with .to(context)
#include "backends.hpp"

auto f(cog::tensor<float, 1, here> a, cog::tensor<float, 1, there> b) { return a + b; }
