// Pictures as bytes: reading (stb_image), cutting to a square, and writing as PNG with text (libpng).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <cog/core/config.hpp>

namespace image {

/// Rows of pixels, red, green and blue.
struct picture {
  cog::index_t width = 0, height = 0;
  std::vector<std::uint8_t> rgb;

  picture() = default;
  picture(cog::index_t w, cog::index_t h, std::uint8_t value = 0)
      : width(w), height(h), rgb(static_cast<std::size_t>(3 * w * h), value) {}
  std::uint8_t* at(cog::index_t x, cog::index_t y) { return &rgb[static_cast<std::size_t>(3 * (y * width + x))]; }
  std::uint8_t const* at(cog::index_t x, cog::index_t y) const {
    return &rgb[static_cast<std::size_t>(3 * (y * width + x))];
  }
};

/// PNG or JPEG. Throws, naming the file, when it is neither or broken.
picture read_picture(std::filesystem::path const& file);
/// Does the name end as that of a picture?
bool is_picture(std::filesystem::path const& file);

/// The middle square, resized to size x size.
picture square(picture const& p, cog::index_t size);

/// `text` goes into tEXt chunks, beyond ASCII into iTXt. Whole or not at all.
void write_png(std::filesystem::path const& file, picture const& p,
               std::map<std::string, std::string> const& text = {});

/// Pictures of one size in rows of `columns`, with a margin of 2 pixels between them.
picture grid(std::vector<picture> const& pictures, cog::index_t columns);

}  // namespace image
