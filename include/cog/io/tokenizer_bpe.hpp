// Byte-level byte-pair encoding as in GPT-2: any bytes can be encoded, and decoding gives exactly those bytes back.
// A tokenizer does not change once built, so threads share it. Encoding remembers words within one call only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cog/core/config.hpp>
#include <cog/core/error.hpp>
#include <cog/io/tokenizer_byte.hpp>
#include <cog/io/tokenizer_pattern.hpp>

namespace cog {

/// The tokens `left` and `right`, where they meet, become `result`.
struct bpe_merge {
  std::int32_t left, right, result;
};

/// Ids equal those of Hugging Face `tokenizers` with the same tokenizer.json and `add_special_tokens=False`.
/// Source: R. Sennrich et al. 2016 (the merges), A. Radford et al. 2019 (bytes and the pattern that cuts words).
class byte_bpe {
 public:
  /// `spellings[id]` is a token in GPT-2's byte alphabet (empty: no such token); earlier merges come first; the texts
  /// of `added` tokens are found before anything else. With `ignore_merges` a piece that is itself a token stays whole.
  /// Throws when a token occurs twice or a merge does not give what its parts spell.
  byte_bpe(std::vector<std::string> spellings, std::vector<bpe_merge> merges, std::vector<added_token> added = {},
           bool ignore_merges = false)
      : spellings_(std::move(spellings)), merges_(std::move(merges)), added_(std::move(added)),
        ignore_merges_(ignore_merges) {
    for (auto const& token : added_.all()) {
      auto const id = static_cast<std::size_t>(token.id);
      if (id >= spellings_.size()) spellings_.resize(id + 1);
      if (!spellings_[id].empty() && spellings_[id] != token.text)
        throw error("byte_bpe: id ", id, " is both '", spellings_[id], "' and the added token '", token.text, "'");
      spellings_[id] = token.text;
    }
    byte_ids_.fill(-1);
    bytes_.resize(spellings_.size());
    for (std::size_t id = 0; id < spellings_.size(); ++id) learn(static_cast<std::int32_t>(id));
    index_merges();
  }

  /// One more than the largest id.
  index_t vocab_size() const { return static_cast<index_t>(spellings_.size()); }

  /// Ids of a text in which added tokens are recognised. Throws when a byte is not in the vocabulary.
  std::vector<std::int32_t> encode(std::string_view text) const {
    encoder run(*this);
    added_.split(
        text, [&](std::string_view piece) { run.append(piece); }, [&](std::int32_t id) { run.ids.push_back(id); });
    return std::move(run.ids);
  }
  /// Ids of a text in which nothing is special: what strangers wrote cannot contain control tokens.
  std::vector<std::int32_t> encode_ordinary(std::string_view text) const {
    encoder run(*this);
    run.append(text);
    return std::move(run.ids);
  }

  /// The bytes that a token stands for; may be part of a UTF-8 character. Throws when there is no such id.
  std::string const& bytes_of(std::int32_t id) const {
    if (id < 0 || id >= vocab_size() || spellings_[static_cast<std::size_t>(id)].empty())
      throw error("byte_bpe: token ", id, " is not in a vocabulary of ", vocab_size());
    return bytes_[static_cast<std::size_t>(id)];
  }
  /// The id of an added token, or of a token with just these bytes (" the", not "Ġthe").
  std::optional<std::int32_t> id_of(std::string_view bytes) const {
    if (auto const* token = added_.find(bytes)) return token->id;
    auto const at = ids_.find(bytes);
    return at == ids_.end() ? std::nullopt : std::optional(at->second);
  }
  bool is_special(std::int32_t id) const {
    auto const* token = added_.find(id);
    return token && token->special;
  }

  added_tokens const& added() const { return added_; }
  std::vector<std::string> const& spellings() const { return spellings_; }
  std::vector<bpe_merge> const& merges() const { return merges_; }
  bool ignore_merges() const { return ignore_merges_; }

 private:
  struct ranked {
    std::int32_t rank, result;
  };
  static std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }
  ranked const* find_merge(std::int32_t left, std::int32_t right) const {
    auto const at = ranks_.find(pair_key(left, right));
    return at == ranks_.end() ? nullptr : &at->second;
  }

  void learn(std::int32_t id) {
    std::string const& spelling = spellings_[static_cast<std::size_t>(id)];
    if (spelling.empty()) return;
    // An added token stands for its own text, and so does one that the byte alphabet cannot spell.
    auto const* token = added_.find(id);
    auto bytes = detail::bytes_of_spelling(spelling);
    bytes_[static_cast<std::size_t>(id)] = token || !bytes ? spelling : *bytes;
    if (!bytes) return;
    if (token && *bytes != spelling) {  // beyond ASCII, text and spelling differ
      if (bytes->size() > 1) return;
      throw error("byte_bpe: added token '", spelling, "' is how the vocabulary spells another byte");
    }
    if (!ids_.emplace(*bytes, id).second) throw error("byte_bpe: token '", spelling, "' occurs twice");
    if (bytes->size() == 1) byte_ids_[static_cast<unsigned char>(bytes->front())] = id;
  }

