// The mean of the gradients of several small batches: as one large batch, in the memory of a small one.
#pragma once

#include <string>
#include <unordered_map>

#include <cog/expr/operators.hpp>
#include <cog/optim/state.hpp>

namespace cog {

/// `gradient_mean<cpu> mean; for (each small batch) { ... mean.add(model, gradients); } optimizer.step(model, mean);
/// mean.clear();` Each batch counts alike. Sums are kept in State, whatever the precision of the gradients.
template <backend B, floating State = float>
class gradient_mean {
 public:
  template <class Model, class Gradients>
  void add(Model& model, Gradients const& gradients) {
    if (count_ == 0) names_.clear();
    for_each_trained_parameter(model, [&](auto const& name, auto& parameter) {
      names_.insert_or_assign(parameter.data(), name);
      if (!sums_.contains(name)) sums_.add(name, parameter);
      auto const total = sums_.of(name, parameter);
      if (count_ == 0) total.assign(cast<State>(gradients(parameter)));
      else total.assign(total + cast<State>(gradients(parameter)));
    });
    ++count_;
  }

  /// The mean gradient of a parameter, as an expression. Throws when nothing was added.
  template <class T, int R>
  auto operator()(tensor<T, R, B> const& parameter) const {
    auto const name = names_.find(parameter.data());
    if (count_ == 0 || name == names_.end())
      throw error("gradient_mean: nothing was added for a parameter of shape ", parameter.extents());
    return sums_.of(name->second, parameter) * (1.0 / static_cast<double>(count_));
  }

  index_t count() const noexcept { return count_; }
  /// Forgets the sums, keeps their storage.
  void clear() noexcept { count_ = 0; }

 private:
  parameter_state<B, State> sums_;
  std::unordered_map<void const*, std::string> names_;  // of the parameters where they lie now: loading gives them other memory
  index_t count_ = 0;
};

}  // namespace cog
