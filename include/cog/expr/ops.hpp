// Element-wise operations: one struct each, with its value and its derivative, over a scalar-like type S
// (float on a GPU, a SIMD register on the CPU). Everything else follows: the functions of operators.hpp, both backends,
// the fused derivative, the gradient check and the reference page run over `all_ops`.
//   apply(x...)        the value
//   vjp(g, y, x...)    for each argument: g times the derivative, given the value y = apply(x...)
//   domain             where the gradient check samples
#pragma once

#include <tuple>
#include <type_traits>

#include <cog/core/dtype.hpp>
#include <cog/core/math.hpp>

namespace cog {

namespace op {

struct range {
  double low, high;
};

/// The derivatives of one operation with respect to its arguments.
template <class S, int N>
struct adjoints {
  S at[N];
};
template <class S, class... Rest>
COG_HD adjoints<S, 1 + sizeof...(Rest)> each(S first, Rest... rest) {
  return {{first, rest...}};
}

/// The wider type of one operand or two.
template <class... T>
struct wider;
template <class A>
struct wider<A> {
  using type = A;
};
template <class A, class B>
struct wider<A, B> {
  using type = promote_t<A, B>;
};

// What kind of operation: fixes the result type and the type computed in.
/// The result has the wider type of the operands.
struct arithmetic {
  template <class... T>
  using result = typename wider<T...>::type;
  static constexpr bool differentiable = true;
};
/// Needs real numbers: on integers it would lose them.
struct transcendental : arithmetic {
  static constexpr bool real_only = true;
};
/// The result is bool; no gradient flows.
struct comparison {
  template <class...>
  using result = bool;
  static constexpr bool differentiable = false;
};

#define COG_OP_HD template <class S> COG_HD COG_INLINE static

// ---- arithmetic
struct add : arithmetic {
  static constexpr char const* name = "add";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x, S y) { return x + y; }
  COG_OP_HD auto vjp(S g, S, S, S) { return each(g, g); }
};
struct subtract : arithmetic {
  static constexpr char const* name = "subtract";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x, S y) { return x - y; }
  COG_OP_HD auto vjp(S g, S, S, S) { return each(g, -g); }
};
struct multiply : arithmetic {
  static constexpr char const* name = "multiply";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x, S y) { return x * y; }
  COG_OP_HD auto vjp(S g, S, S x, S y) { return each(g * y, g * x); }
};
struct divide : transcendental {
  static constexpr char const* name = "divide";
  static constexpr range domain{0.5, 3};
  COG_OP_HD S apply(S x, S y) { return x / y; }
  COG_OP_HD auto vjp(S g, S z, S, S y) { return each(g / y, -(g * z) / y); }
};
struct negate : arithmetic {
  static constexpr char const* name = "negate";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x) { return -x; }
  COG_OP_HD auto vjp(S g, S, S) { return each(-g); }
};
/// On equal arguments the derivative goes to the first.
struct maximum : arithmetic {
  static constexpr char const* name = "maximum";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x, S y) { using math::max; return max(x, y); }
  COG_OP_HD auto vjp(S g, S, S x, S y) { using math::where; return each(where(x >= y, g, S(0)), where(x >= y, S(0), g)); }
};
struct minimum : arithmetic {
  static constexpr char const* name = "minimum";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x, S y) { using math::min; return min(x, y); }
  COG_OP_HD auto vjp(S g, S, S x, S y) { using math::where; return each(where(x <= y, g, S(0)), where(x <= y, S(0), g)); }
};
struct abs : arithmetic {
  static constexpr char const* name = "abs";
  static constexpr range domain{0.2, 3};
  COG_OP_HD S apply(S x) { using math::abs; return abs(x); }
  COG_OP_HD auto vjp(S g, S, S x) { using math::sign; return each(g * sign(x)); }
};
/// -1, 0, 1; derivative 0.
struct sign : arithmetic {
  static constexpr char const* name = "sign";
  static constexpr range domain{0.2, 3};
  COG_OP_HD S apply(S x) { using math::sign; return sign(x); }
  COG_OP_HD auto vjp(S, S, S) { return each(S(0)); }
};
/// x^y; the derivative in x is 0 where y = 0, the one in y is taken as 0 where x <= 0.
struct pow : transcendental {
  static constexpr char const* name = "pow";
  static constexpr range domain{0.5, 2};
  COG_OP_HD S apply(S x, S y) { using math::pow; return pow(x, y); }
  COG_OP_HD auto vjp(S g, S z, S x, S y) {
    using math::pow; using math::log; using math::where;
    return each(where(y == S(0), S(0), g * y * pow(x, y - S(1))), g * z * where(x > S(0), log(where(x > S(0), x, S(1))), S(0)));
  }
};
struct square : arithmetic {
  static constexpr char const* name = "square";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x) { return x * x; }
  COG_OP_HD auto vjp(S g, S, S x) { return each(g * (x + x)); }
};
struct reciprocal : transcendental {
  static constexpr char const* name = "reciprocal";
  static constexpr range domain{0.5, 3};
  COG_OP_HD S apply(S x) { return S(1) / x; }
  COG_OP_HD auto vjp(S g, S y, S) { return each(-(g * y * y)); }
};

