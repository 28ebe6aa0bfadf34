// Dynamic loss scaling for training in half, whose small gradients would vanish (Micikevicius et al., "Mixed precision training",
// 2018): the loss is multiplied by a scale, gradients are divided by it where they are read, and a step whose gradients overflowed
// is left out and halves the scale. bf16 has the range of float and needs none of it.
#pragma once

#include <cmath>

#include <cog/expr/operators.hpp>
#include <cog/optim/state.hpp>

namespace cog {

/// loss_scaler scaler;
/// auto [loss, scaled] = value_and_grad(model, [&](auto& m) { return scaler.scale(cross_entropy(m(x), y)); });
/// auto gradients = scaler.unscale(scaled);
/// double norm = global_norm(model, gradients);
/// if (scaler.update(norm)) optimizer.step(model, gradients, rate);
class loss_scaler {
 public:
  /// The scale doubles after `patience` steps in a row without overflow. Errors: a scale that is no power of two, patience below 1.
  explicit loss_scaler(double scale = 65536, index_t patience = 2000) : scale_(scale), patience_(patience) {
    int exponent = 0;
    if (!(scale > 0) || std::frexp(scale, &exponent) != 0.5) throw error("loss_scaler: a scale of ", scale, " is no power of two");
    if (patience < 1) throw error("loss_scaler: a patience of ", patience, " steps");
  }

  /// The loss to differentiate.
  template <expression E>
  auto scale(E const& loss) const {
    return eval(loss * scale_);
  }
  /// The gradients of the loss itself, from those of the scaled one.
  template <class Gradients>
  scaled_gradients<Gradients> unscale(Gradients gradients) const {
    return {std::move(gradients), 1 / scale_};
  }
  /// Told the norm of a step's gradients: is the step to be made? Adapts the scale. Errors: a scale that fell below 2^-24, for
  /// then the gradients are not finite for another reason.
  bool update(double norm) {
    if (std::isfinite(norm)) {
      if (++good_ == patience_) {
        scale_ *= 2;
        good_ = 0;
      }
      return true;
    }
    good_ = 0;
    scale_ /= 2;
    if (scale_ < 0x1p-24) throw error("loss_scaler: the gradients are not finite at any scale");
    return false;
  }
  double current() const noexcept { return scale_; }

  /// What a checkpoint keeps.
  struct state {
    double scale;
    index_t good;
  };
  state save() const noexcept { return {scale_, good_}; }
  void load(state const& s) {
    *this = loss_scaler(s.scale, patience_);
    good_ = s.good;
  }

 private:
  double scale_;
  index_t patience_, good_ = 0;
};

}  // namespace cog
