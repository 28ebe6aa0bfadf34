// expect: assignment of a number, which has no shape
#include "backends.hpp"

void f(matrix<float> x) { x = 0; }
