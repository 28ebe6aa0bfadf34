// expect: matmul needs floating elements
#include "backends.hpp"

auto f(matrix<std::int32_t> a) { return matmul(a, a); }