// ---- exponentials and roots
struct exp : transcendental {
  static constexpr char const* name = "exp";
  static constexpr range domain{-2, 2};
  COG_OP_HD S apply(S x) { using math::exp; return exp(x); }
  COG_OP_HD auto vjp(S g, S y, S) { return each(g * y); }
};
struct log : transcendental {
  static constexpr char const* name = "log";
  static constexpr range domain{0.3, 3};
  COG_OP_HD S apply(S x) { using math::log; return log(x); }
  COG_OP_HD auto vjp(S g, S, S x) { return each(g / x); }
};
struct sqrt : transcendental {
  static constexpr char const* name = "sqrt";
  static constexpr range domain{0.3, 3};
  COG_OP_HD S apply(S x) { using math::sqrt; return sqrt(x); }
  COG_OP_HD auto vjp(S g, S y, S) { return each(g * S(0.5) / y); }
};
struct rsqrt : transcendental {
  static constexpr char const* name = "rsqrt";
  static constexpr range domain{0.3, 3};
  COG_OP_HD S apply(S x) { using math::rsqrt; return rsqrt(x); }
  COG_OP_HD auto vjp(S g, S y, S x) { return each(g * S(-0.5) * y / x); }
};

// ---- trigonometric
struct sin : transcendental {
  static constexpr char const* name = "sin";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x) { using math::sin; return sin(x); }
  COG_OP_HD auto vjp(S g, S, S x) { using math::cos; return each(g * cos(x)); }
};
struct cos : transcendental {
  static constexpr char const* name = "cos";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x) { using math::cos; return cos(x); }
  COG_OP_HD auto vjp(S g, S, S x) { using math::sin; return each(-(g * sin(x))); }
};

// ---- activations
struct tanh : transcendental {
  static constexpr char const* name = "tanh";
  static constexpr range domain{-2, 2};
  COG_OP_HD S apply(S x) { using math::tanh; return tanh(x); }
  COG_OP_HD auto vjp(S g, S y, S) { return each(g * (S(1) - y * y)); }
};
struct sigmoid : transcendental {
  static constexpr char const* name = "sigmoid";
  static constexpr range domain{-4, 4};
  COG_OP_HD S apply(S x) { using math::exp; return S(1) / (S(1) + exp(-x)); }
  COG_OP_HD auto vjp(S g, S y, S) { return each(g * y * (S(1) - y)); }
};
struct relu : arithmetic {
  static constexpr char const* name = "relu";
  static constexpr range domain{0.2, 3};
  COG_OP_HD S apply(S x) { using math::max; return max(x, S(0)); }
  COG_OP_HD auto vjp(S g, S, S x) { using math::where; return each(where(x > S(0), g, S(0))); }
};
/// x sigmoid(x).
struct silu : transcendental {
  static constexpr char const* name = "silu";
  static constexpr range domain{-4, 4};
  COG_OP_HD S apply(S x) { using math::exp; return x / (S(1) + exp(-x)); }
  COG_OP_HD auto vjp(S g, S y, S x) {
    S const s = sigmoid::apply(x);
    return each(g * (s + y * (S(1) - s)));
  }
};
/// Error function.
struct erf : transcendental {
  static constexpr char const* name = "erf";
  static constexpr range domain{-2, 2};
  COG_OP_HD S apply(S x) { using math::erf; return erf(x); }
  COG_OP_HD auto vjp(S g, S, S x) { using math::exp; return each(g * S(1.1283791670955126) * exp(-(x * x))); }
};
/// x (1 + erf(x / sqrt 2)) / 2.
struct gelu : transcendental {
  static constexpr char const* name = "gelu";
  static constexpr range domain{-3, 3};
  COG_OP_HD S apply(S x) { using math::erf; return S(0.5) * x * (S(1) + erf(x * S(0.7071067811865476))); }
  COG_OP_HD auto vjp(S g, S, S x) {
    using math::erf; using math::exp;
    S const cdf = S(0.5) * (S(1) + erf(x * S(0.7071067811865476)));
    return each(g * (cdf + x * S(0.3989422804014327) * exp(S(-0.5) * x * x)));
  }
};
/// The tanh approximation of gelu (Hendrycks and Gimpel): x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.
struct gelu_tanh : transcendental {
  static constexpr char const* name = "gelu_tanh";
  static constexpr range domain{-3, 3};
  COG_OP_HD S inner(S x) { return S(0.7978845608028654) * x * (S(1) + S(0.044715) * x * x); }
  COG_OP_HD S apply(S x) { using math::tanh; return S(0.5) * x * (S(1) + tanh(inner(x))); }
  COG_OP_HD auto vjp(S g, S, S x) {
    using math::tanh;
    S const t = tanh(inner(x));
    S const slope = S(0.7978845608028654) * (S(1) + S(3 * 0.044715) * x * x);
    return each(g * S(0.5) * (S(1) + t + x * (S(1) - t * t) * slope));
  }
};

