// Indexed access against plain loops: take, add_rows, take_along, add_along, concatenate, cumulative_sum, top_k.
#include "support.hpp"

#include <algorithm>
#include <numeric>

using namespace test;

namespace {

template <class I, std::size_t N>
tensor<I, static_cast<int>(N)> ids_below(generator& random, index_t limit, std::array<index_t, N> const& shape) {
  auto ids = strided<I>(random, shape);
  for_each_index(shape, [&](auto const& i) { const_cast<I&>(element(ids, i)) = static_cast<I>(uniform(random, 0, limit - 1)); });
  return ids;
}

}  // namespace

TEST_CASE("take: rows of a table") {
  generator random(1);
  auto const check = [&]<class T, class I>(T, I, index_t v, index_t d, std::array<index_t, 2> shape) {
    auto const table = strided<T>(random, {v, d});
    auto const ids = ids_below<I>(random, v, shape);
    auto const rows = cog::take(table, ids);
    REQUIRE(rows.extents() == cog::extents<3>{shape[0], shape[1], d});
    for_each_index(rows.extents(), [&](auto const& i) {
      auto const id = at(ids, std::array<index_t, 2>{i[0], i[1]});
      REQUIRE(same(at(rows, i), at(table, std::array<index_t, 2>{static_cast<index_t>(id), i[2]})));
    });
  };
  for (index_t d : {1, 3, 8, 65}) {
    check(float{}, std::int64_t{}, 7, d, {3, 5});
    check(cog::bf16{}, std::int32_t{}, 7, d, {1, 9});
    check(std::int32_t{}, std::int32_t{}, 7, d, {0, 9});
  }
  check(float{}, std::int64_t{}, 1000, 200, {40, 30});  // over several threads
  auto const table = cog::zeros<float>(context(), {4, 2});
  CHECK_THROWS_WITH(cog::take(table, cog::from<std::int64_t>(context(), {0, 4})), Catch::Contains("4"));
  CHECK_THROWS_WITH(cog::take(table, cog::from<std::int32_t>(context(), {-1})), Catch::Contains("-1"));
  CHECK(cog::take(table, cog::scalar<std::int64_t>(context(), 3)).extents() == cog::extents<1>{2});
}

TEST_CASE("add_rows: rows that do not fit, and tables that repeat elements, are refused") {
  auto const ids = cog::zeros<std::int64_t>(context(), {2, 2});
  auto table = cog::zeros<float>(context(), {2, 3});
  CHECK_THROWS_WITH(cog::add_rows(table, ids, cog::ones<float>(context(), {4, 1, 3})), Catch::Contains("[4, 1, 3]"));
  auto repeated = cog::expand(cog::zeros<float>(context(), {2, 1}), {2, 3});
  CHECK_THROWS_WITH(cog::add_rows(repeated, ids, cog::ones<float>(context(), {2, 2, 3})), Catch::Contains("repeats"));
}

TEST_CASE("take: a table of any rank") {
  generator random(11);
  auto const ids = ids_below<std::int32_t>(random, 6, std::array<index_t, 2>{2, 5});
  auto const numbers = strided<float>(random, {6});
  auto const taken = cog::take(numbers, ids);
  REQUIRE(taken.extents() == ids.extents());
  for_each_index(taken.extents(), [&](auto const& i) { REQUIRE(at(taken, i) == numbers(at(ids, i))); });

  auto const matrices = strided<cog::half>(random, {6, 3, 4});
  auto const some = cog::take(matrices, ids);
  REQUIRE(some.extents() == cog::extents<4>{2, 5, 3, 4});
  for (index_t i = 0; i < 2; ++i)
    for (index_t j = 0; j < 5; ++j) REQUIRE(same(cog::select(cog::select(some, 0, i), 0, j), cog::select(matrices, 0, ids(i, j))));

  CHECK(cog::take(cog::zeros<float>(context(), {0, 3, 4}), cog::zeros<std::int64_t>(context(), {0})).extents() == cog::extents<3>{0, 3, 4});
  CHECK(cog::take(cog::zeros<float>(context(), {6, 0, 4}), ids).extents() == cog::extents<4>{2, 5, 0, 4});
  CHECK_THROWS_WITH(cog::take(cog::zeros<float>(context(), {0, 3, 4}), ids), Catch::Contains("take"));
  CHECK_THROWS_WITH(cog::take(numbers, cog::from<std::int32_t>(context(), {6})), Catch::Contains("6"));
}

