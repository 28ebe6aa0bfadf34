// Products against three loops in double: shapes around every block size, any strides, broadcast batches, epilogues.
#include "support.hpp"

using namespace test;

namespace {

/// [M, K] x [K, N] in double, and the sum of the magnitudes: what the error is measured against.
struct product {
  std::vector<double> value, magnitude;
};
template <class A, class B>
product multiply(A const& a, B const& b) {
  index_t const m = a.extent(0), k = a.extent(1), n = b.extent(1);
  product p{std::vector<double>(static_cast<std::size_t>(m * n)), std::vector<double>(static_cast<std::size_t>(m * n))};
  std::vector<double> line(static_cast<std::size_t>(n));
  for (index_t i = 0; i < m; ++i)
    for (index_t l = 0; l < k; ++l) {
      double const x = widen(a.data()[i * a.strides()[0] + l * a.strides()[1]]);
      for (index_t j = 0; j < n; ++j) {
        double const y = widen(b.data()[l * b.strides()[0] + j * b.strides()[1]]);
        p.value[static_cast<std::size_t>(i * n + j)] += x * y;
        p.magnitude[static_cast<std::size_t>(i * n + j)] += std::abs(x * y);
      }
    }
  return p;
}

template <class T>
double accuracy() { return 8 * epsilon<cog::compute_t<T>>; }

/// got = f(product, column), to the accuracy of a sum.
template <class T, class F>
void check_matrix(tensor<T, 2> const& got, product const& p, F const& f) {
  index_t const n = got.extent(1);
  for_each_index(got.extents(), [&](std::array<index_t, 2> const& i) {
    auto const at_ij = static_cast<std::size_t>(i[0] * n + i[1]);
    double const want = f(p.value[at_ij], i[1]);
    double const found = widen(at(got, i));
    double const rounding = cog::reduced_float<T> ? 0.51 * epsilon<T> : accuracy<T>();
    if (!near(found, want, rounding, accuracy<T>() * (1 + p.magnitude[at_ij]))) {
      CAPTURE(got.extents(), i, found, want);
      FAIL("product");
    }
  });
}
template <class T>
void check_matrix(tensor<T, 2> const& got, product const& p) {
  check_matrix(got, p, [](double x, index_t) { return x; });
}

template <class T>
void check_shapes(std::initializer_list<index_t> extents, generator& random) {
  for (index_t m : extents)
    for (index_t n : extents)
      for (index_t k : extents) {
        auto const a = random() % 2 ? strided<T>(random, {m, k}) : cog::transposed(dense<T>(random, {k, m}));
        auto const b = random() % 2 ? strided<T>(random, {k, n}) : dense<T>(random, {k, n});
        check_matrix(cog::eval(cog::matmul(a, b)), multiply(a, b));
      }
}

}  // namespace

TEST_CASE("matmul: shapes and strides") {
  generator random(1);
  check_shapes<float>({0, 1, 2, 3, 5, 8, 17, 33}, random);
  check_shapes<float>({1, 63, 65, 130}, random);
  check_shapes<double>({1, 4, 7, 40, 66}, random);
  check_shapes<cog::bf16>({1, 4, 7, 66}, random);
  check_shapes<cog::half>({1, 9, 40}, random);
}

TEST_CASE("matmul: rows and columns that repeat or overlap in memory") {
  generator random(11);
  auto const line = dense<float>(random, {80});
  auto const seen_as = [&](std::array<index_t, 2> const& shape, std::array<index_t, 2> const& strides) {
    return tensor<float, 2>(line.storage_handle(), const_cast<float*>(line.data()) + 30, shape, strides);
  };
  for (index_t m : {1, 2, 9})
    for (index_t n : {1, 3, 17})
      for (std::array<index_t, 2> const strides : {std::array<index_t, 2>{0, 1}, {1, 0}, {0, 0}, {1, 1}, {2, 1}, {-1, 1}, {1, -1}, {-2, 1}}) {
        auto const a = seen_as({m, 8}, strides), b = seen_as({8, n}, strides);
        CAPTURE(m, n, strides);
        check_matrix(cog::eval(cog::matmul(a, b)), multiply(a, b));
        check_matrix(cog::eval(cog::matmul(cog::transposed(b), cog::transposed(a))), multiply(cog::transposed(b), cog::transposed(a)));
      }
}

