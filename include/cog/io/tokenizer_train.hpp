// Learns the merges of byte-level BPE from text. The result depends on the text alone: ties go to the lower ids.
// Time grows with the distinct words, not with the text: a megabyte gives 4,096 tokens in well under a second.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cog/core/config.hpp>
#include <cog/core/error.hpp>
#include <cog/io/tokenizer_bpe.hpp>

namespace cog {

struct bpe_options {
  index_t vocab_size = 4096;    // special tokens and the 256 bytes included
  index_t min_frequency = 2;    // pairs that occur less often are not merged
  std::vector<std::string> special_tokens = {"<|endoftext|>"};  // ids 0, 1, ...; in the text they are borders
};

/// Collects the words of any number of texts, then learns: `bpe_trainer t({.vocab_size = 8192}); t.add(a); t.add(b);
/// auto tokenizer = t.train();`. Given the same words, Hugging Face's BpeTrainer finds the same merges.
class bpe_trainer {
 public:
  /// Throws when the vocabulary has no room for the bytes and the special tokens.
  explicit bpe_trainer(bpe_options options = {})
      : options_(std::move(options)), specials_(number(options_.special_tokens)) {
    auto const least = static_cast<index_t>(256 + options_.special_tokens.size());
    if (options_.vocab_size < least)
      throw error("bpe_trainer: a vocabulary of ", options_.vocab_size, " cannot hold 256 bytes and ",
                  options_.special_tokens.size(), " special tokens; at least ", least, " is needed");
  }

  /// Counts the words of a text. A word does not continue from one text to the next.
  void add(std::string_view text) {
    specials_.split(
        text,
        [&](std::string_view stretch) {
          detail::for_each_gpt2_piece(stretch, [&](std::string_view piece) {
            auto const at = words_.find(piece);
            if (at != words_.end()) ++at->second;
            else words_.emplace(piece, 1);
          });
        },
        [](std::int32_t) {});
  }

  /// A tokenizer of at most `vocab_size` tokens; of fewer when the text has nothing left to merge.
  byte_bpe train() const {
    state s;
    for (auto const& token : options_.special_tokens) s.spellings.push_back(token);
    std::array<std::int32_t, 256> byte_ids;  // in the order of their letters, as in GPT-2
    std::vector<std::uint8_t> order(256);
    for (std::size_t b = 0; b < 256; ++b) order[b] = static_cast<std::uint8_t>(b);
    std::ranges::sort(order, {}, [](std::uint8_t b) { return detail::byte_letters[b]; });
    for (std::uint8_t b : order) {
      byte_ids[b] = static_cast<std::int32_t>(s.spellings.size());
      s.spellings.push_back(detail::spelling_of(std::string(1, static_cast<char>(b))));
    }

    for (auto const& [text, count] : words_) {
      word w{{}, count};
      for (char c : text) w.ids.push_back(byte_ids[static_cast<unsigned char>(c)]);
      s.count(w, static_cast<std::int32_t>(s.words.size()));
      s.words.push_back(std::move(w));
    }
    for (auto const& [key, p] : s.pairs) s.heap.push({p.count, key});

    std::unordered_map<std::string, std::int32_t> known;
    for (std::size_t id = 0; id < s.spellings.size(); ++id)
      known.emplace(s.spellings[id], static_cast<std::int32_t>(id));
    std::vector<bpe_merge> merges;
    while (static_cast<index_t>(s.spellings.size()) < options_.vocab_size && !s.heap.empty()) {
      auto const [count, key] = s.heap.top();
      s.heap.pop();
      auto const now = s.pairs[key].count;
      if (now != count) {  // it has become rarer since it was queued
        if (now > 0) s.heap.push({now, key});
        continue;
      }
      if (count < std::max<index_t>(options_.min_frequency, 1)) break;
      bpe_merge m{static_cast<std::int32_t>(key >> 32), static_cast<std::int32_t>(key & 0xffffffffu), 0};
      std::string spelling = s.spellings[static_cast<std::size_t>(m.left)];
      spelling += s.spellings[static_cast<std::size_t>(m.right)];
      auto const [at, fresh] = known.emplace(spelling, static_cast<std::int32_t>(s.spellings.size()));
      m.result = at->second;
      if (fresh) s.spellings.push_back(std::move(spelling));
      merges.push_back(m);
      s.apply(m, key);
    }
    return byte_bpe(std::move(s.spellings), std::move(merges), specials_.all());
  }

 private:
  struct word {
    std::vector<std::int32_t> ids;
    index_t count;
  };
  struct pair_use {
    index_t count = 0;
    std::vector<std::int32_t> words;  // where it occurs or once did
  };
  struct queued {
    index_t count;
    std::uint64_t key;
    bool operator<(queued const& q) const { return count != q.count ? count < q.count : key > q.key; }
  };

  /// The words as they are now, and for every pair of neighbours how often and where it occurs.
  struct state {
    std::vector<std::string> spellings;
    std::vector<word> words;
    std::unordered_map<std::uint64_t, pair_use> pairs;
    std::priority_queue<queued> heap;
    std::vector<std::uint64_t> grown;

    static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
      return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
    }
    void change(std::int32_t left, std::int32_t right, index_t by, std::int32_t where) {
      auto const key = key_of(left, right);
      auto& p = pairs[key];
      p.count += by;
      if (by < 0) return;
      if (p.words.empty() || p.words.back() != where) p.words.push_back(where);
      grown.push_back(key);
    }
    void count(word const& w, std::int32_t where) {
      for (std::size_t i = 0; i + 1 < w.ids.size(); ++i) change(w.ids[i], w.ids[i + 1], w.count, where);
      grown.clear();
    }

    void apply(bpe_merge const& m, std::uint64_t key) {
      auto const where = std::move(pairs[key].words);
      for (std::int32_t i : where) rewrite(words[static_cast<std::size_t>(i)], i, m);
      pairs.erase(key);
      std::ranges::sort(grown);
      grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
      for (auto g : grown)
        if (auto const at = pairs.find(g); at != pairs.end() && at->second.count > 0) heap.push({at->second.count, g});
      grown.clear();
    }
    void rewrite(word& w, std::int32_t where, bpe_merge const& m) {
      std::size_t out = 0;
      for (std::size_t in = 0; in < w.ids.size(); ++in, ++out) {
        if (w.ids[in] != m.left || in + 1 == w.ids.size() || w.ids[in + 1] != m.right) {
          w.ids[out] = w.ids[in];
          continue;
        }
        if (out > 0) {
          change(w.ids[out - 1], m.left, -w.count, where);
          change(w.ids[out - 1], m.result, w.count, where);
        }
        if (in + 2 < w.ids.size()) {
          change(m.right, w.ids[in + 2], -w.count, where);
          change(m.result, w.ids[in + 2], w.count, where);
        }
        w.ids[out] = m.result;
        ++in;
      }
      w.ids.resize(out);
    }
  };

  static std::vector<added_token> number(std::vector<std::string> const& texts) {
    std::vector<added_token> tokens;
    for (auto const& text : texts) tokens.push_back({text, static_cast<std::int32_t>(tokens.size())});
    return tokens;
  }
  struct string_hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  bpe_options options_;
  added_tokens specials_;
  std::unordered_map<std::string, index_t, string_hash, std::equal_to<>> words_;
};

/// Learns from one text.
inline byte_bpe train_byte_bpe(std::string_view text, bpe_options options = {}) {
  bpe_trainer trainer(std::move(options));
  trainer.add(text);
  return trainer.train();
}

}  // namespace cog
