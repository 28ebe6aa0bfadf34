// value_and_grad: the value of a scalar function and its gradient, for functions of tensors and for models.
// Nothing is global, nothing is to be zeroed: a tape lives for one call.
#pragma once

#include <string>

#include <cog/autograd/functions.hpp>
#include <cog/core/unpack.hpp>
#include <cog/core/visitable.hpp>

namespace cog {

/// Marks the scope in which an operation that would lose a watched parameter's gradient throws.
class recording_scope {
 public:
  recording_scope() { ++recording_guard::depth(); }
  ~recording_scope() { --recording_guard::depth(); }
  recording_scope(recording_scope const&) = delete;
};

/// The gradients of a model's parameters, found by the parameter itself: gradients(model.weight).
class gradients {
 public:
  explicit gradients(std::shared_ptr<tape> t) : tape_(std::move(t)) {}

  /// The gradient of a parameter, of its shape; zeros where none arrived. It is for reading: another parameter, added to this one, may
  /// have the same. Throws for a tensor that is not a parameter.
  template <class T, int R, class B>
  tensor<T, R, B> operator()(tensor<T, R, B> const& parameter) const {
    auto const* w = tape_->find_watched(parameter);
    if (!w) throw error("gradients: a tensor of shape ", parameter.extents(), " is not a parameter of the model");
    return detail::with_parameter<T, B>(*w, parameter, [&](auto const& whole) {
      auto const* g = tape_->template find<T, std::remove_cvref_t<decltype(whole)>::rank, B>(w->gradient);
      return g ? detail::same_view(parameter, whole, *g) : zeros_like(parameter);
    });
  }

 private:
  std::shared_ptr<tape> tape_;
};

/// What value_and_grad returns: `auto [value, gradients] = value_and_grad(...)`.
template <class T, class G>
struct value_and_gradients {
  T value;      // rank 0
  G gradients;  // a tuple of tensors for a function of tensors, cog::gradients for a model
};

namespace detail {

/// Ends a recording, whatever happens.
class tape_scope {
 public:
  explicit tape_scope(tape& t) : tape_(t) {}
  ~tape_scope() { tape_.finish(); }
  tape_scope(tape_scope const&) = delete;

 private:
  tape& tape_;
};

/// Seeds the loss with 1 and runs the tape. Throws unless the loss is one number that was recorded on it.
template <class E>
auto run_backward(tape& t, E const& loss) {
  static_assert(recorded_expression<E>, "cog: the function's result depends on none of its arguments; of a model, call the m that the "
                                        "function is given: m(x)");
  auto const v = variable(evaluate(loss));
  using V = std::remove_cvref_t<decltype(v)>;
  if (v.size() != 1) throw error("value_and_grad: the result has shape ", v.extents(), ", not one number");
  if (v.recorder().get() != &t) throw error("value_and_grad: the result was recorded by another call of value_and_grad");
  if (v.needs_gradient()) t.set(v.slot(), full<typename V::value_type>(v.context(), v.extents(), typename V::value_type(1)));
  pause_recording const paused;
  t.run_back();
  return v.value();
}

}  // namespace detail

/// A model whose tensor arguments are recorded when it is called: what value_and_grad passes to the function.
template <class Model>
class recorded_model {
 public:
  recorded_model(Model& model, std::shared_ptr<tape> t) : model_(&model), tape_(std::move(t)) {}

  template <class... Args>
  auto operator()(Args&&... args) const {
    return (*model_)(record_argument(std::forward<Args>(args))...);
  }
  /// A tensor as a variable of this tape: a parameter's gradient is collected, anything else is a constant.
  template <class T, int R, class B>
  variable<T, R, B> record(tensor<T, R, B> const& x) const {
    return detail::lift(x, tape_);
  }
  Model& operator*() const { return *model_; }
  Model* operator->() const { return model_; }

