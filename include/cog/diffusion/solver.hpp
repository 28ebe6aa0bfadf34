// Solvers: from noise x at t = 1 to data, by a predictor of noise predict(x, network time) (see guidance.hpp) and a
// schedule: ddpm, ddim (ancestral and implicit steps), euler, euler_maruyama (the differential equation in plain
// steps), dpm_solver (singlestep "fast" of orders 1 to 3 or multistep 2M, predicting noise or data, "++").
// Any shape with examples along the first axis, any backend; coefficients are doubles. Memory: a handful of tensors of
// x's shape.
#pragma once

#include <numeric>
#include <optional>
#include <vector>

#include <cog/core/visitable.hpp>
#include <cog/diffusion/schedule.hpp>
#include <cog/expr/select.hpp>
#include <cog/random/random.hpp>

namespace cog {

/// Keeps a prediction of the data in bounds (Saharia et al. 2022): for each example, q is the larger of `bound` and the
/// `quantile` of |x|; x is cut at -q and q and brought to -bound ... bound. Errors: a quantile outside [0, 1], a bound
/// that is not positive.
struct dynamic_threshold {
  double quantile = 0.995;
  double bound = 1;

  template <floating T, int R, backend B>
  tensor<T, R, B> operator()(tensor<T, R, B> const& x) const {
    using C = compute_t<T>;
    if (!(quantile >= 0 && quantile <= 1 && bound > 0))
      throw error("dynamic_threshold: quantile ", quantile, ", not in [0, 1], or bound ", bound, ", not positive");
    if (x.size() == 0) return x;
    index_t const n = x.size() / x.extent(0);
    double const place = quantile * static_cast<double>(n - 1);  // among the sorted, between two of them
    auto const below = static_cast<index_t>(place);
    auto const sizes = top_k(eval(abs(cast<C>(reshape(x, extents<2>{x.extent(0), n})))), n - below).values;
    auto const low = select(sizes, 1, n - 1 - below), high = select(sizes, 1, std::max<index_t>(n - 2 - below, 0));
    extents<R> shape{};
    shape.fill(1);
    shape[0] = x.extent(0);
    auto const q = reshape(eval(maximum(low + (high - low) * (place - static_cast<double>(below)), bound)), shape);
    return eval(cast<T>(clamp(cast<C>(x), -q, q) * bound / q));
  }
};

namespace detail {

/// (x - sigma noise) / alpha, in bounds where they are asked for.
template <class X>
X predicted_data(X const& x, X const& noise, noise_level const& at, std::optional<dynamic_threshold> const& threshold) {
  X const data = x * (1 / at.alpha()) - noise * (at.sigma() / at.alpha());
  return threshold ? (*threshold)(data) : data;
}

/// Compiles for what may be asked for predictions.
template <class Predict>
constexpr void check_predictor() {
  static_assert(!visitable<Predict>, "cog: a solver asks predict(x, network time) for noise; of a network, make predictor(network, condition...)");
}

inline void check_steps(char const* solver, index_t steps) {
  if (steps < 1) throw error(solver, ": ", steps, " steps; at least 1 is needed");
}

/// n + 1 equally spaced numbers.
inline std::vector<double> spaced(double from, double to, index_t n) {
  std::vector<double> out;
  for (index_t i = 0; i <= n; ++i) out.push_back(from + (to - from) * static_cast<double>(i) / static_cast<double>(n));
  return out;
}

}  // namespace detail

// ---- DDPM, DDIM

struct ddim_options {
  index_t steps = 50;
  double eta = 0;  // share of the noise of DDPM that is added anew: 0 DDIM, 1 DDPM
  std::uint64_t seed = 0;
  std::optional<dynamic_threshold> threshold{};
};

/// Song, Meng and Ermon, "Denoising diffusion implicit models", 2021: to the next of `steps` equally spaced times
///   x_s = alpha_s data + sqrt(sigma_s^2 - v) noise + sqrt(v) z,
///   v = eta^2 (sigma_s / sigma_t)^2 (1 - (alpha_t / alpha_s)^2).
/// The last step gives the data itself.
template <class Predict, floating T, int R, backend B, noise_schedule S>
tensor<T, R, B> ddim(Predict const& predict, tensor<T, R, B> x, S const& schedule, ddim_options const& options = {}) {
  detail::check_predictor<Predict>();
  detail::check_steps("ddim", options.steps);
  if (!(options.eta >= 0 && options.eta <= 1)) throw error("ddim: eta = ", options.eta, ", not in [0, 1]");
  for (index_t i = options.steps; i > 0; --i) {
    double const t = static_cast<double>(i) / static_cast<double>(options.steps);
    auto const now = level(schedule, t);
    tensor<T, R, B> noise = predict(x, schedule.network_time(t));
    auto const data = detail::predicted_data(x, noise, now, options.threshold);
    if (i == 1) return data;
    auto const next = level(schedule, static_cast<double>(i - 1) / static_cast<double>(options.steps));
    if (options.threshold) noise = (x - data * now.alpha()) * (1 / now.sigma());  // of the data as it was bounded
    double const kept = next.sigma() / now.sigma(), ratio = now.alpha() / next.alpha();
    double const v = options.eta * options.eta * kept * kept * (1 - ratio * ratio);
    double const direction = std::sqrt(std::max(next.sigma() * next.sigma() - v, 0.0));
    if (v > 0) {
      auto const z = randn<T>(x.context(), x.extents(), options.seed, static_cast<std::uint64_t>(i));
      x = data * next.alpha() + noise * direction + z * std::sqrt(v);
    } else {
      x = data * next.alpha() + noise * direction;
    }
  }
  return x;
}

/// Ancestral sampling (Ho et al. 2020) over `steps` of the schedule's times: each step draws from the posterior of x_s.
template <class Predict, floating T, int R, backend B, noise_schedule S>
tensor<T, R, B> ddpm(Predict const& predict, tensor<T, R, B> const& x, S const& schedule, ddim_options options = {}) {
  options.eta = 1;
  return ddim(predict, x, schedule, options);
}

// ---- Euler, Euler-Maruyama

struct euler_options {
  index_t steps = 1000;
  bool stochastic = false;  // the stochastic equation instead of the ordinary one
  std::uint64_t seed = 0;
};

/// dx = (-beta x / 2 - c beta score) dt [+ sqrt(beta) dw], score = -noise / sigma, backwards from t = 1 by way of steps
/// equally spaced times down to schedule.first(), and from there to 0; c = 1/2 for the ordinary equation, 1 for the
/// stochastic one.
template <class Predict, floating T, int R, backend B, noise_schedule S>
tensor<T, R, B> euler(Predict const& predict, tensor<T, R, B> x, S const& schedule, euler_options const& options = {}) {
  detail::check_predictor<Predict>();
  detail::check_steps("euler", options.steps);
  auto times = std::vector<double>{1};
  if (options.steps > 1) times = detail::spaced(1, schedule.first(), options.steps - 1);
  times.push_back(0);
  for (std::size_t i = 0; i + 1 < times.size(); ++i) {
    double const t = times[i], dt = times[i + 1] - t, beta = schedule.beta(t);
    tensor<T, R, B> const noise = predict(x, schedule.network_time(t));
    double const stretch = 1 - 0.5 * beta * dt;
    double const pull = (options.stochastic ? 1 : 0.5) * beta / level(schedule, t).sigma() * dt;
    if (options.stochastic && times[i + 1] > 0) {
      auto const z = randn<T>(x.context(), x.extents(), options.seed, i + 1);
      x = x * stretch + noise * pull + z * std::sqrt(-beta * dt);
    } else {
      x = x * stretch + noise * pull;
    }
  }
  return x;
}

/// The stochastic equation: what U-ViT's CIFAR-10 and CelebA models are sampled with, in 1000 steps.
template <class Predict, floating T, int R, backend B, noise_schedule S>
tensor<T, R, B> euler_maruyama(Predict const& predict, tensor<T, R, B> const& x, S const& schedule,
                               euler_options options = {}) {
  options.stochastic = true;
  return euler(predict, x, schedule, options);
}

// ---- DPM-Solver

/// Which prediction is extrapolated: the noise (DPM-Solver) or the data (DPM-Solver++).
enum class dpm_prediction { noise, data };
/// How the steps lie: equally spaced in time, or in log(alpha / sigma).
enum class dpm_spacing { time, lambda };
/// singlestep: each step looks ahead itself, with as many evaluations as its order. multistep: it uses the one before.
enum class dpm_method { singlestep, multistep };

struct dpm_options {
  index_t steps = 50;  // evaluations of the predictor
  int order = 3;       // the highest, 1 to 3; of multistep 1 or 2
  dpm_prediction prediction = dpm_prediction::data;
  dpm_spacing spacing = dpm_spacing::time;
  dpm_method method = dpm_method::singlestep;
  std::optional<double> end{};                   // the last time; the schedule's first if not given
  std::optional<dynamic_threshold> threshold{};  // of predicted data
};

/// The orders of singlestep steps that take `steps` evaluations together, none above `order` (Lu et al. 2022, "fast").
/// Errors: steps below 1, an order outside 1 to 3.
inline std::vector<int> singlestep_orders(index_t steps, int order) {
  detail::check_steps("dpm_solver", steps);
  if (order < 1 || order > 3) throw error("dpm_solver: order ", order, ", not 1, 2 or 3");
  if (order == 1) return std::vector<int>(static_cast<std::size_t>(steps), 1);
  if (order == 2) {
    std::vector<int> out(static_cast<std::size_t>(steps / 2), 2);
    if (steps % 2 == 1) out.push_back(1);
    return out;
  }
  index_t const rest = steps % 3;
  std::vector<int> out(static_cast<std::size_t>(rest == 0 ? steps / 3 - 1 : steps / 3), 3);
  if (rest == 0) out.push_back(2);
  out.push_back(rest == 2 ? 2 : 1);
  return out;
}

namespace detail {

/// One solver run: what is predicted, and x_r = keep x - gain (e^z - 1) F for a constant prediction F, from lambda_s to
/// lambda_s + |z|. Of noise: z = h, keep = alpha_r / alpha_s, gain = sigma_r; of data: z = -h,
/// keep = sigma_r / sigma_s, gain = alpha_r.
template <class Predict, class X, class S>
struct dpm_run {
  Predict const& predict;
  S const& schedule;
  dpm_options const& options;

