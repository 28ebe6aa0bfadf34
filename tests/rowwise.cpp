// Row-wise forms against their definitions in double: every row length around a register, strides, storage types, extremes.
#include "support.hpp"

using namespace test;

namespace {

using row = std::vector<double>;

row softmax(row const& x) {
  double const m = *std::max_element(x.begin(), x.end());
  row y;
  double total = 0;
  for (double v : x) y.push_back(std::exp(v - m)), total += y.back();
  for (double& v : y) v /= total;
  return y;
}
row log_softmax(row const& x) {
  double const m = *std::max_element(x.begin(), x.end());
  double total = 0;
  for (double v : x) total += std::exp(v - m);
  row y;
  for (double v : x) y.push_back(v - m - std::log(total));
  return y;
}
row layer_norm(row const& x, row const& w, row const& b, double eps) {
  double const n = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (double v : x) mean += v / n;
  for (double v : x) variance += (v - mean) * (v - mean) / n;
  row y;
  for (std::size_t i = 0; i < x.size(); ++i) y.push_back((x[i] - mean) / std::sqrt(variance + eps) * w[i] + b[i]);
  return y;
}
row rms_norm(row const& x, row const& w, double eps) {
  double square = 0;
  for (double v : x) square += v * v / static_cast<double>(x.size());
  row y;
  for (std::size_t i = 0; i < x.size(); ++i) y.push_back(x[i] / std::sqrt(square + eps) * w[i]);
  return y;
}

/// Compares `got` with f(row) for every row of x.
template <class T, class U, int R, class F>
void check_rows(tensor<T, R> const& x, tensor<U, R> const& got, F const& f, double absolute = 0) {
  REQUIRE(got.extents() == x.extents());
  auto const n = static_cast<std::size_t>(x.extent(-1));
  row in;
  for_each_index(x.extents(), [&](std::array<index_t, R> i) {
    in.push_back(widen(at(x, i)));
    if (in.size() < n) return;
    row const want = f(in);
    for (std::size_t k = 0; k < n; ++k) {
      i[R - 1] = static_cast<index_t>(k);
      double const found = widen(at(got, i));
      double const tolerance = 30 * epsilon<cog::compute_t<U>> + (cog::reduced_float<U> ? 0.51 * epsilon<U> : 0);
      if (!near(found, want[k], tolerance, absolute + 8 * epsilon<cog::compute_t<U>>)) {
        CAPTURE(x.extents(), x.strides(), i, found, want[k]);
        FAIL("row");
      }
    }
    in.clear();
  });
}

template <class T, class W = T>
void check_forms(index_t n, generator& random) {
  auto const x = strided<T>(random, {2, 3, n});
  auto const w = strided<W>(random, {n});
  auto const b = strided<W>(random, {n});
  auto const list = [](auto const& v) {
    row out;
    for (index_t i = 0; i < v.size(); ++i) out.push_back(widen(v(i)));
    return out;
  };
  auto const weight = list(w), bias = list(b);
  row const one(static_cast<std::size_t>(n), 1.0), zero(static_cast<std::size_t>(n), 0.0);
  double const sums = 40 * epsilon<cog::compute_t<T>>;
  check_rows(x, cog::softmax(x), softmax);
  check_rows(x, cog::log_softmax(x), log_softmax, sums);
  check_rows(x, cog::layer_norm(x, w, b), [&](row const& r) { return layer_norm(r, weight, bias, 1e-5); }, sums * 10);
  check_rows(x, cog::layer_norm(x, 0.1), [&](row const& r) { return layer_norm(r, one, zero, 0.1); }, sums * 10);
  check_rows(x, cog::rms_norm(x, w), [&](row const& r) { return rms_norm(r, weight, 1e-6); }, sums);
  check_rows(x, cog::rms_norm(x, 0.5), [&](row const& r) { return rms_norm(r, one, 0.5); }, sums);
}

}  // namespace

TEST_CASE("rows: float, every length around a register") {
  generator random(1);
  for (index_t n = 1; n <= 70; ++n) check_forms<float>(n, random);
  for (index_t n : {127, 128, 129, 1000, 4099}) check_forms<float>(n, random);
}
TEST_CASE("rows: double") {
  generator random(2);
  for (index_t n : {1, 2, 3, 5, 8, 17, 64, 65, 777}) check_forms<double>(n, random);
}
TEST_CASE("rows: bf16 rounds once; weights may be float") {
  generator random(3);
  for (index_t n : {1, 3, 8, 17, 64, 65, 777}) check_forms<cog::bf16, float>(n, random);
}
TEST_CASE("rows: half") {
  generator random(4);
  for (index_t n : {1, 3, 8, 17, 65}) check_forms<cog::half>(n, random);
}

TEST_CASE("rows: ranks, and inputs that are expressions") {
  generator random(5);
  auto const x = strided<float>(random, {4, 19});
  auto const w = strided<float>(random, {19});
  auto const m = strided<bool>(random, {4, 19});
  CHECK(same(cog::softmax(cog::select(x, 0, 1)), cog::select(cog::softmax(x), 0, 1)));
  CHECK(same(cog::softmax(cog::reshape(x.copy(), {2, 1, 2, 19})), cog::reshape(cog::softmax(x), {2, 1, 2, 19})));
  auto const agree = [](auto const& a, auto const& b) {
    for_each_index(a.extents(), [&](auto const& i) { REQUIRE(near(at(a, i), at(b, i), 1e-5, 1e-6)); });
  };
  auto const scaled = cog::eval(x * 0.25f + w);
  agree(cog::softmax(x * 0.25f + w), cog::softmax(scaled));
  agree(cog::rms_norm(x + w, w * 2), cog::rms_norm(cog::eval(x + w), cog::eval(w * 2)));
  auto const masked = cog::softmax(cog::where(m, x, -INFINITY));
  for_each_index(x.extents(), [&](auto const& i) { CHECK((at(masked, i) == 0) == !at(m, i)); });
  agree(cog::softmax(cog::cast<float>(cog::cast<cog::bf16>(x))), cog::softmax(cog::eval(cog::cast<float>(cog::cast<cog::bf16>(x)))));
  auto const stretched = cog::expand(strided<float>(random, {1, 19}), {4, 19});
  agree(cog::layer_norm(stretched), cog::layer_norm(stretched.copy()));
  auto const columns = cog::expand(strided<float>(random, {4, 1}), {4, 19});
  agree(cog::softmax(columns), cog::eval(columns * 0 + 1.0f / 19));
}

