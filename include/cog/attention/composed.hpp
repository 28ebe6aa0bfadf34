// Attention as a composition of the library's own expressions: the specification, the oracle of the fused kernels, the
// form for a backend without them, and the way to look at the weights. O(Nq Nk) memory.
// One difference to the kernels: a NaN in the *value* of a key that a query does not see reaches it (0 NaN = NaN).
#pragma once

#include <cog/attention/mask.hpp>
#include <cog/attention/rule.hpp>
#include <cog/attention/state.hpp>
#include <cog/expr/contract.hpp>
#include <cog/expr/reduce.hpp>

namespace cog {

namespace op {

/// u(s), what a rule exponentiates.
template <attention_rule Rule>
struct rule_exponent : transcendental {
  static constexpr char const* name = Rule::name;
  template <class S> COG_HD static S apply(S s) { return Rule::exponent(s); }
  template <class S> COG_HD static auto vjp(S g, S, S s) { return each(g * Rule::gradient(s, S(1), S(0), S(-1))); }
};
/// The signed weight of a score s whose share is p.
template <attention_rule Rule>
struct rule_weight : transcendental {
  static constexpr char const* name = Rule::name;
  template <class S> COG_HD static S apply(S s, S p) { return Rule::weight(s, p); }
  template <class S> COG_HD static auto vjp(S g, S, S s, S p) {
    S const slope = Rule::gradient(s, S(1), S(0), S(-1));  // u'(s)
    return each(Rule::gradient(s, p, g, S(0)) - slope * Rule::weight(s, p) * g, g * Rule::weight(s, S(1)));
  }
};
/// d loss / d s.
template <attention_rule Rule>
struct rule_gradient {
  static constexpr char const* name = Rule::name;
  static constexpr bool differentiable = false;
  template <class T, class...> using result = T;
  template <class S> COG_HD static S apply(S s, S p, S g, S mean) { return Rule::gradient(s, p, g, mean); }
};

}  // namespace op

namespace composed {

/// [B, Hq, N, W] -> [B, Hkv, Hq / Hkv, N, W], so that the heads of a group meet their key head by broadcasting.
auto grouped(auto const& x, index_t key_heads) {
  auto const& n = x.extents();
  return reshape(x, extents<5>{n[0], key_heads, key_heads > 0 ? n[1] / key_heads : 0, n[2], n[3]});
}
auto ungrouped(auto const& x) {
  auto const& n = x.extents();
  return reshape(x, extents<4>{n[0], n[1] * n[2], n[3], n[4]});
}

/// scale q k^T: [B, Hq, Nq, Nk].
auto scores(auto const& q, auto const& k, double scale) {
  return ungrouped(eval(matmul(grouped(q, k.extents()[1]), transposed(unsqueeze(k, 2))) * scale));
}

/// Which keys each query sees, [B, Hq, Nq, Nk].
template <backend B, attention_mask M>
tensor<bool, 4, B> visible(typename B::context const& ctx, M const& mask, extents<4> const& scores) {
  tensor<bool, 4, B> out(ctx, scores);
  out.assign(mask.visible(scores));
  return out;
}

/// e^(u - top) where visible, else 0; top: [B, Hq, Nq, 1], -inf where nothing is visible.
template <attention_rule Rule, floating C, backend B>
tensor<C, 4, B> shares(tensor<C, 4, B> const& s, tensor<bool, 4, B> const& seen, tensor<C, 4, B> const& top) {
  auto const finite = where(top == -std::numeric_limits<C>::infinity(), C(0), top);
  return where(seen, exp(cog::detail::make_node<op::rule_exponent<Rule>>(s) - finite), C(0));
}

/// weight(s, p / total) with p = e^(u - top) and total = sum p over the visible keys; logsumexp = top + log total.
template <floating C, backend B>
struct weights_and_logsumexp {
  tensor<C, 4, B> weights;    // [B, Hq, Nq, Nk]
  tensor<C, 3, B> logsumexp;  // [B, Hq, Nq]
};
template <attention_rule Rule, floating C, backend B, attention_mask M>
weights_and_logsumexp<C, B> weigh(tensor<C, 4, B> const& q, tensor<C, 4, B> const& k, M const& mask, double scale) {
  auto const s = scores(q, k, scale);
  auto const seen = visible<B>(s.context(), mask, s.extents());
  constexpr C nothing = -std::numeric_limits<C>::infinity();
  auto top = full<C>(s.context(), extents<4>{s.extents()[0], s.extents()[1], s.extents()[2], 1}, nothing);
  if (s.size() > 0) top = max(where(seen, cog::detail::make_node<op::rule_exponent<Rule>>(s), nothing), -1, keep);
  auto const p = shares<Rule>(s, seen, top);
  auto const total = sum(p, -1, keep);
  return {where(seen, cog::detail::make_node<op::rule_weight<Rule>>(s, p / where(total == C(0), C(1), total)), C(0)),
          eval(squeeze(top, -1) + log(squeeze(total, -1)))};
}

/// out = weights v, and the logsumexp of the exponents.
template <attention_rule Rule, floating C, backend B, attention_mask M>
attention_state<C, B> forward(tensor<C, 4, B> const& q, tensor<C, 4, B> const& k, tensor<C, 4, B> const& v,
                              M const& mask, double scale) {
  auto const [weights, logsumexp] = weigh<Rule>(q, k, mask, scale);
  return {ungrouped(eval(matmul(grouped(weights, k.extents()[1]), unsqueeze(v, 2)))), logsumexp};
}

/// The gradients of q, k, v.
template <floating T, backend B>
struct gradients {
  tensor<T, 4, B> dq, dk, dv;
};

/// With p = e^(u - logsumexp) and g = dout v^T:  dv = weights^T dout,  ds = u'(s) p (sign g - <dout, out>),
/// dq = scale ds k,  dk = scale ds^T q.
template <attention_rule Rule, floating C, backend B, attention_mask M>
gradients<C, B> backward(tensor<C, 4, B> const& q, tensor<C, 4, B> const& k, tensor<C, 4, B> const& v,
                         tensor<C, 4, B> const& out, tensor<C, 3, B> const& logsumexp, tensor<C, 4, B> const& dout,
                         M const& mask, double scale) {
  index_t const key_heads = k.extents()[1];
  auto const s = scores(q, k, scale);
  auto const seen = visible<B>(s.context(), mask, s.extents());
  auto const p = shares<Rule>(s, seen, unsqueeze(logsumexp, -1));
  tensor<C, 4, B> const w = where(seen, cog::detail::make_node<op::rule_weight<Rule>>(s, p), C(0));
  auto const g = ungrouped(eval(matmul(grouped(dout, key_heads), transposed(unsqueeze(v, 2)))));
  auto const mean = sum(dout * out, -1, keep);
  tensor<C, 4, B> const ds = where(seen, cog::detail::make_node<op::rule_gradient<Rule>>(s, p, g, mean), C(0));

  auto const over_group = [&](auto const& rows, auto const& x) {  // sum over the group of rows^T x
    return sum(eval(matmul(transposed(grouped(rows, key_heads)), grouped(x, key_heads))), 2);
  };
  return {ungrouped(eval(matmul(grouped(ds, key_heads), unsqueeze(k, 2)) * scale)), eval(over_group(ds, q) * scale),
          over_group(w, dout)};
}

}  // namespace composed

}  // namespace cog
