// gradcheck: a gradient against central differences, for users' own functions and for every op and layer of the library.
// Costs two evaluations per element; use double and small tensors.
#pragma once

#include <cmath>

#include <cog/autograd/functional.hpp>
#include <cog/core/unpack.hpp>

namespace cog {

/// How gradcheck steps, and what it forgives.
struct gradcheck_options {
  double step = 1e-6;
  double tolerance = 1e-6;  // |analytic - numeric| <= tolerance (1 + |numeric|)
};

/// Converts to true where the gradient is right; otherwise `message` names an argument and an element.
struct gradcheck_result {
  bool ok = true;
  double worst = 0;  // the largest |analytic - numeric| / (1 + |numeric|)
  std::string message;
  explicit operator bool() const noexcept { return ok; }
};

namespace detail {

template <class T, int R, class B, class F>
void check_elements(tensor<T, R, B>& x, tensor<T, R, B> const& gradient, std::string const& name, F const& value,
                    gradcheck_options const& options, gradcheck_result& result) {
  static_assert(B::host_accessible, "cog: gradcheck writes single elements; the host cannot reach this memory");
  auto const g = gradient.contiguous();
  for (index_t i = 0; i < x.size(); ++i) {
    T& element = x.data()[offset_of(i, x.extents(), x.strides())];
    T const saved = element;
    element = saved + static_cast<T>(options.step);
    double const up = value();
    element = saved - static_cast<T>(options.step);
    double const down = value();
    element = saved;
    double const numeric = (up - down) / (2 * options.step);
    double const difference = std::abs(static_cast<double>(g.data()[i]) - numeric) / (1 + std::abs(numeric));
    if (difference <= result.worst) continue;
    result.worst = difference;
    if (difference <= options.tolerance) continue;
    result.ok = false;
    result.message = error(name, "[", i, "]: gradient ", g.data()[i], ", central difference ", numeric).what();
  }
  if (!(result.worst == result.worst)) result.ok = false;
}

}  // namespace detail

/// The gradient of f at x..., where f maps variables to one number.
template <class F, class... T, int... R, class... B>
  requires(sizeof...(T) > 0)
gradcheck_result gradcheck(gradcheck_options const& options, F const& f, tensor<T, R, B> const&... x) {
  gradcheck_result result;
  auto inputs = std::tuple(x.copy()...);
  auto const evaluated = detail::unpack([&](auto const&... in) { return value_and_grad(f, in...); }, inputs);
  auto const value = [&] {
    return detail::unpack([&](auto const&... in) { return static_cast<double>(value_and_grad(f, in...).value.item()); }, inputs);
  };
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (detail::check_elements(std::get<I>(inputs), std::get<I>(evaluated.gradients), "argument " + std::to_string(I), value, options, result),
     ...);
  }(std::index_sequence_for<T...>{});
  return result;
}

/// With the default options.
template <class F, class... T, int... R, class... B>
  requires(sizeof...(T) > 0)
gradcheck_result gradcheck(F const& f, tensor<T, R, B> const&... x) {
  return gradcheck(gradcheck_options{}, f, x...);
}
/// The gradient of f(m) in every floating parameter of the model (see value_and_grad).
template <class Model, class F>
  requires(!expression<F> && visitable<Model>)
gradcheck_result gradcheck(Model& model, F const& f, gradcheck_options const& options = {}) {
  gradcheck_result result;
  auto const analytic = value_and_grad(model, f).gradients;
  auto const value = [&] { return static_cast<double>(value_and_grad(model, f).value.item()); };
  for_each_parameter(model, [&](auto const& name, auto& parameter) {
    if constexpr (floating<typename std::remove_cvref_t<decltype(parameter)>::value_type>)
      detail::check_elements(parameter, analytic(parameter), std::string(name), value, options, result);
  });
  return result;
}

}  // namespace cog