  bool of_data() const { return options.prediction == dpm_prediction::data; }

  X prediction(X const& x, double t) const {
    X const noise = predict(x, schedule.network_time(t));
    auto const at = level(schedule, t);
    if (of_data()) return predicted_data(x, noise, at, options.threshold);
    if (!options.threshold) return noise;
    return (x - predicted_data(x, noise, at, options.threshold) * at.alpha()) * (1 / at.sigma());
  }
  double keep(noise_level s, noise_level r) const { return of_data() ? r.sigma() / s.sigma() : r.alpha() / s.alpha(); }
  double gain(noise_level r) const { return of_data() ? r.alpha() : r.sigma(); }
  double sign() const { return of_data() ? -1 : 1; }

  /// One step of order 1 to 3 from time s by way of s1 and s2 to t. `times`: s, the times between, t.
  X singlestep(X const& x, std::vector<double> const& times) const {
    auto const s = level(schedule, times.front()), t = level(schedule, times.back());
    double const h = t.lambda() - s.lambda(), z = sign() * h;
    X const f = prediction(x, times.front());
    if (times.size() == 2) return x * keep(s, t) - f * (gain(t) * std::expm1(z));

    auto const one = level(schedule, times[1]);
    double const r1 = (one.lambda() - s.lambda()) / h;
    X const y1 = x * keep(s, one) - f * (gain(one) * std::expm1(r1 * z));
    X const d1 = prediction(y1, times[1]) - f;
    if (times.size() == 3)
      return x * keep(s, t) - f * (gain(t) * std::expm1(z)) - d1 * (0.5 / r1 * gain(t) * std::expm1(z));

    auto const two = level(schedule, times[2]);
    double const r2 = (two.lambda() - s.lambda()) / h;
    X const y2 = x * keep(s, two) - f * (gain(two) * std::expm1(r2 * z)) -
                 d1 * (r2 / r1 * gain(two) * (std::expm1(r2 * z) / (r2 * z) - 1));
    X const d2 = prediction(y2, times[2]) - f;
    return x * keep(s, t) - f * (gain(t) * std::expm1(z)) - d2 * (gain(t) / r2 * (std::expm1(z) / z - 1));
  }

