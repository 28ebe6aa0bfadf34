#include "reduce.hpp"

using namespace test;

TEST_CASE("reduce: float, every set of axes") { reductions::check_rank3<float>(300); }

TEST_CASE("reduce: results and shapes") {
  auto const x = cog::from<float>(context(), {{1, 2, 3}, {4, 5, 6}});
  CHECK(cog::sum(x).item() == 21);
  CHECK(cog::sum(x, 0).to_vector() == std::vector<float>{5, 7, 9});
  CHECK(cog::sum(x, -1).to_vector() == std::vector<float>{6, 15});
  CHECK(cog::sum(x, 1, cog::keep).extents() == cog::extents<2>{2, 1});
  CHECK(cog::sum(x, cog::axes<0, 1>{}, cog::keep).extents() == cog::extents<2>{1, 1});
  CHECK(cog::max(x, cog::axes<>{}).to_vector() == x.to_vector());
  CHECK(cog::argmax(x).item() == 5);
  CHECK(cog::argmax(cog::transposed(x)).item() == 5);
  CHECK(cog::argmin(cog::slice(x, 1, 1, 3), 0).to_vector() == std::vector<std::int64_t>{0, 0});
  CHECK(cog::mean(cog::scalar<float>(context(), 3)).item() == 3);
  CHECK(cog::sum(x > 2).item() == 4);
  CHECK(cog::sum(cog::full<bool>(context(), {1000}, true)).item() == 1000);
  CHECK(cog::product(cog::full<std::uint8_t>(context(), {9}, 100)).item() == 1'000'000'000'000'000'000);
  CHECK(cog::eval(x - cog::mean(x, -1, cog::keep)).to_vector() == std::vector<float>{-1, 0, 1, -1, 0, 1});
  CHECK_THROWS_AS(cog::sum(x, 2), cog::error);
  CHECK_THROWS_AS(cog::sum(x, -3), cog::error);
  CHECK_THROWS_WITH((cog::sum(x, cog::axes<1, -1>{})), Catch::Contains("sum") && Catch::Contains("twice"));
}

TEST_CASE("reduce: nothing") {
  auto const none = cog::zeros<float>(context(), {0, 3});
  CHECK(cog::sum(none).item() == 0);
  CHECK(cog::sum(none, 0).to_vector() == std::vector<float>{0, 0, 0});
  CHECK(cog::sum(none, 1).size() == 0);
  CHECK(cog::product(none).item() == 1);
  CHECK(std::isnan(cog::mean(none).item()));
  CHECK(cog::logsumexp(none).item() == -INFINITY);
  CHECK_THROWS_WITH(cog::max(none), Catch::Contains("max") && Catch::Contains("[0, 3]"));
  CHECK(cog::max(none, 1).size() == 0);
}

TEST_CASE("reduce: the input is an expression") {
  generator random(2);
  for (int trial = 0; trial < 60; ++trial) {
    index_t const m = uniform(random, 1, 40), n = uniform(random, 1, 40);
    auto const x = strided<float>(random, {m, n});
    auto const r = strided<float>(random, {n});
    auto const c = strided<float>(random, {m, 1});
    auto const e = x * r + cog::abs(c);
    auto const whole = cog::eval(e);
    auto const near_all = [&](auto const& a, auto const& b) {
      for_each_index(a.extents(), [&](auto const& i) { REQUIRE(near(at(a, i), at(b, i), 1e-5, 1e-5)); });
    };
    near_all(cog::sum(e, 0), cog::sum(whole, 0));
    near_all(cog::sum(e, 1), cog::sum(whole, 1));
    near_all(cog::logsumexp(e, 0), cog::logsumexp(whole, 0));
    near_all(cog::variance(r * c, 1), cog::variance(cog::eval(r * c), 1));
    CHECK(same(cog::argmax(e, 1), cog::argmax(whole, 1)));
    CHECK(same(cog::max(cog::where(x > 0, x, c), 0), cog::max(cog::eval(cog::where(x > 0, x, c)), 0)));
    CHECK(same(cog::sum(x < c, 0), cog::sum(cog::eval(x < c), 0)));
    near_all(cog::mean(cog::cast<float>(x < c), 1), cog::mean(cog::eval(cog::cast<float>(x < c)), 1));
    CHECK(same(cog::max(cog::cast<double>(x) * 2, 1), cog::max(cog::eval(cog::cast<double>(x) * 2), 1)));
  }
}

