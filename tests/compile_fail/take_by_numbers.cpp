// expect: take: ids are int32 or int64
#include "backends.hpp"

#include <cog/expr/select.hpp>

auto f(matrix<float> x, vector<float> ids) { return take(x, ids); }
