// Normalisation of each row, one kernel. Points: hook_scale [..., 1] and hook_normalized [..., n], before weight and bias; where one
// of them is wanted, the composed form runs.
#pragma once

#include <cog/autograd/functions.hpp>
#include <cog/nn/observer.hpp>

namespace cog::nn {

/// x / sqrt(mean x^2 + eps) * weight (Zhang and Sennrich 2019). Made with ones.
template <floating T, backend B>
struct rms_norm {
  tensor<T, 1, B> weight;
  double eps = 1e-6;

  rms_norm() = default;
  rms_norm(typename B::context const& ctx, index_t n, double epsilon = 1e-6) : weight(cog::ones<T>(ctx, {n})), eps(epsilon) {}

  void visit(auto&& f) { f("weight", weight); }

  template <expression X, observer O = no_observer>
  auto operator()(X const& x, O&& o = {}) const {
    if (wants_any(o, "hook_scale", "hook_normalized")) {
      auto const scale = observe(o, "hook_scale", sqrt(mean(square(x), -1, keep) + eps));
      return eval(observe(o, "hook_normalized", x / scale) * weight);
    }
    return cog::rms_norm(x, weight, eps);
  }
};

/// (x - mean) / sqrt(variance + eps) * weight + bias (Ba et al. 2016). Made with ones and zeros.
template <floating T, backend B>
struct layer_norm {
  tensor<T, 1, B> weight;
  tensor<T, 1, B> bias;
  double eps = 1e-5;

  layer_norm() = default;
  layer_norm(typename B::context const& ctx, index_t n, double epsilon = 1e-5)
      : weight(cog::ones<T>(ctx, {n})), bias(cog::zeros<T>(ctx, {n})), eps(epsilon) {}

  void visit(auto&& f) {
    f("weight", weight);
    f("bias", bias);
  }

  template <expression X, observer O = no_observer>
  auto operator()(X const& x, O&& o = {}) const {
    if (wants_any(o, "hook_scale", "hook_normalized")) {
      auto const centred = eval(x - mean(x, -1, keep));
      auto const scale = observe(o, "hook_scale", sqrt(mean(square(centred), -1, keep) + eps));
      return eval(observe(o, "hook_normalized", centred / scale) * weight + bias);
    }
    return cog::layer_norm(x, weight, bias, eps);
  }
};

}  // namespace cog::nn
