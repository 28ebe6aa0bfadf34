// Attention of variables: the fused forward and backward kernels, recorded as one step. Saves q, k, v, out and logsumexp: O(N).
#pragma once

#include <cog/attention/attention.hpp>
#include <cog/autograd/variable.hpp>

namespace cog {

template <class Q, class K, class V>
concept recorded_attention = expression<Q> && expression<K> && expression<V> &&
                             (recorded_expression<Q> || recorded_expression<K> || recorded_expression<V>);

/// As attention<Rule> of tensors; q, k or v is recorded, the others are constants or watched parameters.
template <attention_rule Rule, expression Q, expression K, expression V, class M = no_mask_type>
  requires recorded_attention<Q, K, V>
auto attention(Q const& query, K const& key, V const& value, M const& mask = {}, attention_options const& options = {}) {
  static_assert(detail::attention_operands<Q, K, V, M>());
  auto const& raw_q = evaluate(query);
  auto const& raw_k = evaluate(key);
  auto const& raw_v = evaluate(value);
  std::shared_ptr<tape> const t = detail::tape_of(raw_q, raw_k, raw_v);
  auto const q = detail::lift(raw_q, t);
  auto const k = detail::lift(raw_k, t);
  auto const v = detail::lift(raw_v, t);
  pause_recording const paused;
  auto const state = attention_forward<Rule>(q.value(), k.value(), v.value(), mask, options);
  using O = std::remove_cvref_t<decltype(state.out)>;
  return detail::record(
      state.out, t,
      [q, k, v, state, mask, options](O const& g) {
        auto const d = attention_backward<Rule>(q.value(), k.value(), v.value(), state.out, state.logsumexp, g, mask, options);
        detail::accumulate(q, d.dq);
        detail::accumulate(k, d.dk);
        detail::accumulate(v, d.dv);
      },
      q, k, v);
}

template <expression Q, expression K, expression V, class M = no_mask_type>
  requires recorded_attention<Q, K, V>
auto cog_attention(Q const& q, K const& k, V const& v, M const& mask = {}, attention_options const& options = {}) {
  return attention<cog_rule>(q, k, v, mask, options);
}
template <expression Q, expression K, expression V, class M = no_mask_type>
  requires recorded_attention<Q, K, V>
auto softmax_attention(Q const& q, K const& k, V const& v, M const& mask = {}, attention_options const& options = {}) {
  return attention<softmax_rule>(q, k, v, mask, options);
}

}  // namespace cog
