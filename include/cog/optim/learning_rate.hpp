// The learning rate as a plain function of the step: constant, or a linear warm-up and then a cosine down to a floor.
// It has no state: after a resume, `rate(step)` is what it would have been.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

#include <cog/core/config.hpp>
#include <cog/core/error.hpp>

namespace cog {

/// `learning_rate{3e-4}` is constant; `learning_rate{.peak = 1e-3, .floor = 1e-4, .warmup = 100, .steps = 2000}` warms
/// up over 100 steps, then follows half a cosine and reaches the floor at step 2000, where it stays. Source of the
/// cosine: Loshchilov and Hutter, "SGDR", 2017.
struct learning_rate {
  double peak;
  double floor = 0;
  index_t warmup = 0;
  index_t steps = 0;  // 0: no decay

  /// The rate of a step, counted from 0. Throws when a member makes no sense.
  double operator()(index_t step) const {
    check();
    if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup + 1);
    if (steps == 0) return peak;
    double const done = static_cast<double>(step - warmup) / static_cast<double>(std::max<index_t>(steps - warmup, 1));
    return floor + 0.5 * (peak - floor) * (1 + std::cos(std::numbers::pi * std::min(done, 1.0)));
  }

 private:
  void check() const {
    if (!(peak >= 0 && std::isfinite(peak))) throw error("learning_rate: peak = ", peak);
    if (!(floor >= 0 && floor <= peak))
      throw error("learning_rate: floor = ", floor, " does not lie between 0 and ", peak);
    if (warmup < 0 || steps < 0 || (steps > 0 && warmup > steps))
      throw error("learning_rate: ", warmup, " steps of warm-up before step ", steps);
  }
};

}  // namespace cog