TEST_CASE("add_rows: repeated rows add up, in order") {
  generator random(2);
  for (auto [v, d, n] : {std::array<index_t, 3>{5, 3, 20}, {5, 70, 20}, {300, 64, 2000}, {3, 1, 0}}) {
    auto table = strided<float>(random, {v, d});
    auto const ids = ids_below<std::int64_t>(random, v, std::array<index_t, 1>{n});
    auto const rows = strided<float>(random, {n, d});
    auto want = table.copy();
    for (index_t i = 0; i < n; ++i)
      for (index_t c = 0; c < d; ++c) want(ids(i), c) += rows(i, c);
    auto const kept = table.copy();
    cog::add_rows(table, ids, rows);
    REQUIRE(same(table, want));
    auto again = kept.to(cog::cpu::context{{.threads = 5}});
    cog::add_rows(again, ids, rows);
    REQUIRE(same(again, want));
  }
  auto table = cog::zeros<float>(context(), {3, 2});
  CHECK_THROWS_AS(cog::add_rows(table, cog::from<std::int64_t>(context(), {0, 3}), cog::ones<float>(context(), {2, 2})), cog::error);
  CHECK(cog::sum(table).item() == 0);  // checked before anything is written
  CHECK_THROWS_AS(cog::add_rows(table, cog::from<std::int64_t>(context(), {0, 1}), cog::ones<float>(context(), {2, 3})), cog::error);
  CHECK_THROWS_AS(cog::add_rows(table, cog::from<std::int64_t>(context(), {0, 1}), cog::ones<float>(context(), {3, 2})), cog::error);

  // Rows of the table itself are those of before.
  auto own = cog::from<float>(context(), {{1, 2}, {3, 4}, {5, 6}});
  cog::add_rows(own, cog::from<std::int64_t>(context(), {1, 2, 2}), own);
  CHECK(own.to_vector() == std::vector<float>{1, 2, 4, 6, 5 + 3 + 5, 6 + 4 + 6});
}

TEST_CASE("take_along, add_along: one element of each row") {
  generator random(3);
  auto const x = strided<float>(random, {4, 3, 11});
  auto const ids = ids_below<std::int32_t>(random, 11, std::array<index_t, 2>{4, 3});
  auto const got = cog::take_along(x, ids);
  auto y = x.copy();
  auto const values = strided<float>(random, {4, 3});
  cog::add_along(y, ids, values);
  for_each_index(x.extents(), [&](auto const& i) {
    std::array<index_t, 2> const row{i[0], i[1]};
    if (at(ids, row) == i[2]) {
      REQUIRE(at(got, row) == at(x, i));
      REQUIRE(at(y, i) == at(x, i) + at(values, row));
    } else {
      REQUIRE(at(y, i) == at(x, i));
    }
  });
  CHECK_THROWS_AS(cog::take_along(x, ids_below<std::int32_t>(random, 11, std::array<index_t, 2>{3, 4})), cog::error);
  CHECK_THROWS_AS(cog::take_along(x, cog::full<std::int64_t>(context(), {4, 3}, 11)), cog::error);
  for (auto const& [some, given] : {std::pair{std::array<index_t, 2>{5, 3}, std::array<index_t, 2>{5, 3}}, {{3, 4}, {4, 3}}, {{4, 3}, {4, 2}}})
    CHECK_THROWS_WITH(cog::add_along(y, cog::zeros<std::int64_t>(context(), some), cog::ones<float>(context(), given)),
                      Catch::Contains("add_along") && Catch::Contains("[4, 3, 11]"));
  CHECK_THROWS_AS(cog::add_along(y, cog::full<std::int64_t>(context(), {4, 3}, 11), values), cog::error);
  auto own = cog::from<float>(context(), {{1, 2}, {3, 4}});
  cog::add_along(own, cog::from<std::int64_t>(context(), {1, 1}), cog::select(own, 1, 1));
  CHECK(own.to_vector() == std::vector<float>{1, 4, 3, 8});
}

