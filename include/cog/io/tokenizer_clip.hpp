// CLIP's tokenizer: byte-pair encoding of lower-cased words, each of which ends in a marked symbol, between a start and
// an end token. Reads the public vocab.json and merges.txt. A tokenizer does not change once built, so threads share
// it. Source: Radford et al. 2021; equals Hugging Face's CLIPTokenizer for texts in Unicode's composed form (NFC).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cog/core/config.hpp>
#include <cog/io/file.hpp>
#include <cog/io/json.hpp>
#include <cog/io/tokenizer_byte.hpp>
#include <cog/io/tokenizer_unicode.hpp>
#include <cog/io/utf8.hpp>

namespace cog {

namespace detail {

/// Lower case of Latin, Greek and Cyrillic letters up to U+045F and of pairs up to U+024F; other scripts have none, or
/// are left.
inline char32_t lower_case(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3ab && c != 0x3a2) || (c >= 0x410 && c <= 0x42f))
    return c + 32;
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  if (c == 0x178) return 0xff;
  bool const even = (c >= 0x100 && c <= 0x12f) || (c >= 0x132 && c <= 0x137) || (c >= 0x14a && c <= 0x177) ||
                    (c >= 0x1de && c <= 0x1ef) || (c >= 0x1f8 && c <= 0x21f) || (c >= 0x222 && c <= 0x233) ||
                    (c >= 0x246 && c <= 0x24f) || (c >= 0x460 && c <= 0x481);
  bool const odd = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e) || (c >= 0x1cd && c <= 0x1dc);
  return (even && c % 2 == 0) || (odd && c % 2 == 1) ? c + 1 : c;
}

/// Length of the first piece: `'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+`, or a run of white space.
inline std::size_t clip_piece(std::string_view text) {
  if (text[0] == '\'')
    for (std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"})
      if (text.substr(1).starts_with(ending)) return 1 + ending.size();
  auto const kind_at = [&](std::size_t i, std::size_t& length) {
    auto const c = first_character(text.substr(i));
    length = c.valid ? c.length : 1;
    return c.valid ? class_of(c.code) : character_class::other;
  };
  std::size_t length = 0, end = 0;
  auto const kind = kind_at(0, length);
  end = length;
  while (kind != character_class::number && end < text.size() && kind_at(end, length) == kind) end += length;
  return end;
}

}  // namespace detail

/// Text to ids, for a text encoder of a fixed length.
class clip_tokenizer {
 public:
  /// `ids`: token, in GPT-2's byte alphabet, to id; `merges`: earlier ones come first. Throws when the start or end
  /// token is missing.
  clip_tokenizer(std::unordered_map<std::string, std::int32_t> ids,
                 std::vector<std::pair<std::string, std::string>> const& merges)
      : ids_(std::move(ids)), start_(id_of("<|startoftext|>")), end_(id_of("<|endoftext|>")) {
    for (auto const& [left, right] : merges) ranks_.try_emplace(left + " " + right, ranks_.size());
  }
  /// Throws, naming the file, when one is not what CLIP's are.
  static clip_tokenizer load(std::filesystem::path const& vocab, std::filesystem::path const& merges) {
    mapped_file const vocab_text(vocab), merges_text(merges);
    try {
      std::vector<std::pair<std::string, std::string>> pairs;
      std::string_view rest = merges_text.text();
      while (!rest.empty()) {
        auto line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        if (line.ends_with('\r')) line.remove_suffix(1);
        auto const gap = line.find(' ');
        if (line.empty() || line.starts_with("#version")) continue;
        if (gap == line.npos) throw error("a line of ", merges.string(), " is no pair: '", std::string(line), "'");
        pairs.emplace_back(line.substr(0, gap), line.substr(gap + 1));
      }
      return {detail::parse_json(vocab_text.text()).get<std::unordered_map<std::string, std::int32_t>>(), pairs};
    } catch (std::exception const& e) {
      throw error("clip_tokenizer ", vocab.string(), ": ", e.what());
    }
  }

  index_t vocab_size() const { return static_cast<index_t>(ids_.size()); }
  std::int32_t start() const { return start_; }
  std::int32_t end() const { return end_; }

  /// The ids of a text alone. Throws when the vocabulary lacks a symbol.
  std::vector<std::int32_t> encode(std::string_view text) const {
    std::string lower;
    while (!text.empty()) {
      auto const c = detail::first_character(text);
      if (c.valid) detail::append_utf8(lower, detail::lower_case(c.code));
      else lower += text[0];
      text.remove_prefix(c.valid ? c.length : 1);
    }
    std::vector<std::int32_t> out;
    for (std::string_view rest = lower; !rest.empty();) {
      auto const piece = rest.substr(0, detail::clip_piece(rest));
      rest.remove_prefix(piece.size());
      auto const first = detail::first_character(piece);
      if (first.valid && detail::class_of(first.code) == detail::character_class::space) continue;
      append_word(piece, out);
    }
    return out;
  }
  /// start, the text, end, filled up with end to `length`; of a longer text the first length - 2 tokens.
  std::vector<std::int32_t> encode_padded(std::string_view text, index_t length = 77) const {
    auto out = encode(text);
    out.resize(std::min(out.size(), static_cast<std::size_t>(length) - 2));
    out.insert(out.begin(), start_);
    out.resize(static_cast<std::size_t>(length), end_);
    return out;
  }

 private:
  std::int32_t id_of(std::string const& token) const {
    auto const at = ids_.find(token);
    if (at == ids_.end()) throw error("clip_tokenizer: the vocabulary has no '", token, "'");
    return at->second;
  }

  /// Joins the pair that was learnt first until there is none.
  void append_word(std::string_view bytes, std::vector<std::int32_t>& out) const {
    std::vector<std::string> symbols;
    for (char const& b : bytes) symbols.push_back(detail::spelling_of({&b, 1}));
    symbols.back() += "</w>";
    while (symbols.size() > 1) {
      std::size_t best = 0, rank = ranks_.size();
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
        if (auto const at = ranks_.find(symbols[i] + " " + symbols[i + 1]); at != ranks_.end() && at->second < rank) {
          best = i;
          rank = at->second;
        }
      if (rank == ranks_.size()) break;
      std::string const left = symbols[best], right = symbols[best + 1];
      std::vector<std::string> joined;
      for (std::size_t i = 0; i < symbols.size(); ++i) {
        bool const here = i + 1 < symbols.size() && symbols[i] == left && symbols[i + 1] == right;
        joined.push_back(here ? left + right : symbols[i]);
        i += here;
      }
      symbols = std::move(joined);
    }
    for (auto const& s : symbols) out.push_back(id_of(s));
  }

  std::unordered_map<std::string, std::int32_t> ids_;
  std::unordered_map<std::string, std::size_t> ranks_;  // of "left right"
  std::int32_t start_, end_;
};

}  // namespace cog
