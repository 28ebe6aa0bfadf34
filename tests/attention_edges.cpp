// What the fused kernels must get right beyond the ordinary: every block edge and width, strides, what is hidden, empty
// rows, exact zeros, extreme scores, storage types, and the same bits whatever the number of threads.
#include "attention_common.hpp"

using namespace attention_test;

namespace {

cog::cpu_context const ctx{{.threads = 3}};
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("lengths around every block edge") {
  for (index_t const n : {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 200})
    for (index_t const m : {1, 31, 64, 65, 127, 128, 129, 130, 193}) {
      problem<float> const x(ctx, 1, 2, 1, n, m, 5, 3, static_cast<unsigned>(n * 1000 + m));
      check_both(x, cog::causal, sees_causal(n, m));
      if (n == 1 || n == 65 || m == 1 || m == 129) check_both(x, cog::no_mask, sees_all());
    }
}

TEST_CASE("any width", "[alone]") {
  for (index_t const d : {1, 2, 3, 15, 16, 17, 20, 64, 65, 96, 128, 200})
    for (index_t const e : {1, 3, 16, 65, 96, 129, 200}) {
      if (d != 20 && e != 65 && d != e) continue;
      problem<float> const x(ctx, 1, 2, 2, 70, 75, d, e, static_cast<unsigned>(d * 1000 + e));
      check_both(x, cog::causal, sees_causal(70, 75),
                 d == 1 ? 1e-4 : 2e-5);  // width 1: scores near 0, signs at rounding
      problem<double> const y(ctx, 2, 1, 1, 9, 67, d, e, static_cast<unsigned>(d * 1000 + e));
      check<cog::cog_rule>(y, cog::no_mask, sees_all());
    }
}

TEST_CASE("grouped heads and batches") {
  for (index_t const heads : {1, 2, 6})
    for (index_t const groups : {1, 2, 3, 6}) {
      if (heads % groups != 0) continue;
      problem<double> const x(ctx, 2, heads, groups, 45, 70, 8, 12, static_cast<unsigned>(heads * 10 + groups));
      check_both(x, cog::causal, sees_causal(45, 70));
      check_both(x, cog::no_mask, sees_all());
    }
}

TEST_CASE("windows, also where queries outnumber keys") {
  for (auto const& [n, m] :
       std::vector<std::pair<index_t, index_t>>{{200, 200}, {70, 200}, {200, 70}, {1, 300}, {5, 5}})
    for (index_t const width : {1, 2, 17, 64, 130, 1000}) {
      problem<double> const x(ctx, 1, 2, 1, n, m, 8, 8, static_cast<unsigned>(n + m + width));
      check_both(x, cog::sliding_window{width}, sees_window(n, m, width));
    }
  problem<double> const x(ctx, 1, 2, 2, 200, 70, 8, 8);
  check_both(x, cog::causal, sees_causal(200, 70));  // the first 130 queries see nothing
  check_both(x, cog::sliding_window{std::numeric_limits<index_t>::max()}, sees_causal(200, 70));
  problem<double> const few(ctx, 2, 2, 2, 3, 300, 4, 5);  // whose windows begin apart
  for (index_t width : {2, 5, 140}) check_both(few, cog::sliding_window{width}, sees_window(3, 300, width));
}

TEST_CASE("no queries, no keys, no width, one key", "[alone]") {
  for (auto const& [n, m, d, e] : std::vector<std::array<index_t, 4>>{
           {0, 5, 4, 4}, {5, 0, 4, 4}, {0, 0, 4, 4}, {5, 70, 0, 4}, {5, 70, 4, 0}, {3, 1, 4, 4}, {1, 1, 1, 1}}) {
    problem<double> const x(ctx, 1, 2, 2, n, m, d, e);
    check_both(x, cog::no_mask, sees_all());
    check_both(x, cog::causal, sees_causal(n, m));
  }
  problem<double> const none(ctx, 0, 2, 2, 5, 5, 4, 4);
  check_both(none, cog::no_mask, sees_all());

  // A single key has the weight +1 or -1, exactly.
  problem<float> const x(ctx, 1, 1, 1, 100, 1, 7, 9);
  auto const o = cog::cog_attention(x.q, x.k, x.v);
  bool exact = true, both_signs[2] = {};
  for (index_t i = 0; i < 100; ++i) {
    bool const positive = o(0, 0, i, 0) == x.v(0, 0, 0, 0);
    both_signs[positive] = true;
    for (index_t c = 0; c < 9; ++c) exact = exact && o(0, 0, i, c) == (positive ? x.v(0, 0, 0, c) : -x.v(0, 0, 0, c));
  }
  CHECK(exact);
  CHECK((both_signs[0] && both_signs[1]));
}

TEST_CASE("random boolean masks, every broadcast", "[alone]") {
  std::mt19937 bits(5);
  for (auto const& shape :
       std::vector<extents<4>>{{2, 4, 70, 140}, {1, 1, 70, 140}, {2, 1, 1, 140}, {1, 4, 70, 1}, {1, 1, 1, 1}})
    for (double const density : {0.02, 0.5, 0.98}) {
      auto m = cog::zeros<bool>(ctx, shape);
      for (index_t i = 0; i < m.size(); ++i) m.data()[i] = std::bernoulli_distribution(density)(bits);
      if (shape[2] > 2)
        for (index_t j = 0; j < shape[3]; ++j) m(0, 0, 2, j) = false;  // an empty row
      sees_t const sees = [&](index_t b, index_t h, index_t i, index_t j) {
        return bool(m(b % shape[0], h % shape[1], i % shape[2], j % shape[3]));
      };
      problem<double> const x(ctx, 2, 4, 2, 70, 140, 8, 8, 3);
      check_both(x, cog::boolean{m}, sees);
      cog::tensor<std::uint8_t, 4, cpu> const bytes =
          cog::where(m, std::uint8_t(7), cog::zeros<std::uint8_t>(ctx, shape));
      CHECK(same_bits(cog::cog_attention(x.q, x.k, x.v, cog::boolean{bytes}),
                      cog::cog_attention(x.q, x.k, x.v, cog::boolean{m})));
    }
  // Lower ranks stand for the last axes.
  problem<double> const x(ctx, 1, 2, 2, 5, 7, 4, 4);
  auto const row = cog::from<bool>(ctx, {true, false, true, true, false, true, true});
  check_both(x, cog::boolean{row}, [&](index_t, index_t, index_t, index_t j) { return row(j); });
}

TEST_CASE("a query that sees nothing: output 0, logsumexp -inf, gradient 0, whatever it holds", "[alone]") {
  problem<double> x(ctx, 1, 2, 1, 70, 40, 8, 8);
  for (index_t i = 0; i < 30; ++i) x.q(0, 1, i, i % 8) = i % 2 ? not_a_number : infinity;
  auto const f = cog::attention_forward<cog::cog_rule>(x.q, x.k, x.v, cog::causal);
  for (index_t i = 0; i < 30; ++i) {
    CHECK(f.logsumexp(0, 1, i) == -infinity);
    for (index_t c = 0; c < 8; ++c) CHECK(f.out(0, 1, i, c) == 0);
  }
  check_both(x, cog::causal, sees_causal(70, 40));
  for (index_t i = 0; i < 30; ++i) x.dout(0, 0, i, 3) = not_a_number;
  check_both(x, cog::causal, sees_causal(70, 40));
}

TEST_CASE("what a query does not see changes nothing: NaN and infinity in keys, values, queries and gradients", "[alone]") {
  auto const spoil = [](tensor4<double>& x, index_t position, double with) {
    for (index_t b = 0; b < x.extents()[0]; ++b) x(b, x.extents()[1] - 1, position, x.extents()[3] / 2) = with;
  };
  for (double const with : {not_a_number, infinity, -infinity})
    for (index_t const at : {0, 17, 63, 64, 100, 129}) {
      // Under causal, the queries before a spoilt key are those of a clean one; the oracle says what the others are.
      problem<double> x(ctx, 1, 2, 1, 130, 130, 8, 8, 11);
      spoil(x.k, at, with);
      if (std::isnan(with)) check_both(x, cog::causal, sees_causal(130, 130));
      problem<double> y(ctx, 1, 2, 1, 130, 130, 8, 8, 12);
      spoil(y.v, at, with);
      check_both(y, cog::causal, sees_causal(130, 130));
      check_both(y, cog::sliding_window{9}, sees_window(130, 130, 9));
      problem<double> z(ctx, 1, 2, 2, 130, 130, 8, 8, 13);
      if (std::isnan(with)) spoil(z.q, at, with);
      spoil(z.dout, at, with);
      check_both(z, cog::causal, sees_causal(130, 130));
    }
  // Keys that nobody sees.
  problem<double> x(ctx, 2, 4, 2, 70, 140, 8, 8, 14);
  auto m = cog::full<bool>(ctx, {140}, true);
  for (index_t const at : {0, 64, 77, 139}) {
    m(at) = false;
    spoil(x.k, at, not_a_number);
    spoil(x.v, at, infinity);
  }
  check_both(x, cog::boolean{m}, [&](index_t, index_t, index_t, index_t j) { return m(j); });
  auto const f = cog::attention_forward<cog::cog_rule>(x.q, x.k, x.v, cog::boolean{m});
  auto const d = cog::attention_backward<cog::cog_rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout, cog::boolean{m});
  CHECK(std::isfinite(cog::sum(cog::abs(f.out)).item()));
  CHECK(std::isfinite(cog::sum(cog::abs(d.dq)).item() + cog::sum(cog::abs(d.dk)).item() +
                      cog::sum(cog::abs(d.dv)).item()));
  for (index_t c = 0; c < 8; ++c) CHECK((d.dk(0, 0, 64, c) == 0 && d.dv(1, 1, 77, c) == 0));
}