TEST_CASE("concatenate: along every axis, any strides") {
  generator random(4);
  for (int axis = 0; axis < 3; ++axis)
    for (int trial = 0; trial < 30; ++trial) {
      std::array<index_t, 3> shape{uniform(random, 0, 3), uniform(random, 1, 4), uniform(random, 1, 9)};
      auto const a = static_cast<std::size_t>(axis);
      std::array<tensor<float, 3>, 3> parts;
      for (auto& part : parts) {
        shape[a] = uniform(random, 0, 5);
        part = strided<float>(random, shape);
      }
      auto const joined = cog::concatenate(axis - 3 * (trial % 2), parts[0], parts[1], parts[2]);
      REQUIRE(same(joined, cog::concatenate(axis, std::vector(parts.begin(), parts.end()))));
      index_t begin = 0;
      for (auto const& part : parts) {
        REQUIRE(same(cog::slice(joined, axis, begin, begin + part.extents()[a]), part));
        begin += part.extents()[a];
      }
      REQUIRE(joined.extents()[a] == begin);
    }
  auto const x = cog::zeros<float>(context(), {2, 3});
  CHECK(same(cog::concatenate(0, x), x));
  CHECK_THROWS_WITH(cog::concatenate(0, x, cog::zeros<float>(context(), {2, 1})), Catch::Contains("[2, 1]"));
  CHECK_THROWS_WITH(cog::concatenate(0, std::vector<tensor<float, 2>>{}), Catch::Contains("no tensors"));
  CHECK_THROWS_WITH(cog::concatenate(0, x, cog::zeros<float>(context(), {2, 4})), Catch::Contains("[2, 3]") && Catch::Contains("[2, 4]"));
}

TEST_CASE("cumulative_sum: along every axis") {
  generator random(5);
  auto const check = [&]<class T>(T) {
    for (int axis = 0; axis < 3; ++axis) {
      auto const x = strided<T>(random, {4, 5, 23});
      auto const y = cog::cumulative_sum(x, axis);
      for_each_index(x.extents(), [&](auto i) {
        auto const a = static_cast<std::size_t>(axis);
        cog::compute_t<T> want{};
        index_t const end = i[a];
        auto const here = i;
        for (i[a] = 0; i[a] <= end; ++i[a]) want = static_cast<cog::compute_t<T>>(want + static_cast<cog::compute_t<T>>(at(x, i)));
        REQUIRE(same(at(y, here), T(want)));
      });
    }
  };
  check(float{});
  check(cog::bf16{});
  check(std::int64_t{});
  CHECK(cog::cumulative_sum(cog::zeros<float>(context(), {0, 3}), 0).size() == 0);
  CHECK(cog::cumulative_sum(cog::ones<double>(context(), {100000}), -1)(99999) == 100000);
  CHECK_THROWS_AS(cog::cumulative_sum(cog::ones<float>(context(), {3}), 1), cog::error);
}

TEST_CASE("top_k: the largest, the first among equals, NaN before all") {
  generator random(6);
  for (int trial = 0; trial < 100; ++trial) {
    index_t const n = uniform(random, 1, 40), k = uniform(random, 0, n);
    auto x = strided<float>(random, {3, n});
    for_each_index(x.extents(), [&](auto const& i) {
      if (random() % 3 == 0) x(i[0], i[1]) = static_cast<float>(random() % 3);
      if (trial % 4 == 0 && random() % 10 == 0) x(i[0], i[1]) = NAN;
    });
    auto const got = cog::top_k(x, k);
    REQUIRE(got.values.extents() == cog::extents<2>{3, k});
    for (index_t r = 0; r < 3; ++r) {
      std::vector<index_t> order(static_cast<std::size_t>(n));
      std::iota(order.begin(), order.end(), index_t{0});
      std::stable_sort(order.begin(), order.end(), [&](index_t i, index_t j) {
        if (std::isnan(x(r, j))) return false;
        return std::isnan(x(r, i)) || x(r, i) > x(r, j);
      });
      for (index_t i = 0; i < k; ++i) {
        REQUIRE(got.indices(r, i) == order[static_cast<std::size_t>(i)]);
        REQUIRE(same(got.values(r, i), x(r, got.indices(r, i))));
      }
    }
  }
  auto const i = cog::from<std::int32_t>(context(), {3, 9, -2, 9});
  CHECK(cog::top_k(i, 3).indices.to_vector() == std::vector<std::int64_t>{1, 3, 0});
  CHECK_THROWS_AS(cog::top_k(i, 5), cog::error);
  CHECK_THROWS_AS(cog::top_k(i, -1), cog::error);
}
