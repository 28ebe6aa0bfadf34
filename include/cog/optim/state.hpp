// A tensor for each parameter of a model, of the parameter's shape and kept under its name: what optimisers and
// averages remember. Parameters that share their elements (tied weights) are one: the first name that a traversal meets
// stands for all of them.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cog/core/create.hpp>
#include <cog/expr/evaluate.hpp>
#include <cog/expr/operators.hpp>
#include <cog/nn/module.hpp>

namespace cog {

/// Calls f(name, parameter) once for every floating parameter, whatever number of names its elements have.
template <class Model, class F>
void for_each_trained_parameter(Model& model, F&& f) {
  for_each_distinct_parameter(model, [&](auto const& name, auto& parameter) {
    if constexpr (floating<typename std::remove_cvref_t<decltype(parameter)>::value_type>) f(name, parameter);
  });
}

/// Gradients times a factor. Nothing is computed until an optimiser reads them, inside its own kernel.
template <class Gradients>
struct scaled_gradients {
  Gradients gradients;
  double scale;

  template <class T, int R, class B>
  auto operator()(tensor<T, R, B> const& parameter) const {
    return cast<compute_t<T>>(gradients(parameter)) * scale;
  }
};

/// `State` is what is computed with: float for float, bf16 and half parameters.
template <backend B, floating State>
class parameter_state {
 public:
  /// Zeros of the parameter's shape. Throws when the name is taken.
  template <class T, int R>
  tensor<State, R, B> add(std::string_view name, tensor<T, R, B> const& parameter) {
    static_assert(std::same_as<compute_t<T>, State>,
                  "cog: the state's precision is not the parameters'; for double write adamw<B, double>, and likewise ema, gradient_mean");
    static_assert(R <= most_axes);
    auto const& shape = parameter.extents();
    auto const [at, fresh] = entries_.try_emplace(
        std::string(name), entry{{shape.begin(), shape.end()}, zeros<State>(parameter.context(), {parameter.size()})});
    if (!fresh) throw error("parameter '", std::string(name), "' occurs twice in a model");
    return as<R>(at->second);
  }

  bool contains(std::string_view name) const { return entries_.contains(name); }

  /// What is kept for a parameter; writing into it is remembered. Throws when there is nothing of that name and shape.
  template <class T, int R>
  tensor<State, R, B> of(std::string_view name, tensor<T, R, B> const& parameter) const {
    auto const at = entries_.find(name);
    if (at == entries_.end())
      throw error("parameter '", std::string(name), "' was not in the model that this state was made for");
    if (!std::ranges::equal(at->second.shape, parameter.extents()))
      throw error("parameter '", std::string(name), "' has shape ", parameter.extents(), ", its state has ",
                  shape_of(at->second));
    return as<R>(at->second);
  }

  /// Calls f(name + suffix, tensor) for everything, in the order of the names. f may replace the tensor, as a module's.
  template <class F>
  void visit(F&& f, std::string_view suffix = "") {
    for (auto& [name, e] : entries_) visit_entry(f, name + std::string(suffix), e);
  }

  std::size_t bytes() const {
    std::size_t n = 0;
    for (auto const& [name, e] : entries_) n += static_cast<std::size_t>(e.values.size()) * sizeof(State);
    return n;
  }

 private:
  static constexpr int most_axes = 6;
  struct entry {
    std::vector<index_t> shape;
    tensor<State, 1, B> values;
  };

  template <int R>
  static tensor<State, R, B> as(entry const& e) {
    extents<R> shape{};
    std::ranges::copy(e.shape, shape.begin());
    return {e.values.storage_handle(), const_cast<State*>(e.values.data()), shape, row_major(shape)};
  }
  static std::string shape_of(entry const& e) {
    std::string text = "[";
    for (index_t n : e.shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
    return text + "]";
  }
  template <int R = 0, class F>
  static void visit_entry(F& f, std::string const& name, entry& e) {
    if (e.shape.size() == R) {
      auto t = as<R>(e);
      f(name, t);
      if (t.data() != e.values.data()) e.values = reshape(t, std::array<index_t, 1>{e.values.size()});
    } else if constexpr (R < most_axes) {
      visit_entry<R + 1>(f, name, e);
    }
  }

  std::map<std::string, entry, std::less<>> entries_;
};

}  // namespace cog
