// expect: labels have one axis less than logits
#include "backends.hpp"

#include <cog/nn/loss.hpp>

auto f(matrix<float> x, matrix<std::int64_t> y) { return cross_entropy(x, y); }
