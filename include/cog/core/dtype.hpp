// Element types. bf16 and half are storage types: loads widen to float, stores round to nearest even, sums are float.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include <cog/core/config.hpp>

namespace cog {

/// std::bit_cast, which device code may not call.
template <class To, class From>
COG_HD constexpr To bits_as(From const& from) {
  return __builtin_bit_cast(To, from);
}

namespace detail {
/// A number on its way to bf16 or half, which are rounded from a float: what a float does not hold is rounded to odd, so that
/// rounding twice gives what rounding once would.
template <class U>
COG_HD float on_the_way(U value) {
  if constexpr (std::is_same_v<U, float>) {
    return value;
  } else if constexpr (std::is_integral_v<U>) {
    return on_the_way(static_cast<double>(value));
  } else {
    auto const near = static_cast<float>(value);
    if (static_cast<U>(near) == value || value != value) return near;
    auto const bits = bits_as<std::uint32_t>(near);
    bool const too_large = (static_cast<U>(near) > value) == (value > U(0));
    return bits_as<float>((too_large ? bits - 1 : bits) | 1u);
  }
}
}  // namespace detail

/// bfloat16: the upper half of a float.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  template <class U>
    requires std::is_arithmetic_v<U>
  COG_HD explicit bf16(U value) : bits(round(detail::on_the_way(value))) {}
  COG_HD operator float() const { return bits_as<float>(static_cast<std::uint32_t>(bits) << 16); }

 private:
  COG_HD static std::uint16_t round(float value) {
    auto u = bits_as<std::uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40u);  // keep a NaN a NaN
    return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
};

/// IEEE 754 binary16.
struct half {
  std::uint16_t bits = 0;

  half() = default;
  template <class U>
    requires std::is_arithmetic_v<U>
  COG_HD explicit half(U value) : bits(round(detail::on_the_way(value))) {}

  COG_HD operator float() const {
    std::uint32_t const sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    std::uint32_t const magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return bits_as<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    // 2^112 moves the exponent from bias 15 to bias 127 and makes subnormals right by itself.
    float const widened = bits_as<float>(magnitude << 13) * bits_as<float>(0x77800000u);
    return bits_as<float>(bits_as<std::uint32_t>(widened) | sign);
  }

 private:
  COG_HD static std::uint16_t round(float value) {
    auto u = bits_as<std::uint32_t>(value);
    std::uint32_t const sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
    if (u >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
    if (u < 0x38800000u) {  // subnormal: adding 1/2 leaves the rounded mantissa in the low bits
      float const shifted = bits_as<float>(u) + 0.5f;
      return static_cast<std::uint16_t>(sign | (bits_as<std::uint32_t>(shifted) - 0x3f000000u));
    }
    u += 0xc8000fffu + ((u >> 13) & 1u);  // rebias by -112 and round to nearest even
    return static_cast<std::uint16_t>(sign | (u >> 13));
  }
};

enum class dtype : std::uint8_t { f64, f32, bf16, f16, i64, i32, u8, boolean };

constexpr std::string_view name(dtype d) {
  constexpr std::string_view names[] = {"float64", "float32", "bfloat16", "float16", "int64", "int32", "uint8", "bool"};
  return names[static_cast<int>(d)];
}

constexpr std::size_t size_of(dtype d) {
  constexpr std::size_t sizes[] = {8, 4, 2, 2, 8, 4, 1, 1};
  return sizes[static_cast<int>(d)];
}

namespace detail {
template <class T>
struct dtype_trait;  // undefined: T is not an element type of cog
template <> struct dtype_trait<double> { static constexpr dtype value = dtype::f64; };
template <> struct dtype_trait<float> { static constexpr dtype value = dtype::f32; };
template <> struct dtype_trait<bf16> { static constexpr dtype value = dtype::bf16; };
template <> struct dtype_trait<half> { static constexpr dtype value = dtype::f16; };
template <> struct dtype_trait<std::int64_t> { static constexpr dtype value = dtype::i64; };
template <> struct dtype_trait<std::int32_t> { static constexpr dtype value = dtype::i32; };
template <> struct dtype_trait<std::uint8_t> { static constexpr dtype value = dtype::u8; };
template <> struct dtype_trait<bool> { static constexpr dtype value = dtype::boolean; };
}  // namespace detail

template <class T>
concept element = requires { detail::dtype_trait<T>::value; };

template <element T>
inline constexpr dtype dtype_of = detail::dtype_trait<T>::value;

template <class T>
concept reduced_float = std::same_as<T, bf16> || std::same_as<T, half>;

/// float, double, bf16, half: what has gradients.
template <class T>
concept floating = std::floating_point<T> || reduced_float<T>;

/// What arithmetic on T is done in: float for bf16 and half, T itself otherwise.
template <class T>
using compute_t = std::conditional_t<reduced_float<T>, float, T>;

namespace detail {
template <class A, class B>
consteval auto promote() {
  static_assert(!(reduced_float<A> && reduced_float<B> && !std::same_as<A, B>),
                "cog: bf16 and half do not mix; write cast<bf16>(x), cast<half>(x) or cast<float>(x)");
  if constexpr (std::same_as<A, B>) return A{};
  else if constexpr (floating<A> && !floating<B>) return A{};
  else if constexpr (floating<B> && !floating<A>) return B{};
  else if constexpr (std::same_as<A, bool>) return B{};
  else if constexpr (std::same_as<B, bool>) return A{};
  else if constexpr (sizeof(A) > sizeof(B)) return A{};
  else return B{};
}
}  // namespace detail

/// The dtype of an element-wise result: the wider of the two; a float wins over any integer. bf16 with half is refused.
template <class A, class B>
using promote_t = decltype(detail::promote<A, B>());

}  // namespace cog
