// The text encoder of CLIP (Radford et al. 2021), under the names of the published checkpoints: tokens to the states
// that a text-to-image model is shown, all of them, after the last norm. Causal softmax attention; padding is attended
// to like any token.
#pragma once

#include <vector>

#include <cog/nn/attend.hpp>
#include <cog/nn/embedding.hpp>
#include <cog/nn/linear.hpp>
#include <cog/nn/transformer.hpp>

namespace cog {

/// Those of clip-vit-large-patch14, the encoder of Stable Diffusion 1 and of U-ViT's MS-COCO models.
struct clip_text_config {
  index_t vocab_size = 49408, hidden_size = 768, num_hidden_layers = 12, num_attention_heads = 12,
          intermediate_size = 3072;
  index_t max_position_embeddings = 77;
  double layer_norm_eps = 1e-5;
};

namespace nn {

/// Causal softmax attention with biases: q_proj, k_proj, v_proj, out_proj.
template <floating T, backend B>
struct clip_attention {
  linear<T, B> q_proj, k_proj, v_proj, out_proj;
  index_t heads = 1;

  clip_attention() = default;
  clip_attention(typename B::context const& ctx, index_t dim, index_t heads_)
      : q_proj(ctx, dim, dim), k_proj(ctx, dim, dim), v_proj(ctx, dim, dim), out_proj(ctx, dim, dim), heads(heads_) {}

  void visit(auto&& f) {
    f("q_proj", q_proj);
    f("k_proj", k_proj);
    f("v_proj", v_proj);
    f("out_proj", out_proj);
  }

  template <expression X, layer_option... Options>
  auto operator()(X const& x, Options&&... options) const {
    auto& o = observer_among(options...);
    auto const shape = x.extents();
    auto const split = [&](auto const& layer) {
      return heads_first(reshape(layer(x), extents<4>{shape[0], shape[1], heads, shape[2] / heads}));
    };
    auto const z = attend<softmax_rule>(split(q_proj), split(k_proj), split(v_proj), mask_among(causal, options...), o);
    return out_proj(reshape(heads_first(z), shape));
  }
};

/// fc2(y sigmoid(1.702 y)), y = fc1(x).
template <floating T, backend B>
struct quick_gelu_mlp {
  linear<T, B> fc1, fc2;

  quick_gelu_mlp() = default;
  quick_gelu_mlp(typename B::context const& ctx, index_t dim, index_t hidden)
      : fc1(ctx, dim, hidden), fc2(ctx, hidden, dim) {}

  void visit(auto&& f) {
    f("fc1", fc1);
    f("fc2", fc2);
  }

  auto operator()(auto const& x) const {
    return fc2(eval(fuse([](auto y) { return y * sigmoid(y * 1.702); }, fc1(x))));
  }
};

}  // namespace nn

template <floating T, backend B>
struct clip_block : nn::transformer_block<nn::clip_attention<T, B>, nn::quick_gelu_mlp<T, B>, nn::layer_norm<T, B>> {
  void visit(auto&& f) {
    f("layer_norm1", this->attention_norm);
    f("self_attn", this->attention);
    f("layer_norm2", this->ffn_norm);
    f("mlp", this->ffn);
  }
};

/// tokens [b, n], n up to max_position_embeddings -> [b, n, hidden_size].
template <floating T, backend B>
struct clip_text {
  using value_type = T;
  using backend_type = B;
  using context_type = typename B::context;

  clip_text_config config;
  nn::embedding<T, B> token_embedding, position_embedding;
  std::vector<clip_block<T, B>> layers;
  nn::layer_norm<T, B> final_layer_norm;

  clip_text() = default;
  /// Zero weights: see `load`.
  clip_text(context_type const& ctx, clip_text_config const& c)
      : config(c),
        token_embedding(ctx, c.vocab_size, c.hidden_size),
        position_embedding(ctx, c.max_position_embeddings, c.hidden_size),
        final_layer_norm(ctx, c.hidden_size, c.layer_norm_eps) {
    if (c.num_attention_heads < 1 || c.hidden_size % c.num_attention_heads != 0)
      throw error("clip_text: hidden_size = ", c.hidden_size,
                  " is not a multiple of num_attention_heads = ", c.num_attention_heads);
    for (index_t l = 0; l < c.num_hidden_layers; ++l)
      layers.push_back({{{ctx, c.hidden_size, c.num_attention_heads},
                         {ctx, c.hidden_size, c.intermediate_size},
                         {ctx, c.hidden_size, c.layer_norm_eps},
                         {ctx, c.hidden_size, c.layer_norm_eps}}});
  }

  void visit(auto&& f) {
    f("text_model.embeddings.token_embedding", token_embedding);
    f("text_model.embeddings.position_embedding", position_embedding);
    f("text_model.encoder.layers", layers);
    f("text_model.final_layer_norm", final_layer_norm);
  }

  /// Official weights; the picture half of a whole CLIP, the projections and the buffer of positions are skipped.
  template <class Source>
  void load(Source const& source) {
    load_parameters(*this, source, [](std::string_view name) {
      return !name.starts_with("text_model.") || name.ends_with("position_ids");
    });
  }

  /// Errors: more tokens than positions, a token outside the vocabulary.
  template <class Tokens>
  auto operator()(Tokens const& tokens) const {
    index_t const n = tokens.extents()[1];
    if (n > config.max_position_embeddings)
      throw error("clip_text: tokens of shape ", tokens.extents(), " for ", config.max_position_embeddings,
                  " positions");
    auto x = eval(token_embedding(tokens) + slice(position_embedding.weight, 0, 0, n));
    for (auto const& layer : layers) x = layer(x, causal);
    return final_layer_norm(x);
  }
};

}  // namespace cog
