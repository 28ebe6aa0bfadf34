// UTF-8 that may be invalid: nothing here throws, whatever the bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cog::detail {

/// One character at the head of `text`.
struct utf8_character {
  char32_t code;       // U+FFFD when invalid
  std::size_t length;  // bytes it takes; when invalid, those to be replaced together (Unicode 3.9, "maximal subpart")
  bool valid;
  bool cut_short;      // invalid only because the text ends here
};

/// The first character of a text that is not empty. Overlong forms, surrogates and codes above U+10FFFF are invalid.
inline utf8_character first_character(std::string_view text) {
  auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char const lead = byte(0);
  if (lead < 0x80) return {lead, 1, true, false};
  std::size_t const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return {0xfffd, 1, false, false};
  char32_t code = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {0xfffd, i, false, true};
    unsigned char const low = i > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char const high = i > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte(i) < low || byte(i) > high) return {0xfffd, i, false, false};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  return {code, length, true, false};
}

inline void append_utf8(std::string& text, char32_t code) {
  auto const tail = [&](int shift) { text += static_cast<char>(0x80u | (code >> shift & 0x3fu)); };
  if (code < 0x80) return text.push_back(static_cast<char>(code));
  if (code < 0x800) {
    text += static_cast<char>(0xc0u | code >> 6);
  } else if (code < 0x10000) {
    text += static_cast<char>(0xe0u | code >> 12);
    tail(6);
  } else {
    text += static_cast<char>(0xf0u | code >> 18);
    tail(12);
    tail(6);
  }
  tail(0);
}

}  // namespace cog::detail

namespace cog {

/// Makes valid UTF-8 of bytes that arrive in pieces: holds back a character until it is whole, and puts U+FFFD where
/// the bytes are invalid. The pieces together give what Python's bytes.decode("utf-8", "replace") gives of the whole.
class utf8_stream {
 public:
  /// The text that is complete now.
  std::string push(std::string_view bytes) {
    held_ += bytes;
    return drain(false);
  }
  /// The end of the text: an unfinished character becomes U+FFFD.
  std::string finish() { return drain(true); }

 private:
  std::string drain(bool last) {
    std::string out;
    std::string_view rest = held_;
    while (!rest.empty()) {
      auto const c = detail::first_character(rest);
      if (c.cut_short && !last) break;
      if (c.valid) out += rest.substr(0, c.length);
      else detail::append_utf8(out, 0xfffd);
      rest.remove_prefix(c.length);
    }
    held_.erase(0, held_.size() - rest.size());
    return out;
  }
  std::string held_;
};

/// Bytes as valid UTF-8, with U+FFFD for what is not.
inline std::string valid_utf8(std::string_view bytes) {
  utf8_stream stream;
  std::string out = stream.push(bytes);
  return out += stream.finish();
}

}  // namespace cog