 private:
  template <class A>
  decltype(auto) record_argument(A&& a) const {
    if constexpr (plain_expression<A>) return record(eval(a));
    else return std::forward<A>(a);
  }
  Model* model_;
  std::shared_ptr<tape> tape_;
};

/// The value of f(m) and the gradient of every parameter of `model`, where m calls the model with recorded arguments:
///   auto [loss, gradients] = value_and_grad(model, [&](auto& m) { return cross_entropy(m(tokens), targets); });
/// Needs nn/module.hpp (for_each_parameter). Throws if the result is not one number.
template <class Model, class F>
  requires(!expression<F>)
auto value_and_grad(Model& model, F const& f) {
  auto t = std::make_shared<tape>();
  detail::tape_scope const whole(*t);
  for_each_parameter(model, [&](auto const&, auto& parameter) {
    if constexpr (floating<typename std::remove_cvref_t<decltype(parameter)>::value_type>) t->watch(parameter);
  });
  recorded_model<Model> m(model, t);
  auto value = [&] {
    recording_scope const scope;
    return detail::run_backward(*t, f(m));
  }();
  return value_and_gradients<decltype(value), gradients>{std::move(value), gradients(t)};
}

/// The value of f(x...) and the gradient with respect to each x, as a tuple in order; that of integers is 0. f takes variables.
template <class F, class... T, int... R, class... B>
  requires(sizeof...(T) > 0)
auto value_and_grad(F const& f, tensor<T, R, B> const&... x) {
  static_assert((floating<T> || ...), "cog: value_and_grad of integers, which have no gradient");
  static_assert(std::invocable<F const&, variable<T, R, B> const&...>,
                "cog: value_and_grad calls the function with variables, and it cannot be: let it take auto const& (if it does, the error is in its body)");
  auto t = std::make_shared<tape>();
  detail::tape_scope const whole(*t);
  auto const inputs = std::tuple(variable<T, R, B>(x, t, t->new_slot())...);
  auto value = detail::unpack([&](auto const&... v) { return detail::run_backward(*t, f(v...)); }, inputs);
  auto result = detail::unpack(
      [&](auto const&... v) {
        return std::tuple([&] {
          using V = std::remove_cvref_t<decltype(v)>;
          return t->template buffer<typename V::value_type, V::rank, typename V::backend_type>(v.slot(), v.value());
        }()...);
      },
      inputs);
  return value_and_gradients<decltype(value), decltype(result)>{std::move(value), std::move(result)};
}

/// f(x...) without keeping what it computes: only the arguments are saved, and f runs again on the way back.
/// f must be a pure function of its arguments and of watched parameters (dropout included: its numbers are counted).
template <class F, class... X>
  requires((expression<X> && ...) && (recorded_expression<X> || ...))
auto checkpoint(F const& f, X const&... x) {
  auto const raw = std::tuple(evaluate(x)...);
  std::shared_ptr<tape> const t = detail::unpack([](auto const&... v) { return detail::tape_of(v...); }, raw);
  auto const inputs = detail::unpack([&](auto const&... v) { return std::tuple(detail::lift(v, t)...); }, raw);
  auto y = [&] {
    pause_recording const paused;
    return detail::unpack([&](auto const&... v) { return tensor(evaluate(f(v.value()...))); }, inputs);
  }();
  using Y = decltype(y);
  auto const slot = t->new_slot();
  t->push(slot, std::type_identity<Y>{}, [f, inputs, t = t.get()](Y const& g) {
    std::size_t const mark = t->length();
    auto const again = detail::unpack([&](auto const&... v) { return variable(evaluate(f(v...))); }, inputs);
    if (again.needs_gradient()) again.recorder()->add(again.slot(), g);
    t->run_back(mark);
  });
  return variable<typename Y::value_type, Y::rank, typename Y::backend_type>(y, t, slot);
}
/// Of tensors: f(x...).
template <class F, class... X>
  requires(plain_expression<X> && ...)
auto checkpoint(F const& f, X const&... x) {
  return f(x...);
}

}  // namespace cog
