// Attention as layers call it: a rule chosen at run time, and scores and weights in sight of an observer who wants
// them. Points: hook_attn_scores (scaled; -inf where not visible) and hook_attn [b, H, q, k]. The fused kernel runs,
// with memory O(n), unless one of them is wanted.
#pragma once

#include <cog/attention/attention.hpp>
#include <cog/autograd/attention.hpp>
#include <cog/autograd/functions.hpp>
#include <cog/nn/observer.hpp>

namespace cog::nn {

/// Which rule turns scores into weights.
enum class attention_kind { softmax, cog };

/// [b, n, H, D] <-> [b, H, n, D].
auto heads_first(auto const& x) { return permuted(x, {0, 2, 1, 3}); }

namespace detail {

/// The composed form, with scores and weights in sight: memory O(n^2).
template <attention_rule Rule, expression Q, class O>
auto attend_in_sight(Q const& query, auto const& key, auto const& value, attention_mask auto const& mask, O& o) {
  using T = typename Q::value_type;
  using C = compute_t<T>;
  constexpr C nothing = -std::numeric_limits<C>::infinity();
  auto const q = eval(cast<C>(query)), k = eval(cast<C>(key)), v = eval(cast<C>(value));
  auto const exponent = [](auto const& s) { return cog::detail::make_node<op::rule_exponent<Rule>>(s); };

  auto const products = composed::scores(q, k, cog::detail::attention_scale(Rule::name, {}, q.extents()[3]));
  auto const seen = composed::visible<typename Q::backend_type>(q.context(), mask, products.extents());
  auto const scores = observe(o, "hook_attn_scores", where(seen, products, nothing));
  auto const s = eval(where(seen, scores, C(0)));  // what is not seen must not be infinite on the way back
  auto const top = max(where(seen, exponent(value_of(s)), nothing), -1, keep);
  auto const shares = eval(where(seen, exp(exponent(s) - where(top == nothing, C(0), top)), C(0)));
  auto const total = sum(shares, -1, keep);
  auto const weight = cog::detail::make_node<op::rule_weight<Rule>>(s, shares / where(total == C(0), C(1), total));
  auto const weights = observe(o, "hook_attn", where(seen, weight, C(0)));
  return eval(cast<T>(composed::ungrouped(eval(matmul(composed::grouped(weights, k.extents()[1]), unsqueeze(v, 2))))));
}

}  // namespace detail

/// attention<Rule> of q [b, H, n, D], k [b, Hk, m, D] and v [b, Hk, m, E], observed.
template <attention_rule Rule, class O>
auto attend(auto const& q, auto const& k, auto const& v, attention_mask auto const& mask, O& o) {
  if (!wants_any(o, "hook_attn_scores", "hook_attn")) return cog::attention<Rule>(q, k, v, mask);
  return detail::attend_in_sight<Rule>(q, k, v, mask, o);
}
template <class O>
auto attend(attention_kind kind, auto const& q, auto const& k, auto const& v, attention_mask auto const& mask, O& o) {
  return kind == attention_kind::cog ? attend<cog_rule>(q, k, v, mask, o) : attend<softmax_rule>(q, k, v, mask, o);
}

}  // namespace cog::nn
