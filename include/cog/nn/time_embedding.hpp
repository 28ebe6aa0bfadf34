// Sinusoids of a time: [cos(t f_0) ... , sin(t f_0) ...], f_i = 10000^(-i / half), half = dim / 2 (Ho et al. 2020; the
// cosines first, as in U-ViT, and a zero at the end where dim is odd).
#pragma once

#include <cmath>
#include <vector>

#include <cog/autograd/functions.hpp>

namespace cog::nn {

/// times [n] in the precision that is computed in -> [n, dim] of T. Has no parameters.
template <floating T, backend B>
class time_embedding {
 public:
  time_embedding() = default;
  time_embedding(typename B::context const& ctx, index_t dim) : dim_(dim) {
    using C = compute_t<T>;
    std::vector<C> frequencies;
    C const fall = -std::log(C(10000));
    for (index_t i = 0; i < dim / 2; ++i) frequencies.push_back(std::exp(fall * C(i) / C(dim / 2)));
    frequencies_ = from(ctx, frequencies, {dim / 2});
  }

  auto operator()(auto const& times) const {
    auto const angles = eval(unsqueeze(eval(times), 1) * frequencies_);
    auto const both = concatenate(-1, eval(cast<T>(cos(angles))), eval(cast<T>(sin(angles))));
    auto const last = cog::zeros<T>(frequencies_.context(), {times.extents()[0], dim_ % 2});
    return concatenate(-1, both, last);
  }

 private:
  index_t dim_ = 0;
  tensor<compute_t<T>, 1, B> frequencies_;
};

}  // namespace cog::nn
