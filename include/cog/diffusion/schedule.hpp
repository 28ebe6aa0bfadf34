// Noise schedules: x_t = alpha(t) x_0 + sigma(t) noise with alpha^2 + sigma^2 = 1 ("variance preserving"), t from 0
// (data) to 1 (noise). All a solver asks of one is log alpha and its inverse; everything else follows. Plain doubles on
// the host: nothing here is a tensor.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <vector>

#include <cog/core/config.hpp>
#include <cog/core/error.hpp>
#include <cog/random/stream.hpp>

namespace cog {

/// log_alpha falls from about 0 at t = 0; `time` is its inverse; beta(t) = -2 d log_alpha / dt. Networks are told
/// network_time(t). `draw` gives a training example's t, `first` the smallest t that a network has learnt.
template <class S>
concept noise_schedule = requires(S const& s, double x, random_stream& random) {
  { s.log_alpha(x) } -> std::convertible_to<double>;
  { s.time(x) } -> std::convertible_to<double>;
  { s.beta(x) } -> std::convertible_to<double>;
  { s.network_time(x) } -> std::convertible_to<double>;
  { s.draw(random) } -> std::convertible_to<double>;
  { s.first() } -> std::convertible_to<double>;
};

/// Signal and noise of a schedule at one time.
struct noise_level {
  double log_alpha;
  double alpha() const { return std::exp(log_alpha); }
  double sigma() const { return std::sqrt(-std::expm1(2 * log_alpha)); }
  /// log(alpha / sigma), half the logarithm of the signal-to-noise ratio.
  double lambda() const { return log_alpha - 0.5 * std::log(-std::expm1(2 * log_alpha)); }
};
noise_level level(noise_schedule auto const& schedule, double t) { return noise_level{schedule.log_alpha(t)}; }

/// The time at which log(alpha / sigma) is lambda.
double time_of_lambda(noise_schedule auto const& schedule, double lambda) {
  double const u = -2 * lambda;  // log(1 + e^u) without overflow
  return schedule.time(-0.5 * (std::max(u, 0.0) + std::log1p(std::exp(-std::abs(u)))));
}

/// N noise levels: abar_n = prod_{m <= n} (1 - beta_m) is alpha^2 at t = n / N (Ho et al., "Denoising diffusion
/// probabilistic models", 2020). Between them log alpha is linear in t, beyond them the outermost pieces go on.
class discrete_schedule {
 public:
  /// Stable Diffusion's: 1000 betas whose square roots are equally spaced.
  discrete_schedule() : discrete_schedule(scaled_linear_betas(1000, 0.00085, 0.0120)) {}
  /// Errors: fewer than two betas, one outside (0, 1).
  explicit discrete_schedule(std::vector<double> betas) : betas_(std::move(betas)) {
    if (betas_.size() < 2) throw error("discrete_schedule: ", betas_.size(), " betas; at least 2 are needed");
    double sum = 0;
    for (double beta : betas_) {
      if (!(beta > 0 && beta < 1)) throw error("discrete_schedule: a beta of ", beta, ", not between 0 and 1");
      log_alphas_.push_back(sum += 0.5 * std::log1p(-beta));
    }
  }
  /// beta_n = (the n-th of `count` equally spaced values from sqrt(first) to sqrt(last))^2.
  static std::vector<double> scaled_linear_betas(index_t count, double first, double last) {
    std::vector<double> betas;
    for (index_t i = 0; i < count; ++i) {
      double const share = count > 1 ? static_cast<double>(i) / static_cast<double>(count - 1) : 0;
      double const root = std::sqrt(first) + (std::sqrt(last) - std::sqrt(first)) * share;
      betas.push_back(root * root);
    }
    return betas;
  }

  index_t steps() const { return static_cast<index_t>(betas_.size()); }
  std::vector<double> const& betas() const { return betas_; }
  /// The product of 1 - beta_m for m up to n; 1 for n = 0. Errors: n outside [0, steps()].
  double cumulative_alpha(index_t n) const {
    if (n < 0 || n > steps()) throw error("discrete_schedule: level ", n, " of ", steps());
    return n == 0 ? 1 : std::exp(2 * log_alphas_[static_cast<std::size_t>(n) - 1]);
  }

  double log_alpha(double t) const {
    auto const k = piece(t * count() - 1);
    return log_alphas_[k] + (t * count() - 1 - static_cast<double>(k)) * rise(k);
  }
  double time(double log_alpha) const {
    auto const above = std::ranges::partition_point(log_alphas_, [=](double l) { return l > log_alpha; });
    auto const k = piece(static_cast<double>(above - log_alphas_.begin()) - 1);
    return (static_cast<double>(k) + 1 + (log_alpha - log_alphas_[k]) / rise(k)) / count();
  }
  double beta(double t) const { return -2 * count() * rise(piece(t * count() - 1)); }
  /// 1 to steps(), and what lies between.
  double network_time(double t) const { return t * count(); }
  double draw(random_stream& random) const { return static_cast<double>(random.below(steps()) + 1) / count(); }
  double first() const { return 1 / count(); }

 private:
  double count() const { return static_cast<double>(betas_.size()); }
  /// The piece from knot k to knot k + 1, counted from 0, that position x lies on; the outermost ones go on for ever.
  std::size_t piece(double x) const { return static_cast<std::size_t>(std::clamp(std::floor(x), 0.0, count() - 2)); }
  double rise(std::size_t k) const { return log_alphas_[k + 1] - log_alphas_[k]; }

  std::vector<double> betas_;
  std::vector<double> log_alphas_;  // at t = 1 / N, 2 / N ... 1
};

/// The variance-preserving stochastic differential equation dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, beta(t) = low +
/// (high - low) t (Song et al., "Score-based generative modeling through stochastic differential equations", 2021).
struct vp_schedule {
  double low = 0.1, high = 20;

  double log_alpha(double t) const { return -0.5 * (low * t + 0.5 * (high - low) * t * t); }
  /// The root of the quadratic, in a form that does not cancel.
  double time(double log_alpha) const {
    return -4 * log_alpha / (std::sqrt(low * low - 4 * (high - low) * log_alpha) + low);
  }
  double beta(double t) const { return low + (high - low) * t; }
  double network_time(double t) const { return t * 999; }
  double draw(random_stream& random) const { return random.uniform(); }
  double first() const { return 1e-3; }
};

static_assert(noise_schedule<discrete_schedule> && noise_schedule<vp_schedule>);

}  // namespace cog
