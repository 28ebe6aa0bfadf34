// Multi-head self-attention under the names of the published Cogformer: qw, kw, vw, ow, each y = x W, without biases.
// Points (n positions, H heads, D head width): hook_q, hook_k, hook_v [b, n, H, D] before rotary; hook_attn_scores (scaled; -inf where
// not visible) and hook_attn [b, H, q, k]; hook_z [b, n, H, D]; hook_result [b, n, H, dim], each head's part of the output.
// The fused kernel runs, with memory O(n), unless scores or weights are wanted.
#pragma once

#include <cog/nn/attend.hpp>
#include <cog/nn/init.hpp>
#include <cog/nn/options.hpp>
#include <cog/nn/rotary.hpp>

namespace cog::nn {

/// The extents of an attention layer.
struct attention_shape {
  index_t dim, heads, head_dim;
  index_t key_heads = 0;  // of keys and values, a divisor of heads; 0: as many
};

/// x [b, n, dim] -> [b, n, dim]. Made with zeros; see `initialise`.
template <floating T, backend B>
struct attention {
  tensor<T, 2, B> qw;      // [dim, heads * head_dim], head by head
  tensor<T, 2, B> kw, vw;  // [dim, key_heads * head_dim]
  tensor<T, 2, B> ow;      // [heads * head_dim, dim]
  index_t heads = 0, key_heads = 0;
  attention_kind kind = attention_kind::softmax;
  nn::rotary<T, B> rotary;  // without a table: none

  attention() = default;
  /// Errors: heads that are not a multiple of key_heads.
  attention(typename B::context const& ctx, attention_shape const& shape, attention_kind kind_, nn::rotary<T, B> rotary_ = {})
      : heads(shape.heads), key_heads(shape.key_heads ? shape.key_heads : shape.heads), kind(kind_), rotary(std::move(rotary_)) {
    if (key_heads < 1 || heads % key_heads != 0)
      throw error("attention: ", heads, " heads are not a multiple of ", key_heads, " heads of keys");
    index_t const wide = heads * shape.head_dim, narrow = key_heads * shape.head_dim;
    qw = cog::zeros<T>(ctx, {shape.dim, wide});
    kw = cog::zeros<T>(ctx, {shape.dim, narrow});
    vw = cog::zeros<T>(ctx, {shape.dim, narrow});
    ow = cog::zeros<T>(ctx, {wide, shape.dim});
  }

  void visit(auto&& f) {
    f("qw", qw);
    f("kw", kw);
    f("vw", vw);
    f("ow", ow);
  }

  /// Options: a mask (none by default), an observer, a kv_cache or counted_cache: x then continues what is cached, and is appended.
  template <expression X, layer_option... Options>
  auto operator()(X const& input, Options&&... options) const {
    auto const& mask = mask_among(no_mask, options...);
    auto& o = observer_among(options...);
    auto& cache = cache_among(options...);
    constexpr bool cached = !std::same_as<std::remove_cvref_t<decltype(cache)>, no_cache>;
    static_assert(!cached || !X::is_recorded, "cog: a kv_cache is for inference, where nothing is recorded");
    static_assert(X::rank == 3, "cog: attention is over x [batch, position, dim]");

    auto const x = eval(input);
    if (x.extents()[2] != qw.extent(0))
      throw error("attention: x of shape ", x.extents(), ", not [batch, position, ", qw.extent(0), "]");
    auto const split = [&](auto const& w, index_t n) {
      return reshape(eval(matmul(x, w)), extents<4>{x.extents()[0], x.extents()[1], n, w.extent(1) / n});
    };
    auto q = observe(o, "hook_q", split(qw, heads));
    auto k = observe(o, "hook_k", split(kw, key_heads));
    auto v = observe(o, "hook_v", split(vw, key_heads));
    auto const turned = [&](auto const& part) {
      if constexpr (cached) return rotary(part, cache.length());
      else return rotary(part);
    };
    if (rotary.has_table()) {
      q = turned(q);
      k = turned(k);
    }
    q = heads_first(q);
    k = heads_first(k);
    v = heads_first(v);
    if constexpr (cached) {
      cache.append(k, v);
      k = cache.keys();
      v = cache.values();
    }
    constexpr bool counted = requires { cache.mask(mask); };
    auto const& visible = [&]() -> decltype(auto) {
      if constexpr (counted) return cache.mask(mask);
      else return (mask);
    }();
    auto const z = observe(o, "hook_z", heads_first(attend(kind, q, k, v, visible, o)));
    if (wants_any(o, "hook_result")) {
      auto const by_head = reshape(ow, extents<4>{1, heads, ow.extent(0) / heads, ow.extent(1)});
      return sum(observe(o, "hook_result", heads_first(eval(matmul(heads_first(z), by_head)))), 2);
    }
    return eval(matmul(reshape(z, extents<3>{x.extents()[0], x.extents()[1], ow.extent(0)}), ow));
  }
};

}  // namespace cog::nn
