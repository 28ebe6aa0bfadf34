// expect: a model is a struct with a member template visit(f)
#include "backends.hpp"

#include <cog/nn/init.hpp>

struct plain {
  matrix<float> weight;
};
void f(plain x) { cog::nn::initialise(x, 1, cog::nn::normal{}); }
