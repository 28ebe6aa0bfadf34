// expect: as_span of a lazy expression
#include "backends.hpp"

#include <cog/core/wrap.hpp>

auto f(matrix<float> x) { return cog::as_span(x + 1); }
