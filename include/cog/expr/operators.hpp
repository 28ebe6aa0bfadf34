// The element-wise language: operators and functions on tensors, variables, lazy nodes and numbers. All of them are lazy.
// The functions made by macros are those of expr/ops.hpp; docs/ops.md has them all, with their derivatives.
#pragma once

#include <utility>

#include <cog/expr/node.hpp>
#include <cog/expr/ops.hpp>

namespace cog {

template <class... X>
concept element_wise_arguments = (operand<X> && ...) && (node_like<X> || ...);

#define COG_BINARY(symbol, op_name)                          \
  template <class A, class B>                                \
    requires element_wise_arguments<A, B>                    \
  auto operator symbol(A&& a, B&& b) {                       \
    return detail::make_node<op::op_name>(std::forward<A>(a), std::forward<B>(b)); \
  }
COG_BINARY(+, add)
COG_BINARY(-, subtract)
COG_BINARY(*, multiply)
COG_BINARY(/, divide)
COG_BINARY(<, less)
COG_BINARY(<=, less_equal)
COG_BINARY(>, greater)
COG_BINARY(>=, greater_equal)
COG_BINARY(==, equal)
COG_BINARY(!=, not_equal)
COG_BINARY(&&, logical_and)
COG_BINARY(||, logical_or)
#undef COG_BINARY

#define COG_UNARY(function, op_name)                         \
  template <node_like A>                                     \
  auto function(A&& a) {                                     \
    return detail::make_node<op::op_name>(std::forward<A>(a)); \
  }
COG_UNARY(operator-, negate)
COG_UNARY(operator!, logical_not)
COG_UNARY(abs, abs)
COG_UNARY(sign, sign)
COG_UNARY(square, square)
COG_UNARY(reciprocal, reciprocal)
COG_UNARY(exp, exp)
COG_UNARY(log, log)
COG_UNARY(sqrt, sqrt)
COG_UNARY(rsqrt, rsqrt)
COG_UNARY(sin, sin)
COG_UNARY(cos, cos)
COG_UNARY(tanh, tanh)
COG_UNARY(sigmoid, sigmoid)
COG_UNARY(relu, relu)
COG_UNARY(silu, silu)
COG_UNARY(erf, erf)
COG_UNARY(gelu, gelu)
COG_UNARY(gelu_tanh, gelu_tanh)
#undef COG_UNARY

#define COG_FUNCTION(function, op_name)                      \
  template <class A, class B>                                \
    requires element_wise_arguments<A, B>                    \
  auto function(A&& a, B&& b) {                              \
    return detail::make_node<op::op_name>(std::forward<A>(a), std::forward<B>(b)); \
  }
COG_FUNCTION(pow, pow)
COG_FUNCTION(maximum, maximum)
COG_FUNCTION(minimum, minimum)
#undef COG_FUNCTION

/// low <= x <= high; the derivative is 0 outside.
template <node_like A, operand L, operand H>
auto clamp(A&& x, L&& low, H&& high) {
  return minimum(maximum(std::forward<A>(x), std::forward<L>(low)), std::forward<H>(high));
}

/// condition ? a : b, element by element. `condition` is bool.
template <node_like C, operand A, operand B>
  requires(node_like<A> || node_like<B>)
auto where(C&& condition, A&& a, B&& b) {
  static_assert(std::same_as<typename std::remove_cvref_t<C>::value_type, bool>, "cog: where needs a bool condition");
  using lead = typename detail::lead_type<A, B>::type;
  return mapped<op::where, std::remove_cvref_t<C>, decltype(detail::as_node<lead>(std::forward<A>(a))),
                decltype(detail::as_node<lead>(std::forward<B>(b)))>(
      std::forward<C>(condition), detail::as_node<lead>(std::forward<A>(a)), detail::as_node<lead>(std::forward<B>(b)));
}

/// Another dtype; rounds to nearest even when it narrows to a float type, truncates to an integer type.
template <element To, node_like A>
auto cast(A&& x) {
  using E = std::remove_cvref_t<A>;
  if constexpr (std::same_as<To, typename E::value_type>) return E(std::forward<A>(x));
  else return mapped<op::cast<To>, E>(std::forward<A>(x));
}

}  // namespace cog
