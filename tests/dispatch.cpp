// Every set of instructions that this machine has gives the same attention and the same products, up to rounding, and
// each of them the same bits on one thread and on three.
#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <memory>

#include <cog/attention/attention.hpp>
#include <cog/backend/cpu/cpu.hpp>
#include <cog/core/wrap.hpp>
#include <cog/expr/contract.hpp>
#include <cog/random/random.hpp>

namespace {

using namespace cog;
using cpu_detail::chosen_instructions, cpu_detail::instructions;

/// Calls f under every set of instructions, from the widest down, and puts things back.
template <class F>
void under_each(F const& f) {
  auto const best = cpu_detail::best_instructions();
  for (auto use : {instructions::compiled, instructions::avx2, instructions::avx512}) {
    if (use > best) continue;
    chosen_instructions() = use;
    INFO("instructions " << static_cast<int>(use));
    f();
  }
  chosen_instructions() = best;
}

template <class T, int R>
double distance(tensor<T, R, cpu> const& a, tensor<T, R, cpu> const& b) {
  double largest = 0;
  auto const x = a.to_vector(), y = b.to_vector();
  REQUIRE(x.size() == y.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    double const d = std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    if (!(d <= largest)) largest = d;  // a NaN stays
  }
  return largest;
}

template <class Rule, class T = float, class Mask>
void check_attention(Mask const& mask, index_t heads, index_t key_heads, index_t queries, index_t keys, index_t width) {
  cpu::context const ctx, three({.threads = 3});
  auto const q = randn<T>(ctx, {2, heads, queries, width}, 1),
             k = randn<T>(ctx, {2, key_heads, keys, width}, 2),
             v = randn<T>(ctx, {2, key_heads, keys, width}, 3),
             g = randn<T>(ctx, {2, heads, queries, width}, 4);
  double const bound = std::same_as<T, float> ? 1e-4 : 1e-12, scale = 1 / std::sqrt(static_cast<double>(width));
  auto const expected = composed::forward<Rule>(q, k, v, mask, scale);
  auto const slopes = composed::backward<Rule>(q, k, v, expected.out, expected.logsumexp, g, mask, scale);
  under_each([&] {
    auto const f = attention_forward<Rule>(q, k, v, mask);
    CHECK(distance(f.out, expected.out) < bound);
    CHECK(distance(f.logsumexp, expected.logsumexp) < bound);
    auto const d = attention_backward<Rule>(q, k, v, expected.out, expected.logsumexp, g, mask);
    CHECK(distance(d.dq, slopes.dq) < 10 * bound);
    CHECK(distance(d.dk, slopes.dk) < 10 * bound);
    CHECK(distance(d.dv, slopes.dv) < 10 * bound);

    auto const on = [&](auto const& x) { return from(three, x.to_vector(), x.extents()); };
    auto const other = attention_forward<Rule>(on(q), on(k), on(v), mask);
    CHECK(other.out.to_vector() == f.out.to_vector());
  });
}

}  // namespace

TEST_CASE("attention is the same under every set of instructions") {
  check_attention<cog_rule>(no_mask, 2, 2, 70, 90, 24);
  check_attention<softmax_rule>(no_mask, 2, 1, 33, 130, 17);
  check_attention<cog_rule>(causal, 4, 2, 129, 129, 32);
  check_attention<softmax_rule>(causal, 1, 1, 65, 200, 64);
  check_attention<cog_rule>(sliding_window{19}, 2, 2, 100, 100, 8);
  check_attention<cog_rule>(no_mask, 2, 2, 1, 300, 40);  // decoding
  check_attention<softmax_rule>(causal, 4, 1, 2, 130, 67);
  check_attention<cog_rule, double>(causal, 4, 2, 129, 129, 32);
  check_attention<softmax_rule, double>(no_mask, 2, 1, 33, 130, 17);
  check_attention<cog_rule, double>(no_mask, 2, 2, 1, 300, 40);
}

