// expect: a model is a struct with a member template visit(f)
#include "backends.hpp"

#include <cog/optim/adamw.hpp>

auto f(matrix<float> x) { return cog::adamw<here>(x); }
