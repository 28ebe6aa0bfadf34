// From a network to what solvers call: predict(x, network time) -> noise, for a batch x at one time.
// Classifier-free guidance (Ho and Salimans 2021) in the convention of U-ViT: noise = c + s (c - u), so that s = 0 is
// none and s = 1 is what others call a scale of w = 1 + s = 2.
#pragma once

#include <cmath>
#include <tuple>
#include <utility>

#include <cog/autograd/functions.hpp>

namespace cog {

/// network(x, times [n], condition...) at one time, in the precision of x, which may be another than the network's.
/// A network that is a temporary is kept; any other is referred to, and must outlive the predictor.
template <class Network, class... Condition>
auto predictor(Network&& network, Condition... condition) {
  return [kept = std::tuple<Network>(std::forward<Network>(network)), condition...]<class T, int R, class B>(tensor<T, R, B> const& x, double time) {
    using C = compute_t<T>;
    auto const& asked = std::get<0>(kept);
    return eval(cast<T>(asked(x, full<C>(x.context(), extents<1>{x.extent(0)}, static_cast<C>(time)), condition...)));
  };
}

/// c + s (c - u), with c and u the network under `condition` [n, ...] and under `empty` (of that shape, or [1, ...] for
/// all), in one batch of 2n. With scale 0 the network is asked about the condition alone. The network is kept or referred to as
/// by `predictor`. Errors: a scale that is not a number, an `empty` of another shape.
template <class Network, element T, int R, backend B>
auto guided(Network&& network, tensor<T, R, B> const& condition, tensor<T, R, B> const& empty, double scale) {
  if (!std::isfinite(scale)) throw error("guided: a scale of ", scale);
  for (std::size_t a = 0; a < R; ++a)
    if (empty.extents()[a] != condition.extents()[a] && empty.extents()[a] != 1)
      throw error("guided: an empty condition of shape ", empty.extents(), " beside conditions of shape ", condition.extents());
  auto const both =
      scale == 0 ? condition : concatenate(0, condition, tensor<T, R, B>(expand(empty, condition.extents())));
  return [predict = predictor(std::forward<Network>(network), both), scale]<class X, int N>(tensor<X, N, B> const& x, double time) {
    if (scale == 0) return predict(x, time);
    index_t const n = x.extent(0);
    auto const noise = predict(concatenate(0, x, x), time);
    auto const with = slice(noise, 0, 0, n), without = slice(noise, 0, n, 2 * n);
    return eval(with + (with - without) * scale);
  };
}

}  // namespace cog