TEMPLATE_TEST_CASE("products are the same under every set of instructions", "", float, double) {
  using T = TestType;
  cpu::context const ctx, three({.threads = 3});
  for (auto [m, k, n] :
       {std::array<index_t, 3>{1, 7, 5}, {5, 300, 65}, {97, 16, 64}, {200, 257, 130}, {6, 1, 17}, {64, 64, 3}, {62, 1100, 144}, {101, 520, 96}}) {
    auto const a = randn<T>(ctx, {m, k}, 1), b = randn<T>(ctx, {k, n}, 2);
    auto const bias = randn<T>(ctx, {n}, 3);
    tensor<T, 2, cpu> expected(ctx, {m, n});
    for (index_t i = 0; i < m; ++i)
      for (index_t j = 0; j < n; ++j) {
        long double sum = bias(j);
        for (index_t c = 0; c < k; ++c) sum += static_cast<long double>(a(i, c)) * static_cast<long double>(b(c, j));
        expected(i, j) = static_cast<T>(sum);
      }
    double const bound = (std::same_as<T, float> ? 1e-4 : 1e-12) * std::max(1.0, static_cast<double>(k) / 500);
    under_each([&] {
      tensor<T, 2, cpu> const y = matmul(a, b) + bias;
      CHECK(distance(y, expected) < bound);
      // Operands that lie transposed.
      auto const at = transposed(transposed(a).copy()), bt = transposed(transposed(b).copy());
      tensor<T, 2, cpu> const z = matmul(at, bt) + bias;
      CHECK(distance(z, expected) < bound);
      tensor<T, 2, cpu> const plain = matmul(at, b);  // made where it belongs
      CHECK(distance(eval(plain + bias), expected) < bound);
      tensor<T, 2, cpu> sum = expand(bias, expected.extents()).copy();
      sum += matmul(a, b);
      CHECK(distance(sum, expected) < bound);
      auto const on = [&](auto const& x) { return from(three, x.to_vector(), x.extents()); };
      CHECK(tensor<T, 2, cpu>(matmul(on(a), on(b)) + on(bias)).to_vector() == y.to_vector());
    });
  }
}

TEMPLATE_TEST_CASE("products read nothing beyond their operands", "", float, double, half) {  // AddressSanitizer sees it
  cpu::context const ctx;
  for (auto const& [m, k, n] : {std::array<index_t, 3>{240, 52, 10}, {8, 701, 37}, {8, 701, 20}, {300, 40, 70}, {400, 33, 21}, {2, 90, 19}, {70, 90, 2}}) {
    auto const exactly = [&](tensor<float, 2, cpu> const& x) {  // in memory of its own, to the byte
      tensor<TestType, 2, cpu> const y = cast<TestType>(x);
      auto const values = std::make_shared<std::vector<TestType>>(y.to_vector());
      return wrap(ctx, values->data(), y.extents(), values);
    };
    auto const a = exactly(randn<float>(ctx, {m, k}, 1)), b = exactly(randn<float>(ctx, {k, n}, 2));
    auto const at = exactly(eval(cast<float>(transposed(a)))), bt = exactly(eval(cast<float>(transposed(b))));
    tensor<double, 2, cpu> const wanted = matmul(eval(cast<double>(a)), eval(cast<double>(b)));
    double const bound = (std::same_as<TestType, half> ? 1e-3 : 1e-5) * max(abs(wanted)).item();
    under_each([&] {
      INFO(m << " x " << k << " x " << n);
      auto const check = [&](auto const& x, auto const& y) {
        tensor<TestType, 2, cpu> sum = zeros<TestType>(ctx, {m, n});
        sum += matmul(x, y);
        CHECK(distance(eval(cast<float>(sum)), eval(cast<float>(wanted))) < bound);
        CHECK(distance(eval(cast<float>(eval(matmul(x, y)))), eval(cast<float>(wanted))) < bound);
      };
      check(a, b), check(transposed(at), b), check(a, transposed(bt)), check(transposed(at), transposed(bt));
    });
  }
}

