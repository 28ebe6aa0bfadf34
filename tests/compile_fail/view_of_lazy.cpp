// expect: take no lazy expression; write eval(x)
#include "backends.hpp"

#include <cog/autograd/functions.hpp>

auto f(matrix<float> x) { return transposed(x + 1); }
