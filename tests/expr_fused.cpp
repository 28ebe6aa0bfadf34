// Expressions as one kernel against the same evaluated step by step; fuse().
#include "support.hpp"

using namespace test;
using cog::bf16;

namespace {

/// `stop` evaluates (step by step) or passes the node on (one kernel).
template <class Stop>
auto expressions(Stop stop) {
  return std::tuple{
      [stop](auto x, auto y, auto z) { return stop(stop(x * y) + z); },
      [stop](auto x, auto y, auto z) { return stop(stop(cog::tanh(stop(x - y))) / stop(stop(cog::square(z)) + 1)); },
      [stop](auto x, auto y, auto z) { return stop(cog::gelu(stop(stop(x * y) + stop(z * x)))); },
      [stop](auto x, auto y, auto z) { return stop(cog::where(stop(x > y), stop(cog::exp(stop(-z))), stop(cog::abs(x)))); },
      [stop](auto x, auto y, auto z) { return stop(cog::maximum(stop(cog::minimum(x, y)), stop(cog::sigmoid(z)))); },
      [stop](auto x, auto y, auto z) { return stop(stop(x + stop(y + stop(z + stop(x + stop(y + z)))))); },
      [stop](auto x, auto y, auto z) { return stop(stop(cog::sin(x)) * stop(cog::cos(y)) - stop(stop(cog::erf(z)) * 0.25f)); },
      [stop](auto x, auto y, auto z) { return stop(cog::log(stop(stop(cog::square(x)) + stop(stop(cog::square(y)) + stop(cog::exp(z)))))); },
      [stop](auto x, auto y, auto z) { return stop(cog::cast<float>(stop(stop(x < y) && stop(y < z))) * x); },
  };
}

}  // namespace

TEST_CASE("one kernel gives what its steps give") {
  auto const fused = expressions([](auto const& e) { return e; });
  auto const stepped = expressions([](auto const& e) { return cog::eval(e); });
  generator random(4);
  for (int trial = 0; trial < 25; ++trial) {
    std::array<index_t, 3> const whole{uniform(random, 1, 4), uniform(random, 1, 5), uniform(random, 1, 40)};
    auto const x = strided<float>(random, whole);
    auto const y = strided<float>(random, {whole[1], trial % 2 ? 1 : whole[2]});
    auto const z = strided<float>(random, {whole[2]});
    auto const check = [&](auto const& one, auto const& steps) {
      auto const a = cog::eval(one(x, y, z));
      auto const b = steps(x, y, z);
      REQUIRE(a.extents() == b.extents());
      for_each_index(a.extents(), [&](auto const& i) { REQUIRE(near(at(a, i), at(b, i), 2e-6, 2e-6)); });
    };
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (check(std::get<I>(fused), std::get<I>(stepped)), ...);
    }(std::make_index_sequence<std::tuple_size_v<decltype(fused)>>{});
  }
}

TEST_CASE("in bf16 one kernel rounds once, at the end") {
  generator random(5);
  auto const x = dense<bf16>(random, {500}), y = dense<bf16>(random, {500});
  cog::tensor z = cog::tanh(x * y) * x + cog::square(y);
  for (index_t i = 0; i < 500; ++i) {
    double const a = widen(x(i)), b = widen(y(i));
    REQUIRE(near(widen(z(i)), std::tanh(a * b) * a + b * b, 0.501 * epsilon<bf16>, 1e-6));
  }
}

TEST_CASE("fuse: named inputs give what the expression gives") {
  generator random(6);
  auto const agree = [](auto const& a, auto const& b) {  // a compiler may fuse products and sums of either
    REQUIRE(a.extents() == b.extents());
    for_each_index(a.extents(), [&](auto const& i) { REQUIRE(near(at(a, i), at(b, i), 2e-6, 2e-6)); });
  };
  for (index_t n : {1, 5, 33}) {
    auto const x = strided<float>(random, {3, n});
    auto const z = strided<float>(random, {n});
    auto const e = cog::fuse([](auto a, auto b) { return cog::tanh(a * b) * a + a * b + 2; }, x, z);
    cog::tensor fused = e;
    cog::tensor plain = cog::tanh(x * z) * x + x * z + 2;
    agree(fused, plain);
    agree(cog::eval(e * 2 + z), cog::eval(plain * 2 + z));
    agree(cog::eval(cog::fuse([](auto a) { return a + a; }, x + 1)), cog::eval((x + 1) + (x + 1)));
    auto y = x.copy();
    y = cog::fuse([](auto a) { return a * a + a; }, y);
    agree(y, cog::eval(x * x + x));
  }
}

TEST_CASE("fuse: an input that is not used must still fit") {
  auto const x = cog::zeros<float>(context(), {5}), z = cog::zeros<float>(context(), {3});
  CHECK_THROWS_WITH(cog::fuse([](auto a, auto) { return a + 1; }, x, z), Catch::Contains("[3]"));
  CHECK(cog::eval(cog::fuse([](auto a, auto) { return a + 1; }, x, cog::zeros<float>(context(), {1})))(4) == 1);
}
