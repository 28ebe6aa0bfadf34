// Cogformer: a decoder-only language model whose inner layers use Cog attention (pre-norm, RMSNorm, rotary, SwiGLU, no biases,
// untied embeddings). Parameters have the names of the published checkpoints; the softmax Transformer of the same size is
// `attn_type::vanilla`. Memory O(sequence) in training and inference; a call with a cache costs only the new positions.
// Points: hook_embed [b, n, dim], blocks.l.* (nn/transformer.hpp), ln_final.hook_scale, ln_final.hook_normalized.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <cog/nn/embedding.hpp>
#include <cog/nn/loss.hpp>
#include <cog/nn/transformer.hpp>

namespace cog {

/// vanilla: softmax attention in every layer. np: Cog attention in every layer but the first and the last.
enum class attn_type { vanilla, np };

/// From the published configurations' "vanilla" and "np". Errors: any other word.
inline attn_type attn_type_of(std::string_view word) {
  if (word == "vanilla") return attn_type::vanilla;
  if (word == "np") return attn_type::np;
  throw error("cogformer: attn_type '", word, "' is neither 'vanilla' nor 'np'");
}

/// The keys of the published `model_cfg`, then what goes beyond it.
struct cogformer_config {
  index_t vocab_size = 0, n_layers = 0, max_seq_length = 0, dim = 0, n_heads = 0, head_dim = 0, hidden_dim = 0;
  double norm_eps = 1e-6;
  cog::attn_type attn_type = attn_type::np;
  std::vector<index_t> shared_expert_recipe = {1};  // see nn::swiglu

  index_t n_key_heads = 0;                       // heads of keys and values; 0: n_heads
  std::vector<nn::attention_kind> layer_kinds{};  // a kind for each layer instead of attn_type

  nn::attention_kind kind(index_t layer) const {
    if (!layer_kinds.empty()) return layer_kinds.at(static_cast<std::size_t>(layer));
    bool const outer = layer == 0 || layer == n_layers - 1;
    return attn_type == cog::attn_type::np && !outer ? nn::attention_kind::cog : nn::attention_kind::softmax;
  }
  /// Errors: an extent that is not positive, an odd head_dim, layer_kinds of another length than n_layers.
  void check() const {
    struct { char const* key; index_t value; } const extents[] = {
        {"vocab_size", vocab_size}, {"n_layers", n_layers}, {"max_seq_length", max_seq_length}, {"dim", dim},
        {"n_heads", n_heads}, {"head_dim", head_dim}, {"hidden_dim", hidden_dim}};
    for (auto const& [key, value] : extents)
      if (value < 1) throw error("cogformer: ", key, " = ", value, "; at least 1 is needed");
    if (head_dim % 2 != 0) throw error("cogformer: head_dim = ", head_dim, " is odd; rotary turns pairs");
    if (!layer_kinds.empty() && static_cast<index_t>(layer_kinds.size()) != n_layers)
      throw error("cogformer: ", layer_kinds.size(), " kinds of attention for ", n_layers, " layers");
  }
};

/// The keys and values of every layer. A cheap handle; `copy` gives one of its own.
template <floating T, backend B>
struct cogformer_cache {
  std::vector<kv_cache<T, B>> layers;

  kv_cache<T, B>& layer(index_t l) { return layers.at(static_cast<std::size_t>(l)); }
  /// How many positions are cached.
  index_t length() const { return layers.empty() ? 0 : layers.front().length(); }
  index_t capacity() const { return layers.empty() ? 0 : layers.front().capacity(); }
  /// Forgets all but the first `positions`.
  void truncate(index_t positions) {
    for (auto& l : layers) l.truncate(positions);
  }
  cogformer_cache copy() const {
    cogformer_cache out;
    for (auto const& l : layers) out.layers.push_back(l.copy());
    return out;
  }
};

/// The same memory with a length that the backend counts: for a decoding step that is captured once and replayed.
template <floating T, backend B>
struct counted_cogformer_cache {
  tensor<std::int64_t, 0, B> length;
  std::vector<counted_cache<T, B>> layers;

  explicit counted_cogformer_cache(cogformer_cache<T, B> const& cache) {
    if (cache.layers.empty()) throw error("counted_cogformer_cache: a cache without layers");
    length = full<std::int64_t>(cache.layers.front().all_keys().context(), extents<0>{}, cache.length());
    for (auto const& l : cache.layers) layers.emplace_back(l, length);
  }
  counted_cache<T, B>& layer(index_t l) { return layers.at(static_cast<std::size_t>(l)); }
  /// The positions that every layer has appended count from now on.
  void advance(index_t n) { layers.front().advance(n); }
};

/// tokens [b, n] -> logits [b, n, vocab_size].
template <floating T, backend B>
struct cogformer {
  using value_type = T;
  using backend_type = B;
  using context_type = typename B::context;
  using block = nn::transformer_block<nn::attention<T, B>, nn::swiglu<T, B>, nn::rms_norm<T, B>>;

