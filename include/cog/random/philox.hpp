// Philox4x32-10: random words as a pure function of a counter (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011). Integers alone, so every backend, thread count and SIMD width gives the same words.
// Counter and key are laid out as in cuRAND: the key is the seed, the counter is (block, stream), 64 bits each.
#pragma once

#include <cstdint>

#include <cog/core/config.hpp>

namespace cog {

/// N blocks of four words, side by side: at[w][b] is word w of block b. Loops over b are what compilers turn into SIMD.
template <int N>
struct philox_blocks {
  std::uint32_t at[4][N];
};

/// Ten rounds on N counters.
template <int N>
COG_HD inline void philox_rounds(philox_blocks<N>& c, std::uint64_t seed) {
  auto key0 = static_cast<std::uint32_t>(seed);
  auto key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int b = 0; b < N; ++b) {
      std::uint64_t const p = std::uint64_t{0xd2511f53u} * c.at[0][b];
      std::uint64_t const q = std::uint64_t{0xcd9e8d57u} * c.at[2][b];
      c.at[0][b] = static_cast<std::uint32_t>(q >> 32) ^ c.at[1][b] ^ key0;
      c.at[1][b] = static_cast<std::uint32_t>(q);
      c.at[2][b] = static_cast<std::uint32_t>(p >> 32) ^ c.at[3][b] ^ key1;
      c.at[3][b] = static_cast<std::uint32_t>(p);
    }
    key0 += 0x9e3779b9u;  // the golden ratio
    key1 += 0xbb67ae85u;  // sqrt(3) - 1
  }
}

/// Blocks first, first + 1, ... of a stream.
template <int N>
COG_HD inline philox_blocks<N> philox(std::uint64_t seed, std::uint64_t stream, std::uint64_t first) {
  philox_blocks<N> c;
  for (int b = 0; b < N; ++b) {
    std::uint64_t const block = first + static_cast<std::uint64_t>(b);
    c.at[0][b] = static_cast<std::uint32_t>(block);
    c.at[1][b] = static_cast<std::uint32_t>(block >> 32);
    c.at[2][b] = static_cast<std::uint32_t>(stream);
    c.at[3][b] = static_cast<std::uint32_t>(stream >> 32);
  }
  philox_rounds(c, seed);
  return c;
}

}  // namespace cog