TEST_CASE("matmul: long and large") {
  generator random(2);
  for (auto [m, n, k] : {std::array<index_t, 3>{1, 1000, 300}, {700, 1, 500}, {3, 2, 20000}, {300, 520, 70}, {257, 129, 311}, {200, 96, 40}, {500, 130, 70}, {600, 3, 600}}) {
    auto const a = dense<float>(random, {m, k}), b = dense<float>(random, {k, n});
    auto const p = multiply(a, b);
    check_matrix(cog::eval(cog::matmul(a, b)), p);
    auto const at_ = cog::transposed(cog::transposed(a).copy()), bt = cog::transposed(cog::transposed(b).copy());
    check_matrix(cog::eval(cog::matmul(at_, b)), p);
    check_matrix(cog::eval(cog::matmul(a, bt)), p);
    check_matrix(cog::eval(cog::matmul(at_, bt)), p);
  }
}

TEST_CASE("matmul: leading axes broadcast") {
  generator random(3);
  auto const check = [&]<std::size_t A, std::size_t B>(std::array<index_t, A> const& sa, std::array<index_t, B> const& sb) {
    auto const a = strided<float>(random, sa);
    auto const b = strided<float>(random, sb);
    auto const c = cog::eval(cog::matmul(a, b));
    constexpr std::size_t R = std::max(A, B);
    static_assert(decltype(c)::rank == R);
    for_each_index(c.extents(), [&](std::array<index_t, R> i) {
      double want = 0;
      index_t const row = i[R - 2], column = i[R - 1];
      for (index_t l = 0; l < sa[A - 1]; ++l) {
        auto left = i, right = i;
        left[R - 2] = row, left[R - 1] = l;
        right[R - 2] = l, right[R - 1] = column;
        want += static_cast<double>(at(a, left)) * at(b, right);
      }
      REQUIRE(near(at(c, i), want, 1e-5, 1e-4));
    });
  };
  for (index_t n : {1, 3, 20}) {
    using std::array;
    check(array<index_t, 3>{4, n, 5}, array<index_t, 2>{5, 7});
    check(array<index_t, 2>{n, 5}, array<index_t, 3>{4, 5, 7});
    check(array<index_t, 3>{4, n, 5}, array<index_t, 3>{1, 5, 7});
    check(array<index_t, 3>{1, n, 5}, array<index_t, 3>{4, 5, 7});
    check(array<index_t, 4>{2, 1, n, 5}, array<index_t, 4>{1, 3, 5, 7});
    check(array<index_t, 4>{2, 3, n, 5}, array<index_t, 3>{3, 5, 7});
    check(array<index_t, 4>{2, 3, n, 5}, array<index_t, 2>{5, 7});
    check(array<index_t, 5>{2, 2, 3, n, 5}, array<index_t, 5>{2, 2, 3, 5, 7});
    check(array<index_t, 5>{2, 2, 3, n, 5}, array<index_t, 4>{1, 3, 5, 7});
    check(array<index_t, 5>{2, 1, 3, n, 5}, array<index_t, 5>{1, 2, 1, 5, 7});
    check(array<index_t, 3>{0, n, 5}, array<index_t, 2>{5, 7});
    check(array<index_t, 3>{3, n, 0}, array<index_t, 2>{0, 7});
  }
}

TEST_CASE("matmul: shapes that do not fit") {
  auto const a = cog::zeros<float>(context(), {2, 3});
  CHECK_THROWS_WITH(cog::matmul(a, a), Catch::Contains("matmul") && Catch::Contains("[2, 3]"));
  CHECK_THROWS_WITH(cog::matmul(cog::zeros<float>(context(), {2, 4, 3}), cog::zeros<float>(context(), {3, 3, 4})),
                    Catch::Contains("[2, 4, 3] and [3, 3, 4]"));
  CHECK(cog::matmul(cog::ones<float>(context(), {1, 3}), cog::ones<float>(context(), {3, 1})).item() == 3);
  CHECK_THROWS_AS(cog::matmul(a, cog::transposed(a)) + cog::zeros<float>(context(), {3}), cog::error);
}

