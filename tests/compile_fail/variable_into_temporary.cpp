// expect: assignment to a handle without a name
#include "backends.hpp"

#include <cog/autograd/variable.hpp>

void f(cog::variable<float, 1, here> (*x)(), cog::variable<float, 1, here> y) { x() = y; }
