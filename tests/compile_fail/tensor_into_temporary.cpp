// expect: assignment to a handle without a name
#include "backends.hpp"

void f(matrix<float> x, matrix<float> y) { slice(x, 0, 0, 2) = y; }