  /// Times uniform in t or lambda, n + 1 of them, from 1 to `end`.
  std::vector<double> grid(index_t n) const {
    double const end = options.end.value_or(schedule.first());
    if (options.spacing == dpm_spacing::time) return spaced(1, end, n);
    auto out = spaced(level(schedule, 1).lambda(), level(schedule, end).lambda(), n);
    for (double& x : out) x = time_of_lambda(schedule, x);
    return out;
  }

  X all_singlesteps(X x) const {
    auto const orders = singlestep_orders(options.steps, options.order);
    bool const by_time = options.spacing == dpm_spacing::time;
    // In time, a step of order k spans k points of the grid; in lambda one, whose inner times part it equally.
    auto const points = grid(by_time ? options.steps : static_cast<index_t>(orders.size()));
    std::size_t at = 0;
    for (int const order : orders) {
      std::vector<double> times{points[at]};
      std::size_t const next = at + (by_time ? static_cast<std::size_t>(order) : 1);
      for (int k = 1; k < order; ++k) {
        if (by_time) {
          times.push_back(points[at + static_cast<std::size_t>(k)]);
        } else {
          double const from = level(schedule, points[at]).lambda(), to = level(schedule, points[next]).lambda();
          times.push_back(time_of_lambda(schedule, from + (to - from) * k / order));
        }
      }
      times.push_back(points[next]);
      x = singlestep(x, times);
      at = next;
    }
    return x;
  }