TEMPLATE_TEST_CASE("products of few rows or columns, however the matrix lies", "", float, bf16, half) {
  cpu::context const ctx, three({.threads = 3});
  for (index_t const few : {1, 2, 3})
    for (auto const& shape : {std::pair<index_t, index_t>{1, 5}, {70, 16}, {300, 130}, {40, 2100}}) {
      index_t const k = shape.first, n = shape.second;
      auto const draw = [](cpu::context const& c, extents<2> e, std::uint64_t seed) {
        return eval(cast<TestType>(randn<float>(c, e, seed)));
      };
      auto const wide = [](auto const& x) { return eval(cast<double>(x)); };
      auto const x = draw(ctx, {few, k}, 1), w = draw(ctx, {k, n}, 2);
      auto const bias = eval(cast<TestType>(randn<float>(ctx, {n}, 3)));
      auto const turned = transposed(transposed(w).copy()), apart = slice(draw(ctx, {k, 2 * n}, 4), 1, 0, 2 * n, 2);
      double const bound = std::same_as<TestType, float> ? 1e-5 : std::same_as<TestType, half> ? 1e-3 : 8e-3;
      auto const near = [&](auto const& y, tensor<double, 2, cpu> const& expected) {
        CHECK(distance(eval(cast<float>(y)), eval(cast<float>(expected))) < bound * max(abs(expected)).item());
      };
      under_each([&] {
        INFO(few << " x " << k << " x " << n);
        near(eval(matmul(x, w) + bias), matmul(wide(x), wide(w)) + wide(bias));
        near(eval(matmul(x, turned) + bias), matmul(wide(x), wide(w)) + wide(bias));
        near(eval(matmul(x, apart)), matmul(wide(x), wide(apart)));
        near(eval(matmul(transposed(w), transposed(x))), matmul(wide(transposed(w)), wide(transposed(x))));
        near(eval(matmul(transposed(turned), transposed(x))), matmul(wide(transposed(w)), wide(transposed(x))));
        CHECK(eval(cast<float>(eval(matmul(draw(three, {few, k}, 1), draw(three, {k, n}, 2))))).to_vector() ==
              eval(cast<float>(eval(matmul(x, w)))).to_vector());
      });
    }
}

TEMPLATE_TEST_CASE("rows of any width, alone or beside each other: the same bits, and the right ones", "", float, double, bf16, half) {
  using C = compute_t<TestType>;
  cpu::context const ctx;
  for (index_t const width : {1, 15, 16, 33, 64, 100, 128, 250, 600})
    for (index_t const rows : {1, 3, 4, 7, 8, 21}) {
      index_t const stride = width + 5;
      auto const x = randn<C>(ctx, {width}, 1), weight = randn<C>(ctx, {rows}, 2);
      auto const apart = eval(cast<TestType>(randn<float>(ctx, {rows, stride}, 3)));
      auto const dense = slice(apart, 1, 0, width).copy();
      cpu_detail::rows_of<TestType> const far{apart.data(), stride}, near{dense.data(), width};
      std::vector<index_t> at;
      for (index_t j = 0; j < rows; ++j) at.push_back(j);
      under_each([&] {
        INFO(rows << " rows of " << width);
        auto const n = static_cast<std::size_t>(rows), m = static_cast<std::size_t>(width);
        std::vector<C> together(n), alone(n), sums(m, C(1)), beside(sums), listed(sums);
        cpu_detail::rows_of<C> const one{x.data(), 0}, weights{weight.data(), 0};
        cpu_detail::dots_of_rows(one, 1, near, width, rows, together.data(), 0);
        for (index_t j = 0; j < rows; ++j)
          cpu_detail::dots_of_rows(one, 1, cpu_detail::rows_of<TestType>{&apart(j, 0), stride}, width, 1, &alone[std::size_t(j)], 0);
        CHECK(together == alone);
        auto const add = [&](auto const& from, index_t const* list, std::vector<C>& to) {
          cpu_detail::sums_of_rows(weights, 1, from, list, rows, width, to.data(), 0);
        };
        add(near, nullptr, sums), add(far, nullptr, beside), add(near, at.data(), listed);
        CHECK(sums == beside);
        CHECK(sums == listed);

        // Five vectors, three of which are the one above: first, second and last, alone, of those that take rows together.
        auto vectors = randn<C>(ctx, {5, width + 2}, 4), shares = randn<C>(ctx, {5, rows + 3}, 5);
        for (index_t c = 0; c < width; ++c) vectors(1, c) = vectors(2, c) = vectors(4, c) = x(c);
        for (index_t j = 0; j < rows; ++j) shares(1, j) = shares(2, j) = shares(4, j) = weight(j);
        std::vector<C> dots(5 * (n + 1), C(7)), added(5 * (m + 1), C(1));
        cpu_detail::dots_of_rows(cpu_detail::rows_of<C>{vectors.data(), width + 2}, 5, near, width, rows, dots.data(), rows + 1);
        cpu_detail::sums_of_rows(cpu_detail::rows_of<C>{shares.data(), rows + 3}, 5, near, nullptr, rows, width, added.data(), width + 1);
        auto const part = [](std::vector<C> const& from, std::size_t i, std::size_t size) {
          auto const first = from.begin() + static_cast<std::ptrdiff_t>(i * (size + 1));
          return std::vector<C>(first, first + static_cast<std::ptrdiff_t>(size));
        };
        for (std::size_t const i : {1u, 2u, 4u}) {
          CHECK(part(dots, i, n) == together);
          CHECK(part(added, i, m) == sums);
        }
        CHECK(dots[n] == 7);
        CHECK(added[m] == 1);
        double worst = 0;
        for (index_t j = 0; j < rows; ++j) {
          double dot = 0;
          for (index_t c = 0; c < width; ++c) dot += double(x(c)) * double(C(dense(j, c)));
          worst = std::max(worst, std::abs(dot - double(together[std::size_t(j)])));
        }
        for (index_t c = 0; c < width; ++c) {
          double sum = 1;
          for (index_t j = 0; j < rows; ++j) sum += double(weight(j)) * double(C(dense(j, c)));
          worst = std::max(worst, std::abs(sum - double(sums[std::size_t(c)])));
        }
        CHECK(worst < (std::same_as<C, double> ? 1e-12 : 5e-5));
      });
    }
}

