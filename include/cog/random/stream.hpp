// Random numbers for the host, one at a time: the order of the data, the choice of a token. The whole state is {seed, offset},
// so that a checkpoint keeps two numbers. Draws never meet the numbers of a tensor of the same seed.
#pragma once

#include <limits>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include <cog/core/error.hpp>
#include <cog/random/distribution.hpp>
#include <cog/random/philox.hpp>

namespace cog {

/// A uniform random bit generator of the standard library's kind. A plain value: copies continue alike.
struct random_stream {
  using result_type = std::uint64_t;

  std::uint64_t seed = 0;
  std::uint64_t offset = 0;  // how often it was asked

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }

  result_type operator()() {
    auto const block = philox<1>(seed, own_stream, offset++);
    return static_cast<std::uint64_t>(block.at[1][0]) << 32 | block.at[0][0];
  }

  /// The number of a stream for one tensor: `randn<float>(ctx, shape, random.seed, random.next())`.
  std::uint64_t next() { return offset++; }

  /// 0 <= x < 1, 53 digits.
  double uniform() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }
  /// 0 <= x < n, all equally likely (to n / 2^64).
  index_t below(index_t n) {
    if (n <= 0) throw error("random_stream: no number lies below ", n);
    return static_cast<index_t>(random_detail::multiply_high((*this)(), static_cast<std::uint64_t>(n)));
  }

  bool operator==(random_stream const&) const = default;

 private:
  static constexpr std::uint64_t own_stream = ~std::uint64_t{0};
};

/// Fisher-Yates.
template <class T>
void shuffle(std::span<T> values, random_stream& random) {
  for (std::size_t n = values.size(); n > 1; --n)
    std::swap(values[n - 1], values[static_cast<std::size_t>(random.below(static_cast<index_t>(n)))]);
}

/// 0 ... n - 1 in random order.
inline std::vector<index_t> permutation(index_t n, random_stream& random) {
  std::vector<index_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), index_t{0});
  shuffle(std::span(order), random);
  return order;
}

}  // namespace cog
