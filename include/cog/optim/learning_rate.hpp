// The learning rate as a plain function of the step: constant, or a linear warm-up and then a cosine down to a floor.
// It has no state: after a resume, `rate(step)` is what it would have been. Given to an optimiser itself, it is computed there.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

#include <cog/core/error.hpp>
#include <cog/core/math.hpp>

namespace cog {

/// `learning_rate{3e-4}` is constant; `learning_rate{.peak = 1e-3, .floor = 1e-4, .warmup = 100, .steps = 2000}` warms
/// up over 100 steps, then follows half a cosine and reaches the floor at step 2000, where it stays. Source of the
/// cosine: Loshchilov and Hutter, "SGDR", 2017.
struct learning_rate {
  double peak;
  double floor = 0;
  index_t warmup = 0;
  index_t steps = 0;  // 0: no decay

 private:
  template <class S>
  auto rate(S const& step) const {
    using math::cos, math::where;
    check();
    double const low = steps == 0 ? peak : floor;
    auto const done = (step - static_cast<double>(warmup)) / static_cast<double>(std::max<index_t>(steps - warmup, 1));
    auto const decayed = low + 0.5 * (peak - low) * (1.0 + cos(std::numbers::pi * where(done < 1.0, done, 1.0)));
    return where(step < static_cast<double>(warmup), peak * (step + 1.0) / static_cast<double>(warmup + 1), decayed);
  }
  void check() const {
    if (!(peak >= 0 && std::isfinite(peak))) throw error("learning_rate: peak = ", peak);
    if (!(floor >= 0 && floor <= peak))
      throw error("learning_rate: floor = ", floor, " does not lie between 0 and ", peak);
    if (warmup < 0 || steps < 0 || (steps > 0 && warmup > steps))
      throw error("learning_rate: ", warmup, " steps of warm-up before step ", steps);
  }

 public:
  /// The rate of a step, counted from 0. Throws when a member makes no sense.
  double operator()(index_t step) const { return rate(static_cast<double>(step)); }
  /// The same as an expression of the number of steps: `optimizer.step(model, gradients, schedule)`.
  template <class Step>
    requires std::same_as<typename Step::value_type, double>
  auto operator()(Step const& step) const { return rate(step); }
};

}  // namespace cog
