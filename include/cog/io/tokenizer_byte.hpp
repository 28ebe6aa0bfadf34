// A vocabulary of bytes: id 0..255 is that byte, added tokens follow from 256. Nothing is learnt, nothing is unknown.
// Also the alphabet in which byte-level vocabularies are spelt, so that any bytes are readable text in a JSON file.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cog/core/config.hpp>
#include <cog/core/error.hpp>
#include <cog/io/tokenizer_pattern.hpp>
#include <cog/io/utf8.hpp>

namespace cog {

namespace detail {

/// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards, in their order.
inline constexpr auto byte_letters = [] {
  std::array<char32_t, 256> letters{};
  char32_t next = 0x100;
  for (unsigned b = 0; b < 256; ++b)
    letters[b] = (b > 32 && b < 127) || (b > 160 && b != 173) ? b : next++;
  return letters;
}();

/// Bytes spelt in the alphabet: " the" is "Ġthe".
inline std::string spelling_of(std::string_view bytes) {
  std::string out;
  for (char b : bytes) append_utf8(out, byte_letters[static_cast<unsigned char>(b)]);
  return out;
}

/// The bytes of a spelling; nothing when it has a character outside the alphabet.
inline std::optional<std::string> bytes_of_spelling(std::string_view spelling) {
  static constexpr auto bytes = [] {
    std::array<std::int16_t, 324> table{};
    table.fill(-1);
    for (int b = 0; b < 256; ++b) table[byte_letters[static_cast<std::size_t>(b)]] = static_cast<std::int16_t>(b);
    return table;
  }();
  std::string out;
  while (!spelling.empty()) {
    auto const c = first_character(spelling);
    if (!c.valid || c.code >= bytes.size() || bytes[c.code] < 0) return std::nullopt;
    out += static_cast<char>(bytes[c.code]);
    spelling.remove_prefix(c.length);
  }
  return out;
}

}  // namespace detail

/// Bytes as tokens. `byte_tokenizer({"<|endoftext|>"})` has 257 ids.
class byte_tokenizer {
 public:
  /// Special tokens take the ids from 256 on, in this order. Throws when one is empty, given twice, or a letter of the
  /// byte alphabet.
  explicit byte_tokenizer(std::vector<std::string> const& special_tokens)
      : byte_tokenizer(with_added(number(special_tokens))) {}
  byte_tokenizer() = default;
  /// From added tokens with their flags. Throws unless their ids are 256, 257, ...
  static byte_tokenizer with_added(std::vector<added_token> tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      if (tokens[i].id != static_cast<std::int32_t>(256 + i))
        throw error("byte_tokenizer: added token '", tokens[i].text, "' has id ", tokens[i].id, ", expected ", 256 + i);
    for (auto const& token : tokens)
      if (auto const bytes = detail::bytes_of_spelling(token.text); bytes && bytes->size() == 1)
        throw error("byte_tokenizer: added token '", token.text, "' is how the vocabulary spells a byte");
    byte_tokenizer out;
    out.added_ = added_tokens(std::move(tokens));
    return out;
  }

  index_t vocab_size() const { return 256 + static_cast<index_t>(added_.all().size()); }

  /// Ids of a text in which added tokens are recognised.
  std::vector<std::int32_t> encode(std::string_view text) const {
    std::vector<std::int32_t> ids;
    ids.reserve(text.size());
    added_.split(
        text, [&](std::string_view piece) { append(piece, ids); }, [&](std::int32_t id) { ids.push_back(id); });
    return ids;
  }
  /// Ids of a text in which nothing is special: what strangers wrote cannot contain control tokens.
  std::vector<std::int32_t> encode_ordinary(std::string_view text) const {
    std::vector<std::int32_t> ids;
    append(text, ids);
    return ids;
  }

  /// The bytes that a token stands for. Throws when there is no such id.
  std::string bytes_of(std::int32_t id) const {
    if (id >= 0 && id < 256) return std::string(1, static_cast<char>(id));
    if (auto const* token = added_.find(id)) return token->text;
    throw error("byte_tokenizer: token ", id, " is outside a vocabulary of ", vocab_size());
  }
  /// The id of an added token, or of one byte.
  std::optional<std::int32_t> id_of(std::string_view token) const {
    if (auto const* added = added_.find(token)) return added->id;
    if (token.size() == 1) return static_cast<unsigned char>(token.front());
    return std::nullopt;
  }
  bool is_special(std::int32_t id) const {
    auto const* token = added_.find(id);
    return token && token->special;
  }
  added_tokens const& added() const { return added_; }

 private:
  static std::vector<added_token> number(std::vector<std::string> const& texts) {
    std::vector<added_token> tokens;
    for (auto const& text : texts) tokens.push_back({text, static_cast<std::int32_t>(256 + tokens.size())});
    return tokens;
  }
  static void append(std::string_view text, std::vector<std::int32_t>& ids) {
    for (char b : text) ids.push_back(static_cast<unsigned char>(b));
  }
  added_tokens added_;
};

}  // namespace cog
