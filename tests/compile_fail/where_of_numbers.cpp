// expect: where needs a bool condition
#include "backends.hpp"

auto f(vector<float> x) { return where(x, x, x); }
