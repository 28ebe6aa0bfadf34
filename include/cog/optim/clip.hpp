// The norm of all gradients together, and gradients scaled so that it stays below a limit
// (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013).
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <cog/expr/operators.hpp>
#include <cog/expr/reduce.hpp>
#include <cog/optim/state.hpp>

namespace cog {

/// The Euclidean norm of all gradients as one vector. Not finite where a gradient is not.
template <class Model, class Gradients>
double global_norm(Model& model, Gradients const& gradients) {
  double squares = 0;
  for_each_distinct_parameter(model, [&](auto const&, auto& parameter) {
    squares +=
        static_cast<double>(sum(square(cast<compute_t<typename std::remove_cvref_t<decltype(parameter)>::value_type>>(
                                    gradients(parameter))))
                                .item());
  });
  return std::sqrt(squares);
}

/// Gradients times a factor. Nothing is computed until an optimiser reads them, inside its own kernel.
template <class Gradients>
struct clipped_gradients {
  Gradients gradients;
  double norm;   // before clipping
  double scale;  // 1 unless the norm was above the limit

  template <class T, int R, class B>
  auto operator()(tensor<T, R, B> const& parameter) const {
    return cast<compute_t<T>>(gradients(parameter)) * scale;
  }
};

/// Gradients whose global norm is at most `limit`: `optimizer.step(model, clip_norm(model, gradients, 1.0))`.
/// Throws, naming a parameter, when a gradient is infinite or not a number: a step with it would spoil the model.
template <class Model, class Gradients>
clipped_gradients<Gradients> clip_norm(Model& model, Gradients gradients, double limit) {
  if (!(limit > 0)) throw error("clip_norm: limit = ", limit, " is not positive");
  double const norm = global_norm(model, gradients);
  if (!std::isfinite(norm)) {
    for_each_distinct_parameter(model, [&](auto const& name, auto& parameter) {
      auto const largest = static_cast<double>(max(abs(gradients(parameter))).item());
      if (!std::isfinite(largest))
        throw error("the gradient of parameter '", std::string(name), "' is not finite: it holds ", largest);
    });
    throw error("the gradients are finite, but their norm is ", norm);
  }
  return {std::move(gradients), norm, norm > limit ? limit / norm : 1.0};
}

}  // namespace cog