TEST_CASE("a NaN that is seen is not hidden", "[alone]") {
  problem<float> x(ctx, 1, 1, 1, 40, 200, 8, 8);
  x.k(0, 0, 150, 2) = std::numeric_limits<float>::quiet_NaN();
  auto const f = cog::attention_forward<cog::softmax_rule>(x.q, x.k, x.v);
  auto const g = cog::attention_forward<cog::cog_rule>(x.q, x.k, x.v);
  for (index_t i = 0; i < 40; ++i) {
    CHECK((std::isnan(f.out(0, 0, i, 0)) && std::isnan(f.logsumexp(0, 0, i))));
    CHECK((std::isnan(g.out(0, 0, i, 0)) && std::isnan(g.logsumexp(0, 0, i))));
  }
}

TEST_CASE("scores of exactly zero: weight 0, counted in the denominator, gradient 0", "[alone]") {
  problem<double> x(ctx, 1, 2, 1, 70, 90, 8, 8);
  for (index_t const j : {3, 64, 65, 89})
    for (index_t d = 0; d < 8; ++d) x.k(0, 0, j, d) = j == 65 ? -0.0 : 0.0;  // zero keys
  for (index_t d = 0; d < 8; ++d) x.q(0, 1, 5, d) = 0;                       // a query all of whose scores are zero
  for (index_t d = 0; d < 8; ++d)
    x.q(0, 0, 6, d) = d < 4 ? x.q(0, 0, 6, d) : 0, x.k(0, 0, 7, d) = d < 4 ? 0 : 1;  // orthogonal
  check_both(x, cog::no_mask, sees_all());
  check_both(x, cog::causal, sees_causal(70, 90));
  auto const f = cog::attention_forward<cog::cog_rule>(x.q, x.k, x.v);
  auto const d = cog::attention_backward<cog::cog_rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout);
  auto const w = cog::attention_weights<cog::cog_rule>(x.q, x.k);
  for (index_t c = 0; c < 8; ++c) {
    CHECK(f.out(0, 1, 5, c) == 0);
    CHECK(d.dq(0, 1, 5, c) == 0);
    for (index_t const j : {3, 64, 65, 89}) CHECK((d.dk(0, 0, j, c) == 0 && d.dv(0, 0, j, c) == 0));
  }
  CHECK(w(0, 0, 6, 7) == 0);
  CHECK(f.logsumexp(0, 1, 5) == Approx(std::log(90.0)));

  problem<float> y(ctx, 1, 1, 1, 20, 30, 4, 4);
  for (index_t c = 0; c < 4; ++c) y.k(0, 0, 11, c) = -0.0f;
  check_both(y, cog::no_mask, sees_all());
}

