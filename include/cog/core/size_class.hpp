// Size classes of pooled memory: four per power of two, so that at most a quarter of a block is slack. Every size is a
// multiple of 64 bytes.
#pragma once

#include <bit>
#include <cstddef>

#include <cog/core/error.hpp>

namespace cog::detail {

struct size_class {
  static constexpr std::size_t count = 256;
  std::size_t index;  // < count
  std::size_t bytes;  // of every block of the class

  explicit size_class(std::size_t wanted) {
    if (wanted > (std::size_t{1} << 60)) throw error("out of memory: ", wanted, " bytes wanted");
    if (wanted <= 256) {
      index = 0;
      bytes = 256;
      return;
    }
    auto const power = static_cast<std::size_t>(std::bit_width(wanted - 1)) - 1;  // 2^power < wanted <= 2^(power + 1)
    std::size_t const step = std::size_t{1} << (power - 2);
    std::size_t const quarters = (wanted + step - 1) / step;  // 5..8
    index = (power - 7) * 4 + quarters - 5;
    bytes = quarters * step;
  }
};

}  // namespace cog::detail
