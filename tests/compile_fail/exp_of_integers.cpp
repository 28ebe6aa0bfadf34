// expect: write cast<float>(x) first
#include "backends.hpp"

auto f(vector<std::int32_t> x) { return exp(x); }