namespace {

/// Everything that may stand around a product, against the same by steps.
template <class T>
void check_epilogues(index_t m, index_t n, index_t k, generator& random) {
  auto const a = strided<T>(random, {m, k}), b = strided<T>(random, {k, n});
  auto const row = strided<T>(random, {n});
  auto const c = strided<T>(random, {m, n});
  auto const p = multiply(a, b);
  auto const bias = [&](index_t j) { return widen(row(j)); };
  using cog::matmul;
  check_matrix(cog::eval(matmul(a, b) + row), p, [&](double x, index_t j) { return x + bias(j); });
  check_matrix(cog::eval(matmul(a, b) * 0.3), p, [&](double x, index_t) { return x * static_cast<cog::compute_t<T>>(0.3); });
  check_matrix(cog::eval(2 * matmul(a, b) + row), p, [&](double x, index_t j) { return 2 * x + bias(j); });
  check_matrix(cog::eval(cog::tanh(matmul(a, b))), p, [](double x, index_t) { return std::tanh(x); });
  check_matrix(cog::eval(cog::gelu(matmul(a, b) * 0.5 + row)), p, [&](double x, index_t j) {
    double const y = 0.5 * x + bias(j);
    return 0.5 * y * std::erfc(-y / std::sqrt(2.0));
  });
  check_matrix(cog::eval(cog::relu(matmul(a, b) + cog::slice(row, 0, 0, 1))), p, [&](double x, index_t) { return std::max(0.0, x + bias(0)); });
  tensor<T, 2> out = matmul(a, b) + c;
  for_each_index(out.extents(), [&](auto const& i) {
    auto const at_ij = static_cast<std::size_t>(i[0] * n + i[1]);
    REQUIRE(near(widen(at(out, i)), p.value[at_ij] + widen(at(c, i)), 0.51 * epsilon<T>, accuracy<T>() * (1 + p.magnitude[at_ij])));
  });
  CHECK(same(out, cog::eval(c + matmul(a, b))));
  tensor<T, 2> assigned = c.copy();
  assigned += matmul(a, b);  // one product too: rounded once
  CHECK(same(out, assigned));
  assigned = c + matmul(a, b);
  CHECK(same(out, assigned));
}

}  // namespace

TEST_CASE("matmul: epilogues") {
  generator random(4);
  for (auto [m, n, k] : {std::array<index_t, 3>{1, 1, 1}, {1, 40, 7}, {5, 3, 9}, {70, 90, 33}, {20, 5, 0}, {10, 700, 60}, {300, 1100, 20}}) {
    check_epilogues<float>(m, n, k, random);
    if (m < 100) check_epilogues<cog::bf16>(m, n, k, random);
  }
  check_epilogues<double>(17, 66, 19, random);
}

TEST_CASE("matmul: a leaf of a larger expression, evaluated once") {
  generator random(5);
  auto const a = dense<float>(random, {6, 5}), b = dense<float>(random, {5, 9}), c = dense<float>(random, {6, 9});
  auto const p = cog::eval(cog::matmul(a, b));
  auto const agree = [](auto const& x, auto const& y) {
    REQUIRE(x.extents() == y.extents());
    for_each_index(x.extents(), [&](auto const& i) { REQUIRE(near(at(x, i), at(y, i), 1e-5, 1e-5)); });
  };
  agree(cog::eval(cog::matmul(a, b) * c - 1), cog::eval(p * c - 1));
  agree(cog::eval(cog::exp(-cog::square(cog::matmul(a, b))) + cog::matmul(a, b)), cog::eval(cog::exp(-cog::square(p)) + p));
  agree(cog::eval(cog::matmul(a, b) * 2 * 3), cog::eval(p * 6));
  agree(cog::eval(cog::matmul(a, b) * c + cog::matmul(a, b)), cog::eval(p * c + p));
  agree(cog::eval(cog::matmul(a, b) + cog::slice(c, 0, 0, 1)), cog::eval(p + cog::slice(c, 0, 0, 1)));
  agree(cog::eval(cog::matmul(cog::matmul(a, b), cog::transposed(c))), cog::eval(cog::matmul(p, cog::transposed(c))));
  agree(cog::eval(cog::matmul(a + 1, b * 2)), cog::eval(cog::matmul(cog::eval(a + 1), cog::eval(b * 2))));
  agree(cog::sum(cog::matmul(a, b) * c, 1), cog::sum(cog::eval(p * c), 1));
  agree(cog::softmax(cog::matmul(a, b)), cog::softmax(p));
  agree(cog::softmax(cog::matmul(a, b) * c), cog::softmax(cog::eval(p * c)));
  agree(cog::layer_norm(c, cog::sum(cog::matmul(a, b), 0), cog::sum(p, 0)), cog::layer_norm(c, cog::sum(p, 0), cog::sum(p, 0)));
  agree(cog::row_logsumexp(cog::matmul(a, b)), cog::row_logsumexp(p));
  agree(cog::eval(cog::where(c > 0, cog::matmul(a, b), c)), cog::eval(cog::where(c > 0, p, c)));
  // A row that stretches the product, not the other way round.
  auto const thin = dense<float>(random, {5, 1});
  auto const q = cog::eval(cog::matmul(a, thin));
  auto const row = dense<float>(random, {9});
  agree(cog::eval(cog::matmul(a, thin) + row), cog::eval(q + row));
  agree(cog::eval(cog::tanh(cog::matmul(a, thin) + row)), cog::eval(cog::tanh(q + row)));
}

