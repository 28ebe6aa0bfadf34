// U-ViT (Bao et al., "All are worth words", 2023) and U-ViC, the same with Cog attention in all blocks but the first
// and the last: predicts the noise in a picture from the picture, its time and a condition, which are all tokens of one
// sequence. Blocks of the second half also see what their counterpart of the first half gave. Parameters have the names
// of the published checkpoints. Points: hook_embed [b, n, dim]; in_blocks.i.*, mid_block.*, out_blocks.i.* as of
// nn/transformer.hpp.
#pragma once

#include <optional>
#include <vector>

#include <cog/autograd/functional.hpp>
#include <cog/nn/conv.hpp>
#include <cog/nn/embedding.hpp>
#include <cog/nn/patch.hpp>
#include <cog/nn/qkv_attention.hpp>
#include <cog/nn/time_embedding.hpp>
#include <cog/nn/transformer.hpp>

namespace cog {

/// The keys of the published configurations. What the condition is follows from them: a text with clip_dim > 0, a class
/// with num_classes > 0, else none.
struct uvit_config {
  index_t img_size = 32, patch_size = 2, in_chans = 3, embed_dim = 512, depth = 12, num_heads = 8;
  double mlp_ratio = 4;
  bool qkv_bias = false, mlp_time_embed = false, conv = true, skip = true;
  bool np = false;  // Cog attention in all blocks but the first and the last
  index_t num_classes = 0;
  index_t clip_dim = 0, num_clip_token = 77;
  bool use_checkpoint = false;  // compute the activations of a block twice instead of keeping them

  bool has_text() const { return clip_dim > 0; }
  bool has_classes() const { return !has_text() && num_classes > 0; }
  index_t grid() const { return img_size / patch_size; }
  index_t hidden() const { return static_cast<index_t>(mlp_ratio * static_cast<double>(embed_dim)); }
  /// Tokens before the patches: the time and the condition.
  index_t extras() const { return 1 + (has_text() ? num_clip_token : has_classes() ? 1 : 0); }
  index_t tokens() const { return extras() + grid() * grid(); }
  /// Of block `i` of depth + 1, counted through in_blocks, mid_block, out_blocks.
  nn::attention_kind kind(index_t i) const {
    return np && i > 0 && i < depth ? nn::attention_kind::cog : nn::attention_kind::softmax;
  }
  /// Errors: an extent that is not positive, an odd depth, a picture that patches do not tile, heads that do not divide
  /// embed_dim, both conditions.
  void check() const {
    struct {
      char const* key;
      index_t value;
    } const extents[] = {{"img_size", img_size},
                         {"patch_size", patch_size},
                         {"in_chans", in_chans},
                         {"embed_dim", embed_dim},
                         {"depth", depth},
                         {"num_heads", num_heads},
                         {"mlp_ratio * embed_dim", hidden()},
                         {"num_clip_token", num_clip_token}};
    for (auto const& [key, value] : extents)
      if (value < 1) throw error("uvit: ", key, " = ", value, "; at least 1 is needed");
    if (depth % 2 != 0) throw error("uvit: depth = ", depth, " is odd; blocks of both halves are paired");
    if (img_size % patch_size != 0)
      throw error("uvit: img_size = ", img_size, " is not a multiple of patch_size = ", patch_size);
    if (embed_dim % num_heads != 0)
      throw error("uvit: embed_dim = ", embed_dim, " is not a multiple of num_heads = ", num_heads);
    if (clip_dim > 0 && num_classes > 0)
      throw error("uvit: clip_dim = ", clip_dim, " and num_classes = ", num_classes, "; one condition at most");
  }
};

/// A pre-norm block under U-ViT's names, and for the second half what joins the skip connection.
template <floating T, backend B>
struct uvit_block : nn::transformer_block<nn::qkv_attention<T, B>, nn::gelu_mlp<T, B>, nn::layer_norm<T, B>> {
  using block = nn::transformer_block<nn::qkv_attention<T, B>, nn::gelu_mlp<T, B>, nn::layer_norm<T, B>>;
  std::optional<nn::linear<T, B>> skip_linear;  // [2 dim] -> [dim]

