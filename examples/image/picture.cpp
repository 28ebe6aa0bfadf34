#include "picture.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string_view>

#include <png.h>
#include <stb/stb_image.h>
#include <stb/stb_image_resize.h>

#include <cog/core/error.hpp>
#include <cog/io/checkpoint.hpp>
#include <cog/io/file.hpp>

namespace image {

namespace fs = std::filesystem;
using cog::index_t;

bool is_picture(fs::path const& file) {
  auto end = file.extension().string();
  std::ranges::transform(end, end.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array ends{".png", ".jpg", ".jpeg"};
  return std::ranges::find(ends, end) != ends.end();
}

namespace {

constexpr std::string_view jpeg_begin = "\xff\xd8", png_begin = "\x89PNG\r\n\x1a\n";  // how they begin

/// A JPEG without its end, of which stb_image makes a picture that is grey from there on. Segments of known length,
/// then the scans: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, section B.1.
bool is_cut_jpeg(std::string_view b) {
  if (!b.starts_with(jpeg_begin)) return false;
  std::size_t at = 2;
  auto const byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(b[i])); };
  while (at + 4 <= b.size() && byte(at) == 0xff && byte(at + 1) != 0xda) at += 2 + (byte(at + 2) << 8 | byte(at + 3));
  return b.find("\xff\xd9", at) == b.npos;
}

/// A PNG with a chunk (length, name, data, CRC-32) that was cut or altered, which stb_image does not look at.
bool is_broken_png(std::span<std::byte const> b) {
  std::string_view const text(reinterpret_cast<char const*>(b.data()), b.size());
  if (!text.starts_with(png_begin)) return false;
  auto const number = [&](std::size_t at) {
    std::uint32_t n = 0;
    for (std::size_t i = 0; i < 4; ++i) n = n << 8 | std::to_integer<std::uint32_t>(b[at + i]);
    return n;
  };
  for (std::size_t at = 8; at + 12 <= b.size();) {
    std::size_t const length = number(at);
    if (length > b.size() - at - 12) return true;
    if (cog::detail::crc32(b.subspan(at + 4, length + 4)) != number(at + 8 + length)) return true;
    if (text.substr(at + 4, 4) == "IEND") return false;
    at += 12 + length;
  }
  return true;
}

}  // namespace

picture read_picture(fs::path const& file) {
  cog::mapped_file const bytes(file);
  // stb_image reads other formats too, but takes what is left of a cut one for whole.
  if (!bytes.text().starts_with(jpeg_begin) && !bytes.text().starts_with(png_begin))
    throw cog::error(file.string(), ": neither a PNG nor a JPEG");
  if (is_cut_jpeg(bytes.text())) throw cog::error(file.string(), ": a JPEG that was cut: its end is missing");
  if (is_broken_png(bytes.bytes())) throw cog::error(file.string(), ": a PNG that was cut or altered");
  int width = 0, height = 0, channels = 0;
  auto const* data = reinterpret_cast<stbi_uc const*>(bytes.bytes().data());
  std::unique_ptr<stbi_uc, void (*)(void*)> const pixels(
      stbi_load_from_memory(data, static_cast<int>(bytes.bytes().size()), &width, &height, &channels, 3),
      stbi_image_free);
  if (!pixels) throw cog::error(file.string(), ": not a picture that can be read: ", stbi_failure_reason());
  picture out(width, height);
  std::copy_n(pixels.get(), out.rgb.size(), out.rgb.begin());
  return out;
}

picture square(picture const& p, index_t size) {
  index_t const side = std::min(p.width, p.height);
  if (side < 1) throw cog::error("a picture of ", p.width, " x ", p.height, " has nothing to see");
  if (p.width == size && p.height == size) return p;
  auto const* first = p.at((p.width - side) / 2, (p.height - side) / 2);
  picture out(size, size);
  if (!stbir_resize_uint8(first, static_cast<int>(side), static_cast<int>(side), static_cast<int>(3 * p.width),
                          out.rgb.data(), static_cast<int>(size), static_cast<int>(size), 0, 3))
    throw cog::error("a picture of ", p.width, " x ", p.height, " cannot be resized to ", size);
  return out;
}

void write_png(fs::path const& file, picture const& p, std::map<std::string, std::string> const& text) {
  std::string bytes, problem;
  struct sink {
    std::string* bytes;
    std::string* problem;
  } to{&bytes, &problem};
  // libpng reports by a long jump, which must not pass over destructors: everything that has one lives outside.
  std::vector<png_text> chunks;
  for (auto const& [key, value] : text) {
    png_text chunk{};
    bool const ascii = std::ranges::all_of(value, [](unsigned char c) { return c < 128; });
    chunk.compression = ascii ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;  // tEXt is Latin-1, iTXt UTF-8
    chunk.key = const_cast<char*>(key.c_str());
    chunk.text = const_cast<char*>(value.c_str());
    chunks.push_back(chunk);
  }
  png_structp png = png_create_write_struct(
      PNG_LIBPNG_VER_STRING, &problem,
      [](png_structp failed, png_const_charp why) {
        *static_cast<std::string*>(png_get_error_ptr(failed)) = why;
        png_longjmp(failed, 1);
      },
      [](png_structp, png_const_charp) {});
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  if (!info) problem = "out of memory";
  if (problem.empty() && setjmp(png_jmpbuf(png)) == 0) {
    png_set_write_fn(
        png, &to,
        [](png_structp writing, png_bytep data, png_size_t size) {
          static_cast<sink*>(png_get_io_ptr(writing))->bytes->append(reinterpret_cast<char const*>(data), size);
        },
        [](png_structp) {});
    png_set_IHDR(png, info, static_cast<png_uint_32>(p.width), static_cast<png_uint_32>(p.height), 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (!chunks.empty()) png_set_text(png, info, chunks.data(), static_cast<int>(chunks.size()));
    png_write_info(png, info);
    for (index_t y = 0; y < p.height; ++y) png_write_row(png, p.at(0, y));
    png_write_end(png, nullptr);
  }
  png_destroy_write_struct(&png, &info);
  if (!problem.empty()) throw cog::error(file.string(), ": ", problem);
  cog::write_file(file, bytes);
}

picture grid(std::vector<picture> const& pictures, index_t columns) {
  constexpr index_t margin = 2;
  if (pictures.empty()) throw cog::error("grid: no pictures");
  index_t const w = pictures[0].width, h = pictures[0].height, count = static_cast<index_t>(pictures.size());
  columns = std::min(columns, count);
  index_t const rows = (count + columns - 1) / columns;
  picture out(columns * (w + margin) + margin, rows * (h + margin) + margin, 255);
  for (index_t i = 0; i < count; ++i)
    for (index_t y = 0; y < h; ++y)
      std::copy_n(pictures[static_cast<std::size_t>(i)].at(0, y), 3 * w,
                  out.at(margin + i % columns * (w + margin), margin + i / columns * (h + margin) + y));
  return out;
}

}  // namespace image
