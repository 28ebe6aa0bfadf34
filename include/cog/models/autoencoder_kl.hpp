// The autoencoder of Stable Diffusion (Rombach et al. 2022, KL-f8): pictures to the moments of a latent normal and
// latents to pictures, each side shorter by 2 for every level but the last. Parameters have the names of the published
// checkpoints. Attention in the middle is over all pixels with one head, by the fused kernel: memory is O(pixels), and
// convolutions work in parts.
#pragma once

#include <optional>
#include <vector>

#include <cog/nn/attend.hpp>
#include <cog/nn/conv.hpp>
#include <cog/nn/group_norm.hpp>

namespace cog {

struct autoencoder_kl_config {
  index_t ch = 128;
  std::vector<index_t> ch_mult = {1, 2, 4, 4};  // channels of each level, times ch
  index_t num_res_blocks = 2, z_channels = 4, in_channels = 3, out_ch = 3;
  double scale_factor = 0.18215;  // a latent is this times a draw of the moments; U-ViT's MS-COCO models have 0.23010

  index_t levels() const { return static_cast<index_t>(ch_mult.size()); }
  index_t channels(index_t level) const { return ch * ch_mult.at(static_cast<std::size_t>(level)); }
  /// Errors: a width that is not positive or that 32 groups do not divide, no level.
  void check() const {
    if (ch_mult.empty() || num_res_blocks < 1 || z_channels < 1 || in_channels < 1 || out_ch < 1)
      throw error("autoencoder_kl: levels, num_res_blocks, z_channels, in_channels and out_ch must be at least 1");
    for (index_t l = 0; l < levels(); ++l)
      if (channels(l) < 1 || channels(l) % 32 != 0)
        throw error("autoencoder_kl: level ", l, " has ", channels(l), " channels, not a multiple of 32");
  }
};

namespace nn {

/// x + conv2(silu(norm2(conv1(silu(norm1 x))))), x by a 1 x 1 convolution where the channels change.
template <floating T, backend B>
struct resnet_block {
  group_norm<T, B> norm1, norm2;
  conv2d<T, B> conv1, conv2;
  std::optional<conv2d<T, B>> nin_shortcut;

  resnet_block() = default;
  resnet_block(typename B::context const& ctx, index_t in, index_t out)
      : norm1(ctx, in), norm2(ctx, out), conv1(ctx, in, out, 3, 1, 1), conv2(ctx, out, out, 3, 1, 1) {
    if (in != out) nin_shortcut.emplace(ctx, in, out, 1);
  }

  void visit(auto&& f) {
    f("norm1", norm1);
    f("conv1", conv1);
    f("norm2", norm2);
    f("conv2", conv2);
    f("nin_shortcut", nin_shortcut);
  }

  auto operator()(auto const& x) const {
    auto const activation = [](auto const& y) { return silu(y); };
    auto const h = conv2(norm2(conv1(norm1(x, activation)), activation));
    return eval((nin_shortcut ? (*nin_shortcut)(x) : x) + h);
  }
};

/// x + proj_out(softmax attention over all pixels), one head.
template <floating T, backend B>
struct pixel_attention {
  group_norm<T, B> norm;
  conv2d<T, B> q, k, v, proj_out;

  pixel_attention() = default;
  pixel_attention(typename B::context const& ctx, index_t c)
      : norm(ctx, c), q(ctx, c, c, 1), k(ctx, c, c, 1), v(ctx, c, c, 1), proj_out(ctx, c, c, 1) {}

  void visit(auto&& f) {
    f("norm", norm);
    f("q", q);
    f("k", k);
    f("v", v);
    f("proj_out", proj_out);
  }

  auto operator()(auto const& x) const {
    auto const shape = x.extents();
    auto const normal = norm(x);
    auto const pixels = [&](auto const& layer) {  // [b, 1, pixel, channel]
      return transposed(reshape(layer(normal), extents<4>{shape[0], 1, shape[1], shape[2] * shape[3]}));
    };
    auto const z = cog::attention<softmax_rule>(pixels(q), pixels(k), pixels(v));
    return eval(x + proj_out(reshape(transposed(z), shape)));
  }
};

/// The blocks of one resolution, then the change of resolution.
template <floating T, backend B>
struct autoencoder_level {
  std::vector<resnet_block<T, B>> block;
  std::optional<conv2d<T, B>> downsample, upsample;

  void visit(auto&& f) {
    f("block", block);
    f("downsample.conv", downsample);
    f("upsample.conv", upsample);
  }

