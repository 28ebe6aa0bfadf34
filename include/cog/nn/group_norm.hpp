// Normalisation of groups of channels over a whole picture (Wu and He 2018): one row-wise kernel over groups, and one
// pass for weight, bias and the activation that follows.
#pragma once

#include <cog/autograd/functions.hpp>

namespace cog::nn {

/// x [b, c, h, w] -> the same shape. Made with ones and zeros.
template <floating T, backend B>
struct group_norm {
  tensor<T, 1, B> weight;  // [c]
  tensor<T, 1, B> bias;    // [c]
  index_t groups = 1;
  double eps = 1e-6;

  group_norm() = default;
  /// Errors: channels that are not a multiple of groups.
  group_norm(typename B::context const& ctx, index_t channels, index_t groups_ = 32, double epsilon = 1e-6)
      : weight(cog::ones<T>(ctx, {channels})), bias(cog::zeros<T>(ctx, {channels})), groups(groups_), eps(epsilon) {
    if (groups < 1 || channels % groups != 0)
      throw error("group_norm: ", channels, " channels are not a multiple of ", groups, " groups");
  }

  void visit(auto&& f) {
    f("weight", weight);
    f("bias", bias);
  }

  auto operator()(auto const& x) const {
    return (*this)(x, [](auto const& y) { return y; });
  }
  /// activation(the normalised x); `activation` maps one lazy expression to another and is fused in.
  template <expression X, class Activation>
  auto operator()(X const& input, Activation const& activation) const {
    auto const x = eval(input);
    auto const shape = x.extents();
    if (shape[1] != weight.extent(0))
      throw error("group_norm: x of shape ", shape, " for ", weight.extent(0), " channels");
    auto const rows = reshape(x, extents<3>{shape[0], groups, shape[1] / groups * shape[2] * shape[3]});
    auto const normal = reshape(cog::layer_norm(rows, eps), shape);
    auto const column = [&](auto const& parameter) { return reshape(parameter, extents<3>{shape[1], 1, 1}); };
    return eval(activation(normal * column(weight) + column(bias)));
  }
};

}  // namespace cog::nn
