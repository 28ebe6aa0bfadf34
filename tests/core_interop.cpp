// Memory of others as tensors, tensors as spans and Eigen maps.
#include "support.hpp"

#include <numeric>

using namespace test;

TEST_CASE("wrap: reads and writes the memory it was given") {
  std::vector<float> memory(12);
  std::iota(memory.begin(), memory.end(), 0.0f);
  auto x = cog::wrap(context(), memory.data(), {3, 4});
  CHECK(x.data() == memory.data());
  CHECK(x(2, 1) == 9);
  auto const t = cog::wrap(context(), memory.data(), {4, 3}, {1, 4});
  CHECK(same(t, cog::transposed(x)));
  cog::tensor y = x + t(1, 2);
  CHECK(y(0, 0) == 9);

  x.assign(x * 2);
  CHECK(memory[11] == 22);
  x(0, 0) = 7;
  CHECK(memory[0] == 7);
  cog::slice(x, 0, 1, 2).assign(0);
  CHECK(memory[5] == 0);
}

TEST_CASE("wrap: a value assigned to the tensor leaves the memory alone") {
  std::vector<float> memory{1, 2, 3};
  auto x = cog::wrap(context(), memory.data(), {3});
  x = x * 2;
  CHECK(x(2) == 6);
  x += 1;
  CHECK(x(2) == 7);
  CHECK(memory == std::vector<float>{1, 2, 3});
}

TEST_CASE("wrap: the owner lives as long as the last handle, lazy expressions included") {
  bool gone = false;
  {
    std::shared_ptr<float> owner(new float[4]{1, 2, 3, 4}, [&](float* p) {
      gone = true;
      delete[] p;
    });
    auto x = cog::wrap(context(), owner.get(), {4}, owner);
    owner.reset();
    auto part = cog::slice(x, 0, 2, 4);
    x = {};
    auto const lazy = part + 1;
    part = {};
    CHECK_FALSE(gone);
    CHECK(cog::eval(lazy)(1) == 5);
  }
  CHECK(gone);
}

TEST_CASE("wrap: shapes that cannot be") {
  float one = 1;
  CHECK_THROWS_AS(cog::wrap(context(), &one, {-1}), cog::error);
  CHECK_THROWS_AS(cog::wrap(context(), static_cast<float*>(nullptr), {2}), cog::error);
  CHECK(cog::wrap(context(), static_cast<float*>(nullptr), {0}).size() == 0);
}

TEST_CASE("wrap: any alignment") {
  std::vector<float> memory(80);
  std::iota(memory.begin(), memory.end(), 0.0f);
  for (index_t shift = 0; shift < 9; ++shift) {
    auto const x = cog::wrap(context(), memory.data() + shift, {67});
    cog::tensor y = x + x;
    for (index_t i = 0; i < 67; ++i) REQUIRE(y(i) == 2 * static_cast<float>(i + shift));
  }
}

TEST_CASE("as_span: in and out") {
  std::vector<double> const values{1, 2, 3, 4, 5, 6};
  auto x = cog::from(context(), std::span<double const>(values), {2, 3});
  auto const& constant = x;
  std::span<double const> const out = cog::as_span(constant);
  CHECK(std::vector(out.begin(), out.end()) == values);
  cog::as_span(x)[4] = 50;
  CHECK(x(1, 1) == 50);
  auto const t = cog::transposed(x);
  CHECK_THROWS_WITH(cog::as_span(t), Catch::Contains("[3, 2]"));
  CHECK_THROWS_AS(cog::from(context(), std::span<double const>(values), {2, 2}), cog::error);
}

TEST_CASE("eigen_map: strides and writes go through") {
  auto x = cog::from<float>(context(), {{1, 2, 3}, {4, 5, 6}});
  auto map = cog::eigen_map(x);
  CHECK(map(1, 2) == 6);
  map *= 2;
  CHECK(x(1, 2) == 12);
  auto const t = cog::slice(cog::transposed(x), 0, 0, 3, 2);
  CHECK(cog::eigen_map(t)(1, 0) == 6);
  auto column = cog::select(x, 1, 1);
  cog::eigen_map(column).setConstant(-1);
  CHECK(x(0, 1) == -1);
  CHECK((cog::eigen_map(t) * cog::eigen_map(x).col(0)).rows() == 2);
  auto const v = cog::arange<double>(context(), 5);
  CHECK(cog::eigen_map(v).sum() == 10);
}

TEST_CASE("from_eigen: matrices, vectors, expressions of either order") {
  Eigen::MatrixXd m(2, 3);
  m << 1, 2, 3, 4, 5, 6;
  auto const x = cog::from_eigen(context(), m);
  CHECK(x.extents() == cog::extents<2>{2, 3});
  CHECK(x.to_vector() == std::vector<double>{1, 2, 3, 4, 5, 6});
  CHECK(cog::from_eigen(context(), m.transpose() * m)(0, 2) == 27);
  CHECK(cog::from_eigen(context(), m.array() + 1)(1, 2) == 7);
  CHECK(cog::from_eigen(context(), m.row(1)).to_vector() == std::vector<double>{4, 5, 6});
  CHECK(cog::from_eigen(context(), m.col(1) * 2).to_vector() == std::vector<double>{4, 10});
  CHECK(cog::from_eigen(context(), Eigen::MatrixXd(0, 3)).extents() == cog::extents<2>{0, 3});
}
