// The GPU backend against plain loops: memory, element-wise kernels, random numbers, indexed access.
#include "conformance.hpp"
#include "cuda.hpp"

using namespace cog;

TEST_CASE("gpu: memory") { conformance::memory(gpu()); }
TEST_CASE("gpu: element-wise kernels") {
  in_every_order([] { conformance::element_wise(gpu()); });
}
TEST_CASE("gpu: random numbers") { conformance::random_numbers(gpu()); }
TEST_CASE("gpu: indexed access") {
  in_every_order([] { conformance::indexed(gpu()); });
}

TEST_CASE("gpu: element-wise kernels at every alignment and length") {
  for (index_t offset : {0, 1, 3, 4})
    for (index_t n : {1, 2, 7, 8, 31, 32, 33, 255, 1025})
      conformance::agree(gpu(), "offset " + std::to_string(offset) + ", length " + std::to_string(n), 0, [&](auto const& c) {
        auto const wide = randn<float>(c, {3, n + offset}, 1);
        auto const narrow = eval(cast<bf16>(randn<float>(c, {n + offset}, 2)));
        auto const x = slice(wide, 1, offset, n + offset);
        auto const y = slice(narrow, 0, offset, n + offset);
        auto out = zeros<bf16>(c, {3, n + offset});
        slice(out, 1, offset, n + offset).assign(cast<bf16>(x) * y);
        return std::tuple(out, eval(x * 2 + cast<float>(y)), eval(transposed(x) + 1), eval(x > 0));
      });
}

TEST_CASE("gpu: an index out of range is named when somebody waits, and the context goes on") {
  auto const x = randn<float>(gpu(), {3, 4}, 1);
  auto const taken = take(x, from<std::int64_t>(gpu(), {0, 3, 1}));
  CHECK_THROWS_WITH(taken.to_vector(), Catch::Contains("take: index 3 at position 1 is outside [0, 3)"));
  auto table = zeros<float>(gpu(), {3, 4});
  add_rows(table, from<std::int32_t>(gpu(), {-2}), zeros<float>(gpu(), {1, 4}));
  CHECK_THROWS_WITH(cog::cuda::synchronize(gpu()), Catch::Contains("add_rows: index -2"));
  cog::cuda::synchronize(gpu());
  CHECK(sum(x * 0 + 1).item() == 12);
}

TEST_CASE("gpu: rows are added to tables of any height and width, strided too") {
  in_every_order([] {
    for (index_t const rows : {1, 3, 255, 257, 20000})
      conformance::agree(gpu(), "a table of " + std::to_string(rows) + " rows", 1e-5, [&](auto const& c) {
        auto const table = randn<float>(c, {rows, 70}, 1);
        auto every_second = slice(table, 1, 0, 70, 2);
        add_rows(every_second, randint<std::int32_t>(c, {131}, 0, rows, 2), randn<float>(c, {131, 35}, 3));
        auto wide = zeros<double>(c, {rows, 3});
        add_rows(wide, randint<std::int64_t>(c, {40}, 0, std::min<index_t>(rows, 5), 4), randn<double>(c, {40, 3}, 5));
        return std::tuple(table, wide);
      });
  });
}

TEST_CASE("gpu: many rows of bf16 are added without rounding on the way") {
  auto table = zeros<bf16>(gpu(), {300, 4});
  add_rows(table, full<std::int32_t>(gpu(), {1000}, 299), full<bf16>(gpu(), {1000, 4}, bf16(1.0f)));
  CHECK(static_cast<float>(table.to_vector()[1197]) == 1000);
  CHECK(sum(cast<float>(table)).item() == 4000);
}

TEST_CASE("gpu: many equal elements are ranked by position") {
  conformance::agree(gpu(), "top_k", 0, [](auto const& c) {
    auto const x = eval(cast<float>(randint<std::int32_t>(c, {5, 700}, -3, 4, 1)));
    auto const y = eval(where(x == 3, std::numeric_limits<double>::quiet_NaN(), cast<double>(x)));
    auto const top = top_k(x, 600);
    auto const nan = top_k(y, 200);
    auto const whole = top_k(randint<std::int64_t>(c, {2, 40}, -9, 9, 3), 40);
    return std::tuple(top.values, top.indices, nan.indices, whole.values, whole.indices, top_k(x, 0).indices);
  });
}
