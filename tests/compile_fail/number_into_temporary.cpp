// expect: assignment to a handle without a name
#include "backends.hpp"

void f(matrix<float> x, matrix<float> y) { select(x, 0, 1) = 0; }