TEST_CASE("rows: extremes") {
  auto const of = [](std::initializer_list<float> v) {
    return cog::from(context(), std::span<float const>(v.begin(), v.size()), std::array<index_t, 1>{static_cast<index_t>(v.size())});
  };
  CHECK(cog::softmax(of({1e30f, -1e30f, 1e30f})).to_vector() == std::vector<float>{0.5f, 0, 0.5f});
  CHECK(cog::softmax(of({-INFINITY, 2, -INFINITY})).to_vector() == std::vector<float>{0, 1, 0});
  CHECK(cog::log_softmax(of({0, -200}))(1) == -200);
  CHECK(std::isnan(cog::softmax(of({-INFINITY, -INFINITY}))(0)));  // as in PyTorch: no weights sum to 1
  CHECK(std::isnan(cog::softmax(of({1, NAN, 2}))(0)));
  CHECK(std::isnan(cog::layer_norm(of({1, NAN, 2}))(2)));
  CHECK(cog::row_logsumexp(cog::reshape(of({-INFINITY, -INFINITY, 1, -INFINITY}), {2, 2})).to_vector() == std::vector<float>{-INFINITY, 1});
  CHECK(cog::layer_norm(of({7, 7, 7})).to_vector() == std::vector<float>{0, 0, 0});
  CHECK(cog::rms_norm(of({0, 0})).to_vector() == std::vector<float>{0, 0});
  CHECK(cog::rms_norm(of({1e19f, -1e19f}))(0) == Approx(1).epsilon(1e-5));
  auto const shifted = cog::layer_norm(of({10000, 10001, 10002}));
  CHECK(shifted(2) == Approx(1.224737).epsilon(1e-4));
}

TEST_CASE("rows: none, empty, parameters that do not fit") {
  CHECK(cog::softmax(cog::zeros<float>(context(), {0, 5})).size() == 0);
  CHECK(cog::softmax(cog::zeros<float>(context(), {5, 0})).size() == 0);
  CHECK(cog::row_logsumexp(cog::zeros<float>(context(), {2, 0})).to_vector() == std::vector<float>{-INFINITY, -INFINITY});
  auto const x = cog::zeros<float>(context(), {2, 4});
  CHECK_THROWS_WITH(cog::rms_norm(x, cog::zeros<float>(context(), {3})), Catch::Contains("[3]") && Catch::Contains("[2, 4]"));
  CHECK_THROWS_AS(cog::layer_norm(x, cog::zeros<float>(context(), {4}), cog::zeros<float>(context(), {1})), cog::error);
}

TEST_CASE("rows: the same bits with 1 to 8 threads") {
  auto const run = [](int threads) {
    cog::cpu::context const ctx{{.threads = threads}};
    auto const x = cog::randn<float>(ctx, {517, 301}, 1);
    return std::tuple(cog::softmax(x).to_vector(), cog::layer_norm(x).to_vector(), cog::row_logsumexp(cog::transposed(x)).to_vector());
  };
  auto const want = run(1);
  for (int threads = 2; threads <= 8; ++threads) CHECK(run(threads) == want);
}

TEST_CASE("rows: results larger than any cache, aligned and not, on several threads") {
  cog::cpu::context const three{{.threads = 3}};
  for (cog::index_t const n : {512, 515}) {
    cog::index_t const rows = (9 << 20) / n;
    auto const x = cog::randn<float>(three, {rows, n}, 1);
    auto const soft = cog::softmax(x), normal = cog::layer_norm(x);
    for (cog::index_t r = 0; r < rows; r += 101) {
      auto const row = cog::slice(x, 0, r, r + 1);
      bool const same = cog::slice(soft, 0, r, r + 1).to_vector() == cog::softmax(row).to_vector() &&
                        cog::slice(normal, 0, r, r + 1).to_vector() == cog::layer_norm(row).to_vector();
      if (!same) FAIL("row " << r << " of " << n);
    }
    CHECK(cog::select(soft, 0, rows - 1).to_vector() == cog::softmax(cog::select(x, 0, rows - 1)).to_vector());
  }
}

TEST_CASE("softmax along any axis") {
  generator random(9);
  auto const x = strided<float>(random, {3, 4, 5});
  auto const turned = [&](auto const& y, int axis) {  // its own inverse
    std::array<int, 3> order{0, 1, 2};
    std::swap(order[static_cast<std::size_t>(axis)], order[2]);
    return cog::permuted(y, order);
  };
  for (int axis = 0; axis < 3; ++axis) {
    CHECK(same(cog::softmax(x, axis), turned(cog::softmax(turned(x, axis)), axis)));
    CHECK(same(cog::log_softmax(x * 2, axis - 3), turned(cog::log_softmax(turned(cog::eval(x * 2), axis)), axis)));
    CHECK(cog::max(cog::abs(cog::sum(cog::softmax(x, axis), axis) - 1)).item() < 1e-6f);
  }
  CHECK_THROWS_WITH(cog::softmax(x, 3), Catch::Contains("softmax: axis 3"));
}