  void index_merges() {
    for (std::size_t rank = 0; rank < merges_.size(); ++rank) {
      auto const [left, right, result] = merges_[rank];
      for (std::int32_t id : {left, right, result})
        if (id < 0 || id >= vocab_size())
          throw error("byte_bpe: merge ", rank, " names token ", id, " of ", vocab_size());
      auto const bytes = [&](std::int32_t id) -> std::string const& { return bytes_[static_cast<std::size_t>(id)]; };
      if (bytes(left) + bytes(right) != bytes(result))
        throw error("byte_bpe: merge ", rank, " makes '", bytes(result), "' of '", bytes(left), "' and '",
                    bytes(right), "'");
      ranks_.insert_or_assign(pair_key(left, right), ranked{static_cast<std::int32_t>(rank), result});
    }
  }

  /// One call of encode: its output, the words seen so far, and room to work in.
  struct encoder {
    explicit encoder(byte_bpe const& b) : bpe(b) {}

    void append(std::string_view text) {
      detail::for_each_gpt2_piece(text, [&](std::string_view piece) {
        auto const seen = words.find(piece);
        std::size_t const begin = ids.size();
        if (seen != words.end()) {
          auto const [from, count] = seen->second;  // an earlier stretch of the output
          for (std::size_t i = 0; i < count; ++i) ids.push_back(ids[from + i]);
          return;
        }
        merge(piece);
        if (words.size() < remembered) words.emplace(piece, std::pair{begin, ids.size() - begin});
      });
    }

   private:
    struct symbol {
      std::int32_t id;         // -1: merged into the one on its left
      std::int32_t next, previous;  // positions, -1 at the ends
    };
    struct candidate {
      std::int32_t rank, position, result;
      bool operator>(candidate const& c) const { return rank != c.rank ? rank > c.rank : position > c.position; }
    };

    // Lowest rank first, leftmost first within a rank: O(n log n) for a word of n bytes, however long.
    void merge(std::string_view word) {
      if (bpe.ignore_merges_)
        if (auto const whole = bpe.ids_.find(word); whole != bpe.ids_.end()) return ids.push_back(whole->second);
      symbols.clear();
      for (char c : word) {
        auto const byte = static_cast<unsigned char>(c);
        if (bpe.byte_ids_[byte] < 0) throw error("byte_bpe: the vocabulary has no token for the byte ", int{byte});
        auto const n = static_cast<std::int32_t>(symbols.size());
        symbols.push_back({bpe.byte_ids_[byte], n + 1, n - 1});
      }
      symbols.back().next = -1;
      for (std::int32_t i = 0; i + 1 < static_cast<std::int32_t>(symbols.size()); ++i) propose(i);
      while (!queue.empty()) {
        auto const best = queue.top();
        queue.pop();
        symbol& left = at(best.position);
        if (left.id < 0 || left.next < 0) continue;
        symbol& right = at(left.next);
        auto const* now = bpe.find_merge(left.id, right.id);
        if (!now || now->result != best.result) continue;  // a neighbour has changed since
        left.id = best.result;
        left.next = right.next;
        right.id = -1;
        if (left.next >= 0) {
          at(left.next).previous = best.position;
          propose(best.position);
        }
        if (left.previous >= 0) propose(left.previous);
      }
      for (std::int32_t i = 0; i >= 0; i = at(i).next) ids.push_back(at(i).id);
    }
    symbol& at(std::int32_t position) { return symbols[static_cast<std::size_t>(position)]; }
    void propose(std::int32_t position) {
      symbol const& left = at(position);
      if (auto const* m = bpe.find_merge(left.id, at(left.next).id)) queue.push({m->rank, position, m->result});
    }

    static constexpr std::size_t remembered = 1 << 20;
    byte_bpe const& bpe;
    std::unordered_map<std::string_view, std::pair<std::size_t, std::size_t>> words;
    std::vector<symbol> symbols;
    std::priority_queue<candidate, std::vector<candidate>, std::greater<>> queue;

   public:
    std::vector<std::int32_t> ids;
  };

  struct string_hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  std::vector<std::string> spellings_;
  std::vector<std::string> bytes_;
  std::vector<bpe_merge> merges_;
  added_tokens added_;
  bool ignore_merges_;
  std::array<std::int32_t, 256> byte_ids_;
  std::unordered_map<std::string, std::int32_t, string_hash, std::equal_to<>> ids_;  // by bytes
  std::unordered_map<std::uint64_t, ranked> ranks_;
};

}  // namespace cog