  uvit_block() = default;
  uvit_block(typename B::context const& ctx, uvit_config const& c, index_t i, bool with_skip = false)
      : block{{ctx, c.embed_dim, c.num_heads, c.kind(i), c.qkv_bias},
              {ctx, c.embed_dim, c.hidden()},
              {ctx, c.embed_dim},
              {ctx, c.embed_dim}} {
    if (with_skip) skip_linear.emplace(ctx, 2 * c.embed_dim, c.embed_dim);
  }

  void visit(auto&& f) {
    f("norm1", this->attention_norm);
    f("attn", this->attention);
    f("norm2", this->ffn_norm);
    f("mlp", this->ffn);
    f("skip_linear", skip_linear);
  }
};

/// x [b, in_chans, img_size, img_size], times [b] -> the noise, of x's shape.
template <floating T, backend B>
struct uvit {
  using value_type = T;
  using backend_type = B;
  using context_type = typename B::context;

  uvit_config config;
  tensor<T, 3, B> pos_embed;  // [1, tokens, dim]
  nn::patch_embedding<T, B> patch_embed;
  std::optional<nn::linear<T, B>> context_embed, time_embed_in, time_embed_out;
  std::optional<nn::embedding<T, B>> label_emb;
  std::vector<uvit_block<T, B>> in_blocks, out_blocks;
  uvit_block<T, B> mid_block;
  nn::layer_norm<T, B> norm;
  nn::linear<T, B> decoder_pred;
  std::optional<nn::conv2d<T, B>> final_layer;
  nn::time_embedding<T, B> time;

  uvit() = default;
  /// Zero matrices and norm weights of 1: see `initialise` and `load_parameters`. Errors: see uvit_config::check.
  uvit(context_type const& ctx, uvit_config const& c) : config(c) {
    c.check();
    index_t const dim = c.embed_dim, half = c.depth / 2;
    pos_embed = zeros<T>(ctx, {1, c.tokens(), dim});
    patch_embed = {ctx, c.in_chans, dim, c.patch_size};
    if (c.has_text()) context_embed.emplace(ctx, c.clip_dim, dim);
    if (c.has_classes()) label_emb.emplace(ctx, c.num_classes, dim);
    if (c.mlp_time_embed) {
      time_embed_in.emplace(ctx, dim, 4 * dim);
      time_embed_out.emplace(ctx, 4 * dim, dim);
    }
    for (index_t i = 0; i < half; ++i) in_blocks.emplace_back(ctx, c, i);
    mid_block = {ctx, c, half};
    for (index_t i = 0; i < half; ++i) out_blocks.emplace_back(ctx, c, half + 1 + i, c.skip);
    norm = {ctx, dim};
    decoder_pred = {ctx, dim, c.patch_size * c.patch_size * c.in_chans};
    if (c.conv) final_layer.emplace(ctx, c.in_chans, c.in_chans, 3, 1, 1);
    time = {ctx, dim};
  }

  void visit(auto&& f) {
    f("pos_embed", pos_embed);
    f("patch_embed.proj", patch_embed);
    f("context_embed", context_embed);
    f("label_emb", label_emb);
    f("time_embed.0", time_embed_in);
    f("time_embed.2", time_embed_out);
    f("in_blocks", in_blocks);
    f("mid_block", mid_block);
    f("out_blocks", out_blocks);
    f("norm", norm);
    f("decoder_pred", decoder_pred);
    f("final_layer", final_layer);
  }

  context_type const& context() const { return pos_embed.context(); }

