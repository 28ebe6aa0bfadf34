// bf16 and half bit by bit, dtype names and sizes, promotion.
#include <cog/core/dtype.hpp>

#include <cmath>
#include <cstring>
#include <limits>

#include <Eigen/Core>
#include <catch2/catch.hpp>

namespace {

using cog::bf16;
using cog::half;

/// The value of a pattern, from the definition of the format.
template <int ExponentBits, int MantissaBits>
double decode(unsigned bits) {
  int const bias = (1 << (ExponentBits - 1)) - 1;
  unsigned const mantissa = bits & ((1u << MantissaBits) - 1);
  int const exponent = static_cast<int>(bits >> MantissaBits) & ((1 << ExponentBits) - 1);
  double const sign = bits >> (ExponentBits + MantissaBits) ? -1 : 1;
  if (exponent == (1 << ExponentBits) - 1) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - MantissaBits);
  return sign * std::ldexp(mantissa + (1u << MantissaBits), exponent - bias - MantissaBits);
}

template <class T, int ExponentBits, int MantissaBits>
void check_patterns() {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    T x;
    x.bits = static_cast<std::uint16_t>(bits);
    double const want = decode<ExponentBits, MantissaBits>(bits);
    float const got = x;
    REQUIRE(std::isnan(got) == std::isnan(want));
    if (std::isnan(want)) {
      REQUIRE(std::isnan(static_cast<float>(T(got))));
    } else {
      REQUIRE(got == want);
      REQUIRE(std::signbit(got) == std::signbit(want));
      REQUIRE(T(got).bits == bits);
    }
  }
}

/// Between every two neighbours: just below the middle, the middle (to even), just above it.
template <class T, int ExponentBits, int MantissaBits>
void check_rounding() {
  unsigned const infinity = ((1u << ExponentBits) - 1) << MantissaBits;
  for (unsigned low = 0; low < infinity; ++low) {
    unsigned const high = low + 1;
    double const a = decode<ExponentBits, MantissaBits>(low);
    double const b = high == infinity ? std::ldexp(1.0, 1 << (ExponentBits - 1)) : decode<ExponentBits, MantissaBits>(high);
    auto const middle = static_cast<float>((a + b) / 2);
    REQUIRE(middle == (a + b) / 2);
    for (unsigned sign : {0u, 0x8000u}) {
      float const s = sign ? -1.0f : 1.0f;
      REQUIRE(T(s * std::nextafter(middle, 0.0f)).bits == (low | sign));
      REQUIRE(T(s * middle).bits == ((low % 2 == 0 ? low : high) | sign));
      REQUIRE(T(s * std::nextafter(middle, INFINITY)).bits == (high | sign));
    }
  }
  REQUIRE(T(std::numeric_limits<float>::max()).bits == infinity);
  REQUIRE(T(-INFINITY).bits == (infinity | 0x8000u));
}

}  // namespace

TEST_CASE("bf16: all patterns, all midpoints") {
  check_patterns<bf16, 8, 7>();
  check_rounding<bf16, 8, 7>();
}

TEST_CASE("half: all patterns, all midpoints") {
  check_patterns<half, 5, 10>();
  check_rounding<half, 5, 10>();
}

TEST_CASE("bf16 and half: rounding as Eigen's") {
  std::uint32_t bits = 12345;
  for (int i = 0; i < 2000000; ++i) {
    bits = bits * 1664525u + 1013904223u;
    auto const x = std::bit_cast<float>(bits);
    if (std::isnan(x)) continue;
    REQUIRE(half(x).bits == Eigen::numext::bit_cast<std::uint16_t>(Eigen::half(x)));
    REQUIRE(bf16(x).bits == Eigen::numext::bit_cast<std::uint16_t>(Eigen::bfloat16(x)));
  }
}

TEST_CASE("bf16 and half: doubles and integers are rounded once") {
  CHECK(static_cast<double>(half(1 + 0x1p-11)) == 1);
  CHECK(static_cast<double>(half(1 + 0x1p-11 + 0x1p-40)) == 1 + 0x1p-10);
  CHECK(static_cast<double>(half(-1 - 0x1p-11 - 0x1p-40)) == -1 - 0x1p-10);
  CHECK(static_cast<double>(half(1 + 0x3p-11 - 0x1p-40)) == 1 + 0x1p-10);
  CHECK(static_cast<double>(bf16(1 + 0x1p-8 + 0x1p-50)) == 1 + 0x1p-7);
  CHECK(static_cast<double>(bf16((1 << 24) + (1 << 16) + 1)) == (1 << 24) + (1 << 17));
  CHECK(half(1e300).bits == half(INFINITY).bits);
  CHECK(half(65520 - 1e-9).bits == half(65504).bits);  // 65520 is the middle between the largest half and infinity
  CHECK(bf16(-1e-300).bits == 0x8000);
  CHECK(static_cast<double>(half(0x1p-25 + 0x1p-70)) == 0x1p-24);
  CHECK(std::isnan(static_cast<float>(half(std::numeric_limits<double>::quiet_NaN()))));
}

TEST_CASE("bf16: a NaN whose payload lies in the lower half stays a NaN") {
  for (std::uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu}) {
    CHECK(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(bits)))));
    CHECK(std::isnan(static_cast<float>(half(std::bit_cast<float>(bits)))));
  }
}

TEST_CASE("dtype: names and sizes") {
  CHECK(cog::name(cog::dtype_of<bf16>) == "bfloat16");
  CHECK(cog::name(cog::dtype_of<half>) == "float16");
  CHECK(cog::name(cog::dtype_of<std::int64_t>) == "int64");
  auto const size = []<class T>(T) { return cog::size_of(cog::dtype_of<T>) == sizeof(T); };
  CHECK((size(double{}) && size(float{}) && size(bf16{}) && size(half{}) && size(std::int64_t{}) && size(std::int32_t{}) &&
         size(std::uint8_t{}) && size(bool{})));
}

TEST_CASE("dtype: promotion") {
  using std::int32_t, std::int64_t, std::uint8_t;
  auto const is = []<class A, class B, class R>(A, B, R) {
    return std::same_as<cog::promote_t<A, B>, R> && std::same_as<cog::promote_t<B, A>, R>;
  };
  CHECK(is(float{}, double{}, double{}));
  CHECK(is(bf16{}, float{}, float{}));
  CHECK(is(half{}, double{}, double{}));
  CHECK(is(bf16{}, bf16{}, bf16{}));
  CHECK(is(bf16{}, int64_t{}, bf16{}));
  CHECK(is(half{}, bool{}, half{}));
  CHECK(is(float{}, int64_t{}, float{}));
  CHECK(is(int32_t{}, int64_t{}, int64_t{}));
  CHECK(is(uint8_t{}, int32_t{}, int32_t{}));
  CHECK(is(bool{}, uint8_t{}, uint8_t{}));
  CHECK(is(bool{}, bool{}, bool{}));
  CHECK(std::same_as<cog::compute_t<half>, float>);
  CHECK(std::same_as<cog::compute_t<int64_t>, int64_t>);
}
