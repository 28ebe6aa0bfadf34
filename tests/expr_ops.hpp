// Every op of op::all_ops against the standard library in double, for one compute type and its storage types. Included by one
// source file a dtype, so that each compiles quickly.
#pragma once

#include "support.hpp"

#include <string>

namespace ops {

using namespace test;
namespace op = cog::op;

/// What an op means, over doubles. An op of the table without a meaning here does not compile.
template <class Op>
struct reference;
#define COG_TEST_UNARY(name, ...) \
  template <> struct reference<op::name> { static auto of(double x) { return __VA_ARGS__; } };
#define COG_TEST_BINARY(name, ...) \
  template <> struct reference<op::name> { static auto of(double x, double y) { return __VA_ARGS__; } };
inline double signum(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
inline double logistic(double x) { return 1 / (1 + std::exp(-x)); }
inline double gelu_tanh(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
COG_TEST_BINARY(add, x + y)
COG_TEST_BINARY(subtract, x - y)
COG_TEST_BINARY(multiply, x * y)
COG_TEST_BINARY(divide, x / y)
COG_TEST_BINARY(pow, std::pow(x, y))
COG_TEST_BINARY(maximum, std::isnan(x) || std::isnan(y) ? NAN : std::max(x, y))
COG_TEST_BINARY(minimum, std::isnan(x) || std::isnan(y) ? NAN : std::min(x, y))
COG_TEST_BINARY(less, x < y)
COG_TEST_BINARY(less_equal, x <= y)
COG_TEST_BINARY(greater, x > y)
COG_TEST_BINARY(greater_equal, x >= y)
COG_TEST_BINARY(equal, x == y)
COG_TEST_BINARY(not_equal, x != y)
COG_TEST_UNARY(negate, -x)
COG_TEST_UNARY(abs, std::abs(x))
COG_TEST_UNARY(sign, signum(x))
COG_TEST_UNARY(square, x * x)
COG_TEST_UNARY(reciprocal, 1 / x)
COG_TEST_UNARY(exp, std::exp(x))
COG_TEST_UNARY(log, std::log(x))
COG_TEST_UNARY(sqrt, std::sqrt(x))
COG_TEST_UNARY(rsqrt, 1 / std::sqrt(x))
COG_TEST_UNARY(sin, std::sin(x))
COG_TEST_UNARY(cos, std::cos(x))
COG_TEST_UNARY(tanh, std::tanh(x))
COG_TEST_UNARY(sigmoid, logistic(x))
COG_TEST_UNARY(relu, x > 0 || std::isnan(x) ? x : 0)
COG_TEST_UNARY(silu, x * logistic(x))
COG_TEST_UNARY(erf, std::erf(x))
COG_TEST_UNARY(gelu, 0.5 * x * std::erfc(-x / std::sqrt(2.0)))
COG_TEST_UNARY(gelu_tanh, gelu_tanh(x))
#undef COG_TEST_UNARY
#undef COG_TEST_BINARY

template <class Op>
inline constexpr bool is_logical = std::same_as<Op, op::where> || requires { Op::of_bools; };  // tested in expr.cpp

template <class Op>
inline constexpr bool is_unary = requires { reference<Op>::of(1.0); };

/// f(Op{}) for every op of numbers.
template <class F>
void for_each_op(F&& f) {
  [&]<class... Op>(std::type_identity<std::tuple<Op...>>) {
    ([&] { if constexpr (!is_logical<Op>) f(Op{}); }(), ...);
  }(std::type_identity<op::all_ops>{});
}

template <class Op, class T, int R>
auto apply(tensor<T, R> const& x, tensor<T, R> const& y) {
  if constexpr (is_unary<Op>) return cog::eval(cog::detail::make_node<Op>(x));
  else return cog::eval(cog::detail::make_node<Op>(x, y));
}
template <class Op>
auto expected(double x, double y) {
  if constexpr (is_unary<Op>) return reference<Op>::of(x);
  else return reference<Op>::of(x, y);
}

/// The relative error allowed in the compute type: float SIMD functions are good to a few units in the last place, and the
/// argument of a power or a phase carries its own rounding.
template <class T>
double tolerance() {
  using C = cog::compute_t<T>;
  return 6 * epsilon<C> + (std::same_as<T, C> ? 0 : 0.5001 * epsilon<T>);
}
/// Sums that cancel (1 + erf, 1 + tanh) and phases are good to the size of their terms.
template <class Op, class T>
double absolute_tolerance(double x) {
  using C = cog::compute_t<T>;
  double absolute = smallest<T>;
  if constexpr (std::same_as<Op, op::gelu> || std::same_as<Op, op::gelu_tanh>) absolute += 2 * epsilon<C> * std::abs(x);
  if constexpr (std::same_as<Op, op::sin> || std::same_as<Op, op::cos>) absolute += 2 * epsilon<C> * std::max(1.0, std::abs(x) / 8);
  if constexpr (std::same_as<Op, op::log>) absolute += epsilon<C>;
  return absolute;
}

template <class Op, class T>
void check_value(double x, double y, auto got) {
  auto const want = expected<Op>(x, y);
  if constexpr (std::same_as<decltype(want), bool const>) {
    if (got == want) return;
  } else {
    double const rounded = std::abs(want) > largest<T> * (1 + epsilon<T> / 4) ? std::copysign(INFINITY, want) : want;
    double relative = tolerance<T>();
    if (std::same_as<Op, op::pow> && want != 0) relative *= 1 + std::abs(std::log(std::abs(want))) / 8;
    if (near(widen(got), rounded, relative, absolute_tolerance<Op, T>(x))) return;
  }
  FAIL_CHECK(Op::name << "(" << x << ", " << y << ") = " << widen(got) << ", not " << want << ", " << cog::name(cog::dtype_of<T>));
}

/// Lengths 1..67, contiguous and strided, every number where the op is used.
template <class T>
void check_lengths() {
  generator random(1);
  for_each_op([&]<class Op>(Op) {
    double low = -20, high = 20;
    if constexpr (requires { Op::domain; }) {
      low = Op::domain.low > 0 ? Op::domain.low / 100 : Op::domain.low * 5;
      high = Op::domain.high * 5;
    }
    for (index_t n = 1; n <= 67; ++n) {
      auto const x = n % 3 ? dense<T>(random, {n}, low, high) : strided<T>(random, {n}, low, high);
      auto const y = n % 2 ? dense<T>(random, {n}, low, high) : strided<T>(random, {n}, low, high);
      auto const z = apply<Op>(x, y);
      REQUIRE(z.extents() == x.extents());
      for (index_t i = 0; i < n; ++i) check_value<Op, T>(widen(x(i)), widen(y(i)), z(i));
    }
  });
}

/// Zeros of both signs, infinities, NaN, the largest and the smallest; the same in a whole register as in part of one.
template <class T>
void check_special_values() {
  std::vector<double> const special = {0.0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, largest<T>, -largest<T>, smallest<T>, -smallest<T>,
                                       0.5, -2, 88.5, -88.5, 700, -700, 30, -30, 9, -9, 100, -104};
  for_each_op([&]<class Op>(Op) {
    for (double x : special)
      for (double y : special) {
        if (is_unary<Op> && !std::isnan(y)) continue;
        T const a = narrow<T>(x), b = narrow<T>(y);
        auto const z = apply<Op>(cog::full<T>(context(), {17}, a), cog::full<T>(context(), {17}, b));
        for (index_t i = 1; i < 17; ++i) REQUIRE(same(z(i), z(0)));
        check_value<Op, T>(widen(a), widen(b), z(0));
      }
  });
}

}  // namespace ops
