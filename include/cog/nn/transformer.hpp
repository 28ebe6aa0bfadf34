// The pre-norm block: h = x + attention(attention_norm(x)), y = h + ffn(ffn_norm(h)).
// Points: hook_resid_pre, hook_attn_out, hook_resid_mid, hook_mlp_out, hook_resid_post [b, n, dim]; those of the parts under ln1, attn
// and ln2.
#pragma once

#include <cog/nn/attention.hpp>
#include <cog/nn/mlp.hpp>
#include <cog/nn/norm.hpp>

namespace cog::nn {

/// x [b, n, dim] -> [b, n, dim]. The parts are any that are called as those of nn/ are.
template <class Attention, class Ffn, class Norm>
struct transformer_block {
  Attention attention;
  Ffn ffn;
  Norm attention_norm, ffn_norm;

  void visit(auto&& f) {
    f("attention", attention);
    f("ffn", ffn);
    f("attention_norm", attention_norm);
    f("ffn_norm", ffn_norm);
  }

  /// Options are those of the attention.
  template <expression X, layer_option... Options>
  auto operator()(X const& input, Options&&... options) const {
    auto& o = observer_among(options...);
    auto const& mask = mask_among(no_mask, options...);
    auto const x = observe(o, "hook_resid_pre", input);
    auto const normal = attention_norm(x, scope(o, "ln1"));
    auto const heads = attention(normal, mask, cache_among(options...), scope(o, "attn"));
    auto const h = observe(o, "hook_resid_mid", x + observe(o, "hook_attn_out", heads));
    auto const y = observe(o, "hook_mlp_out", ffn(ffn_norm(h, scope(o, "ln2"))));
    return observe(o, "hook_resid_post", h + y);
  }
};

}  // namespace cog::nn
