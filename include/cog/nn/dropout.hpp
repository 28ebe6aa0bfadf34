// Dropout: in training each element is kept with probability 1 - rate and divided by it (Srivastava et al. 2014).
#pragma once

#include <cog/autograd/variable.hpp>
#include <cog/random/random.hpp>

namespace cog::nn {

/// x with elements dropped where gradients are recorded, x itself where they are not, or where rate is 0.
/// The choice is a function of (seed, stream) alone: the same again when a checkpoint recomputes. Errors: rate outside [0, 1).
template <expression X>
auto dropout(X const& x, double rate, std::uint64_t seed, std::uint64_t stream = 0) {
  if (!(rate >= 0 && rate < 1)) throw error("dropout: the rate is ", rate, ", not in [0, 1)");
  auto const value = eval(x);
  if constexpr (recorded_expression<X>) {
    if (rate > 0) {
      auto const kept = bernoulli(value.context(), value.extents(), 1 - rate, seed, stream);
      return eval(where(kept, value * (1 / (1 - rate)), 0));
    }
  }
  return value;
}

}  // namespace cog::nn
