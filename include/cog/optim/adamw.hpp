// AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019).
// In place and in one pass: a step reads parameter, two moments and gradient and writes the first three; a backend that runs lists
// does all parameters in a few launches. The moments are kept in the precision that is computed in (float for bf16 and half), by
// name; so is a master copy of every bf16 or half parameter, which starts anew where something else has written the parameter (loading,
// `assign`). Steps are counted where the parameters live: the host never waits.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cog/expr/list.hpp>
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

/// (steps made, learning rate) -> (steps made, and what the next one multiplies by: adamw_update::now).
struct adamw_pace {
  using lane = void;
  double beta1, beta2, weight_decay;
  COG_HD auto operator()(std::int64_t steps, double rate) const {
    using math::pow, math::sqrt;
    double const t = static_cast<double>(steps + 1), correction1 = 1 - pow(beta1, t), correction2 = 1 - pow(beta2, t);
    return make_pack(steps + 1, 1 - rate * weight_decay, rate / correction1, 1 / sqrt(correction2));
  }
};

/// (weight, moments, leaves of the gradient) -> (weight, moments). Tree is the gradient's expression over arguments 3, 4 ...
/// Parameter is bf16 or half: the weight is a master copy, the parameter itself is argument 3, one before them, and the last output.
template <class Tree, class State, class Parameter>
struct adamw_update {
  using lane = std::conditional_t<simd_able<Tree, State>::value, State, void>;
  static constexpr bool has_master = reduced_float<Parameter>;
  State keep1, add1, keep2, add2, epsilon;
  bool decays;
  State const* now;  // the weight that is kept, the length of the step, the scale of the root

  /// The master copy; or the parameter, of which it is not the unrounded value: half a last digit away, half of the least number.
  template <class S>
  COG_HD COG_INLINE static S current(S master, S parameter) {
    using math::abs, math::where;
    constexpr bool is_bf16 = std::same_as<Parameter, bf16>;
    S const relative(is_bf16 ? State(0x1p-8) : State(0x1p-11)), least(is_bf16 ? State(0x1p-134) : State(0x1p-25));
    return where(abs(master - parameter) <= relative * abs(parameter) + least, master, parameter);
  }

  template <class S, class... G>
  COG_HD COG_INLINE auto operator()(S p, S first, S second, G const&... leaves) const {
    using math::sqrt;
    auto const values = make_pack(p, first, second, leaves...);
    if constexpr (has_master) p = current(p, get<3>(values));
    S const g = convert<State>(sweep<Tree>::forward(values).value);
    S const m = S(keep1) * first + S(add1) * g;
    S const v = S(keep2) * second + S(add2) * g * g;
    S const keep_weight(decays ? now[0] : State(1)), step(now[1]), root_scale(now[2]);
    S const next = keep_weight * p - step * m / (root_scale * sqrt(v) + S(epsilon));
    if constexpr (has_master) return make_pack(next, m, v, next);
    else return make_pack(next, m, v);
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
    for_each_trained_parameter(model, [&](auto const& name, auto& parameter) {
      first_.add(name, parameter);
      second_.add(name, parameter);
      if constexpr (has_master<decltype(parameter)>) master_.add(name, parameter).assign(cast<State>(parameter));
      if (!context_) context_ = parameter.context();
    });
    if (!context_) throw error("adamw: the model has no parameters");
    steps_ = zeros<std::int64_t>(*context_, extents<0>{});
    now_ = zeros<State>(*context_, extents<1>{3});
  }