  template <class X>
  auto operator()(X x) const {
    for (auto const& b : block) x = b(x);
    if (downsample) x = (*downsample)(pad(x, {.bottom = 1, .right = 1}));
    if (upsample) x = (*upsample)(upsample_nearest(x, 2));
    return x;
  }
};

/// conv_in, then down the levels and through the middle (encoder) or through the middle and up (decoder), then
/// conv_out.
template <floating T, backend B>
struct autoencoder_half {
  conv2d<T, B> conv_in, conv_out;
  std::vector<autoencoder_level<T, B>> down, up;  // of an encoder, of a decoder: both by resolution, the highest first
  resnet_block<T, B> block_1, block_2;
  pixel_attention<T, B> attn_1;
  group_norm<T, B> norm_out;

  autoencoder_half() = default;
  autoencoder_half(typename B::context const& ctx, autoencoder_kl_config const& c, bool decodes) {
    index_t const last = c.levels() - 1, middle = c.channels(last);
    index_t width = decodes ? middle : c.ch;
    conv_in = {ctx, decodes ? c.z_channels : c.in_channels, width, 3, 1, 1};
    auto& levels = decodes ? up : down;
    levels.resize(static_cast<std::size_t>(c.levels()));
    for (index_t step = 0; step <= last; ++step) {
      index_t const l = decodes ? last - step : step;
      auto& level = levels[static_cast<std::size_t>(l)];
      for (index_t b = 0; b < c.num_res_blocks + decodes; ++b) {
        level.block.emplace_back(ctx, width, c.channels(l));
        width = c.channels(l);
      }
      if (decodes && l > 0) level.upsample.emplace(ctx, width, width, 3, 1, 1);
      if (!decodes && l < last) level.downsample.emplace(ctx, width, width, 3, 2);
    }
    block_1 = {ctx, middle, middle};
    attn_1 = {ctx, middle};
    block_2 = {ctx, middle, middle};
    norm_out = {ctx, width};
    conv_out = {ctx, width, decodes ? c.out_ch : 2 * c.z_channels, 3, 1, 1};
  }

  void visit(auto&& f) {
    f("conv_in", conv_in);
    f("down", down);
    f("mid.block_1", block_1);
    f("mid.attn_1", attn_1);
    f("mid.block_2", block_2);
    f("up", up);
    f("norm_out", norm_out);
    f("conv_out", conv_out);
  }

  auto operator()(auto const& x) const {
    auto h = conv_in(x);
    for (auto const& level : down) h = level(h);
    h = block_2(attn_1(block_1(h)));
    for (std::size_t l = up.size(); l-- > 0;) h = up[l](h);
    return conv_out(norm_out(h, [](auto const& y) { return silu(y); }));
  }
};

}  // namespace nn

/// scale (mean + exp(clamp(log variance, -30, 20) / 2) noise): a latent from its moments [b, 2 z, ...], noise [b, z, ...].
template <expression M, expression N>
auto draw_latent(M const& moments, N const& noise, double scale) {
  auto const m = eval(moments);
  index_t const z = m.extents()[1] / 2;
  return eval((slice(m, 1, 0, z) + exp(clamp(slice(m, 1, z, 2 * z), -30.0, 20.0) * 0.5) * noise) * scale);
}

/// Pictures [b, in_channels, h, w] in [-1, 1]; latents [b, z_channels, h / 2^(levels - 1), ...].
template <floating T, backend B>
struct autoencoder_kl {
  using value_type = T;
  using backend_type = B;
  using context_type = typename B::context;

  autoencoder_kl_config config;
  nn::autoencoder_half<T, B> encoder, decoder;
  nn::conv2d<T, B> quant_conv, post_quant_conv;

  autoencoder_kl() = default;
  /// Zero weights: see `initialise` and `load_parameters`. Errors: see autoencoder_kl_config::check.
  autoencoder_kl(context_type const& ctx, autoencoder_kl_config const& c) : config(c) {
    c.check();
    encoder = {ctx, c, false};
    decoder = {ctx, c, true};
    quant_conv = {ctx, 2 * c.z_channels, 2 * c.z_channels, 1};
    post_quant_conv = {ctx, c.z_channels, c.z_channels, 1};
  }

  void visit(auto&& f) {
    f("encoder", encoder);
    f("decoder", decoder);
    f("quant_conv", quant_conv);
    f("post_quant_conv", post_quant_conv);
  }

  /// The mean and the logarithm of the variance, joined along the channels: what feature files keep.
  auto moments(auto const& pictures) const { return quant_conv(encoder(pictures)); }
  /// See draw_latent.
  template <expression M, expression N>
  auto draw(M const& moments_, N const& noise) const {
    return draw_latent(moments_, noise, config.scale_factor);
  }
  /// The pictures of latents; what lies outside [-1, 1] is for the caller to cut.
  template <expression Z>
  auto decode(Z const& latents) const {
    return decoder(post_quant_conv(eval(latents * (1 / config.scale_factor))));
  }
  /// There and back through the mean: what training compares with the pictures.
  auto operator()(auto const& pictures) const {
    auto const m = moments(pictures);
    return decoder(post_quant_conv(slice(m, 1, 0, config.z_channels)));
  }
};

}  // namespace cog
