// Random numbers: the words are Philox's, the distributions are what they are called, and nothing but (seed, stream, i) matters.
#include <cog/cog.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <set>

#include <catch2/catch.hpp>

#if __has_include(<Random123/philox.h>)
#include <Random123/philox.h>
#endif

namespace {

using cog::index_t;
__extension__ using wide = unsigned __int128;

cog::cpu::context context(int threads = 2) { return cog::cpu::context{{.threads = threads}}; }

/// Word i of a stream, by the definition.
std::uint32_t word(std::uint64_t seed, std::uint64_t stream, index_t i) {
  return cog::philox<1>(seed, stream, static_cast<std::uint64_t>(i / 4)).at[i % 4][0];
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

/// Sum of (observed - expected)^2 / expected, in standard deviations from its mean.
double chi_squared_excess(std::vector<double> const& observed, std::vector<double> const& expected) {
  double sum = 0;
  for (std::size_t i = 0; i < observed.size(); ++i) sum += (observed[i] - expected[i]) * (observed[i] - expected[i]) / expected[i];
  double const freedom = static_cast<double>(observed.size()) - 1;
  return (sum - freedom) / std::sqrt(2 * freedom);
}
double chi_squared_excess(std::vector<double> const& observed) {
  double total = 0;
  for (double n : observed) total += n;
  return chi_squared_excess(observed, std::vector<double>(observed.size(), total / static_cast<double>(observed.size())));
}

std::uint64_t hash(std::vector<float> const& values) {
  std::uint64_t h = 14695981039346656037u;
  for (float v : values) h = (h ^ std::bit_cast<std::uint32_t>(v)) * 1099511628211u;
  return h;
}

}  // namespace

TEST_CASE("philox: the published known answers") {
  struct { std::uint32_t counter[4]; std::uint64_t key; std::uint32_t answer[4]; } const known[] = {
      {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (auto const& k : known) {
    auto const block = k.counter[0] | std::uint64_t{k.counter[1]} << 32;
    auto const stream = k.counter[2] | std::uint64_t{k.counter[3]} << 32;
    auto const out = cog::philox<1>(k.key, stream, block);
    for (int w = 0; w < 4; ++w) CHECK(out.at[w][0] == k.answer[w]);
  }
}

#if __has_include(<Random123/philox.h>)
TEST_CASE("philox: as Random123, blocks side by side as one by one") {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 2000; ++trial) {
    std::uint64_t const seed = random(), stream = random(), block = random();
    auto const out = cog::philox<16>(seed, stream, block);
    for (std::uint64_t b = 0; b < 16; ++b) {
      r123::Philox4x32::ctr_type const counter = {{static_cast<std::uint32_t>(block + b), static_cast<std::uint32_t>((block + b) >> 32),
                                                   static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}};
      r123::Philox4x32::key_type const key = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
      auto const want = r123::Philox4x32()(counter, key);
      for (std::size_t w = 0; w < 4; ++w) REQUIRE(out.at[w][b] == want[w]);
    }
  }
}
#endif

TEST_CASE("random: element i is a function of word i, at every length") {
  auto const ctx = context();
  for (index_t n : {0, 1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 1000}) {
    auto const x = cog::rand<float>(ctx, {n}, 7, 3);
    auto const d = cog::rand<double>(ctx, {n}, 7, 3);
    auto const z = cog::randn<float>(ctx, {n}, 7, 3);
    auto const zd = cog::randn<double>(ctx, {n}, 7, 3);
    auto const zb = cog::randn<cog::bf16>(ctx, {n}, 7, 3);
    auto const k = cog::randint<std::int64_t>(ctx, {n}, -5, 1000000007, 7, 3);
    for (index_t i = 0; i < n; ++i) {
      REQUIRE(x(i) == static_cast<float>(word(7, 3, i) >> 8) * 0x1p-24f);
      REQUIRE(d(i) == word(7, 3, i) * 0x1p-32);
      REQUIRE(z(i) == static_cast<float>(cog::random_detail::normal_quantile(cog::random_detail::centred(word(7, 3, i)))));
      REQUIRE(zd(i) == z(i));
      REQUIRE(zb(i).bits == cog::bf16(z(i)).bits);
      wide const both = word(7, 3, 2 * i) | std::uint64_t{word(7, 3, 2 * i + 1)} << 32;
      REQUIRE(k(i) == static_cast<std::int64_t>(both * 1000000012u >> 64) - 5);
    }
  }
}

TEST_CASE("random: shape and threads do not matter") {
  auto const one = context(1);
  index_t const n = 2500003;  // enough for several threads, not a whole number of blocks
  auto const want = cog::randn<float>(one, {n}, 11).to_vector();
  for (int threads : {2, 3, 8}) {
    auto const ctx = context(threads);
    CHECK(cog::randn<float>(ctx, {n}, 11).to_vector() == want);
  }
  auto const shaped = cog::randn<float>(one, {5, 7, 11}, 11).to_vector();
  CHECK(std::equal(shaped.begin(), shaped.end(), want.begin()));
  CHECK(cog::randn<float>(one, std::array<index_t, 0>{}, 11).item() == want[0]);
  CHECK(cog::randn<float>(one, {0, 5}, 11).size() == 0);
}

// These figures are a promise: a seed in a paper or a checkpoint means the same numbers with every compiler, flag and release.
TEST_CASE("random: the numbers of a seed never change") {
  auto const ctx = context();
  CHECK(hash(cog::rand<float>(ctx, {100000}, 42).to_vector()) == 0x945d546a3426283d);
  CHECK(hash(cog::randn<float>(ctx, {100000}, 42).to_vector()) == 0x780eac9247510720);
  CHECK(hash(cog::randn<float>(ctx, {100000}, 42, 1).to_vector()) == 0x69751a926a6738b9);
  CHECK(hash(cog::truncated_normal<float>(ctx, {100000}, 42).to_vector()) == 0x86cc731580870514);
  CHECK(cog::randn<float>(ctx, {4}, 0).to_vector() == std::vector<float>{-0x1.05f4ap-2f, 0x1.2d769ep+0f, 0x1.42a76ep-1f, 0x1.11fbd6p-2f});
  cog::random_stream random{.seed = 42};
  CHECK(cog::permutation(8, random) == std::vector<index_t>{3, 5, 0, 7, 4, 6, 2, 1});
}

TEST_CASE("random: the normal quantile, against the error function in long double") {
  std::mt19937_64 random(2);
  auto const check = [](double h) {
    double const z = cog::random_detail::normal_quantile(h);
    // One Newton step from z gives the distance to the exact quantile; the smaller tail keeps its digits.
    long double const tail = 0.5L - std::abs(static_cast<long double>(h));
    long double const at = std::abs(static_cast<long double>(z));
    long double const mine = 0.5L * std::erfc(at / std::sqrt(2.0L));
    long double const density = std::exp(-at * at / 2) / std::sqrt(2 * std::acos(-1.0L));
    long double const relative = std::abs(mine - tail) / (density * at);
    INFO("h = " << h << ", z = " << z);
    REQUIRE(relative < 1.2e-7L);
    REQUIRE((z > 0) == (h > 0));
    REQUIRE(cog::random_detail::normal_quantile(-h) == -z);
  };
  for (int i = 0; i < 200000; ++i) check(cog::random_detail::centred(static_cast<std::uint32_t>(random())));
  for (std::uint32_t w = 0; w < 20000; ++w) {
    check(cog::random_detail::centred(w));               // the tail
    check(cog::random_detail::centred(0x80000000u + w));  // the middle
  }
  for (double e = 2; e < 50; e += 0.25) check(0.5 - std::exp2(-e));
  CHECK(cog::random_detail::normal_quantile(0.0) == 0);
  CHECK(cog::random_detail::normal_quantile(cog::random_detail::centred(0xffffffffu)) == Approx(6.3379).epsilon(1e-4));
  double previous = -10;
  for (std::uint64_t w = 0; w < (std::uint64_t{1} << 32); w += 65521) {
    double const z = cog::random_detail::normal_quantile(cog::random_detail::centred(static_cast<std::uint32_t>(w)));
    REQUIRE(z > previous);
    previous = z;
  }
}

TEST_CASE("randn: moments, shape, independence of neighbours, streams and seeds") {
  auto const ctx = context();
  index_t const n = 1 << 20;
  auto const x = cog::randn<float>(ctx, {n}, 5).to_vector();
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  std::vector<double> bins(256);
  for (float v : x) {
    m1 += v, m2 += v * v, m3 += v * v * v, m4 += v * v * v * v;
    ++bins[std::min<std::size_t>(255, static_cast<std::size_t>(normal_cdf(v) * 256))];
  }
  double const root = std::sqrt(static_cast<double>(n));
  CHECK(std::abs(m1 / n) < 4 / root);
  CHECK(std::abs(m2 / n - 1) < 4 * std::sqrt(2.0) / root);
  CHECK(std::abs(m3 / n) < 4 * std::sqrt(15.0) / root);
  CHECK(std::abs(m4 / n - 3) < 4 * std::sqrt(96.0) / root);
  CHECK(std::abs(chi_squared_excess(bins)) < 4);

  auto const correlation = [&](std::vector<float> const& a, std::vector<float> const& b, std::size_t lag) {
    double sum = 0;
    for (std::size_t i = lag; i < a.size(); ++i) sum += a[i] * b[i - lag];
    return sum / root;  // in standard deviations
  };
  for (std::size_t lag = 1; lag <= 8; ++lag) CHECK(std::abs(correlation(x, x, lag)) < 4);
  auto const other_stream = cog::randn<float>(ctx, {n}, 5, 1).to_vector();
  auto const other_seed = cog::randn<float>(ctx, {n}, 6).to_vector();
  for (std::size_t lag = 0; lag <= 4; ++lag) {
    CHECK(std::abs(correlation(x, other_stream, lag)) < 4);
    CHECK(std::abs(correlation(x, other_seed, lag)) < 4);
  }
}

TEMPLATE_TEST_CASE("rand: uniform on [0, 1) in every dtype", "", float, double, cog::bf16, cog::half) {
  auto const ctx = context();
  index_t const n = 1 << 20;
  auto const x = cog::rand<TestType>(ctx, {n}, 9).to_vector();
  int constexpr digits = std::same_as<TestType, double> ? 32 : std::same_as<TestType, float> ? 24 : std::same_as<TestType, cog::half> ? 11 : 8;
  std::vector<double> bins(256);
  double low = 1, high = 0;
  for (TestType v : x) {
    double const d = static_cast<double>(v);
    REQUIRE((d >= 0 && d < 1));
    REQUIRE(std::ldexp(d, digits) == std::floor(std::ldexp(d, digits)));
    ++bins[static_cast<std::size_t>(d * 256)];
    low = std::min(low, d), high = std::max(high, d);
  }
  CHECK(std::abs(chi_squared_excess(bins)) < 4);
  CHECK(low < 1e-4);
  CHECK(high >= 1 - std::max(std::ldexp(1.0, -digits), 1e-4));
}

TEST_CASE("truncated_normal: the normal between its bounds") {
  auto const ctx = context();
  index_t const n = 1 << 19;
  double const infinite = std::numeric_limits<double>::infinity();
  struct { double low, high; } const bounds[] = {{-2, 2}, {0, infinite}, {-infinite, -1}, {1, 1.5}, {-0.001, 3}, {4, 4.5}};
  for (auto [low, high] : bounds) {
    auto const x = cog::truncated_normal<float>(ctx, {n}, 3, 0, low, high).to_vector();
    double const below = normal_cdf(low), inside = normal_cdf(high) - below;
    std::vector<double> bins(128);
    for (float v : x) {
      REQUIRE((v >= static_cast<float>(low) && v <= static_cast<float>(high)));
      double const u = (normal_cdf(v) - below) / inside;
      ++bins[static_cast<std::size_t>(std::clamp(u * 128, 0.0, 127.0))];
    }
    INFO("[" << low << ", " << high << "]");
    CHECK(std::abs(chi_squared_excess(bins)) < 4);
  }
  CHECK(cog::truncated_normal<float>(ctx, {1000}, 3, 0, -infinite, infinite).to_vector() ==
        cog::randn<float>(ctx, {1000}, 3).to_vector());
  auto const b = cog::truncated_normal<cog::bf16>(ctx, {1000}, 3);
  for (index_t i = 0; i < 1000; ++i) REQUIRE(std::abs(static_cast<float>(b(i))) <= 2);
  CHECK_THROWS_AS(cog::truncated_normal<float>(ctx, {3}, 1, 0, 2, -2), cog::error);
  CHECK_THROWS_AS(cog::truncated_normal<float>(ctx, {3}, 1, 0, 9, 10), cog::error);
  CHECK_THROWS_AS(cog::truncated_normal<float>(ctx, {3}, 1, 0, NAN, 1), cog::error);
}

TEST_CASE("randint: every value alike, ends included and excluded as said") {
  auto const ctx = context();
  index_t const n = 300000;
  auto const check = [&]<class T>(T, std::int64_t low, std::int64_t high) {
    std::vector<double> bins(static_cast<std::size_t>(high - low));
    for (T v : cog::randint<T>(ctx, {n}, low, high, 4).to_vector()) {
      REQUIRE((v >= low && v < high));
      ++bins[static_cast<std::size_t>(v - low)];
    }
    CHECK(std::abs(chi_squared_excess(bins)) < 4);
  };
  check(std::int32_t{}, -3, 4);
  check(std::int64_t{}, 100, 1100);
  check(std::uint8_t{}, 0, 256);
  auto const extreme = cog::randint<std::int64_t>(ctx, {n}, std::numeric_limits<std::int64_t>::min(),
                                                  std::numeric_limits<std::int64_t>::max(), 4);
  index_t negative = 0;
  for (index_t i = 0; i < n; ++i) negative += extreme(i) < 0;
  CHECK(std::abs(negative - n / 2) < 4 * std::sqrt(n / 4.0));
  CHECK(cog::randint<std::int32_t>(ctx, {3}, 5, 6, 1).to_vector() == std::vector<std::int32_t>{5, 5, 5});
  CHECK_THROWS_AS(cog::randint<std::int32_t>(ctx, {3}, 5, 5, 1), cog::error);
  CHECK_THROWS_AS(cog::randint<std::uint8_t>(ctx, {3}, -1, 5, 1), cog::error);
  CHECK_THROWS_AS(cog::randint<std::uint8_t>(ctx, {3}, 0, 257, 1), cog::error);
}

TEST_CASE("random: the upper half of a product of 64 bits") {
  std::mt19937_64 random(3);
  for (int i = 0; i < 10000; ++i) {
    std::uint64_t const a = random() >> (random() % 64), b = random() >> (random() % 64);
    REQUIRE(cog::random_detail::multiply_high(a, b) == static_cast<std::uint64_t>(wide{a} * b >> 64));
  }
}

TEST_CASE("bernoulli: the probability asked for, never and always") {
  auto const ctx = context();
  index_t const n = 1 << 18;
  for (double p : {0.0, 1e-3, 0.1, 0.5, 0.9, 1.0}) {
    auto const mask = cog::bernoulli(ctx, {n}, p, 8);
    index_t count = 0;
    for (index_t i = 0; i < n; ++i) count += mask(i);
    CHECK(std::abs(static_cast<double>(count) - n * p) <= 4 * std::sqrt(n * p * (1 - p)));
  }
  CHECK_THROWS_AS(cog::bernoulli(ctx, {3}, 1.5, 1), cog::error);
  CHECK_THROWS_AS(cog::bernoulli(ctx, {3}, NAN, 1), cog::error);
}

TEST_CASE("random_stream: resumes from {seed, offset}") {
  static_assert(std::uniform_random_bit_generator<cog::random_stream>);
  cog::random_stream a{.seed = 17};
  for (int i = 0; i < 100; ++i) a();
  cog::random_stream b{.seed = a.seed, .offset = a.offset};
  CHECK(a == b);
  for (int i = 0; i < 100; ++i) REQUIRE(a() == b());
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 100000; ++i) seen.insert(a());
  CHECK(seen.size() == 100000);
  CHECK(a.next() != a.next());
  for (int i = 0; i < 1000; ++i) {
    double const u = a.uniform();
    REQUIRE((u >= 0 && u < 1));
    REQUIRE((a.below(3) >= 0 && b.below(3) < 3));
  }
  CHECK_THROWS_AS(a.below(0), cog::error);
}

TEST_CASE("permutation: each order alike, each a permutation") {
  cog::random_stream random{.seed = 23};
  std::vector<double> bins(120);
  for (int i = 0; i < 60000; ++i) {
    auto const p = cog::permutation(5, random);
    std::size_t code = 0;
    for (std::size_t k = 0; k < 5; ++k) {
      auto const smaller = std::count_if(p.begin() + static_cast<std::ptrdiff_t>(k) + 1, p.end(), [&](index_t v) { return v < p[k]; });
      code = code * (5 - k) + static_cast<std::size_t>(smaller);
    }
    ++bins[code];
  }
  CHECK(std::abs(chi_squared_excess(bins)) < 4);
  auto big = cog::permutation(100003, random);
  std::sort(big.begin(), big.end());
  for (index_t i = 0; i < 100003; ++i) REQUIRE(big[static_cast<std::size_t>(i)] == i);
  CHECK(cog::permutation(0, random).empty());
}