TEST_CASE("matmul: assignment, also to its own operands") {
  generator random(6);
  auto const start = dense<float>(random, {8, 8}), w = dense<float>(random, {8, 8});
  auto const want = cog::eval(cog::matmul(start, w));
  {
    auto x = start.copy();
    x = cog::matmul(x, w);
    CHECK(same(x, want));
    x = cog::matmul(x, w) + x;
  }
  {
    auto x = start.copy();
    auto const other = x;
    x.assign(cog::matmul(x, w));
    CHECK(same(x, want));
    CHECK(same(other, want));
  }
  {
    auto x = start.copy();
    cog::slice(x, 0, 0, 4).assign(cog::matmul(cog::slice(x, 0, 4, 8), w) * 1);
    CHECK(same(cog::slice(x, 0, 0, 4), cog::eval(cog::matmul(cog::slice(start, 0, 4, 8), w))));
    CHECK(same(cog::slice(x, 0, 4, 8), cog::slice(start, 0, 4, 8)));
  }
  {
    auto y = cog::ones<float>(context(), {8, 8});
    auto const kept = y;
    y += cog::matmul(start, w);
    CHECK(same(y, cog::eval(cog::matmul(start, w) + kept)));
    CHECK(kept(3, 3) == 1);
  }
  {
    auto x = start.copy();
    float const* const place = x.data();
    x += cog::matmul(w, w);  // seen by nobody else: where it lies
    CHECK(x.data() == place);
    CHECK(same(x, cog::eval(start + cog::matmul(w, w))));
    x = start.copy();
    x += cog::matmul(x, w);
    CHECK(same(x, cog::eval(start + want)));
    x = start.copy();
    auto const sum = x + cog::matmul(w, w);  // of the x of now
    x = sum;
    x = sum;
    CHECK(same(x, cog::eval(start + cog::matmul(w, w))));
    x = start.copy();
    x = cog::transposed(x) + cog::matmul(w, w);
    CHECK(same(x, cog::eval(cog::transposed(start) + cog::matmul(w, w))));
    x = cog::transposed(start.copy());
    x += cog::matmul(w, w);
    CHECK(same(x, cog::eval(cog::transposed(start) + cog::matmul(w, w))));
    auto part = cog::slice(start.copy(), 1, 0, 4);
    part += cog::matmul(w, cog::slice(w, 1, 0, 4));
    CHECK(same(part, cog::eval(cog::slice(start, 1, 0, 4) + cog::matmul(w, cog::slice(w, 1, 0, 4)))));
    auto row = cog::ones<float>(context(), {1, 8});
    CHECK_THROWS_AS(row += cog::matmul(w, w), cog::error);
    x = start.copy();
    auto const first_row = cog::slice(w, 0, 0, 1);
    x += cog::matmul(first_row, w);  // it stretches
    CHECK(same(x, cog::eval(start + cog::eval(cog::matmul(first_row, w)))));
    x = w.copy();
    auto const handle = x;
    x = start + cog::matmul(w, w);
    CHECK(same(x, cog::eval(cog::matmul(w, w) + start)));
    CHECK(same(handle, w));
  }
  auto const later = cog::matmul(start.copy(), w.copy());  // lazy: it owns its operands
  CHECK(same(cog::eval(later), want));
}

