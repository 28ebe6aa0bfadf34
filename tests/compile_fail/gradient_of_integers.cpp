// expect: value_and_grad of integers
#include "backends.hpp"

#include <cog/autograd/functional.hpp>

auto f(vector<int> x) {
  return cog::value_and_grad([](auto const& v) { return sum(v * v); }, x);
}
