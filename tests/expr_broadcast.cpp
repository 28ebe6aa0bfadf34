// Broadcasting and strides: random ranks, shapes, memory orders and dtypes against one loop over plain arithmetic.
#include "support.hpp"

using namespace test;

namespace {

/// A shape of rank N that broadcasts with the last axes of `whole`: each extent is its own or 1.
template <std::size_t N, std::size_t M>
std::array<index_t, N> squeezed(generator& random, std::array<index_t, M> const& whole) {
  std::array<index_t, N> shape{};
  for (std::size_t a = 0; a < N; ++a) shape[a] = random() % 4 ? whole[a + M - N] : 1;
  return shape;
}

template <std::size_t M>
std::array<index_t, M> random_shape(generator& random) {
  std::array<index_t, M> shape{};
  for (std::size_t a = 0; a < M; ++a) shape[a] = random() % 12 == 0 ? 0 : uniform(random, 1, a + 1 == M ? 37 : 5);
  return shape;
}

/// a * 2 + b, as every dtype computes it.
template <class A, class B, int RankA, int RankB>
void check_pair(int trials) {
  generator random(static_cast<std::uint64_t>(RankA * 10 + RankB));
  constexpr std::size_t rank = std::max(RankA, RankB);
  using R = cog::promote_t<A, B>;
  using C = cog::compute_t<R>;
  for (int trial = 0; trial < trials; ++trial) {
    auto const whole = random_shape<rank>(random);
    auto const a = strided<A>(random, squeezed<RankA>(random, whole));
    auto const b = strided<B>(random, squeezed<RankB>(random, whole));
    auto const e = a * 2 + b;
    auto const shape = cog::broadcast("test", a.extents(), b.extents());
    REQUIRE(e.extents() == shape);
    cog::tensor z = e;
    static_assert(std::same_as<decltype(z), tensor<R, static_cast<int>(rank)>>);
    auto into = strided<R>(random, shape);
    into.assign(e);
    for_each_index(shape, [&](std::array<index_t, rank> const& i) {
      C const x = static_cast<C>(static_cast<cog::compute_t<A>>(at(a, i))), y = static_cast<C>(static_cast<cog::compute_t<B>>(at(b, i)));
      double const want = widen(R(static_cast<C>(x * C(2) + y)));
      if (!near(widen(at(z, i)), want, epsilon<R>, epsilon<R>) || !same(at(z, i), at(into, i))) {
        CAPTURE(a.extents(), a.strides(), b.extents(), b.strides(), i, widen(at(z, i)), want, widen(at(into, i)));
        FAIL("a * 2 + b");
      }
    });
  }
}

}  // namespace

TEST_CASE("broadcast: ranks") {
  check_pair<float, float, 1, 1>(100);
  check_pair<float, float, 2, 1>(100);
  check_pair<float, float, 1, 3>(100);
  check_pair<float, float, 3, 3>(200);
  check_pair<float, float, 4, 2>(100);
  check_pair<float, float, 0, 3>(30);
  check_pair<float, float, 2, 0>(30);
  check_pair<float, float, 0, 0>(3);
  check_pair<float, float, 5, 5>(50);
}

TEST_CASE("broadcast: dtypes") {
  check_pair<double, double, 2, 2>(100);
  check_pair<cog::bf16, cog::bf16, 2, 2>(100);
  check_pair<cog::half, cog::half, 2, 2>(100);
  check_pair<float, double, 2, 2>(50);
  check_pair<cog::bf16, float, 2, 2>(50);
  check_pair<double, cog::half, 2, 2>(50);
  check_pair<std::int32_t, float, 2, 2>(50);
  check_pair<std::int64_t, cog::bf16, 2, 2>(50);
  check_pair<std::int64_t, std::int32_t, 2, 2>(50);
  check_pair<std::uint8_t, std::uint8_t, 2, 2>(50);
  check_pair<std::uint8_t, std::int64_t, 2, 2>(50);
}

TEST_CASE("broadcast: three operands and a condition") {
  generator random(7);
  for (int trial = 0; trial < 200; ++trial) {
    auto const whole = random_shape<3>(random);
    auto const m = strided<bool>(random, squeezed<2>(random, whole));
    auto const a = strided<float>(random, squeezed<3>(random, whole));
    auto const b = strided<float>(random, squeezed<1>(random, whole));
    auto const c = strided<float>(random, squeezed<3>(random, whole));
    cog::tensor z = cog::where(m, a, b) + c;
    for_each_index(z.extents(), [&](auto const& i) { REQUIRE(at(z, i) == (at(m, i) ? at(a, i) : at(b, i)) + at(c, i)); });
  }
}

