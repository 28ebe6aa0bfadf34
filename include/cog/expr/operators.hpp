// The element-wise language: operators and functions on tensors, variables, lazy nodes and numbers. All of them are lazy.
#pragma once

#include <cog/expr/node.hpp>
#include <cog/expr/ops.hpp>

namespace cog {

template <class... X>
concept element_wise_arguments = (operand<X> && ...) && (node_like<X> || ...);

#define COG_BINARY(symbol, op_name)                          \
  template <class A, class B>                                \
    requires element_wise_arguments<A, B>                    \
  auto operator symbol(A const& a, B const& b) {             \
    return detail::make_node<op::op_name>(a, b);             \
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
  auto function(A const& a) {                                \
    return detail::make_node<op::op_name>(a);                \
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
  auto function(A const& a, B const& b) {                    \
    return detail::make_node<op::op_name>(a, b);             \
  }
COG_FUNCTION(pow, pow)
COG_FUNCTION(maximum, maximum)
COG_FUNCTION(minimum, minimum)
#undef COG_FUNCTION

/// low <= x <= high; the derivative is 0 outside.
template <node_like A, operand L, operand H>
auto clamp(A const& x, L const& low, H const& high) {
  return minimum(maximum(x, low), high);
}

/// condition ? a : b, element by element. `condition` is bool.
template <node_like C, operand A, operand B>
  requires(node_like<A> || node_like<B>)
auto where(C const& condition, A const& a, B const& b) {
  static_assert(std::same_as<typename std::remove_cvref_t<C>::value_type, bool>, "cog: where needs a bool condition");
  using lead = typename detail::lead_type<A, B>::type;
  return mapped<op::where, C, decltype(detail::as_node<lead>(a)), decltype(detail::as_node<lead>(b))>(
      condition, detail::as_node<lead>(a), detail::as_node<lead>(b));
}

/// Another dtype; rounds to nearest even when it narrows to a float type, truncates to an integer type.
template <element To, node_like A>
auto cast(A const& x) {
  if constexpr (std::same_as<To, typename A::value_type>) return x;
  else return mapped<op::cast<To>, A>(x);
}

}  // namespace cog
