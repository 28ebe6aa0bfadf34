// expect: another rank
#include "backends.hpp"

void f(vector<float> y, matrix<float> x) { y = x + 1; }
