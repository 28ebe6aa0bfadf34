// The element-wise language: result dtypes, numbers beside tensors, logic, where, cast, positions.
#include "support.hpp"

using namespace test;
using cog::bf16, cog::half;
using std::int32_t, std::int64_t, std::uint8_t;

namespace {
template <class T, class E>
constexpr bool has_type(E const&) { return std::same_as<typename E::value_type, T>; }

template <class T, std::size_t N>
auto row(T const (&values)[N]) { return cog::from<T>(context(), values); }

template <class E>
auto values(E const& e) {
  auto const x = cog::eval(e);
  using T = typename E::value_type;
  std::vector<std::conditional_t<std::same_as<T, bool>, int, cog::compute_t<T>>> out;
  for (index_t i = 0; i < x.size(); ++i) out.push_back(at(x, std::array<index_t, 1>{i}));
  return out;
}
}  // namespace

TEST_CASE("dtype of a result") {
  auto const f = row<float>({1, 2});
  auto const d = row<double>({1, 2});
  auto const b = cog::cast<bf16>(f);
  auto const i = row<int32_t>({1, 2});
  auto const l = row<int64_t>({1, 2});
  auto const u = row<uint8_t>({1, 2});
  auto const m = row<bool>({true, false});
  CHECK((has_type<float>(f + f) && has_type<double>(f + d) && has_type<float>(b * f) && has_type<bf16>(b + i)));
  CHECK((has_type<int64_t>(i + l) && has_type<int32_t>(u * i) && has_type<uint8_t>(u + m) && has_type<float>(m * f)));
  CHECK((has_type<bool>(f < d) && has_type<bool>(i == l) && has_type<bool>(!m) && has_type<bool>(m && m)));
  CHECK((has_type<double>(cog::where(m, f, d)) && has_type<half>(cog::cast<half>(i))));
  // Numbers take the dtype beside them.
  CHECK((has_type<float>(f * 2) && has_type<float>(2.5 * f) && has_type<bf16>(b + 1) && has_type<bf16>(0.5 * b)));
  CHECK((has_type<int32_t>(i + 1) && has_type<uint8_t>(u * 3) && has_type<int64_t>(5 - l)));
  CHECK((has_type<int32_t>(m + 1u) && has_type<int64_t>(m + 1LL) && has_type<int64_t>(m + std::size_t{1}) && has_type<double>(m * 2.5L)));
  CHECK((has_type<int32_t>(m + 1) && has_type<float>(m * 2.5f) && has_type<float>(cog::where(m, f, 0))));
  CHECK((has_type<float>(cog::maximum(f, 0)) && has_type<float>(cog::pow(f, 2)) && has_type<float>(cog::clamp(f, -1, 1))));
}

TEST_CASE("numbers beside tensors, on either side") {
  auto const x = row<float>({1, -2, 4});
  CHECK(values(x - 1) == std::vector<float>{0, -3, 3});
  CHECK(values(1 - x) == std::vector<float>{0, 3, -3});
  CHECK(values(8 / x) == std::vector<float>{8, -4, 2});
  CHECK(values(cog::pow(2, x)) == std::vector<float>{2, 0.25f, 16});
  CHECK(values(cog::clamp(x, -1, 3)) == std::vector<float>{1, -1, 3});
  CHECK(values(0 < x) == std::vector<int>{1, 0, 1});
  CHECK(values(x + bf16(0.5f)) == std::vector<float>{1.5f, -1.5f, 4.5f});
  auto const i = row<int32_t>({1, -2, 4});
  CHECK(values(10 - i * 2) == std::vector<int32_t>{8, 14, 2});
}

TEST_CASE("item: the number that an expression is") {
  auto const x = cog::from<float>(context(), {1, 2, 3});
  CHECK((sum(x) / 4).item() == 1.5f);
  CHECK_THROWS_WITH((x * 2).item(), Catch::Contains("[3]"));
}

TEST_CASE("numbers beside bf16 and half are not rounded to them") {
  auto const b = cog::full<bf16>(context(), {19}, bf16(200));
  CHECK(static_cast<float>(bf16(1.003f)) == 1);
  CHECK(values(b * 1.003)[18] == 201);
  CHECK(values(b * 1.003)[0] == 201);
  auto const h = cog::full<half>(context(), {19}, half(1));
  CHECK(std::isinf(static_cast<float>(half(80000))));
  CHECK(values(h * 80000 * 0.5)[18] == 40000);  // what is between is float as well
}