  /// One step on every parameter, in place. `gradients(parameter)` is an expression of the parameter's shape: what
  /// value_and_grad returns, or clip_norm, or gradient_mean. The rate is a number; or an expression without axes, such as a tensor that
  /// others write; or a schedule, called with the number of earlier steps as such an expression: it then advances in a captured graph
  /// too. Throws when the shape or the parameter is not the expected.
  template <class Model, class Gradients, class Rate>
  void step(Model& model, Gradients const& gradients, Rate const& rate) {
    if constexpr (std::is_arithmetic_v<Rate>) {
      if (!std::isfinite(static_cast<double>(rate))) throw error("adamw: learning rate ", rate);
      advance(constant<double>{static_cast<double>(rate)});
    } else if constexpr (expression<Rate>) {
      advance(eval(cast<double>(rate)));
    } else {
      advance(eval(cast<double>(rate(cast<double>(steps_)))));
    }
    kernel_list<B> kernels;
    std::vector<std::shared_ptr<void>> held;  // what lazy gradients computed, until the kernels have run
    for_each_trained_parameter(model, [&](auto const& name, auto& parameter) {
      constexpr int rank = std::remove_cvref_t<decltype(parameter)>::rank;
      auto const g = gradients(parameter);
      using gradient = std::remove_cvref_t<decltype(g)>;
      static_assert(std::same_as<compute_t<typename gradient::value_type>, State>,
                    "cog: gradients of another precision than the moments; for a model of double write adamw<B, double>");
      if (g.extents() != parameter.extents())
        throw error("adamw: parameter '", std::string(name), "' has shape ", parameter.extents(), ", its gradient ",
                    g.extents());
      bool const decays = options_.weight_decay != 0 && options_.decays(name, rank);

      constexpr bool with_master = has_master<decltype(parameter)>;
      using tree = typename detail::tree_of<gradient, with_master ? 4 : 3>::type;
      detail::adamw_update<tree, State, typename std::remove_cvref_t<decltype(parameter)>::value_type> const update{
          .keep1 = static_cast<State>(options_.beta1),
          .add1 = static_cast<State>(1 - options_.beta1),
          .keep2 = static_cast<State>(options_.beta2),
          .add2 = static_cast<State>(1 - options_.beta2),
          .epsilon = static_cast<State>(options_.epsilon),
          .decays = decays,
          .now = now_.data()};
      auto const first = first_.of(name, parameter);
      auto const second = second_.of(name, parameter);
      auto const run = [&](auto const& weight, auto const&... stored) {
        auto const operands = std::tuple_cat(std::tuple(weight, first, second, stored...), leaves_of(g));
        auto const read = std::make_shared<std::remove_cv_t<decltype(operands)>>(operands);
        held.push_back(read);
        kernels.add(parameter.context(), parameter.extents(), update, detail::lower_all(*read, parameter.extents()),
                    make_pack(write(weight), write(first), write(second), write(stored)...));
      };
      if constexpr (with_master) run(master_.of(name, parameter), parameter);
      else run(parameter);
    });
    kernels.run();
  }
  /// At the learning rate of the options.
  template <class Model, class Gradients>
  void step(Model& model, Gradients const& gradients) {
    step(model, gradients, options_.learning_rate);
  }

  /// How many steps were made. Waits for a device.
  index_t steps() const { return steps_.item(); }
  adamw_options const& options() const noexcept { return options_; }
  /// Bytes of the moments and master copies.
  std::size_t bytes() const { return first_.bytes() + second_.bytes() + master_.bytes(); }

  /// Everything that a checkpoint must keep, as a module's tensors: NAME.first_moment, NAME.second_moment, NAME.master and steps.
  template <class F>
  void visit(F&& f) {
    first_.visit(f, ".first_moment");
    second_.visit(f, ".second_moment");
    master_.visit(f, ".master");
    f("steps", steps_);
  }

 private:
  template <class P>
  static constexpr bool has_master = reduced_float<typename std::remove_cvref_t<P>::value_type>;

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

  static auto write(auto to) { return detail::output_of(to.data(), to.strides()); }

  /// Counts the step that is to be made at this rate: a constant or tensor without axes.
  void advance(auto const& rate) {
    B::for_each(*context_, extents<0>{}, detail::adamw_pace{options_.beta1, options_.beta2, options_.weight_decay},
                detail::lower_all(std::tuple(steps_, rate), extents<0>{}),
                make_pack(write(steps_), write(select(now_, 0, 0)), write(select(now_, 0, 1)), write(select(now_, 0, 2))));
  }

  adamw_options options_;
  tensor<std::int64_t, 0, B> steps_;
  tensor<State, 1, B> now_;  // see adamw_update
  parameter_state<B, State> first_, second_, master_;
  std::optional<typename B::context> context_;
};

}  // namespace cog
