// expect: logical operations need bool elements
#include "backends.hpp"

auto f(vector<float> x) { return x && x; }
