// What a tokenizer needs of Unicode: letters, numbers and white space (version 16.0), UTF-8 that may be invalid.
// Invalid bytes never throw: each is one character of no class. The table is 6.4 KB, built at compile time.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cog::detail {

/// The classes that byte-level BPE tells apart: \p{L}, \p{N}, \s (White_Space) and all the rest.
enum class character_class : std::uint8_t { other, letter, number, space };

/// Runs of one class from code point 0 upwards, each as 4 * length + class; what follows the last run is `other`.
inline constexpr std::uint32_t character_runs[] = {
    36, 23, 72, 7, 60, 42, 28, 105, 24, 105, 40, 7, 104, 7, 36, 5, 28, 10, 4, 5, 12, 6, 5, 4, 14, 4, 93, 4, 125, 4,
    1833, 16, 49, 56, 21, 28, 5, 4, 5, 516, 21, 4, 9, 8, 17, 4, 5, 24, 5, 4, 13, 4, 5, 4, 81, 4, 333, 4, 557, 32, 665,
    4, 153, 8, 5, 24, 165, 284, 109, 16, 17, 180, 173, 84, 42, 16, 9, 4, 397, 4, 5, 60, 9, 28, 9, 42, 13, 8, 5, 64, 5,
    4, 121, 116, 357, 44, 5, 56, 42, 133, 36, 9, 16, 5, 20, 89, 16, 5, 36, 5, 12, 5, 92, 101, 28, 45, 20, 97, 4, 25,
    68, 169, 232, 217, 12, 5, 72, 5, 28, 41, 16, 42, 4, 65, 16, 33, 8, 9, 8, 89, 4, 29, 4, 5, 12, 17, 12, 5, 64, 5,
    52, 9, 4, 13, 16, 42, 9, 8, 26, 8, 5, 32, 25, 16, 9, 8, 89, 4, 29, 4, 9, 4, 9, 4, 9, 124, 17, 4, 5, 28, 42, 8, 13,
    64, 37, 4, 13, 4, 89, 4, 29, 4, 9, 4, 21, 12, 5, 72, 5, 60, 9, 16, 42, 36, 5, 44, 33, 8, 9, 8, 89, 4, 29, 4, 9, 4,
    21, 12, 5, 120, 9, 4, 13, 16, 42, 4, 5, 26, 44, 5, 4, 25, 12, 13, 4, 17, 12, 9, 4, 5, 4, 9, 12, 9, 12, 13, 12, 49,
    88, 5, 84, 54, 72, 33, 4, 13, 4, 93, 4, 65, 12, 5, 104, 13, 8, 5, 8, 9, 16, 42, 32, 30, 4, 5, 16, 33, 4, 13, 4,
    93, 4, 41, 4, 21, 12, 5, 124, 9, 4, 9, 16, 42, 4, 9, 68, 37, 4, 13, 4, 165, 8, 5, 64, 5, 20, 13, 4, 30, 13, 16,
    78, 4, 25, 20, 73, 12, 97, 4, 37, 4, 5, 8, 29, 124, 42, 68, 193, 4, 9, 48, 29, 36, 42, 156, 9, 4, 5, 4, 21, 4, 97,
    4, 5, 4, 41, 4, 9, 36, 5, 8, 21, 4, 5, 36, 42, 8, 17, 128, 5, 124, 82, 48, 33, 4, 145, 108, 21, 460, 173, 80, 5,
    42, 24, 25, 16, 17, 12, 5, 12, 9, 28, 13, 16, 53, 48, 5, 4, 42, 24, 153, 4, 5, 20, 5, 8, 173, 4, 1333, 4, 17, 8,
    29, 4, 5, 4, 17, 8, 165, 4, 17, 8, 133, 4, 17, 8, 29, 4, 5, 4, 17, 8, 61, 4, 229, 4, 17, 8, 269, 56, 82, 12, 65,
    64, 345, 8, 25, 12, 2481, 8, 69, 7, 105, 20, 301, 12, 14, 33, 28, 73, 52, 77, 56, 73, 56, 53, 4, 13, 60, 209, 140,
    5, 16, 5, 12, 42, 24, 42, 88, 42, 24, 357, 28, 21, 8, 137, 4, 5, 20, 281, 40, 125, 156, 42, 121, 8, 21, 44, 177,
    16, 105, 24, 46, 148, 93, 36, 213, 172, 42, 24, 42, 52, 5, 372, 189, 68, 33, 12, 42, 164, 121, 52, 9, 42, 177,
    104, 145, 112, 42, 12, 13, 42, 145, 8, 45, 20, 173, 8, 13, 164, 17, 4, 25, 4, 9, 12, 5, 20, 769, 256, 1113, 8, 25,
    8, 153, 8, 25, 8, 33, 4, 5, 4, 5, 4, 5, 4, 125, 8, 213, 4, 29, 4, 5, 12, 13, 4, 29, 12, 17, 8, 25, 16, 53, 20, 13,
    4, 29, 12, 47, 116, 11, 20, 7, 188, 7, 64, 6, 5, 8, 26, 20, 5, 42, 24, 53, 404, 5, 16, 5, 8, 41, 4, 5, 12, 21, 24,
    5, 4, 5, 4, 5, 4, 17, 4, 45, 8, 17, 20, 21, 16, 5, 4, 206, 9, 22, 2904, 242, 312, 90, 2520, 122, 4528, 917, 24,
    17, 12, 9, 36, 6, 8, 153, 4, 5, 20, 5, 8, 225, 28, 5, 64, 93, 36, 29, 4, 29, 4, 29, 4, 29, 4, 29, 4, 29, 4, 29, 4,
    29, 320, 5, 1856, 7, 16, 9, 6, 100, 38, 28, 21, 8, 14, 9, 16, 345, 24, 13, 4, 361, 4, 17, 20, 173, 4, 377, 12, 18,
    40, 129, 192, 65, 128, 42, 120, 34, 4, 62, 128, 42, 156, 62, 1280, 26369, 256, 88629, 268, 185, 8, 1077, 12, 65,
    42, 9, 80, 189, 64, 125, 8, 281, 42, 156, 37, 8, 413, 8, 269, 8, 9, 4, 5, 4, 33, 84, 65, 4, 13, 4, 17, 4, 93, 52,
    26, 40, 209, 56, 201, 112, 42, 96, 25, 12, 5, 4, 9, 4, 42, 113, 40, 93, 100, 117, 28, 189, 112, 5, 42, 24, 21, 4,
    41, 42, 21, 4, 165, 92, 13, 4, 33, 16, 42, 24, 93, 12, 5, 12, 201, 4, 5, 12, 9, 8, 21, 8, 5, 4, 5, 96, 13, 8, 45,
    28, 13, 48, 25, 8, 25, 8, 25, 36, 29, 4, 29, 4, 173, 4, 57, 24, 461, 52, 42, 24, 44689, 48, 93, 16, 197, 33808,
    1465, 8, 425, 152, 29, 48, 21, 20, 5, 4, 41, 4, 53, 4, 21, 4, 5, 4, 9, 4, 9, 4, 433, 132, 1453, 72, 257, 8, 217,
    160, 49, 464, 21, 4, 541, 76, 42, 28, 105, 24, 105, 44, 357, 12, 25, 8, 25, 8, 25, 8, 13, 140, 49, 4, 105, 4, 77,
    4, 9, 4, 61, 8, 57, 136, 493, 48, 182, 48, 230, 68, 10, 976, 117, 12, 197, 64, 110, 16, 129, 18, 36, 81, 6, 33, 6,
    20, 153, 40, 121, 8, 145, 16, 33, 4, 22, 168, 633, 8, 42, 24, 145, 16, 145, 16, 161, 32, 209, 48, 45, 4, 61, 4,
    29, 4, 9, 4, 45, 4, 61, 4, 29, 4, 9, 12, 209, 48, 1245, 36, 89, 40, 33, 96, 25, 4, 169, 4, 37, 276, 25, 8, 5, 4,
    177, 4, 9, 12, 5, 8, 93, 8, 34, 93, 8, 30, 125, 32, 38, 192, 77, 4, 9, 20, 22, 89, 26, 16, 105, 280, 225, 16, 10,
    9, 66, 8, 186, 5, 60, 17, 4, 13, 4, 117, 40, 38, 92, 117, 10, 4, 117, 14, 128, 33, 4, 113, 24, 22, 64, 217, 40,
    89, 8, 34, 77, 20, 34, 73, 92, 30, 320, 293, 220, 205, 52, 205, 28, 26, 145, 48, 42, 24, 42, 113, 36, 93, 872,
    126, 4, 169, 24, 9, 64, 13, 236, 117, 42, 5, 32, 89, 44, 18, 108, 73, 184, 85, 30, 80, 93, 48, 213, 104, 122, 4,
    9, 8, 5, 52, 181, 128, 101, 28, 42, 36, 145, 60, 42, 16, 5, 8, 5, 32, 141, 12, 5, 48, 193, 56, 17, 44, 42, 5, 4,
    5, 16, 82, 44, 73, 4, 101, 76, 9, 252, 29, 4, 5, 4, 17, 4, 61, 4, 41, 28, 189, 68, 42, 44, 33, 8, 9, 8, 89, 4, 29,
    4, 9, 4, 21, 12, 5, 72, 5, 48, 21, 120, 41, 4, 5, 8, 5, 4, 153, 4, 5, 100, 5, 4, 5, 176, 213, 72, 17, 20, 42, 20,
    13, 120, 193, 80, 9, 4, 5, 32, 42, 664, 189, 164, 17, 144, 193, 80, 5, 44, 42, 152, 173, 52, 5, 28, 42, 24, 82,
    112, 109, 84, 50, 16, 29, 740, 177, 464, 257, 78, 48, 33, 8, 5, 8, 33, 4, 9, 4, 97, 60, 5, 4, 5, 56, 42, 280, 33,
    8, 157, 64, 5, 4, 5, 112, 5, 40, 161, 28, 5, 84, 5, 44, 185, 76, 5, 72, 293, 796, 133, 60, 42, 24, 37, 4, 149, 68,
    5, 60, 118, 20, 121, 448, 29, 4, 9, 4, 153, 84, 5, 36, 42, 24, 25, 4, 9, 4, 129, 56, 5, 28, 42, 1240, 77, 60, 5,
    4, 53, 4, 137, 112, 42, 344, 5, 60, 86, 172, 3689, 408, 446, 68, 785, 10544, 389, 60, 4289, 68, 25, 100, 15981,
    20, 2333, 27364, 121, 72, 42, 6936, 2277, 28, 125, 4, 42, 24, 317, 4, 42, 24, 121, 72, 193, 64, 17, 48, 42, 4, 30,
    4, 85, 20, 77, 1728, 181, 12, 42, 792, 257, 94, 420, 301, 20, 5, 264, 53, 256, 9, 4, 5, 112, 24545, 32, 4953, 164,
    41, 35740, 17, 4, 29, 4, 9, 4, 1165, 60, 5, 116, 13, 8, 5, 56, 17, 32, 1585, 9232, 429, 20, 53, 12, 37, 28, 41,
    16728, 42, 5912, 82, 48, 82, 432, 102, 540, 341, 4, 285, 4, 9, 8, 5, 8, 9, 8, 17, 4, 49, 4, 5, 4, 29, 4, 261, 4,
    17, 8, 33, 4, 29, 4, 113, 4, 17, 4, 21, 4, 5, 12, 29, 4, 1361, 8, 101, 4, 101, 4, 125, 4, 101, 4, 125, 4, 101, 4,
    125, 4, 101, 4, 125, 4, 101, 4, 33, 8, 202, 7168, 125, 24, 25, 1044, 249, 584, 181, 40, 29, 8, 42, 16, 5, 1284,
    121, 72, 177, 16, 42, 1880, 113, 16, 42, 856, 121, 8, 5, 42, 1940, 29, 4, 17, 4, 9, 4, 61, 4, 789, 8, 38, 192,
    273, 28, 5, 16, 42, 3164, 238, 4, 14, 4, 18, 304, 182, 4, 62, 776, 17, 4, 109, 4, 9, 4, 5, 8, 5, 4, 41, 4, 17, 4,
    5, 4, 5, 24, 5, 16, 5, 4, 5, 4, 5, 4, 13, 4, 9, 4, 5, 8, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 9, 4, 5, 8, 17, 4, 29, 4,
    17, 4, 17, 4, 5, 4, 41, 4, 69, 20, 13, 4, 21, 4, 69, 2320, 54, 11148, 42, 4120, 170881, 128, 16617, 24, 889, 8,
    23049, 56, 29893, 60, 2489, 9864, 2169, 6024, 19757, 20, 16769};

/// Where each run starts, as 4 * code point + class: ascending, so that a class is one binary search.
inline constexpr auto character_starts = [] {
  std::array<std::uint32_t, std::size(character_runs) + 1> starts{};
  std::uint32_t code = 0;
  for (std::size_t i = 0; i < std::size(character_runs); ++i) {
    starts[i] = 4 * code + character_runs[i] % 4;
    code += character_runs[i] / 4;
  }
  starts.back() = 4 * code;
  return starts;
}();

inline character_class class_of(char32_t c) {
  if (c < 128) {
    if ((c | 32) >= 'a' && (c | 32) <= 'z') return character_class::letter;
    if (c >= '0' && c <= '9') return character_class::number;
    return c == ' ' || (c >= '\t' && c <= '\r') ? character_class::space : character_class::other;
  }
  auto const next = std::upper_bound(character_starts.begin(), character_starts.end(), 4 * c + 3);
  return static_cast<character_class>(*(next - 1) % 4);
}

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
