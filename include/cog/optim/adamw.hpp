// AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019).
// A step is one kernel for each parameter, in place: it reads parameter, two moments and gradient and writes the first
// three. The moments are kept in the precision that is computed in (float for bf16 and half), by name.
#pragma once

#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <cog/optim/state.hpp>

namespace cog {

/// What AdamW is told; the numbers are PyTorch's.
struct adamw_options {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  /// Which parameters decay, by name and rank: matrices, but neither biases nor the weights of norms.
  std::function<bool(std::string_view name, int rank)> decays = [](std::string_view, int rank) { return rank >= 2; };
};

namespace detail {

/// (parameter, moments, leaves of the gradient) -> (parameter, moments). Tree is the gradient's expression over
/// arguments 3, 4 ...
template <class Tree, class State>
struct adamw_update {
  using lane = std::conditional_t<simd_able<Tree, State>::value, State, void>;
  State keep1, add1, keep2, add2, keep_weight, step, root_scale, epsilon;

  template <class S, class... G>
  COG_HD COG_INLINE auto operator()(S p, S first, S second, G const&... leaves) const {
    using math::sqrt;
    S const g = convert<State>(sweep<Tree>::forward(make_pack(p, first, second, leaves...)).value);
    S const m = S(keep1) * first + S(add1) * g;
    S const v = S(keep2) * second + S(add2) * g * g;
    S const next = S(keep_weight) * p - S(step) * m / (S(root_scale) * sqrt(v) + S(epsilon));
    return make_pack(next, m, v);
  }
};

}  // namespace detail

/// `adamw<cpu> optimizer(model, {.weight_decay = 0.1}); ... optimizer.step(model, gradients, rate(step));`
template <backend B, floating State = float>
class adamw {
 public:
  /// Zero moments for every parameter. Throws when an option makes no sense or the model is not initialised.
  template <class Model>
  explicit adamw(Model& model, adamw_options options = {}) : options_(std::move(options)) {
    check();
    for_each_distinct_parameter(model, [&](auto const& name, auto& parameter) {
      first_.add(name, parameter);
      second_.add(name, parameter);
      if (!context_) context_ = parameter.context();
    });
    if (!context_) throw error("adamw: the model has no parameters");
  }

  /// One step on every parameter, in place. `gradients(parameter)` is an expression of the parameter's shape: what
  /// value_and_grad returns, or clip_norm, or gradient_mean. Throws when the shape or the parameter is not the expected.
  template <class Model, class Gradients>
  void step(Model& model, Gradients const& gradients, double learning_rate) {
    if (!std::isfinite(learning_rate)) throw error("adamw: learning rate ", learning_rate);
    auto const t = static_cast<double>(++steps_);
    double const correction1 = 1 - std::pow(options_.beta1, t);
    double const correction2 = 1 - std::pow(options_.beta2, t);
    for_each_distinct_parameter(model, [&](auto const& name, auto& parameter) {
      constexpr int rank = std::remove_cvref_t<decltype(parameter)>::rank;
      auto const g = gradients(parameter);
      using gradient = std::remove_cvref_t<decltype(g)>;
      static_assert(std::same_as<compute_t<typename gradient::value_type>, State>,
                    "cog: gradients of another precision");
      if (g.extents() != parameter.extents())
        throw error("adamw: parameter '", std::string(name), "' has shape ", parameter.extents(), ", its gradient ",
                    g.extents());
      bool const decays = options_.weight_decay != 0 && options_.decays(name, rank);

      using tree = typename detail::tree_of<gradient, 3>::type;
      detail::adamw_update<tree, State> const update{
          .keep1 = static_cast<State>(options_.beta1),
          .add1 = static_cast<State>(1 - options_.beta1),
          .keep2 = static_cast<State>(options_.beta2),
          .add2 = static_cast<State>(1 - options_.beta2),
          .keep_weight = static_cast<State>(decays ? 1 - learning_rate * options_.weight_decay : 1.0),
          .step = static_cast<State>(learning_rate / correction1),
          .root_scale = static_cast<State>(1 / std::sqrt(correction2)),
          .epsilon = static_cast<State>(options_.epsilon)};
      auto const first = first_.of(name, parameter);
      auto const second = second_.of(name, parameter);
      auto const read = std::tuple_cat(std::tuple(parameter, first, second), leaves_of(g));
      auto const write = [](auto to) { return detail::output_of(to.data(), to.strides()); };
      B::for_each(parameter.context(), parameter.extents(), update, detail::lower_all(read, parameter.extents()),
                  make_pack(write(parameter), write(first), write(second)));
    });
  }
  /// At the learning rate of the options.
  template <class Model, class Gradients>
  void step(Model& model, Gradients const& gradients) {
    step(model, gradients, options_.learning_rate);
  }

  /// How many steps were made.
  index_t steps() const noexcept { return steps_; }
  adamw_options const& options() const noexcept { return options_; }
  /// Bytes of the moments.
  std::size_t bytes() const { return first_.bytes() + second_.bytes(); }

  /// Everything that a checkpoint must keep, as a module's tensors: NAME.first_moment, NAME.second_moment and steps.
  template <class F>
  void visit(F&& f) {
    first_.visit(f, ".first_moment");
    second_.visit(f, ".second_moment");
    auto count = full<std::int64_t>(*context_, std::array<index_t, 0>{}, steps_);
    f("steps", count);
    steps_ = count.item();
  }

 private:
  void check() const {
    auto const fraction = [](char const* name, double x) {
      if (!(x >= 0 && x < 1)) throw error("adamw: ", name, " = ", x, " does not lie in [0, 1)");
    };
    fraction("beta1", options_.beta1);
    fraction("beta2", options_.beta2);
    if (!(options_.epsilon > 0)) throw error("adamw: epsilon = ", options_.epsilon, " is not positive");
    if (!(options_.weight_decay >= 0)) throw error("adamw: weight_decay = ", options_.weight_decay, " is negative");
    if (!(options_.learning_rate >= 0)) throw error("adamw: learning_rate = ", options_.learning_rate, " is negative");
    if (!options_.decays) throw error("adamw: decays is empty");
  }

  adamw_options options_;
  index_t steps_ = 0;
  parameter_state<B, State> first_, second_;
  std::optional<typename B::context> context_;
};

}  // namespace cog
