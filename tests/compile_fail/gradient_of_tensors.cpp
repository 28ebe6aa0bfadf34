// expect: let it take auto const&
#include "backends.hpp"

#include <cog/autograd/functional.hpp>

auto f(vector<float> x) {
  return cog::value_and_grad([](vector<float> const& v) { return sum(v); }, x);
}
