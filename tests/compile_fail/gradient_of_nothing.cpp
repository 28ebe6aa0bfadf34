// expect: of a model, call the m that the function is given
#include "backends.hpp"

#include <cog/autograd/functional.hpp>
#include <cog/nn/module.hpp>

struct scale {
  vector<float> weight;
  void visit(auto&& f) { f("weight", weight); }
  auto operator()(auto const& x) const { return cog::eval(x * weight); }
};
auto f(scale s, vector<float> x) {
  return cog::value_and_grad(s, [&](auto&) { return sum(s(x)); });
}
