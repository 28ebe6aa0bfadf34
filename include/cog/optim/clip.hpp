// The norm of all gradients together, and gradients scaled so that it stays below a limit
// (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013).
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cog/expr/list.hpp>
#include <cog/expr/operators.hpp>
#include <cog/optim/state.hpp>

namespace cog {

namespace detail {

/// Calls take(sum of the gradients' squares), a tensor without axes, for each precision that occurs.
template <class Model, class Gradients, class Take>
void sums_of_squares(Model& model, Gradients const& gradients, Take const& take) {
  std::unordered_map<std::type_index, std::pair<std::shared_ptr<void>, std::function<void()>>> lists;
  for_each_trained_parameter(model, [&](auto const&, auto& parameter) {
    using P = std::remove_cvref_t<decltype(parameter)>;
    using C = compute_t<typename P::value_type>;
    using list = sum_list<typename P::backend_type, C>;
    auto& [squares, finish] = lists[std::type_index(typeid(list))];
    if (!squares) {
      auto const made = std::make_shared<list>();
      squares = made;
      finish = [made, &take] { take(made->total()); };
    }
    static_cast<list*>(squares.get())->add(square(cast<C>(gradients(parameter))));
  });
  for (auto const& [type, l] : lists) l.second();
}

}  // namespace detail

/// The Euclidean norm of all gradients as one vector. Not finite where a gradient is not.
template <class Model, class Gradients>
double global_norm(Model& model, Gradients const& gradients) {
  std::vector<std::function<double()>> sums;  // the host waits only when all are under way
  detail::sums_of_squares(model, gradients, [&](auto const& sum) { sums.push_back([sum] { return static_cast<double>(sum.item()); }); });
  double total = 0;
  for (auto const& sum : sums) total += sum();
  return std::sqrt(total);
}

/// What clip_norm gives: gradients times a scale, 1 unless the norm was above the limit.
template <class Gradients>
struct clipped_gradients : scaled_gradients<Gradients> {
  double norm;  // before clipping
};

/// Gradients whose global norm is at most `limit`: `optimizer.step(model, clip_norm(model, gradients, 1.0))`.
/// Throws, naming a parameter, when a gradient is infinite or not a number: a step with it would spoil the model.
template <class Model, class Gradients>
clipped_gradients<Gradients> clip_norm(Model& model, Gradients gradients, double limit) {
  if (!(limit > 0)) throw error("clip_norm: limit = ", limit, " is not positive");
  double const norm = global_norm(model, gradients);
  if (!std::isfinite(norm)) {
    for_each_trained_parameter(model, [&](auto const& name, auto& parameter) {
      auto const largest = static_cast<double>(max(abs(gradients(parameter))).item());
      if (!std::isfinite(largest))
        throw error("the gradient of parameter '", std::string(name), "' is not finite: it holds ", largest);
    });
    throw error("the gradients are finite, but their norm is ", norm);
  }
  return {{std::move(gradients), norm > limit ? limit / norm : 1.0}, norm};
}

/// Gradients times a number that the backend's memory holds; 0 where that is 0, whatever they are.
template <class Gradients, backend B>
struct limited_gradients {
  Gradients gradients;
  tensor<double, 0, B> scale;

  template <class T, int R>
  auto operator()(tensor<T, R, B> const& parameter) const {
    using C = compute_t<T>;
    tensor<C, 0, B> const by = cast<C>(scale);
    return where(by > C(0), cast<C>(gradients(parameter)) * by, C(0));
  }
};

/// The same without waiting for a device, as in a step that a graph captures. `norm` is overwritten with the norm before clipping;
/// where that is not finite nothing is thrown, and the gradients are 0.
template <class Model, class Gradients, backend B>
limited_gradients<Gradients, B> clip_norm(Model& model, Gradients gradients, double limit, tensor<double, 0, B> norm) {
  if (!(limit > 0)) throw error("clip_norm: limit = ", limit, " is not positive");
  norm.assign(0);
  detail::sums_of_squares(model, gradients, [&](auto const& sum) { norm.assign(norm + cast<double>(sum)); });
  norm.assign(sqrt(norm));
  constexpr double infinity = std::numeric_limits<double>::infinity();
  return {std::move(gradients), eval(where(norm < infinity, where(norm > limit, limit / norm, 1.0), 0.0))};
}

}  // namespace cog
