// Random tensors. Element i is a function of (seed, stream, i) alone: the same numbers on every backend, with any number of
// threads, whatever the shape. A tensor consumes one stream; take another for each tensor that shall be independent.
// The numbers are those of float: double holds the same (rand has 32 digits there), bf16 and half their rounding.
#pragma once

#include <cmath>

#include <cog/core/create.hpp>
#include <cog/expr/evaluate.hpp>
#include <cog/random/distribution.hpp>
#include <cog/random/philox.hpp>

namespace cog {

namespace random_detail {

/// Position p of the kernel makes the elements of Blocks blocks and writes them itself.
template <class T, class Distribution, int Blocks>
struct fill {
  using lane = void;
  static constexpr int per_block = 4 / Distribution::words;
  static constexpr int elements = per_block * Blocks;
  T* out;
  index_t size;
  std::uint64_t seed, stream;
  Distribution make;

  COG_HD bool operator()(std::int64_t p) const {
    auto const c = philox<Blocks>(seed, stream, static_cast<std::uint64_t>(p) * Blocks);
    T made[per_block][Blocks];
    for (int k = 0; k < per_block; ++k)
      for (int b = 0; b < Blocks; ++b) {
        if constexpr (Distribution::words == 1) made[k][b] = make(c.at[k][b]);
        else made[k][b] = make(c.at[2 * k][b], c.at[2 * k + 1][b]);
      }
    index_t const first = p * elements;
    T* const to = out + first;
    if (size - first >= elements) {
      for (int b = 0; b < Blocks; ++b)
        for (int k = 0; k < per_block; ++k) to[b * per_block + k] = made[k][b];
    } else {
      for (int i = 0; i < size - first; ++i) to[i] = made[i % per_block][i / per_block];
    }
    return true;  // to no_output
  }
};

template <element T, context C, std::size_t N, class Distribution>
auto make(C const& ctx, std::array<index_t, N> const& shape, std::uint64_t seed, std::uint64_t stream, Distribution d) {
  using B = typename C::backend_type;
  using kernel = fill<T, Distribution, B::host_accessible ? 16 : 1>;  // SIMD wants blocks side by side; a GPU thread, one
  auto out = empty<T>(ctx, shape);
  std::array<index_t, 1> const positions{(out.size() + kernel::elements - 1) / kernel::elements};
  B::for_each(ctx, positions, kernel{out.data(), out.size(), seed, stream, d},
              make_pack(detail::lower(position<-1>{}, positions)), make_pack(detail::no_output{}));
  return out;
}

}  // namespace random_detail

/// Standard normal numbers.
template <floating T, context C, std::size_t N>
auto randn(C const& ctx, std::array<index_t, N> const& shape, std::uint64_t seed, std::uint64_t stream = 0) {
  return random_detail::make<T>(ctx, shape, seed, stream, random_detail::normal<T>{});
}

/// Uniform numbers, 0 <= x < 1.
template <floating T, context C, std::size_t N>
auto rand(C const& ctx, std::array<index_t, N> const& shape, std::uint64_t seed, std::uint64_t stream = 0) {
  return random_detail::make<T>(ctx, shape, seed, stream, random_detail::uniform<T>{});
}

/// Standard normal numbers on condition that low <= x <= high (in standard deviations, before any scaling).
/// Throws where less than 1e-6 of the normal lies between.
template <floating T, context C, std::size_t N>
auto truncated_normal(C const& ctx, std::array<index_t, N> const& shape, std::uint64_t seed, std::uint64_t stream = 0,
                      double low = -2, double high = 2) {
  auto const below = [](double x) { return 0.5 * std::erfc(-x * 0.70710678118654752); };
  double const p = below(low), q = below(high);
  if (!(q - p >= 1e-6)) throw error("truncated_normal: no chance to fall between ", low, " and ", high);
  random_detail::truncated<T> const d{(p + q) / 2 - 0.5, random_detail::leading<20>(q - p), low, high};
  return random_detail::make<T>(ctx, shape, seed, stream, d);
}

/// Whole numbers, low <= x < high, all equally likely.
template <element T, context C, std::size_t N>
  requires(!floating<T>)
auto randint(C const& ctx, std::array<index_t, N> const& shape, std::int64_t low, std::int64_t high, std::uint64_t seed,
             std::uint64_t stream = 0) {
  if (low >= high) throw error("randint: nothing lies in [", low, ", ", high, ")");
  if (low < static_cast<std::int64_t>(std::numeric_limits<T>::lowest()) ||
      high - 1 > static_cast<std::int64_t>(std::numeric_limits<T>::max()))
    throw error("randint: ", name(dtype_of<T>), " does not hold all of [", low, ", ", high, ")");
  random_detail::integer<T> const d{low, static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low)};
  return random_detail::make<T>(ctx, shape, seed, stream, d);
}

/// A mask: each element is true with probability p (to 2^-32).
template <context C, std::size_t N>
auto bernoulli(C const& ctx, std::array<index_t, N> const& shape, double p, std::uint64_t seed, std::uint64_t stream = 0) {
  if (!(p >= 0 && p <= 1)) throw error("bernoulli: the probability is ", p);
  random_detail::chance const d{static_cast<std::uint64_t>(std::nearbyint(p * 0x1p32))};
  return random_detail::make<bool>(ctx, shape, seed, stream, d);
}

// Braced shapes: randn<float>(ctx, {64, 128}, seed).
template <floating T, context C, std::size_t N>
auto randn(C const& ctx, index_t const (&shape)[N], std::uint64_t seed, std::uint64_t stream = 0) {
  return randn<T>(ctx, std::to_array(shape), seed, stream);
}
template <floating T, context C, std::size_t N>
auto rand(C const& ctx, index_t const (&shape)[N], std::uint64_t seed, std::uint64_t stream = 0) {
  return rand<T>(ctx, std::to_array(shape), seed, stream);
}
template <floating T, context C, std::size_t N>
auto truncated_normal(C const& ctx, index_t const (&shape)[N], std::uint64_t seed, std::uint64_t stream = 0, double low = -2,
                      double high = 2) {
  return truncated_normal<T>(ctx, std::to_array(shape), seed, stream, low, high);
}
template <element T, context C, std::size_t N>
  requires(!floating<T>)
auto randint(C const& ctx, index_t const (&shape)[N], std::int64_t low, std::int64_t high, std::uint64_t seed,
             std::uint64_t stream = 0) {
  return randint<T>(ctx, std::to_array(shape), low, high, seed, stream);
}
template <context C, std::size_t N>
auto bernoulli(C const& ctx, index_t const (&shape)[N], double p, std::uint64_t seed, std::uint64_t stream = 0) {
  return bernoulli(ctx, std::to_array(shape), p, seed, stream);
}

}  // namespace cog
