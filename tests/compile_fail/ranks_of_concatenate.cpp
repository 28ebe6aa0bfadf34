// expect: concatenate: tensors of different ranks
#include "backends.hpp"

#include <cog/expr/select.hpp>

auto f(matrix<float> x, vector<float> y) { return concatenate(0, x, y); }