TEST_CASE("logsumexp: any magnitude") {
  auto const of = [](std::initializer_list<float> v) {
    return cog::logsumexp(cog::from(context(), std::span<float const>(v.begin(), v.size()), std::array<index_t, 1>{static_cast<index_t>(v.size())})).item();
  };
  CHECK(of({1e30f, 1e30f}) == 1e30f);
  CHECK(of({-1000, -1000}) == Approx(-1000 + std::log(2.0)));
  CHECK(of({-INFINITY, 3}) == 3);
  CHECK(of({-INFINITY, -INFINITY}) == -INFINITY);
  CHECK(of({INFINITY, 3}) == INFINITY);
  CHECK(std::isnan(of({NAN, 3})));
  CHECK(std::isnan(of({3, NAN})));
}

TEST_CASE("variance: a large mean does not drown it") {
  generator random(3);
  for (index_t n : {5, 100, 5000, 200000}) {
    auto const x = cog::eval(dense<float>(random, {n}, -1, 1) + 1000);
    double const want = reductions::variance(reductions::groups(x, std::array<int, 1>{0})[0]);
    CHECK(cog::variance(x).item() == Approx(want).epsilon(2e-4));
    CHECK(cog::variance(cog::expand(x, {3, n}), 1)(2) == Approx(want).epsilon(2e-4));
  }
}

TEST_CASE("reduce: large, accurate, the same bits with 1 to 8 threads") {
  cog::cpu::context const one{{.threads = 1}};
  index_t const m = 3001, n = 1403;
  auto const x = cog::rand<float>(one, {m, n}, 1);
  double exact = 0;
  for (index_t i = 0; i < x.size(); ++i) exact += x.data()[i];
  CHECK(cog::sum(x).item() == Approx(exact).epsilon(1e-6));
  CHECK(cog::sum(cog::transposed(x)).item() == Approx(exact).epsilon(1e-6));
  CHECK(cog::mean(x).item() == Approx(exact / static_cast<double>(m * n)).epsilon(1e-6));
  CHECK(cog::sum(cog::sum(x, 0)).item() == Approx(exact).epsilon(1e-6));

  auto const all = [&](tensor<float, 2> const& a) {
    return std::tuple(cog::sum(a).item(), cog::sum(a, 0).to_vector(), cog::sum(a, 1).to_vector(), cog::sum(cog::transposed(a), 1).to_vector(),
                      cog::logsumexp(a).item(), cog::variance(a, 0).to_vector(), cog::argmax(a).item(), cog::argmin(a, 0).to_vector(),
                      cog::sum(cog::slice(a, 1, 0, n, 3)).item());
  };
  auto const want = all(x);
  for (int threads = 2; threads <= 8; ++threads) CHECK(all(x.to(cog::cpu::context{{.threads = threads}})) == want);
}

TEST_CASE("reduce: ten million equal numbers do not drift") {
  index_t const n = 10'000'000;
  auto const mean_of = [](auto const& x) { return cog::sum(x).item() / static_cast<double>(x.size()); };
  for (float v : {0.1f, 1.1f}) {
    auto const x = cog::full<float>(context(), {16}, v);
    CHECK(near(mean_of(cog::expand(cog::slice(x, 0, 0, 1), {n})), v, 4e-6));                    // lanes along the sum
    CHECK(near(mean_of(cog::expand(cog::slice(x, 0, 0, 10, 3), {n / 4, 4})), v, 4e-6));         // runs shorter than a register
    CHECK(near(cog::sum(cog::expand(x, {n / 16, 16}), 0)(3) / (n / 16.0), v, 4e-6));            // lanes across it
    CHECK(near(cog::variance(cog::expand(cog::slice(x, 0, 0, 1), {n})).item(), 0, 0, 1e-12));
  }
}

TEST_CASE("sum_to: the gradient of broadcasting") {
  generator random(4);
  for (int trial = 0; trial < 40; ++trial) {
    std::array<index_t, 3> const shape{uniform(random, 1, 4), uniform(random, 1, 5), uniform(random, 1, 20)};
    auto const x = strided<float>(random, shape);
    auto const check = [&]<std::size_t N>(std::array<index_t, N> to) {
      auto const got = cog::detail::sum_to(x * 1, to);
      REQUIRE(got.extents() == to);
      std::map<float const*, double> want;
      for_each_index(shape, [&](auto const& i) { want[&element(got, i)] += at(x, i); });
      REQUIRE(static_cast<index_t>(want.size()) == got.size());
      for (auto const& [where, value] : want) REQUIRE(near(*where, value, 1e-5, 1e-5));
    };
    check(shape);
    check(std::array<index_t, 3>{1, shape[1], 1});
    check(std::array<index_t, 3>{shape[0], 1, shape[2]});
    check(std::array<index_t, 2>{shape[1], shape[2]});
    check(std::array<index_t, 1>{shape[2]});
    check(std::array<index_t, 1>{1});
    check(std::array<index_t, 0>{});
  }
}