TEST_CASE("matmul: a large number that a product is added to costs it nothing") {
  for (index_t n : {13, 16, 80}) {
    auto c = cog::full<float>(context(), {8, n}, 33554432.0f);  // 2^25, beside which 1 is nothing
    c += cog::matmul(cog::ones<float>(context(), {8, 1000}), cog::ones<float>(context(), {1000, n}));
    CHECK(cog::min(c).item() == 33555432.0f);
    CHECK(cog::max(c).item() == 33555432.0f);
  }
}

TEST_CASE("matmul: NaN and infinity spread as they should, and not further") {
  auto a = cog::ones<float>(context(), {20, 30});
  auto const b = cog::ones<float>(context(), {30, 40});
  a(3, 7) = NAN;
  a(5, 7) = INFINITY;
  auto const c = cog::eval(cog::matmul(a, b));
  for_each_index(c.extents(), [&](auto const& i) {
    if (i[0] == 3) CHECK(std::isnan(at(c, i)));
    else CHECK(at(c, i) == (i[0] == 5 ? INFINITY : 30));
  });
  // What was in the memory before does not matter.
  cog::cpu::context const ctx{{.threads = 1}};
  for (int i = 0; i < 3; ++i) {
    { auto const dirt = cog::full<float>(ctx, {20, 40}, NAN); }
    cog::tensor d = cog::matmul(b.to(ctx), cog::ones<float>(ctx, {40, 30}));
    CHECK(d(0, 0) == 40);
  }
}

TEST_CASE("matmul: NaN times 0 is NaN, however large the product") {
  cog::cpu::context const ctx;
  for (index_t n : {8, 96}) {
    auto a = cog::ones<float>(ctx, {n, n});
    a(3, 5) = std::numeric_limits<float>::quiet_NaN();
    tensor<float, 2> const z = cog::matmul(a, cog::ones<float>(ctx, {n, n})) * 0.0;
    CHECK(std::isnan(z(3, 0)));
    CHECK(z(2, 0) == 0);
  }
}

TEST_CASE("matmul: the same bits with 1 to 8 threads") {
  auto const run = [](int threads) {
    cog::cpu::context const ctx{{.threads = threads}};
    auto const a = cog::randn<float>(ctx, {300, 257}, 1), b = cog::randn<float>(ctx, {257, 400}, 2);
    auto const q = cog::randn<float>(ctx, {6, 33, 40}, 3), k = cog::randn<float>(ctx, {6, 40, 50}, 4);
    return std::tuple(cog::eval(cog::matmul(a, b)).to_vector(), cog::eval(cog::matmul(q, k)).to_vector(),
                      cog::eval(cog::matmul(cog::slice(a, 0, 0, 1), b)).to_vector());
  };
  auto const want = run(1);
  for (int threads = 2; threads <= 8; ++threads) CHECK(run(threads) == want);
}

#if defined(COG_BLAS)
TEST_CASE("matmul by BLAS: what it takes, and what is left to our own") {
  auto const view_of = [](auto const& x) { return cog::view<double const, 2>{x.data(), x.extents(), x.strides()}; };
  auto const check = [&](auto const& a, auto const& b, bool taken) {
    std::vector<double> c(static_cast<std::size_t>(a.extent(0) * b.extent(1)), 2);
    CHECK(cog::cpu_detail::blas_product<double>(view_of(a), view_of(b), 3, 0.5, c.data()) == taken);
    auto const want = multiply(a, b);
    double off = 0;
    for (std::size_t i = 0; i < c.size(); ++i) off = std::max(off, std::abs(c[i] - (taken ? 3 * want.value[i] + 1 : 2)));
    CHECK(off < 1e-10);
  };
  generator random(5);
  auto const a = dense<double>(random, {70, 90}), b = dense<double>(random, {90, 80}), at = dense<double>(random, {90, 70}), bt = dense<double>(random, {80, 90});
  check(a, b, true);
  check(cog::transposed(at), b, true);
  check(a, cog::transposed(bt), true);
  check(cog::transposed(at), cog::transposed(bt), true);
  check(cog::slice(at, 1, 0, 60), cog::slice(cog::transposed(bt), 0, 0, 60), true);                                    // rows further apart than long
  check(cog::slice(a, 0, 0, 20), b, false);                                                                             // little
  check(cog::expand(dense<double>(random, {1, 90}), {70, 90}), b, false);                                               // one row again and again
  check(cog::slice(dense<double>(random, {70, 180}), 1, 0, 180, 2), b, false);                                          // every other element
}
#endif
