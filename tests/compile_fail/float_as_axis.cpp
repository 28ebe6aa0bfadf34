// expect: an axis is a whole number
#include "backends.hpp"

auto f(matrix<float> x) { return max(x, 0.5); }