// ---- comparisons and choice
struct less : comparison {
  static constexpr char const* name = "less";
  COG_OP_HD auto apply(S x, S y) { return x < y; }
};
struct less_equal : comparison {
  static constexpr char const* name = "less_equal";
  COG_OP_HD auto apply(S x, S y) { return x <= y; }
};
struct greater : comparison {
  static constexpr char const* name = "greater";
  COG_OP_HD auto apply(S x, S y) { return x > y; }
};
struct greater_equal : comparison {
  static constexpr char const* name = "greater_equal";
  COG_OP_HD auto apply(S x, S y) { return x >= y; }
};
struct equal : comparison {
  static constexpr char const* name = "equal";
  COG_OP_HD auto apply(S x, S y) { return x == y; }
};
struct not_equal : comparison {
  static constexpr char const* name = "not_equal";
  COG_OP_HD auto apply(S x, S y) { return x != y; }
};
struct logical_and : comparison {
  static constexpr char const* name = "logical_and";
  static constexpr bool of_bools = true;
  COG_OP_HD auto apply(S x, S y) { return x && y; }
};
struct logical_or : comparison {
  static constexpr char const* name = "logical_or";
  static constexpr bool of_bools = true;
  COG_OP_HD auto apply(S x, S y) { return x || y; }
};
struct logical_not : comparison {
  static constexpr char const* name = "logical_not";
  static constexpr bool of_bools = true;
  COG_OP_HD auto apply(S x) { return !x; }
};
/// condition ? x : y.
struct where {
  static constexpr char const* name = "where";
  static constexpr bool differentiable = true;
  template <class C, class A, class B>
  using result = promote_t<A, B>;
  template <class M, class S>
  COG_HD COG_INLINE static S apply(M c, S x, S y) { using math::where; return where(c, x, y); }
  template <class S, class M>
  COG_HD COG_INLINE static auto vjp(S g, S, M c, S, S) {
    using math::where;
    return each(S(0), where(c, g, S(0)), where(c, S(0), g));
  }
};
/// Another dtype. Narrowing rounds.
template <class To>
struct cast {
  static constexpr char const* name = "cast";
  static constexpr bool differentiable = true;
  template <class>
  using result = To;
};

#undef COG_OP_HD

/// The table: everything that follows from an op (gradient check, reference page) runs over it.
using all_ops = std::tuple<add, subtract, multiply, divide, negate, maximum, minimum, abs, sign, pow, square, reciprocal, exp,
                           log, sqrt, rsqrt, sin, cos, tanh, sigmoid, relu, silu, erf, gelu, gelu_tanh, less, less_equal,
                           greater, greater_equal, equal, not_equal, logical_and, logical_or, logical_not, where>;

}  // namespace op

}  // namespace cog
