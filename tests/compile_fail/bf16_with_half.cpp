// expect: cast<
#include "backends.hpp"

auto f(vector<cog::bf16> a, vector<cog::half> b) { return a * b; }
