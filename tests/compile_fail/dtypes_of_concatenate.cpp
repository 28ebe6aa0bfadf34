// expect: concatenate: tensors of different dtypes
#include "backends.hpp"

#include <cog/expr/select.hpp>

auto f(matrix<float> x, matrix<double> y) { return concatenate(0, x, y); }
