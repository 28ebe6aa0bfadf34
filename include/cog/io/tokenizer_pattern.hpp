// Cuts text into the pieces within which byte-level BPE may merge, as GPT-2 does, and finds tokens that stay whole.
// Every byte of the text is in exactly one piece; invalid UTF-8 counts as punctuation. One pass.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cog/core/error.hpp>
#include <cog/io/tokenizer_unicode.hpp>
#include <cog/io/utf8.hpp>

namespace cog::detail {

/// Length of the first piece of a text that is not empty, by GPT-2's pattern
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
inline std::size_t gpt2_piece(std::string_view text) {
  using enum character_class;
  struct character {
    character_class kind;
    std::size_t length;
  };
  auto const at = [&](std::size_t i) -> character {
    auto const c = first_character(text.substr(i));
    return c.valid ? character{class_of(c.code), c.length} : character{other, 1};
  };

  if (text[0] == '\'')
    for (std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"})
      if (text.substr(1).starts_with(ending)) return 1 + ending.size();

  // ` ?` and a run of one class that is not white space
  std::size_t const begin = text[0] == ' ' && text.size() > 1 && at(1).kind != space ? 1 : 0;
  character c = at(begin);
  character_class const kind = c.kind;
  std::size_t end = begin;
  std::size_t last = 0;  // length of the run's last character
  do {
    last = c.length;
    end += last;
  } while (end < text.size() && (c = at(end)).kind == kind);

  // White space leaves its last character to the word that follows it, unless it is alone.
  if (kind == space && end < text.size() && end > last) return end - last;
  return end;
}

/// Calls `f` with each piece of `text` in turn.
template <class F>
void for_each_gpt2_piece(std::string_view text, F&& f) {
  while (!text.empty()) {
    std::size_t const n = gpt2_piece(text);
    f(text.substr(0, n));
    text.remove_prefix(n);
  }
}

}  // namespace cog::detail

namespace cog {

/// A token that is found in the text before anything else and never cut: `<|endoftext|>`.
struct added_token {
  std::string text;
  std::int32_t id = -1;
  bool special = true;      // control tokens, which a reader of the text does not want to see
  bool normalized = false;  // Hugging Face looks for these last
};

/// The added tokens of a vocabulary: leftmost match first, the longest of those; `normalized` ones in a second pass.
class added_tokens {
 public:
  added_tokens() = default;
  /// Throws on an empty text, a negative id, or one text twice.
  explicit added_tokens(std::vector<added_token> tokens) : tokens_(std::move(tokens)) {
    for (auto const& token : tokens_) {
      if (token.text.empty()) throw error("tokenizer: added token ", token.id, " is empty");
      if (token.id < 0) throw error("tokenizer: added token '", token.text, "' has the negative id ", token.id);
      if (find(token.text) != &token) throw error("tokenizer: added token '", token.text, "' is given twice");
      starts_[token.normalized][static_cast<unsigned char>(token.text.front())] = true;
    }
  }

  std::vector<added_token> const& all() const { return tokens_; }
  added_token const* find(std::string_view text) const {
    auto const at = std::ranges::find(tokens_, text, &added_token::text);
    return at == tokens_.end() ? nullptr : &*at;
  }
  added_token const* find(std::int32_t id) const {
    auto const at = std::ranges::find(tokens_, id, &added_token::id);
    return at == tokens_.end() ? nullptr : &*at;
  }

  /// Calls `on_text(piece)` and `on_token(id)` in the order of the text; pieces are not empty.
  template <class Text, class Token>
  void split(std::string_view text, Text&& on_text, Token&& on_token) const {
    pass(text, false, [&](std::string_view piece) { pass(piece, true, on_text, on_token); }, on_token);
  }

 private:
  template <class Text, class Token>
  void pass(std::string_view text, bool normalized, Text&& on_text, Token&& on_token) const {
    std::size_t begin = 0;
    for (std::size_t i = 0; !tokens_.empty() && i < text.size();) {
      added_token const* found = match(text.substr(i), normalized);
      if (!found) {
        ++i;
        continue;
      }
      if (begin < i) on_text(text.substr(begin, i - begin));
      on_token(found->id);
      begin = i += found->text.size();
    }
    if (begin < text.size()) on_text(text.substr(begin));
  }
  added_token const* match(std::string_view text, bool normalized) const {
    if (!starts_[normalized][static_cast<unsigned char>(text.front())]) return nullptr;
    added_token const* longest = nullptr;
    for (auto const& token : tokens_)
      if (token.normalized == normalized && text.starts_with(token.text) &&
          (!longest || token.text.size() > longest->text.size()))
        longest = &token;
    return longest;
  }
  std::vector<added_token> tokens_;
  std::array<std::array<bool, 256>, 2> starts_{};  // [normalized][first byte]
};

}  // namespace cog