TEST_CASE("comparisons and logic") {
  generator random(1);
  for (index_t n = 1; n <= 40; ++n) {
    auto const x = strided<float>(random, {n}), y = strided<float>(random, {n});
    auto const m = strided<bool>(random, {n});
    cog::tensor z = (x < y && m) || !(x > 0);
    cog::tensor w = !m || x == x;
    for (index_t i = 0; i < n; ++i) {
      REQUIRE(z(i) == ((x(i) < y(i) && m(i)) || !(x(i) > 0)));
      REQUIRE(w(i));
    }
  }
  auto const nan = row<float>({NAN, 1});
  CHECK(values(nan == nan) == std::vector<int>{0, 1});
  CHECK(values(nan != nan) == std::vector<int>{1, 0});
  CHECK(values(!(nan < nan)) == std::vector<int>{1, 1});
  CHECK(values(row<bool>({true, false}) && true) == std::vector<int>{1, 0});
  CHECK(values(row<bool>({true, false}) || row<bool>({false, false})) == std::vector<int>{1, 0});
  CHECK(values(row<bool>({true, false}) == row<bool>({false, false})) == std::vector<int>{0, 1});
}

TEST_CASE("where: chooses, and what it does not choose changes nothing") {
  auto const x = row<float>({-1, 0, 4, NAN});
  CHECK(values(cog::where(x > 0, cog::sqrt(x), 0)) == std::vector<float>{0, 0, 2, 0});
  CHECK(values(cog::where(x > 0, 1.0f, x - x + 2))[0] == 2);
  auto const m = row<bool>({true, false, true, false});
  CHECK(values(cog::where(m, row<int64_t>({1, 2, 3, 4}), -1)) == std::vector<int64_t>{1, -1, 3, -1});
  CHECK(values(cog::where(m, row<bool>({true, true, false, false}), m)) == std::vector<int>{1, 0, 0, 0});
  CHECK(values(cog::where(m, row<double>({1, 2, 3, 4}), row<float>({5, 6, 7, 8}))) == std::vector<double>{1, 6, 3, 8});
  CHECK(values(cog::cast<float>(cog::where(m, row<int32_t>({1, 2, 3, 4}), 9)) * 0.5f) == std::vector<float>{0.5f, 4.5f, 1.5f, 4.5f});
}

TEST_CASE("whole numbers") {
  auto const i = row<int32_t>({-3, 0, 7});
  CHECK(values(cog::abs(i)) == std::vector<int32_t>{3, 0, 7});
  CHECK(values(cog::sign(i)) == std::vector<int32_t>{-1, 0, 1});
  CHECK(values(cog::square(i)) == std::vector<int32_t>{9, 0, 49});
  CHECK(values(cog::relu(i)) == std::vector<int32_t>{0, 0, 7});
  CHECK(values(-i) == std::vector<int32_t>{3, 0, -7});
  CHECK(values(cog::maximum(i, 1)) == std::vector<int32_t>{1, 1, 7});
  int64_t const big = (int64_t{1} << 53) + 1;  // no double holds it
  auto const l = row<int64_t>({big, -big, 3});
  CHECK(values(l + 0) == std::vector<int64_t>{big, -big, 3});
  CHECK(values(cog::maximum(l, i)) == std::vector<int64_t>{big, 0, 7});
  CHECK(values(l == l + 1) == std::vector<int>{0, 0, 0});
  auto const u = row<uint8_t>({200, 100, 1});
  CHECK(values(u + u) == std::vector<uint8_t>{144, 200, 2});
  CHECK(values((u + u) > 180) == std::vector<int>{0, 1, 0});
  CHECK(values(cog::cast<float>(u + u)) == std::vector<float>{144, 200, 2});
  CHECK(values(u + i) == std::vector<int32_t>{197, 100, 8});
  auto const m = row<bool>({true, true, false});
  CHECK(values(m + m) == std::vector<int>{1, 1, 0});
  CHECK(values(m * i) == std::vector<int32_t>{-3, 0, 0});
  CHECK(values(m + 1) == std::vector<int32_t>{2, 2, 1});
  CHECK(values(m * 2.5f) == std::vector<float>{2.5f, 2.5f, 0});
}