TEST_CASE("tiny and huge scores", "[alone]") {
  for (double const size : {1e-30, 1e-12, 1e-3, 30.0, 1e3}) {
    problem<double> x(ctx, 1, 2, 1, 70, 140, 16, 8);
    x.q = x.q * size;
    check_both(x, cog::causal, sees_causal(70, 140), size > 10 ? 1e-9 : 1e-11);
    problem<float> y(ctx, 1, 1, 1, 70, 140, 16, 8);
    y.q = y.q * static_cast<float>(size);
    auto const r = attend(kind::cog, y.q, y.k, y.v, y.dout, sees_all(), y.scale());
    CHECK(distance(cog::cog_attention(y.q, y.k, y.v), r.out) < 2e-5 * std::max(1.0, size));
  }
  // Signs survive where scores are denormal, in both passes.
  problem<float> z(ctx, 1, 1, 1, 4, 6, 1, 1);
  for (index_t i = 0; i < 4; ++i) z.q(0, 0, i, 0) = 1e-20f;
  for (index_t j = 0; j < 6; ++j) z.k(0, 0, j, 0) = (j % 2 ? 1e-20f : -1e-20f) * static_cast<float>(j + 1);
  check_both(z, cog::no_mask, sees_all());
}

TEST_CASE("scores of any finite size: the largest takes all, in both passes", "[alone]") {
  index_t const keys = 90;
  for (index_t const queries : {1, 5, 70})
    for (float const size : {0x1p10f, 0x1p20f, 0x1p33f, 0x1p60f, 0x1p100f, 0x1p121f}) {
      CAPTURE(queries, size);
      problem<float> x(ctx, 1, 1, 1, queries, keys, 1, 3);
      for (index_t i = 0; i < queries; ++i) x.q(0, 0, i, 0) = i % 2 ? -size : size;
      for (index_t j = 0; j < keys; ++j) x.k(0, 0, j, 0) = static_cast<float>(j * 7 % keys + 1);  // 90 at j = 77, 1 at j = 0
      auto const check_rule = [&]<class Rule>(Rule) {
        auto const f = cog::attention_forward<Rule>(x.q, x.k, x.v, cog::no_mask, {.scale = 1.0});
        auto const d = cog::attention_backward<Rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout, cog::no_mask, {.scale = 1.0});
        bool const is_cog = std::same_as<Rule, cog::cog_rule>;
        auto dv = cog::zeros<float>(ctx, {1, 1, keys, 3});
        for (index_t i = 0; i < queries; ++i) {
          index_t const winner = is_cog || i % 2 == 0 ? 77 : 0;
          float const sign = is_cog && i % 2 ? -1.0f : 1.0f;
          CHECK(f.logsumexp(0, 0, i) == (is_cog || i % 2 == 0 ? 90 * size : -size));
          for (index_t c = 0; c < 3; ++c) {
            CHECK(f.out(0, 0, i, c) == sign * x.v(0, 0, winner, c));
            dv(0, 0, winner, c) += sign * x.dout(0, 0, i, c);
          }
        }
        CHECK(cog::max(cog::abs(d.dv - dv)).item() < 1e-4);
        CHECK(std::isfinite(cog::sum(d.dq).item()));
      };
      check_rule(cog::cog_rule{});
      check_rule(cog::softmax_rule{});
    }
  // Where a logsumexp is rounded by more than 1, shares stay shares.
  problem<float> y(ctx, 1, 1, 1, 70, 140, 16, 8);
  y.q = y.q * 1e10f;
  auto const f = cog::attention_forward<cog::cog_rule>(y.q, y.k, y.v);
  auto const d = cog::attention_backward<cog::cog_rule>(y.q, y.k, y.v, f.out, f.logsumexp, y.dout);
  CHECK(cog::max(cog::abs(d.dv)).item() <= 2 * cog::sum(cog::abs(y.dout)).item());
}

