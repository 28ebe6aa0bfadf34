// What a training step is made of: batches in the order of a counter, dropout by number, and the recorded loss.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model.hpp"

namespace lm {

/// Tokens [b, n] and, for each, the token that follows it.
template <class B>
struct batch {
  cog::tensor<std::int32_t, 2, B> tokens, targets;
};

/// Sequences that begin anywhere in the training text. The random stream is the position in the data.
template <class B>
class batch_source {
 public:
  batch_source(typename B::context ctx, std::vector<std::int32_t> tokens, cog::index_t rows, cog::index_t length,
               std::uint64_t seed)
      : random{seed, 0}, ctx_(std::move(ctx)), tokens_(std::move(tokens)), rows_(rows), length_(length) {
    if (static_cast<cog::index_t>(tokens_.size()) <= length)
      throw cog::error("the training text has ", tokens_.size(), " tokens; --context ", length,
                       " needs more than that");
  }

  batch<B> next() {
    std::vector<std::int32_t> x, y;
    for (cog::index_t r = 0; r < rows_; ++r) {
      auto const start = tokens_.begin() + random.below(static_cast<cog::index_t>(tokens_.size()) - length_);
      x.insert(x.end(), start, start + length_);
      y.insert(y.end(), start + 1, start + 1 + length_);
    }
    return {cog::from(ctx_, x, {rows_, length_}), cog::from(ctx_, y, {rows_, length_})};
  }
  std::size_t size() const { return tokens_.size(); }
  /// Tells one training text from another.
  std::uint32_t crc32() const { return cog::detail::crc32(std::as_bytes(std::span(tokens_))); }

  cog::random_stream random;

 private:
  typename B::context ctx_;
  std::vector<std::int32_t> tokens_;
  cog::index_t rows_, length_;
};

/// Dropout of the embeddings and of what each layer adds to the residual stream: an observer that replaces these
/// values. The choice depends on the seed, the number of the batch and the point alone, so that activations which are
/// computed again, recorded or not, are the same.
struct dropout_points {
  double rate;
  std::uint64_t seed, batch;
  bool wants(std::string_view point) const {
    return rate > 0 &&
           (point.ends_with("hook_embed") || point.ends_with("hook_attn_out") || point.ends_with("hook_mlp_out"));
  }
  void on(std::string_view point, auto& value) const {
    auto const kept = bernoulli(value.context(), value.extents(), 1 - rate, seed, cog::nn::stream_of(point) + batch);
    value = where(kept, value * (1 / (1 - rate)), 0);
  }
};

/// The mean loss of a batch as recorded values; with `recompute` a block keeps nothing but its input.
template <class B>
auto recorded_loss(auto& m, batch<B> const& b, dropout_points dropout, bool recompute) {
  if (!recompute) return cross_entropy(m(b.tokens, dropout), b.targets);
  auto x = cog::observe(dropout, "hook_embed", m->embedding(m.record(b.tokens)));
  for (std::size_t l = 0; l < m->layers.size(); ++l)
    x = cog::checkpoint([block = &m->layers[l], dropout, part = "blocks." + std::to_string(l)](
                            auto const& h) { return (*block)(h, cog::causal, cog::scope(dropout, part)); },
                        x);
  return cross_entropy(m->logits(m->norm(x)), b.targets);
}

}  // namespace lm
