// Text from a language model: prefill, then one token at a time with a cache; greedy or sampled, any number of rows at once.
// A row's tokens depend on its prompt, its number and the seed, not on the other rows.
#pragma once

#include <functional>
#include <vector>

#include <cog/attention/kv_cache.hpp>
#include <cog/models/sampling.hpp>

namespace cog {

/// How `generate` goes on and where it stops: `{.max_tokens = 200, .sampling = {.temperature = 0.8}}`.
struct generation {
  index_t max_tokens = 100;
  cog::sampling sampling{};
  std::uint64_t seed = 0;
  std::vector<std::int64_t> stop{};          // a row ends before one of these
  std::optional<std::int64_t> bos{};         // the token that opens a document; earlier ones (left padding) are then not seen
  std::function<bool(index_t row, std::int64_t token)> on_token{};  // sees each token at once; false ends the generation
};

/// The new tokens of every row, without the prompt and without the token that stopped it. prompt: [b, n], n >= 1.
/// Where a row outgrows the model's max_seq_length, the cache is filled again with its last half.
/// Errors: an empty prompt, logits that are NaN, see `sampling`.
template <class Model, class I, backend B>
  requires(std::same_as<I, std::int32_t> || std::same_as<I, std::int64_t>)
std::vector<std::vector<std::int64_t>> generate(Model const& model, tensor<I, 2, B> const& prompt, generation const& settings = {}) {
  settings.sampling.check();
  auto const batch = static_cast<std::size_t>(prompt.extent(0));
  index_t const window = model.config.max_seq_length;
  if (prompt.extent(1) < 1) throw error("generate: a prompt of shape ", prompt.extents(), " has no tokens");
  auto const& ctx = prompt.context();

  std::vector<std::vector<std::int64_t>> text(batch), made(batch);  // prompt and all; the new ones
  std::vector<random_stream> random;
  std::vector<bool> done(batch, false);
  auto const ids = prompt.to_vector();
  for (std::size_t b = 0; b < batch; ++b) {
    auto const first = ids.begin() + static_cast<std::ptrdiff_t>(b) * prompt.extent(1);
    text[b].assign(first, first + prompt.extent(1));
    random.push_back({settings.seed, static_cast<std::uint64_t>(b) << 32});
  }

  auto cache = model.make_cache(static_cast<index_t>(batch), window);
  document_counter documents;
  // The logits after the last `n` tokens of every row.
  auto const feed = [&](index_t n) {
    std::vector<std::int64_t> last;
    for (auto const& row : text) last.insert(last.end(), row.end() - n, row.end());
    auto const tokens = from(ctx, std::span<std::int64_t const>(last), extents<2>{static_cast<index_t>(batch), n});
    auto const states = settings.bos ? model.hidden(tokens, document{documents.next(tensor(tokens == *settings.bos))}, cache)
                                     : model.hidden(tokens, cache);
    return eval(cast<float>(model.logits(select(states, 1, n - 1)))).to_vector();
  };

  std::size_t left = batch;
  for (index_t step = 0; step < settings.max_tokens && left > 0; ++step) {
    index_t const length = static_cast<index_t>(text[0].size());
    index_t fresh = step == 0 ? std::min(length, window) : 1;
    if (cache.length() + fresh > window) {
      cache.truncate(0);
      documents = {};
      fresh = std::max<index_t>(1, window / 2);
    }
    auto const logits = feed(fresh);
    std::size_t const vocabulary = logits.size() / batch;
    for (std::size_t b = 0; b < batch; ++b) {
      if (done[b]) {
        text[b].push_back(text[b].back());  // the batch keeps its shape
        continue;
      }
      auto const token = static_cast<std::int64_t>(
          sample(std::span(logits).subspan(b * vocabulary, vocabulary), settings.sampling, random[b], text[b]));
      text[b].push_back(token);
      done[b] = std::find(settings.stop.begin(), settings.stop.end(), token) != settings.stop.end();
      if (done[b]) {
        --left;
        continue;
      }
      made[b].push_back(token);
      if (settings.on_token && !settings.on_token(static_cast<index_t>(b), token)) return made;
    }
  }
  return made;
}

}  // namespace cog
