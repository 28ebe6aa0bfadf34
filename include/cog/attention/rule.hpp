// Attention rules: what of a score is exponentiated, and what sign its weight carries.
// o = sum_j sign_j e^(u_j) v_j / sum_j e^(u_j), with u_j = exponent(s_j) and s_j = scale <q, k_j>.
// A rule is a struct of three static functions, generic over float, double and the CPU's SIMD values.
#pragma once

#include <concepts>

#include <cog/core/math.hpp>

namespace cog {

/// softmax attention: weights are positive and sum to 1.
struct softmax_rule {
  static constexpr char const* name = "softmax_attention";
  /// u(s).
  template <class S> static COG_HD COG_INLINE S exponent(S s) { return s; }
  /// sign(s) p, linear in p: the weight of a score s whose share of the denominator is p = e^(u - logsumexp).
  template <class S> static COG_HD COG_INLINE S weight(S, S p) { return p; }
  /// d loss / d s, from p, g = <d loss / d o, v> and mean = <d loss / d o, o>: p (u'(s) (sign g - mean) + sign'(s) g).
  template <class S> static COG_HD COG_INLINE S gradient(S, S p, S g, S mean) { return p * (g - mean); }
};

/// Cog attention: |s| is exponentiated, the weight carries the sign of s.
/// A score of exactly 0 has weight 0 and gradient 0, and still counts in the denominator: sign(0) = 0.
struct cog_rule {
  static constexpr char const* name = "cog_attention";
  template <class S> static COG_HD COG_INLINE S exponent(S s) {
    using math::abs;
    return abs(s);
  }
  template <class S> static COG_HD COG_INLINE S weight(S s, S p) {
    using math::with_sign_of;
    return with_sign_of(p, s);
  }
  template <class S> static COG_HD COG_INLINE S gradient(S s, S p, S g, S mean) {
    using math::abs;
    S const w = weight(s, p);
    return abs(w) * g - w * mean;  // sign p (sign g - mean), 0 where the sign is 0
  }
};

/// What an attention kernel asks of a rule.
template <class R>
concept attention_rule = requires(float s) {
  { R::name } -> std::convertible_to<char const*>;
  { R::exponent(s) } -> std::same_as<float>;
  { R::weight(s, s) } -> std::same_as<float>;
  { R::gradient(s, s, s, s) } -> std::same_as<float>;
};

static_assert(attention_rule<softmax_rule> && attention_rule<cog_rule>);

}  // namespace cog