TEST_CASE("rows far apart in size keep their own maximum", "[alone]") {
  problem<float> x(ctx, 1, 1, 1, 64, 256, 8, 8);
  for (index_t i = 0; i < 64; ++i)
    for (index_t d = 0; d < 8; ++d) x.q(0, 0, i, d) *= static_cast<float>(i % 8) * 4;
  for (index_t j = 0; j < 256; ++j)
    for (index_t d = 0; d < 8; ++d)
      x.k(0, 0, j, d) *= 0.1f + static_cast<float>(j) / 64;  // the maximum grows on the way
  auto const r = attend(kind::softmax, x.q, x.k, x.v, x.dout, sees_all(), x.scale());
  auto const f = cog::attention_forward<cog::softmax_rule>(x.q, x.k, x.v);
  CHECK(distance(f.out, r.out) < 5e-5);
  CHECK(distance(f.logsumexp, r.logsumexp) < 1e-6);
}

TEST_CASE("bf16 and half are read and written, float is computed", "[alone]") {
  problem<cog::bf16> const x(ctx, 2, 4, 2, 70, 140, 20, 12);
  check_both(x, cog::causal, sees_causal(70, 140));
  problem<cog::half> const y(ctx, 2, 4, 2, 200, 200, 20, 12);
  check_both(y, cog::causal, sees_causal(200, 200));
  problem<cog::bf16> const z(ctx, 1, 1, 1, 1, 3000, 65, 65);
  check<cog::cog_rule>(z, cog::no_mask, sees_all());
}