namespace {

/// Applies an operation of two registers to 16 pairs of lanes.
template <class T>
struct pairs {
  T a[16], b[16];
};
template <class Op>
struct apply_to {
  template <class S, class T>
  static COG_INLINE void run(pairs<T> const& x, T* out) {
    for (int i = 0; i < 16; i += S::size) Op::apply(S::load(x.a + i), S::load(x.b + i)).store(out + i);
  }
};
#define OPERATION(name, expression)                                         \
  struct name {                                                             \
    template <class S>                                                      \
    static COG_INLINE S apply([[maybe_unused]] S a, [[maybe_unused]] S b) { \
      return expression;                                                    \
    }                                                                       \
  };
OPERATION(total, a + b)
OPERATION(difference, a - b)
OPERATION(times, a* b)
OPERATION(quotient, a / b)
OPERATION(negative, -a)
OPERATION(magnitude, abs(a))
OPERATION(signed_magnitude, copysign(a, b))
OPERATION(signed_share, with_sign_of(abs(a), b))
OPERATION(sign_of, sign(a))
OPERATION(larger, max(a, b))
OPERATION(smaller, min(a, b))
OPERATION(selection, where(a < b && !(a == S(0)), a, S(2)))
OPERATION(ordered, to_number(a <= b || a != a))
OPERATION(decay, exp_decay(where(a < S(11) || a != a, a, S(11))))
OPERATION(coarse_decay, exp_decay<3>(where(a < S(11) || a != a, a, S(11))))
OPERATION(through_parts, tanh(a) + pow(abs(a), b))

}  // namespace

TEMPLATE_TEST_CASE("a wide register computes what a register of the compiled width does", "", float, double) {
  using T = TestType;
  using limits = std::numeric_limits<T>;
  T const nan = limits::quiet_NaN(), inf = limits::infinity(), tiny = limits::denorm_min() * 70000, most = limits::max();
  T const bound = 3 * limits::epsilon();
  pairs<T> const x{{0, T(-0.0), T(1.5), T(-2.25), inf, -inf, nan, tiny, T(-126.5), T(-127.5), T(7.75), -most, 3, -1, 16, T(0.1)},
                   {T(-0.0), 0, T(-1.5), T(3.5), 2, 1, 1, nan, -1, 2, T(-7.75), most, 3, T(0.5), -inf, T(0.2)}};
  auto const check = [&](char const* name, auto op) {
    INFO(name);
    T expected[16];
    apply_to<decltype(op)>::template run<cpu_detail::simd<T>>(x, expected);
    under_each([&] {
      T out[16];
      cpu_detail::dispatch<apply_to<decltype(op)>, T>(x, &out[0]);
      for (int i = 0; i < 16; ++i) {
        INFO("lane " << i << ": " << out[i] << " for " << expected[i]);
        if (std::isnan(expected[i])) CHECK(std::isnan(out[i]));
        else if (std::isinf(expected[i]) || expected[i] == 0)
          CHECK((out[i] == expected[i] && std::signbit(out[i]) == std::signbit(expected[i])));
        else CHECK(std::abs(out[i] - expected[i]) <= bound * std::abs(expected[i]));
      }
    });
  };
  check("sum", total{});
  check("difference", difference{});
  check("product", times{});
  check("quotient", quotient{});
  check("negative", negative{});
  check("magnitude", magnitude{});
  check("signed magnitude", signed_magnitude{});
  check("signed share", signed_share{});
  check("sign", sign_of{});
  check("larger", larger{});
  check("smaller", smaller{});
  check("selection", selection{});
  check("ordered", ordered{});
  check("decay", decay{});
  check("coarse decay", coarse_decay{});
  check("through parts", through_parts{});
}

