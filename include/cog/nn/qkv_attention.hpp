// Multi-head self-attention with one product for queries, keys and values, under the names of U-ViT: qkv, proj.
// Output k dim + head * width + c of qkv is channel c of that head's query (k = 0), key (1) or value (2).
// Points: hook_q, hook_k, hook_v, hook_z [b, n, H, D], and those of nn/attend.hpp.
#pragma once

#include <cog/nn/attend.hpp>
#include <cog/nn/linear.hpp>
#include <cog/nn/options.hpp>

namespace cog::nn {

/// x [b, n, dim] -> [b, n, dim]. Made with zeros; see `initialise`.
template <floating T, backend B>
struct qkv_attention {
  linear<T, B> qkv, proj;
  index_t heads = 1;
  attention_kind kind = attention_kind::softmax;

  qkv_attention() = default;
  /// Errors: a dim that is not a multiple of heads.
  qkv_attention(typename B::context const& ctx, index_t dim, index_t heads_, attention_kind kind_,
                bool qkv_bias = false)
      : qkv(ctx, dim, 3 * dim, qkv_bias), proj(ctx, dim, dim), heads(heads_), kind(kind_) {
    if (heads < 1 || dim % heads != 0)
      throw error("qkv_attention: a width of ", dim, " is not a multiple of ", heads, " heads");
  }

  void visit(auto&& f) {
    f("qkv", qkv);
    f("proj", proj);
  }

  /// Options: a mask (none by default), an observer.
  template <expression X, layer_option... Options>
  auto operator()(X const& x, Options&&... options) const {
    static_assert(X::rank == 3, "cog: attention is over x [batch, position, dim]");
    auto& o = observer_among(options...);
    auto const [b, n, dim] = x.extents();
    auto const all = reshape(qkv(x), extents<5>{b, n, 3, heads, dim / heads});
    auto const part = [&](char const* point, index_t k) { return heads_first(observe(o, point, select(all, 2, k))); };
    auto const q = part("hook_q", 0), k = part("hook_k", 1), v = part("hook_v", 2);
    auto const z = observe(o, "hook_z", heads_first(attend(kind, q, k, v, mask_among(no_mask, options...), o)));
    return proj(reshape(z, extents<3>{b, n, dim}));
  }
};

}  // namespace cog::nn
