// expect: matmul needs operands of rank 2 or more
#include "backends.hpp"

auto f(matrix<float> a, vector<float> b) { return matmul(a, b); }
