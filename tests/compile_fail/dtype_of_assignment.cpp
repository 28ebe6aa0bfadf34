// expect: another dtype; write cast<>
#include "backends.hpp"

void f(vector<float> y, vector<double> x) { y = x + 1; }