TEST_CASE("broadcast: what does not is refused, with both shapes and the name of the operation") {
  auto const a = cog::zeros<float>(context(), {3, 4});
  auto const b = cog::zeros<float>(context(), {3});
  CHECK_THROWS_WITH(a + b, Catch::Contains("add") && Catch::Contains("[3, 4]") && Catch::Contains("[3]"));
  CHECK_THROWS_WITH(cog::maximum(a, b), Catch::Contains("maximum"));
  CHECK_THROWS_AS(cog::where(a > 0, a, b), cog::error);
}

TEST_CASE("assign: broadcasts into every kind of view") {
  generator random(8);
  for (int trial = 0; trial < 200; ++trial) {
    auto const whole = random_shape<3>(random);
    auto const into = strided<float>(random, whole);
    auto const x = strided<float>(random, squeezed<2>(random, whole));
    into.assign(x);
    for_each_index(whole, [&](auto const& i) { REQUIRE(at(into, i) == at(x, i)); });
    into.assign(x + 1);
    for_each_index(whole, [&](auto const& i) { REQUIRE(at(into, i) == at(x, i) + 1); });
    into.assign(-2.5);
    for_each_index(whole, [&](auto const& i) { REQUIRE(at(into, i) == -2.5f); });
  }
}

TEST_CASE("large: split over threads at odd places") {
  generator random(9);
  cog::cpu::context const ctx{{.threads = 3}};
  for (auto shape : {std::array<index_t, 3>{3, 41, 1009}, std::array<index_t, 3>{50021, 3, 1}, std::array<index_t, 3>{1, 1, 100003}}) {
    auto const a = strided<float>(random, shape, -3, 3, ctx);
    auto const b = strided<float>(random, std::array<index_t, 2>{shape[1], 1}, -3, 3, ctx);
    cog::tensor z = a + b;
    bool right = true;
    for_each_index(shape, [&](auto const& i) { right = right && at(z, i) == at(a, i) + at(b, i); });
    CHECK(right);
  }
}

TEMPLATE_TEST_CASE("a permuted copy of any size, also on several threads", "", float, double, cog::bf16, std::int64_t, bool) {
  cog::cpu::context const three({.threads = 3});
  for (index_t const a : {1, 15, 16, 17, 130, 300})
    for (index_t const b : {1, 16, 33, 129, 1100}) {
      std::vector<int> values(static_cast<std::size_t>(6 * a * b));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i * 7919 % 101);
      auto const x = cog::eval(cog::cast<TestType>(cog::from(three, values, {2, a, 3, b})));
      auto const y = cog::permuted(x, {2, 3, 0, 1}).copy(), z = cog::transposed(x).copy();
      bool same = true;
      for (index_t i = 0; i < 2; ++i)
        for (index_t j = 0; j < a; ++j)
          for (index_t k = 0; k < 3; ++k)
            for (index_t l = 0; l < b; ++l)
              same = same && float(y(k, l, i, j)) == float(x(i, j, k, l)) && float(z(i, j, l, k)) == float(x(i, j, k, l));
      INFO(a << " by " << b);
      CHECK(same);
    }
}

TEMPLATE_TEST_CASE("a transposed copy larger than any cache, rows aligned and not", "", float, double, cog::bf16) {
  cog::cpu_context const ctx{{.threads = 3}};
  for (auto const& [rows, columns] : {std::pair<index_t, index_t>{2048, 4103}, {2901, 2905}}) {
    cog::tensor<TestType, 2, cog::cpu> x(ctx, {rows, columns});
    auto const value = [](index_t i) { return static_cast<TestType>(static_cast<float>(i % 251)); };  // whole in every dtype
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] = value(i);
    auto const y = cog::transposed(x).copy();
    index_t wrong = 0;
    for (index_t r = 0; r < rows; ++r)
      for (index_t c = 0; c < columns; ++c) wrong += y(c, r) != value(r * columns + c);
    CHECK(wrong == 0);
  }
}

TEST_CASE("results larger than any cache, aligned and not, on several threads") {
  cog::cpu::context const three({.threads = 3});
  index_t const n = (9 << 20) + 5;
  auto const x = cog::arange<float>(three, n);
  cog::tensor y = x * 2 + 1;
  auto z = cog::zeros<float>(three, {n + 1});
  cog::slice(z, 0, 1, n + 1).assign(x * 2 + 1);
  bool same = z(0) == 0;
  for (index_t i = 0; i < n; ++i) {
    float const expected = static_cast<float>(i) * 2 + 1;
    same = same && y(i) == expected && z(i + 1) == expected;
  }
  CHECK(same);
  y = y + x;
  for (index_t i = 0; i < n; i += 1001) same = same && y(i) == static_cast<float>(i) * 2 + 1 + static_cast<float>(i);
  CHECK(same);
}
