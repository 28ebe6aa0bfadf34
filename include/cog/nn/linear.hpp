// y = x W^T + b, or y = x W: one product with its epilogue.
#pragma once

#include <cog/autograd/functions.hpp>
#include <cog/nn/init.hpp>

namespace cog::nn {

/// x [..., in] -> [..., out]. The weight is [out, in] (as in PyTorch) or [in, out]; a bias without storage is none.
/// Made with zeros; see `initialise`.
template <floating T, backend B, weight_order Order = weight_order::out_in>
struct linear {
  tensor<T, 2, B> weight;
  tensor<T, 1, B> bias;

  linear() = default;
  linear(typename B::context const& ctx, index_t in, index_t out, bool with_bias = true)
      : weight(cog::zeros<T>(ctx, Order == weight_order::out_in ? extents<2>{out, in} : extents<2>{in, out})) {
    if (with_bias) bias = cog::zeros<T>(ctx, {out});
  }

  index_t in() const { return weight.extent(Order == weight_order::out_in ? 1 : 0); }
  index_t out() const { return weight.extent(Order == weight_order::out_in ? 0 : 1); }

  void visit(auto&& f) {
    f("weight", weight);
    f("bias", bias);
  }

  auto operator()(auto const& x) const {
    return (*this)(x, [](auto const& y) { return y; });
  }
  /// activation(x W^T + b); `activation` maps one lazy expression to another and is fused in.
  /// Errors: the last axis of x is not `in`.
  template <expression X, class Activation>
  auto operator()(X const& x, Activation const& activation) const {
    if (x.extents().back() != in())
      throw error("linear: x of shape ", x.extents(), " for a weight of shape ", weight.extents(),
                  Order == weight_order::out_in ? " [out, in]" : " [in, out]");
    auto const y = [&] {
      if constexpr (Order == weight_order::out_in) return matmul(x, transposed(weight));
      else return matmul(x, weight);
    }();
    if (bias.has_storage()) return eval(activation(y + bias));
    return eval(activation(y));
  }
};

}  // namespace cog::nn
