// Scalar mathematics for kernels: one name for host and device, one place for what the standard library lacks.
// A SIMD value brings its own overloads, found by argument-dependent look-up; ops call these unqualified.
#pragma once

#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>

#include <cog/core/config.hpp>

namespace cog::math {

template <class S>
concept scalar = std::is_arithmetic_v<S>;
template <class S>
concept real = std::floating_point<S>;

/// Limits as constants: device code may read a constant, not call std::numeric_limits.
template <class S> inline constexpr S infinity = std::numeric_limits<S>::infinity();
template <class S> inline constexpr S lowest = std::numeric_limits<S>::lowest();
template <class S> inline constexpr S highest = std::numeric_limits<S>::max();

template <real S> COG_HD S exp(S x) { return std::exp(x); }
/// e^x for x <= 0: where it is below the normal numbers, 0 will do.
template <real S> COG_HD S exp_decay(S x) { return std::exp(x); }
template <real S> COG_HD S log(S x) { return std::log(x); }
template <real S> COG_HD S sqrt(S x) { return std::sqrt(x); }
template <real S> COG_HD S rsqrt(S x) { return S(1) / std::sqrt(x); }
template <real S> COG_HD S tanh(S x) { return std::tanh(x); }
template <real S> COG_HD S erf(S x) { return std::erf(x); }
template <real S> COG_HD S sin(S x) { return std::sin(x); }
template <real S> COG_HD S cos(S x) { return std::cos(x); }
template <real S> COG_HD S pow(S x, S y) { return std::pow(x, y); }
/// |a| with the sign bit of s.
template <real S> COG_HD S copysign(S a, S s) { return std::copysign(a, s); }
/// p >= 0 with the sign of s; 0 where s is 0.
template <real S> COG_HD S with_sign_of(S p, S s) { return s == S(0) ? S(0) : std::copysign(p, s); }
template <real S> COG_HD S floor(S x) { return std::floor(x); }
template <real S> COG_HD S fma(S a, S b, S c) { return a * b + c; }  // contracted where the target has the instruction
template <scalar S> COG_HD S abs(S x) { return x < S(0) ? S(-x) : x == S(0) ? S(0) : x; }
/// -1, 0 or 1; sign(-0.0) = 0.
template <scalar S> COG_HD S sign(S x) { return S((S(0) < x) - (x < S(0))); }
// A NaN in either argument is the result, as in NumPy and PyTorch.
template <scalar S> COG_HD S max(S a, S b) { return a > b || a != a ? a : b; }
template <scalar S> COG_HD S min(S a, S b) { return a < b || a != a ? a : b; }
template <scalar S> COG_HD S where(bool c, S a, S b) { return c ? a : b; }

}  // namespace cog::math