TEST_CASE("numbers beside integers must fit them") {
  auto const u = row<uint8_t>({44, 0, 255});
  auto const i = row<int32_t>({1, -2});
  CHECK(values(u == 255) == std::vector<int>{0, 0, 1});
  CHECK(values(u == 44L) == std::vector<int>{1, 0, 0});
  CHECK_THROWS_WITH(u == 300, Catch::Contains("300") && Catch::Contains("uint8"));  // not 44
  CHECK_THROWS_AS(u == -1, cog::error);
  CHECK_THROWS_AS(i + 5'000'000'000, cog::error);
  CHECK_THROWS_AS(i < 0x80000000u, cog::error);
  CHECK_THROWS_AS(cog::where(u == 44, u, 256), cog::error);
  CHECK_THROWS_AS(u.assign(256), cog::error);
  CHECK(values(u) == std::vector<uint8_t>{44, 0, 255});
  CHECK(values(i * true) == std::vector<int32_t>{1, -2});
  auto const m = row<bool>({true, false});
  m.assign(1);
  CHECK(values(m) == std::vector<int>{1, 1});
}

TEST_CASE("cast: rounds when it narrows, truncates to whole numbers") {
  generator random(2);
  for (index_t n : {1, 3, 8, 19}) {
    auto const x = strided<float>(random, {n}, -100, 100);
    cog::tensor i = cog::cast<int32_t>(x);
    cog::tensor b = cog::cast<bf16>(x);
    cog::tensor rounded = cog::cast<float>(cog::cast<bf16>(x)) * 1;  // inside one kernel
    cog::tensor h = cog::cast<half>(cog::cast<bf16>(x));
    cog::tensor t = cog::cast<bool>(cog::cast<int32_t>(x));
    cog::tensor back = cog::cast<double>(i) / 2;
    for (index_t k = 0; k < n; ++k) {
      REQUIRE(i(k) == static_cast<int32_t>(x(k)));
      REQUIRE(b(k).bits == bf16(x(k)).bits);
      REQUIRE(rounded(k) == static_cast<float>(bf16(x(k))));
      REQUIRE(h(k).bits == half(static_cast<float>(bf16(x(k)))).bits);
      REQUIRE(t(k) == (static_cast<int32_t>(x(k)) != 0));
      REQUIRE(back(k) == static_cast<int32_t>(x(k)) / 2.0);
    }
  }
  CHECK(values(cog::cast<bool>(row<float>({0, -0.0f, 0.5f, NAN}))) == std::vector<int>{0, 0, 1, 1});
  CHECK(values(cog::cast<uint8_t>(row<int32_t>({256, 255, -1}))) == std::vector<uint8_t>{0, 255, 255});
  CHECK(values(cog::cast<float>(row<bool>({true, false})) + 1) == std::vector<float>{2, 1});
  CHECK(values(cog::cast<double>(row<float>({0.1f})))[0] == static_cast<double>(0.1f));
  CHECK(values(cog::cast<float>(row<double>({0.1})) * row<double>({1}))[0] == static_cast<double>(0.1f));
}

TEST_CASE("position: counts along one axis, stretches along the others") {
  generator random(3);
  auto const x = strided<int64_t>(random, {3, 21});
  cog::tensor column = x * 0 + cog::position<-1>{};
  cog::tensor line = x * 0 + cog::position<-2>{};
  cog::tensor causal = cog::where(cog::position<-1>{} <= cog::position<-2>{}, x, 0);
  cog::tensor scaled = cog::cast<float>(x) * 0 + cog::cast<float>(cog::position<-1>{}) * 0.5f;
  for_each_index(x.extents(), [&](auto const& i) {
    REQUIRE(at(column, i) == i[1]);
    REQUIRE(at(line, i) == i[0]);
    REQUIRE(at(causal, i) == (i[1] <= i[0] ? at(x, i) : 0));
    REQUIRE(at(scaled, i) == static_cast<float>(i[1]) * 0.5f);
  });
}
