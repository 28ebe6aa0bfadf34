// The choice of a token from its logits, on the host. The same logits, settings and random stream give the same token.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include <cog/random/stream.hpp>

namespace cog {

/// Applied in this order, as Hugging Face's generate does; every default leaves the model's distribution as it is.
struct sampling {
  double repetition_penalty = 1;  // of tokens already there: logits > 0 are divided by it, others multiplied (Keskar et al. 2019)
  double temperature = 1;         // divides the logits; 0: the most likely token, nothing is drawn
  index_t top_k = 0;              // the k most likely tokens; 0: all
  double top_p = 1;               // the fewest most likely tokens whose probabilities reach p (Holtzman et al. 2020)
  double min_p = 0;               // tokens of at least p times the largest probability (Nguyen et al. 2024)

  /// Errors: a setting out of its range.
  void check() const {
    if (!(repetition_penalty > 0) || !std::isfinite(repetition_penalty)) throw error("sampling: repetition_penalty = ", repetition_penalty, "; above 0");
    if (!(temperature >= 0) || !std::isfinite(temperature)) throw error("sampling: temperature = ", temperature, "; 0 or more");
    if (top_k < 0) throw error("sampling: top_k = ", top_k, "; 0 (all) or more");
    if (!(top_p > 0 && top_p <= 1)) throw error("sampling: top_p = ", top_p, "; above 0, at most 1");
    if (!(min_p >= 0 && min_p <= 1)) throw error("sampling: min_p = ", min_p, "; between 0 and 1");
  }
};

/// A token that may be drawn.
struct token_candidate {
  index_t token;
  double probability;
};

/// What `sample` draws from: most likely first, the lower token first among equals; probabilities sum to 1.
/// Errors: no logits, a NaN or +inf among them, all of them -inf, a previous token that has no logit.
inline std::vector<token_candidate> candidates(std::span<float const> logits, sampling const& s,
                                               std::span<std::int64_t const> previous = {}) {
  s.check();
  std::vector<token_candidate> all(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] <= std::numeric_limits<float>::max())) throw error("sampling: the logit of token ", i, " is ", logits[i]);
    all[i] = {static_cast<index_t>(i), logits[i]};  // the logit, until the exponential below
  }
  if (s.repetition_penalty != 1) {
    std::vector<bool> seen(all.size());
    for (std::int64_t token : previous) {
      if (token < 0 || token >= static_cast<std::int64_t>(all.size()))
        throw error("sampling: previous token ", token, " among ", all.size(), " logits");
      auto const i = static_cast<std::size_t>(token);
      if (seen[i]) continue;
      seen[i] = true;
      all[i].probability *= all[i].probability > 0 ? 1 / s.repetition_penalty : s.repetition_penalty;
    }
  }
  auto const likelier = [](token_candidate const& a, token_candidate const& b) {
    return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
  };
  std::size_t count = all.size();
  if (s.top_k > 0) count = std::min(count, static_cast<std::size_t>(s.top_k));
  if (s.temperature == 0) count = std::min<std::size_t>(count, 1);
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end(), likelier);
  all.resize(count);
  if (all.empty() || all[0].probability == -std::numeric_limits<double>::infinity())
    throw error("sampling: no token is possible among ", logits.size(), " logits");

  double const top = all[0].probability, temperature = s.temperature == 0 ? 1 : s.temperature;
  double total = 0;
  for (auto& c : all) total += c.probability = std::exp((c.probability - top) / temperature);
  double reached = 0;
  std::size_t kept = 0;
  for (auto const& c : all) {  // the first is always kept
    if (kept > 0 && (reached >= s.top_p * total || c.probability < s.min_p)) break;
    reached += c.probability;
    ++kept;
  }
  all.resize(kept);
  for (auto& c : all) c.probability /= reached;
  return all;
}

/// The next token. Draws one number, none at temperature 0. Errors as `candidates`.
inline index_t sample(std::span<float const> logits, sampling const& s, random_stream& random,
                      std::span<std::int64_t const> previous = {}) {
  auto const from = candidates(logits, s, previous);
  if (s.temperature == 0) return from[0].token;
  double left = random.uniform();
  for (auto const& c : from)
    if ((left -= c.probability) < 0) return c.token;
  return from.back().token;  // rounding
}

}  // namespace cog
