// What stands around a model of latents: the autoencoder that makes pictures of them, and CLIP's encoder for what they
// are to show.
#pragma once

#include <cog/io/tokenizer_clip.hpp>
#include <cog/models/autoencoder_kl.hpp>
#include <cog/models/clip_text.hpp>

#include "model.hpp"

namespace image {

/// Widths and depths as the weights have them. Throws when these are no autoencoder's.
cog::autoencoder_kl_config autoencoder_config(cog::safetensors_file const& file, double scale_factor);

template <class B, class T>
cog::autoencoder_kl<T, B> load_autoencoder(typename B::context const& ctx, std::filesystem::path const& file,
                                           double scale_factor) {
  cog::autoencoder_kl<T, B> out;
  load_file(file, [&](auto const& source) {
    out = cog::autoencoder_kl<T, B>(ctx, autoencoder_config(source, scale_factor));
    load_parameters(out, source);
  });
  check_finite(out, file);
  return out;
}

/// The pictures of latents [n, z_channels, ...], in float. A few at a time: their activations are large.
template <class B, class T>
cog::tensor<float, 4, B> decode(cog::autoencoder_kl<T, B> const& autoencoder, cog::tensor<float, 4, B> const& latents) {
  constexpr cog::index_t at_once = 4;
  cog::tensor<float, 4, B> out;
  for (cog::index_t first = 0; first < latents.extent(0); first += at_once) {
    auto const part = cog::slice(latents, 0, first, std::min(first + at_once, latents.extent(0)));
    auto const made = cog::eval(cog::cast<float>(autoencoder.decode(cog::eval(cog::cast<T>(part)))));
    out = out.has_storage() ? cog::concatenate(0, out, made) : made;
  }
  return out;
}

/// config.json as transformers has it, of a text encoder or of a whole CLIP; what it does not say is as in
/// clip-vit-large-patch14.
cog::clip_text_config clip_config(std::filesystem::path const& folder);

/// A folder of model.safetensors, vocab.json, merges.txt and config.json, as CLIP is published.
template <class B, class T>
struct text_encoder {
  cog::clip_tokenizer tokenizer;
  cog::clip_text<T, B> model;

  text_encoder(typename B::context const& ctx, std::filesystem::path const& folder)
      : tokenizer(cog::clip_tokenizer::load(folder / "vocab.json", folder / "merges.txt")),
        model(ctx, clip_config(folder)) {
    load_file(folder / "model.safetensors", [&](auto const& source) { model.load(source); });
    check_finite(model, folder / "model.safetensors");
  }
  /// The states of every token of each text, [texts, positions, width].
  cog::tensor<float, 3, B> operator()(std::vector<std::string> const& texts) const {
    auto const positions = model.config.max_position_embeddings;
    std::vector<std::int32_t> ids;
    for (auto const& text : texts)
      for (auto id : tokenizer.encode_padded(text, positions)) ids.push_back(id);
    auto const tokens =
        cog::from(model.token_embedding.weight.context(), ids, {static_cast<cog::index_t>(texts.size()), positions});
    return cog::eval(cog::cast<float>(model(tokens)));
  }
};

}  // namespace image
