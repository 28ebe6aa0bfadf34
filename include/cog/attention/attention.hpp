// Attention: o = sum_j sign_j e^(u_j) v_j / sum_j e^(u_j), with u and the sign of each score given by a rule.
//   cog_attention      u = |s|, sign = sign(s)        softmax_attention      u = s, sign = 1
// s = scale <q, k>, q: [B, Hq, Nq, D], k: [B, Hkv, Nk, D], v: [B, Hkv, Nk, E], o: [B, Hq, Nq, E], any strides.
// One fused kernel where the backend has it (memory O(N)), the composed form elsewhere.
#pragma once

#include <cmath>
#include <optional>

#include <cog/attention/arguments.hpp>
#include <cog/attention/composed.hpp>
#include <cog/attention/mask.hpp>
#include <cog/attention/rule.hpp>
#include <cog/attention/state.hpp>

namespace cog {

/// What the attention functions take besides q, k, v and the mask: `{.scale = 0.1}`.
struct attention_options {
  std::optional<double> scale{};  // > 0; 1 / sqrt(D) if not given
};

/// The gradients of q, k, v.
template <floating T, backend B>
using attention_gradients = composed::gradients<T, B>;

namespace detail {

/// Throws unless q, k (and v) fit together; gives [B, Hq, Nq, Nk].
inline extents<4> check_attention(char const* name, extents<4> const& q, extents<4> const& k) {
  if (q[0] != k[0] || q[3] != k[3])
    throw error(name, ": q ", q, " and k ", k, " differ in batch or width [batch, head, position, width]");
  if (k[1] == 0 ? q[1] != 0 : q[1] % k[1] != 0)
    throw error(name, ": the heads of q ", q, " are not a multiple of the heads of k ", k);
  return {q[0], q[1], q[2], k[2]};
}
inline extents<4> check_attention(char const* name, extents<4> const& q, extents<4> const& k, extents<4> const& v) {
  if (k[0] != v[0] || k[1] != v[1] || k[2] != v[2])
    throw error(name, ": k ", k, " and v ", v, " differ in batch, heads or positions [batch, head, position, width]");
  return check_attention(name, q, k);
}
inline double attention_scale(char const* name, attention_options const& options, index_t width) {
  double const scale = options.scale.value_or(width > 0 ? 1 / std::sqrt(static_cast<double>(width)) : 1);
  if (!(scale > 0) || !std::isfinite(scale)) throw error(name, ": scale = ", scale, "; it must be finite and above 0");
  return scale;
}

/// Uninitialised [B, H, N, W] that lies as x does: heads inside positions where x has them so, and a layer that cut its
/// heads out of [batch, position, channel] sees the result, or a gradient, in that order without a copy.
template <class T, backend B>
tensor<T, 4, B> laid_out_as(tensor<T, 4, B> const& x, extents<4> const& e) {
  if (x.extents()[1] > 1 && x.strides()[1] < x.strides()[2])
    return permuted(tensor<T, 4, B>(x.context(), extents<4>{e[0], e[2], e[1], e[3]}), {0, 2, 1, 3});
  return {x.context(), e};
}

/// True if q, k and v can be attended with under this mask; otherwise does not compile, and says why.
template <class Q, class K, class V, class M>
consteval bool attention_operands() {
  static_assert(attention_mask<M>, "cog: attention under something that is no mask; a tensor of bool is one as boolean{x}, and before options write no_mask");
  constexpr bool ranks = Q::rank == 4 && K::rank == 4 && V::rank == 4;
  static_assert(ranks, "cog: attention is over q, k and v of shape [batch, head, position, width]");
  using T = typename Q::value_type;
  constexpr bool types = floating<T> && std::same_as<T, typename K::value_type> && std::same_as<T, typename V::value_type>;
  static_assert(types, "cog: attention is over q, k and v of one floating type; write cast<T>(x)");
  using B = typename common_backend<Q, K, V>::type;
  return ranks && types && std::same_as<B, typename Q::backend_type> && attention_mask<M>;
}

}  // namespace detail

/// The output, which lies in memory as q does, and the logsumexp of the exponents: what `attention_backward` and `merge`
/// need.
/// Errors: shapes that do not fit (both are named), a scale that is not positive, a mask of the wrong shape.
template <attention_rule Rule, floating T, backend B, attention_mask M = no_mask_type>
attention_state<T, B> attention_forward(tensor<T, 4, B> const& q, tensor<T, 4, B> const& k, tensor<T, 4, B> const& v,
                                        M const& mask = {}, attention_options const& options = {}) {
  using C = compute_t<T>;
  auto const scores = detail::check_attention(Rule::name, q.extents(), k.extents(), v.extents());
  double const scale = detail::attention_scale(Rule::name, options, q.extents()[3]);
  auto const lowered = mask.lower(scores);
  if constexpr (attention_backend<B, Rule, T, std::remove_const_t<decltype(lowered)>>) {
    attention_state<T, B> state{detail::laid_out_as(q, {scores[0], scores[1], scores[2], v.extents()[3]}),
                                {q.context(), extents<3>{scores[0], scores[1], scores[2]}}};
    B::template attention_forward<Rule>(
        q.context(), attention_arguments<T, std::remove_const_t<decltype(lowered)>>{
                         q.view(), k.view(), v.view(), state.out.view(), state.logsumexp.view(), C(scale), lowered});
    return state;
  } else {
    auto const wide = composed::forward<Rule>(eval(cast<C>(q)), eval(cast<C>(k)), eval(cast<C>(v)), mask, scale);
    return {eval(cast<T>(wide.out)), wide.logsumexp};
  }
}

/// dq, dk, dv from the results of attention_forward with the same arguments, and the gradient of out.
/// A score of exactly 0 under cog_rule, what is not visible, and a query that sees nothing have gradient 0.
template <attention_rule Rule, floating T, backend B, attention_mask M = no_mask_type>
attention_gradients<T, B> attention_backward(tensor<T, 4, B> const& q, tensor<T, 4, B> const& k,
                                             tensor<T, 4, B> const& v, tensor<T, 4, B> const& out,
                                             tensor<compute_t<std::type_identity_t<T>>, 3, B> const& logsumexp,
                                             tensor<T, 4, B> const& out_gradient, M const& mask = {},
                                             attention_options const& options = {}) {
  using C = compute_t<T>;
  auto const scores = detail::check_attention(Rule::name, q.extents(), k.extents(), v.extents());
  double const scale = detail::attention_scale(Rule::name, options, q.extents()[3]);
  extents<4> const results{scores[0], scores[1], scores[2], v.extents()[3]};
  if (out.extents() != results || out_gradient.extents() != results)
    throw error(Rule::name, ": out ", out.extents(), " and its gradient ", out_gradient.extents(), " should be ",
                results);
  if (logsumexp.extents() != extents<3>{scores[0], scores[1], scores[2]})
    throw error(Rule::name, ": logsumexp ", logsumexp.extents(), " for scores ", scores);
  auto const lowered = mask.lower(scores);
  if constexpr (attention_backend<B, Rule, T, std::remove_const_t<decltype(lowered)>>) {
    attention_gradients<T, B> d{detail::laid_out_as(q, q.extents()), detail::laid_out_as(k, k.extents()),
                                detail::laid_out_as(v, v.extents())};
    B::template attention_backward<Rule>(
        q.context(), attention_backward_arguments<T, std::remove_const_t<decltype(lowered)>>{
                         q.view(), k.view(), v.view(), out.view(), logsumexp.view(), out_gradient.view(), d.dq.view(),
                         d.dk.view(), d.dv.view(), C(scale), lowered});
    return d;
  } else {
    auto const d = composed::backward<Rule>(eval(cast<C>(q)), eval(cast<C>(k)), eval(cast<C>(v)), eval(cast<C>(out)),
                                            logsumexp, eval(cast<C>(out_gradient)), mask, scale);
    return {eval(cast<T>(d.dq)), eval(cast<T>(d.dk)), eval(cast<T>(d.dv))};
  }
}

/// Attention under any rule: [B, Hq, Nq, E]. Errors as attention_forward.
template <attention_rule Rule, floating T, backend B, attention_mask M = no_mask_type>
tensor<T, 4, B> attention(tensor<T, 4, B> const& q, tensor<T, 4, B> const& k, tensor<T, 4, B> const& v,
                          M const& mask = {}, attention_options const& options = {}) {
  detail::check_recording(q);
  detail::check_recording(k);
  detail::check_recording(v);
  return attention_forward<Rule>(q, k, v, mask, options).out;
}

/// Lazy arguments are evaluated first.
template <attention_rule Rule, plain_expression Q, plain_expression K, plain_expression V, class M = no_mask_type>
auto attention(Q const& q, K const& k, V const& v, M const& mask = {}, attention_options const& options = {}) {
  if constexpr (detail::attention_operands<Q, K, V, M>()) return attention<Rule>(eval(q), eval(k), eval(v), mask, options);
}

/// The matrix of weights, [B, Hq, Nq, Nk], for those who want to look: O(Nq Nk) memory.
template <attention_rule Rule, floating T, backend B, attention_mask M = no_mask_type>
tensor<T, 4, B> attention_weights(tensor<T, 4, B> const& q, tensor<T, 4, B> const& k, M const& mask = {},
                                  attention_options const& options = {}) {
  using C = compute_t<T>;
  detail::check_attention(Rule::name, q.extents(), k.extents());
  double const scale = detail::attention_scale(Rule::name, options, q.extents()[3]);
  return eval(cast<T>(composed::weigh<Rule>(eval(cast<C>(q)), eval(cast<C>(k)), mask, scale).weights));
}

/// Cog attention: w_j = sign(s_j) e^|s_j| / sum_k e^|s_k|. Weights may be negative; |w| sums to 1 less the share of
/// scores that are exactly 0. cog_attention(q, k, v), cog_attention(q, k, v, causal, {.scale = 0.1}).
template <floating T, backend B, attention_mask M = no_mask_type>
tensor<T, 4, B> cog_attention(tensor<T, 4, B> const& q, tensor<T, 4, B> const& k, tensor<T, 4, B> const& v,
                              M const& mask = {}, attention_options const& options = {}) {
  return attention<cog_rule>(q, k, v, mask, options);
}

template <plain_expression Q, plain_expression K, plain_expression V, class M = no_mask_type>
auto cog_attention(Q const& q, K const& k, V const& v, M const& mask = {}, attention_options const& options = {}) {
  return attention<cog_rule>(q, k, v, mask, options);
}

/// Softmax attention: w_j = e^(s_j) / sum_k e^(s_k).
template <floating T, backend B, attention_mask M = no_mask_type>
tensor<T, 4, B> softmax_attention(tensor<T, 4, B> const& q, tensor<T, 4, B> const& k, tensor<T, 4, B> const& v,
                                  M const& mask = {}, attention_options const& options = {}) {
  return attention<softmax_rule>(q, k, v, mask, options);
}

template <plain_expression Q, plain_expression K, plain_expression V, class M = no_mask_type>
auto softmax_attention(Q const& q, K const& k, V const& v, M const& mask = {}, attention_options const& options = {}) {
  return attention<softmax_rule>(q, k, v, mask, options);
}

}  // namespace cog