  cogformer_config config;
  nn::embedding<T, B> embedding;
  std::vector<block> layers;
  nn::rms_norm<T, B> norm;
  nn::linear<T, B> output;

  cogformer() = default;
  /// Zero matrices and norm weights of 1: see `initialise` and `load`. Errors: see cogformer_config::check.
  cogformer(context_type const& ctx, cogformer_config const& c) : config(c) {
    c.check();
    embedding = {ctx, c.vocab_size, c.dim};
    nn::rotary<T, B> const rotary(ctx, c.head_dim, 2 * c.max_seq_length);  // as many positions as the published table has
    for (index_t l = 0; l < c.n_layers; ++l)
      layers.push_back({{ctx, {c.dim, c.n_heads, c.head_dim, c.n_key_heads}, c.kind(l), rotary},
                        {ctx, c.dim, c.hidden_dim, c.shared_expert_recipe},
                        {ctx, c.dim, c.norm_eps},
                        {ctx, c.dim, c.norm_eps}});
    norm = {ctx, c.dim, c.norm_eps};
    output = {ctx, c.dim, c.vocab_size, false};
  }

  void visit(auto&& f) {
    f("embedding", embedding);
    f("layers", layers);
    f("norm", norm);
    f("output", output);
  }

  context_type const& context() const { return embedding.weight.context(); }

  /// Every matrix from a normal of this deviation (about 0); norm weights stay.
  void initialise(std::uint64_t seed, double deviation = 0.02) { nn::initialise(*this, seed, nn::normal{deviation}); }

  /// Official weights from a source of tensors by name, such as a safetensors_file. The published buffers and experts beyond the
  /// recipe are skipped. Errors: see load_parameters.
  template <class Source>
  void load(Source const& source) {
    load_parameters(*this, source, [this](std::string_view name) {
      return name == "freqs_cis" || name == "shortcut_bar" || is_further_expert(name);
    });
  }

  /// An empty cache for a batch, with room for `positions` (max_seq_length if not given).
  cogformer_cache<T, B> make_cache(index_t batch, std::optional<index_t> positions = {}) const {
    cogformer_cache<T, B> cache;
    for (auto const& l : layers)
      cache.layers.emplace_back(context(), extents<4>{batch, l.attention.key_heads, positions.value_or(config.max_seq_length), config.head_dim});
    return cache;
  }

  /// The final normalised states [b, n, dim]. Options, in any order: a mask (causal by default; `document` keeps packed documents
  /// apart), an observer, a cogformer_cache: the tokens then continue what is cached.
  /// Errors: a token outside the vocabulary, positions past 2 max_seq_length, a full cache.
  template <class Tokens, nn::layer_option... Options>
  auto hidden(Tokens const& tokens, Options&&... options) const {
    auto& o = nn::observer_among(options...);
    auto const& mask = nn::mask_among(causal, options...);
    auto& cache = nn::cache_among(options...);
    auto x = observe(o, "hook_embed", embedding(tokens));
    for (std::size_t l = 0; l < layers.size(); ++l)
      x = layers[l](x, mask, layer_of(cache, l), scope(o, "blocks", l));
    if constexpr (requires { cache.advance(index_t{}); }) cache.advance(tokens.extents()[1]);
    return norm(x, scope(o, "ln_final"));
  }
  /// The logits of states [..., dim].
  auto logits(auto const& states) const { return output(states); }

  /// The logits of every position; the rest as `hidden`.
  template <class Tokens, nn::layer_option... Options>
  auto operator()(Tokens const& tokens, Options&&... options) const {
    return logits(hidden(tokens, options...));
  }

 private:
  static auto& layer_of(nn::no_cache& none, std::size_t) { return none; }
  static auto& layer_of(auto& cache, std::size_t l) { return cache.layer(static_cast<index_t>(l)); }

  /// layers.N.ffn.shared_experts.K.*, K beyond the recipe.
  bool is_further_expert(std::string_view name) const {
    static constexpr std::string_view part = ".ffn.shared_experts.";
    auto const at = name.find(part);
    if (!name.starts_with("layers.") || at == std::string_view::npos) return false;
    std::string const number(name.substr(at + part.size(), name.find('.', at + part.size()) - at - part.size()));
    return !number.empty() && number.find_first_not_of("0123456789") == std::string::npos &&
           std::stoull(number) >= config.shared_expert_recipe.size();
  }
};

}  // namespace cog
