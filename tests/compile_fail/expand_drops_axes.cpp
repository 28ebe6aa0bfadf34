// expect: expand cannot drop axes
#include "backends.hpp"

auto f(matrix<float> x) { return expand(x, cog::extents<1>{3}); }
