// From random words to numbers, with the same bits on every target. A compiler may fuse a product with the sum that follows or
// not; here the factors are cut so short that every such product is exact, and both give the same (-ffast-math excepted).
#pragma once

#include <bit>
#include <cstdint>

#include <cog/core/dtype.hpp>

namespace cog::random_detail {

/// x cut to its leading binary digits. A product of 26 and 27 digits is exact in double.
template <int Digits>
COG_HD COG_INLINE double leading(double x) {
  return bits_as<double>(bits_as<std::uint64_t>(x) & (~std::uint64_t{0} << (53 - Digits)));
}

/// p x + c, cut to 27 digits; p has 27 digits at most, x 26.
COG_HD COG_INLINE double horner(double p, double x, double c) { return leading<27>(p * x + c); }

/// -log(q) for 0 < q <= 1 (normal): q = 2^e m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) / (m + 1)).
/// Absolute error 1e-7, 26 digits.
COG_HD COG_INLINE double minus_log(float q) {
  auto const bits = static_cast<std::int32_t>(bits_as<std::uint32_t>(q));
  std::int32_t const e = (bits - 0x3f3504f3) >> 23;
  double const m = bits_as<float>(static_cast<std::uint32_t>(bits - e * (1 << 23)));
  double const s = leading<26>((m - 1.0) / (m + 1.0));
  double const u = leading<26>(s * s);
  double p = leading<27>(2.0 / 9);
  p = horner(p, u, 2.0 / 7);
  p = horner(p, u, 2.0 / 5);
  p = horner(p, u, 2.0 / 3);
  p = horner(p, u, 2.0);
  return leading<26>(-(e * leading<40>(0.693147180559945309)) - s * p);
}

/// The standard normal quantile of 1/2 + h, |h| < 1/2: odd in h, relative error 1e-7.
/// z / h is a smooth function of w = -log(1 - 4 h^2) (Giles, "Approximating the erfinv function", 2010); here one rational
/// minimax fit over 0 <= w <= 37, of error 3.3e-8, spares the branches.
COG_HD COG_INLINE double normal_quantile(double h) {
  double const tail = 0.5 - (h < 0 ? -h : h);  // exact
  double const w = minus_log(static_cast<float>(4.0 * (tail * (1.0 - tail))));
  double p = leading<27>(1.05254055377e-6);
  p = horner(p, w, 1.57895239422e-4);
  p = horner(p, w, 2.61920774743e-3);
  p = horner(p, w, 2.73697288279e-2);
  p = horner(p, w, 1.92324768031e-1);
  p = horner(p, w, 9.18004629078e-1);
  p = horner(p, w, 2.50662819211);
  double q = leading<27>(9.21766621621e-9);
  q = horner(q, w, 6.24420803822e-6);
  q = horner(q, w, 2.97658271896e-4);
  q = horner(q, w, 2.66759948757e-3);
  q = horner(q, w, 3.63586288971e-2);
  q = horner(q, w, 1.04430552954e-1);
  q = horner(q, w, 1.0);
  return h * (p / q);
}

/// (word + 1/2) / 2^32 - 1/2, exactly: a uniform number of (-1/2, 1/2).
COG_HD COG_INLINE double centred(std::uint32_t word) {
  return (static_cast<double>(static_cast<std::int32_t>(word ^ 0x80000000u)) + 0.5) * 0x1p-32;
}

/// floor(a b / 2^64).
COG_HD inline std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
  std::uint64_t const mask = 0xffffffffu;
  std::uint64_t const low = (a & mask) * (b & mask);
  std::uint64_t const middle = (a >> 32) * (b & mask) + (low >> 32);
  std::uint64_t const other = (a & mask) * (b >> 32) + (middle & mask);
  return (a >> 32) * (b >> 32) + (middle >> 32) + (other >> 32);
}

// ---- distributions: an element from its words

/// 0 <= x < 1, as many binary digits as T holds (32 at most): rounding never reaches 1.
template <floating T>
struct uniform {
  static constexpr int words = 1;
  COG_HD T operator()(std::uint32_t word) const {
    if constexpr (std::same_as<T, double>) {
      return static_cast<double>(word) * 0x1p-32;
    } else {
      constexpr int digits = std::same_as<T, float> ? 24 : std::same_as<T, half> ? 11 : 8;
      constexpr float unit = 1.0f / static_cast<float>(1 << digits);
      return T(static_cast<float>(static_cast<std::int32_t>(word >> (32 - digits))) * unit);
    }
  }
};

/// Mean 0, deviation 1, |x| < 6.4.
template <floating T>
struct normal {
  static constexpr int words = 1;
  COG_HD T operator()(std::uint32_t word) const { return T(static_cast<float>(normal_quantile(centred(word)))); }
};

/// The part of the normal between two bounds; `width` has at most 20 digits, so that its product is exact.
template <floating T>
struct truncated {
  static constexpr int words = 1;
  double centre, width;  // of the interval of probabilities; centre counted from 1/2
  double low, high;
  COG_HD T operator()(std::uint32_t word) const {
    double const z = normal_quantile(centred(word) * width + centre);
    double const above = z < low ? low : z;
    return T(static_cast<float>(above > high ? high : above));
  }
};

/// low <= x < low + range; a value's probability is off by less than 2^-64.
template <class T>
struct integer {
  static constexpr int words = 2;
  std::int64_t low;
  std::uint64_t range;
  COG_HD T operator()(std::uint32_t first, std::uint32_t second) const {
    std::uint64_t const word = static_cast<std::uint64_t>(second) << 32 | first;
    return static_cast<T>(static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + multiply_high(word, range)));
  }
};

/// True with probability threshold / 2^32.
struct chance {
  static constexpr int words = 1;
  std::uint64_t threshold;
  COG_HD bool operator()(std::uint32_t word) const { return word < threshold; }
};

}  // namespace cog::random_detail