TEMPLATE_TEST_CASE("e^x for softmax weights: the polynomial of degree 5, and the one of degree 3 for bf16", "", decay, coarse_decay) {
  double const bound = std::same_as<TestType, decay> ? 2.5e-7 : 1.1e-4;
  under_each([&] {
    double worst = 0;
    for (int start = -8704; start < 1100; start += 16) {
      pairs<float> x{};
      float out[16];
      for (int i = 0; i < 16; ++i) x.a[i] = static_cast<float>(start + i) * 0.01f;
      cpu_detail::dispatch<apply_to<TestType>, float>(x, &out[0]);
      for (int i = 0; i < 16; ++i) {
        double const expected = std::exp(double(std::min(x.a[i], 11.0f)));
        worst = std::max(worst, std::abs(out[i] - expected) / expected - 1e-7 * std::abs(x.a[i]));
      }
      if (start == 0) CHECK(out[0] == 1);
    }
    CHECK(worst < bound);
  });
}

namespace {

struct widen_all {
  template <class S, class T>
  static COG_INLINE void run(T const* from, index_t n, float* to) {
    for (index_t i = 0; i < n; i += S::size) S::load(from + i).store(to + i);
  }
};
struct narrow_all {
  template <class S, class T>
  static COG_INLINE void run(float const* from, index_t n, T* to) {
    for (index_t i = 0; i < n; i += S::size) S::load(from + i).store(to + i);
  }
};

}  // namespace

namespace {

struct pair_up {
  template <class S>
  static COG_INLINE void run(float const* low, float const* high, float* to) {
    for (index_t i = 0; i < 16; i += S::size) bf16_pairs(S::load(low + i), S::load(high + i)).store(to + i);
  }
};

}  // namespace

TEST_CASE("pairs of bf16 are rounded to the nearest, either half") {
  float low[16], high[16], out[16];
  for (int i = 0; i < 16; ++i) {
    float const steps = static_cast<float>(i) / 16 + 1.0f / 64;  // of the last bit, between 0 and 1, never a half
    low[i] = 1 + steps / 128, high[i] = -3 - (1 - steps) / 64;
  }
  under_each([&] {
    cpu_detail::dispatch<pair_up, float>(static_cast<float const*>(low), static_cast<float const*>(high), &out[0]);
    for (int i = 0; i < 16; ++i) {
      auto const pair = bits_as<std::uint32_t>(out[i]);
      CHECK((pair & 0xffff) == bf16(low[i]).bits);
      CHECK(pair >> 16 == bf16(high[i]).bits);
    }
  });
}

TEMPLATE_TEST_CASE("every number of 16 bits is read as it is, and rounded as conversions do", "", bf16, half) {
  std::vector<TestType> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].bits = static_cast<std::uint16_t>(i);
  under_each([&] {
    std::vector<float> out(all.size());
    cpu_detail::dispatch<widen_all, float>(static_cast<TestType const*>(all.data()), index_t(65536), out.data());
    bool same = true;
    for (std::size_t i = 0; i < all.size(); ++i) {
      float const expected = all[i];
      same = same && (std::isnan(expected) ? std::isnan(out[i])
                                           : bits_as<std::uint32_t>(out[i]) == bits_as<std::uint32_t>(expected));
    }
    CHECK(same);
    for (auto& e : out) e = e * 1.0000037f + 1e-39f;  // between two numbers of 16 bits, halfway cases among them
    for (std::size_t i = 0; i < out.size(); i += 3) out[i] = bits_as<float>(bits_as<std::uint32_t>(out[i]) & 0xffff8000u);
    std::vector<TestType> back(all.size());
    cpu_detail::dispatch<narrow_all, float>(static_cast<float const*>(out.data()), index_t(65536), back.data());
    same = true;
    for (std::size_t i = 0; i < all.size(); ++i)
      same = same && (std::isnan(out[i]) ? std::isnan(float(back[i])) : back[i].bits == TestType(out[i]).bits);
    CHECK(same);
  });
}
