// A table of vectors, one for each token.
#pragma once

#include <cog/autograd/functions.hpp>
#include <cog/nn/init.hpp>

namespace cog::nn {

/// ids [...] -> [..., dim]. An id outside the table throws. Made with zeros; see `initialise`.
template <floating T, backend B>
struct embedding {
  tensor<T, 2, B> weight;  // [count, dim]

  embedding() = default;
  embedding(typename B::context const& ctx, index_t count, index_t dim) : weight(cog::zeros<T>(ctx, {count, dim})) {}

  void visit(auto&& f) { f("weight", weight); }

  auto operator()(auto const& ids) const { return eval(take(weight, eval(ids))); }
};

}  // namespace cog::nn
