// The objective of training: a network is shown x_t = alpha x_0 + sigma noise and its time, and predicts the noise; the
// loss is the mean square of what it misses (Ho et al. 2020, L_simple). Each piece is a function of its own, for
// objectives of your own.
#pragma once

#include <span>

#include <cog/autograd/functions.hpp>
#include <cog/diffusion/schedule.hpp>
#include <cog/random/random.hpp>

namespace cog {

namespace detail {

/// One number for each example, as [n, 1, 1, ...].
template <floating T, int R, class C, class F>
auto for_each_example(C const& ctx, std::span<double const> times, F const& f) {
  std::vector<T> values;
  for (double t : times) values.push_back(T(static_cast<compute_t<T>>(f(t))));
  extents<R> shape{};
  shape.fill(1);
  shape[0] = static_cast<index_t>(times.size());
  return from(ctx, std::span<T const>(values), shape);
}

}  // namespace detail

/// A time for each of n training examples.
template <noise_schedule S>
std::vector<double> draw_times(S const& schedule, index_t n, random_stream& random) {
  std::vector<double> times;
  for (index_t i = 0; i < n; ++i) times.push_back(schedule.draw(random));
  return times;
}

/// What a network is told of these times, [n], in the precision that is computed in.
template <floating T, noise_schedule S, context C>
auto network_times(S const& schedule, C const& ctx, std::span<double const> times) {
  return detail::for_each_example<T, 1>(ctx, times, [&](double t) { return schedule.network_time(t); });
}

/// alpha(t) x + sigma(t) noise, each example at its own time. x and noise [n, ...]. Errors: another number of times
/// than n.
template <floating T, int R, backend B, noise_schedule S>
tensor<T, R, B> add_noise(S const& schedule, tensor<T, R, B> const& x, tensor<T, R, B> const& noise,
                          std::span<double const> times) {
  if (static_cast<index_t>(times.size()) != x.extent(0) || noise.extents() != x.extents())
    throw error("add_noise: ", times.size(), " times and noise of shape ", noise.extents(), " for x of shape ",
                x.extents());
  using C = compute_t<T>;
  auto const part = [&](auto const& f) { return detail::for_each_example<C, R>(x.context(), times, f); };
  auto const alpha = part([&](double t) { return level(schedule, t).alpha(); });
  auto const sigma = part([&](double t) { return level(schedule, t).sigma(); });
  return eval(cast<T>(cast<C>(x) * alpha + cast<C>(noise) * sigma));
}

/// The mean over everything of (network(x_t, time, condition...) - noise)^2, rank 0. Within value_and_grad, `network`
/// is its m. Errors: those of add_noise; a network whose output has another shape than x.
template <class Network, floating T, int R, backend B, noise_schedule S, class... Condition>
auto noise_prediction_loss(Network const& network, S const& schedule, tensor<T, R, B> const& x,
                           tensor<T, R, B> const& noise, std::span<double const> times, Condition const&... condition) {
  using C = compute_t<T>;
  auto const shown = add_noise(schedule, x, noise, times);
  auto const said = network(shown, network_times<C>(schedule, x.context(), times), condition...);
  if (said.extents() != noise.extents())
    throw error("noise_prediction_loss: the network made ", said.extents(), " of ", noise.extents());
  return mean(square(cast<C>(said) - cast<C>(noise)));
}

/// The condition with `empty` in place of each example's with probability p: what a network needs to be guided by it
/// later. condition [n, ...], empty [1, ...] of the same rank. Labels and embedded texts alike.
template <element T, int R, backend B>
tensor<T, R, B> drop_condition(tensor<T, R, B> const& condition, tensor<T, R, B> const& empty, double p,
                               std::uint64_t seed, std::uint64_t stream) {
  extents<R> shape{};
  shape.fill(1);
  shape[0] = condition.extent(0);
  return eval(where(bernoulli(condition.context(), shape, p, seed, stream), empty, condition));
}

}  // namespace cog