  /// 2M: the prediction is extrapolated to the middle of the step through the one before,
  /// F + (F - F_before) h / (2 h_before). With fewer than 15 steps the last is of order 1, as its authors advise.
  X all_multisteps(X x) const {
    auto const points = grid(options.steps);
    X before;
    double h_before = 0;
    for (std::size_t i = 0; i + 1 < points.size(); ++i) {
      auto const s = level(schedule, points[i]), t = level(schedule, points[i + 1]);
      double const h = t.lambda() - s.lambda(), change = gain(t) * std::expm1(sign() * h);
      X const f = prediction(x, points[i]);
      bool const first_order = i == 0 || options.order == 1 || (i + 2 == points.size() && options.steps < 15);
      if (first_order) x = x * keep(s, t) - f * change;
      else x = x * keep(s, t) - (f + (f - before) * (0.5 * h / h_before)) * change;
      before = f;
      h_before = h;
    }
    return x;
  }
};

}  // namespace detail

/// DPM-Solver and DPM-Solver++ (Lu et al. 2022a, 2022b). The result is x at `end`, which is data but for a last trace
/// of noise. Errors: steps below 1; an order outside 1 to 3, or above 2 for multistep; an end outside (0, 1), or where
/// the schedule has no noise.
template <class Predict, floating T, int R, backend B, noise_schedule S>
tensor<T, R, B> dpm_solver(Predict const& predict, tensor<T, R, B> const& x, S const& schedule,
                           dpm_options const& options = {}) {
  detail::check_predictor<Predict>();
  detail::check_steps("dpm_solver", options.steps);
  if (options.end && !(*options.end > 0 && *options.end < 1))
    throw error("dpm_solver: end = ", *options.end, ", not in (0, 1)");
  if (options.end && !(level(schedule, *options.end).sigma() > 0))  // NaN before the first level of a discrete schedule
    throw error("dpm_solver: end = ", *options.end, ", where the schedule has no noise; its first time is ", schedule.first());
  detail::dpm_run<Predict, tensor<T, R, B>, S> const run{predict, schedule, options};
  if (options.method == dpm_method::singlestep) return run.all_singlesteps(x);
  if (options.order < 1 || options.order > 2)
    throw error("dpm_solver: multistep of order ", options.order, ", not 1 or 2");
  return run.all_multisteps(x);
}

}  // namespace cog
