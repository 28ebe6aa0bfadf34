// expect: write cast<> on one operand
#include "backends.hpp"

auto f(matrix<cog::bf16> a, matrix<cog::half> b) { return matmul(a, b); }
