// An exponential moving average of a model's parameters: what is evaluated and sampled, while the model itself trains.
#pragma once

#include <string>

#include <cog/expr/list.hpp>
#include <cog/expr/operators.hpp>
#include <cog/optim/state.hpp>

namespace cog {

/// `ema<cpu> average(model, 0.999); ... optimizer.step(...); average.update(model); ... auto smooth =
/// average.of(model);`
template <backend B, floating State = float>
class ema {
 public:
  /// Starts at the model as it is.
  template <class Model>
  ema(Model& model, double decay) : decay_(decay) {
    if (!(decay >= 0 && decay < 1)) throw error("ema: decay = ", decay, " does not lie in [0, 1)");
    for_each_trained_parameter(model, [&](auto const& name, auto& parameter) {
      average_.add(name, parameter).assign(cast<State>(parameter));
    });
  }

  /// average = decay average + (1 - decay) parameter, in place.
  template <class Model>
  void update(Model& model) {
    kernel_list<B> kernels;
    for_each_trained_parameter(model, [&](auto const& name, auto& parameter) {
      auto const average = average_.of(name, parameter);
      kernels.add_assignment(average, average * decay_ + cast<State>(parameter) * (1 - decay_));
    });
    kernels.run();
  }

  /// A model whose parameters are the averages. It shares nothing with `model`, which gives everything else.
  template <class Model>
  Model of(Model const& model) const {
    Model out = model;
    replace_parameters(out, [&]<class X>(std::string const& name, X const& parameter) {
      if constexpr (floating<typename X::value_type>) return smooth(average_.of(name, parameter), parameter);
      else return parameter;
    });
    return out;
  }

  double decay() const noexcept { return decay_; }
  std::size_t bytes() const { return average_.bytes(); }

  /// The averages under the parameters' names: a file of them is a file of the model.
  template <class F>
  void visit(F&& f) {
    average_.visit(f);
  }

 private:
  /// The average in the parameter's dtype, in storage of its own.
  template <class Average, class Parameter>
  static Parameter smooth(Average const& average, Parameter const&) {
    if constexpr (std::same_as<Average, Parameter>) return average.copy();
    else return cast<typename Parameter::value_type>(average);
  }

  double decay_;
  parameter_state<B, State> average_;
};

}  // namespace cog