TEST_CASE("strided operands: packed qkv, transposed storage, stretched heads", "[alone]") {
  auto const packed = normal<float>(ctx, {2, 50, 3 * 4, 8}, 1);  // [B, N, 3 H, D]
  auto const part = [&](index_t i) { return cog::permuted(cog::slice(packed, 2, 4 * i, 4 * i + 4), {0, 2, 1, 3}); };
  auto const q = part(0), k = part(1), v = part(2);
  CHECK_FALSE(q.is_contiguous());
  auto const same = [&](tensor4<float> const& a, tensor4<float> const& b, tensor4<float> const& c) {
    auto const f = cog::attention_forward<cog::cog_rule>(a, b, c, cog::causal);
    auto const g = cog::attention_forward<cog::cog_rule>(a.copy(), b.copy(), c.copy(), cog::causal);
    CHECK(same_bits(f.out, g.out));
    CHECK(same_bits(f.logsumexp, g.logsumexp));
    auto const dout = normal<float>(ctx, {8, 2, 4, f.out.extents()[2]}, 2);  // also strided: [E, B, H, N]
    auto const strided = cog::permuted(dout, {1, 2, 3, 0});
    auto const d = cog::attention_backward<cog::cog_rule>(a, b, c, f.out, f.logsumexp, strided, cog::causal);
    auto const e = cog::attention_backward<cog::cog_rule>(a.copy(), b.copy(), c.copy(), g.out, g.logsumexp,
                                                          strided.copy(), cog::causal);
    CHECK(same_bits(d.dq, e.dq));
    CHECK(same_bits(d.dk, e.dk));
    CHECK(same_bits(d.dv, e.dv));
  };
  same(q, k, v);
  auto const transposed = cog::transposed(normal<float>(ctx, {2, 4, 8, 50}, 3));
  same(transposed, transposed, transposed);
  auto const stretched = cog::expand(normal<float>(ctx, {2, 1, 50, 8}, 4), {2, 4, 50, 8});
  same(q, stretched, stretched);
  same(cog::slice(normal<float>(ctx, {2, 4, 101, 8}, 5), 2, 0, 100, 2), k, v);
}

TEST_CASE("plain views: strided results, no logsumexp wanted", "[alone]") {
  problem<float> const x(ctx, 2, 4, 4, 50, 50, 8, 8);
  auto const o = cog::cog_attention(x.q, x.k, x.v, cog::causal);
  std::vector<float> out(2 * 50 * 4 * 8);  // [B, N, H, E]
  cog::view<float, 4> const permuted{out.data(), {2, 4, 50, 8}, {50 * 4 * 8, 8, 4 * 8, 1}};
  using mask = cog::lowered::window;
  cpu::attention_forward<cog::cog_rule>(
      ctx, cog::attention_arguments<float, mask>{
               x.q.view(), x.k.view(), x.v.view(), permuted, {}, static_cast<float>(x.scale()), mask{0, 100}});
  bool same = true;
  for (index_t b = 0; b < 2; ++b)
    for (index_t h = 0; h < 4; ++h)
      for (index_t i = 0; i < 50; ++i)
        for (index_t c = 0; c < 8; ++c) same = same && permuted(b, h, i, c) == o(b, h, i, c);
  CHECK(same);
}

TEST_CASE("the same bits for any number of threads") {
  auto const run = [](auto const& x, auto const& mask, int threads) {
    cog::cpu_context const other{{.threads = threads}};
    auto const q = x.q.to(other), k = x.k.to(other), v = x.v.to(other), dout = x.dout.to(other);
    auto const f = cog::attention_forward<cog::cog_rule>(q, k, v, mask);
    auto const d = cog::attention_backward<cog::cog_rule>(q, k, v, f.out, f.logsumexp, dout, mask);
    return std::tuple(f.out, f.logsumexp, d.dq, d.dk, d.dv);
  };
  auto const all = [&](auto const& x, auto const& mask) {
    auto const one = run(x, mask, 1);
    for (int const threads : {2, 3, 8}) {
      auto const many = run(x, mask, threads);
      CHECK(same_bits(std::get<0>(one), std::get<0>(many)));
      CHECK(same_bits(std::get<1>(one), std::get<1>(many)));
      CHECK(same_bits(std::get<2>(one), std::get<2>(many)));
      CHECK(same_bits(std::get<3>(one), std::get<3>(many)));
      CHECK(same_bits(std::get<4>(one), std::get<4>(many)));
    }
  };
  for (unsigned seed = 0; seed < 3; ++seed) {
    all(problem<float>(ctx, 1, 1, 1, 500, 500, 16, 16, seed),
        cog::causal);  // one head: threads share its queries and keys
    all(problem<float>(ctx, 1, 1, 1, 300, 700, 16, 16, seed), cog::no_mask);
    all(problem<float>(ctx, 2, 6, 2, 130, 130, 16, 16, seed), cog::causal);
    all(problem<float>(ctx, 1, 2, 1, 1, 5000, 16, 16, seed), cog::no_mask);  // one query: threads share its keys
    all(problem<float>(ctx, 1, 2, 2, 600, 600, 8, 8, seed), cog::sliding_window{40});
  }
}