  /// As published: matrices and positions from a normal of deviation 0.02, labels from the standard normal,
  /// convolutions uniform within 1 / sqrt(fan-in); the other biases 0.
  void initialise(std::uint64_t seed) {
    for_each_parameter(*this, [&]<class X>(std::string const& name, X& x) {
      auto const stream = nn::stream_of(name);
      if constexpr (X::rank == 2 || X::rank == 3)
        nn::normal{name.starts_with("label_emb") ? 1.0 : 0.02}(x, seed, stream);
    });
    auto const convolution = [&](auto& layer, char const* name) {
      double const bound = 1 / std::sqrt(static_cast<double>(layer.weight.size() / layer.weight.extent(0)));
      nn::detail::fill_uniform(layer.weight, bound, seed, nn::stream_of(std::string(name) + ".weight"));
      nn::detail::fill_uniform(layer.bias, bound, seed, nn::stream_of(std::string(name) + ".bias"));
    };
    convolution(patch_embed, "patch_embed.proj");
    if (final_layer) convolution(*final_layer, "final_layer");
  }

  /// Without a condition.
  template <expression X, expression Times>
  auto operator()(X const& x, Times const& times) const {
    return (*this)(x, times, no_condition{}, no_observer{});
  }
  /// With labels [b] of classes, or a text's states [b, num_clip_token, clip_dim].
  template <expression X, expression Times, expression Condition>
  auto operator()(X const& x, Times const& times, Condition const& condition) const {
    return (*this)(x, times, condition, no_observer{});
  }
  /// With an observer too. Errors: pictures of another shape, a condition of another kind than the configuration's.
  template <expression X, expression Times, class Condition, observer O>
  auto operator()(X const& input, Times const& times, Condition const& condition, O&& o) const {
    auto const x = eval(cast<T>(input));
    index_t const b = x.extents()[0];
    if (x.extents() != extents<4>{b, config.in_chans, config.img_size, config.img_size} ||
        times.extents() != extents<1>{b})
      throw error("uvit: pictures of shape ", x.extents(), " and times of shape ", times.extents(), ", not [batch, ",
                  config.in_chans, ", ", config.img_size, ", ", config.img_size, "] and [batch]");
    auto tokens = eval(with_condition(unsqueeze(embed_time(times), 1), patch_embed(x), condition) + pos_embed);
    tokens = observe(o, "hook_embed", tokens);

    std::vector<decltype(tokens)> skips;
    for (std::size_t i = 0; i < in_blocks.size(); ++i) {
      tokens = run(in_blocks[i], tokens, scope(o, "in_blocks", i));
      skips.push_back(tokens);
    }
    tokens = run(mid_block, tokens, scope(o, "mid_block"));
    for (std::size_t i = 0; i < out_blocks.size(); ++i) {
      if (out_blocks[i].skip_linear) tokens = (*out_blocks[i].skip_linear)(concatenate(-1, tokens, skips.back()));
      skips.pop_back();
      tokens = run(out_blocks[i], tokens, scope(o, "out_blocks", i));
    }
    auto const patches = slice(decoder_pred(norm(tokens)), 1, config.extras(), config.tokens());
    auto const y = unpatchify(patches, config.patch_size, config.grid(), config.grid(), patch_order::channels_last);
    return final_layer ? (*final_layer)(y) : y;
  }

 private:
  struct no_condition {};

  auto embed_time(auto const& times) const {
    auto const t = time(times);
    if (!time_embed_in) return t;
    return (*time_embed_out)((*time_embed_in)(t, [](auto const& y) { return silu(y); }));
  }

  template <class Condition>
  auto with_condition(auto const& time_token, auto const& patches, Condition const& condition) const {
    if constexpr (std::same_as<Condition, no_condition>) {
      if (label_emb || context_embed) throw error("uvit: a condition is needed: ", label_emb ? "labels" : "a text");
      return concatenate(1, time_token, patches);
    } else if constexpr (Condition::rank == 1) {
      if (!label_emb) throw error("uvit: labels for a model that has no classes");
      return concatenate(1, unsqueeze((*label_emb)(condition), 1), time_token, patches);
    } else {
      if (!context_embed) throw error("uvit: a text for a model that takes none");
      return concatenate(1, time_token, (*context_embed)(cast<T>(condition)), patches);
    }
  }

  template <class O>
  auto run(uvit_block<T, B> const& block, auto const& x, O&& o) const {
    if (!config.use_checkpoint) return block(x, o);
    return checkpoint([&block, o](auto const& v) { return block(v, O(o)); }, x);
  }
};

}  // namespace cog
