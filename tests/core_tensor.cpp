// The promises of tensor<>: creation, assignment as if into fresh storage, reuse that nobody can see, lifetime of lazy expressions.
#include "support.hpp"

using namespace test;

namespace {

using vector = std::vector<float>;

tensor<float, 1> numbers(vector const& values, cog::cpu::context const& ctx = context()) {
  return cog::from(ctx, std::span<float const>(values), std::array<index_t, 1>{static_cast<index_t>(values.size())});
}
tensor<float, 2> square(index_t n, cog::cpu::context const& ctx = context()) {
  return cog::reshape(cog::arange<float>(ctx, n * n), {n, n});
}

/// Bytes in use and the address tell whether an assignment found new storage.
struct memory_watch {
  cog::cpu::context ctx{{.threads = 1}};
  std::size_t in_use() const { return ctx.memory().report().in_use; }
  /// The most that was in use during f, above what was in use before.
  template <class F>
  std::size_t during(F&& f) {
    ctx.memory().reset_peak();
    std::size_t const before = in_use();
    f();
    return ctx.memory().report().peak - before;
  }
};

}  // namespace

TEST_CASE("creation: values, shapes, dtypes") {
  auto const ctx = context();
  CHECK(cog::zeros<float>(ctx, {2, 2}).to_vector() == vector{0, 0, 0, 0});
  CHECK(cog::ones<cog::bf16>(ctx, {2})(1) == 1);
  CHECK(cog::full<std::int32_t>(ctx, {3}, 7).to_vector() == std::vector<std::int32_t>{7, 7, 7});
  CHECK(cog::full<bool>(ctx, {2}, true)(1));
  CHECK(cog::full<cog::bf16>(ctx, {2}, 0.5)(1) == cog::bf16(0.5f));
  CHECK(cog::full<cog::half>(ctx, {2}, 2)(1) == cog::half(2.0f));
  CHECK(cog::arange<float>(ctx, 4, 1.0f, 0.5f).to_vector() == vector{1, 1.5, 2, 2.5});
  CHECK(cog::arange<std::int64_t>(ctx, 0).size() == 0);
  CHECK(cog::arange<cog::half>(ctx, 3)(2) == 2);
  CHECK(cog::scalar<double>(ctx, 2.5).item() == 2.5);
  CHECK(cog::from<float>(ctx, {{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}})(1, 0, 1) == 6);
  CHECK(cog::from(ctx, std::vector<double>{1, 2, 3, 4}, {2, 2})(1, 0) == 3);
  CHECK(cog::from(ctx, std::vector<double>{1, 2, 3, 4}, std::array<index_t, 1>{4})(3) == 4);
  CHECK(cog::zeros_like(cog::transposed(cog::empty<float>(ctx, {2, 3}))).extents() == cog::extents<2>{3, 2});
  CHECK(cog::empty<double>(ctx, std::array<index_t, 0>{}).size() == 1);
  auto const x = cog::empty<double>(ctx, {3, 5});
  CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
  CHECK((cog::empty<float>(ctx, {0}).size() == 0 && cog::empty<float>(ctx, {0}).to_vector().empty()));
}

TEST_CASE("creation: shapes that cannot be") {
  auto const ctx = context();
  index_t const huge = index_t{1} << 40;
  CHECK_THROWS_WITH(cog::empty<float>(ctx, {2, -1}), Catch::Contains("[2, -1]"));
  CHECK_THROWS_WITH(cog::empty<float>(ctx, {huge, huge}), Catch::Contains("too many"));
  CHECK_THROWS_AS(cog::empty<float>(ctx, {0, huge, huge}), cog::error);
  CHECK_THROWS_AS(cog::empty<double>(ctx, {index_t{1} << 61}), cog::error);
  CHECK_THROWS_AS(cog::eval(cog::zeros<float>(ctx, {1 << 20, 1}) + cog::expand(cog::zeros<float>(ctx, {1}), {index_t{1} << 43})), cog::error);
  tensor<float, 2> none;
  CHECK(none.size() == 0);
  CHECK_FALSE(none.has_storage());
  CHECK_THROWS_AS(none.context(), cog::error);
  CHECK_THROWS_AS((tensor<float, 0>().item()), cog::error);
  CHECK_THROWS_AS((tensor<float, 0>()()), cog::error);
  CHECK_THROWS_WITH(cog::arange<float>(ctx, -1), Catch::Contains("-1"));
}

TEST_CASE("copying a handle shares, copy() copies, writes of one element are seen by all handles") {
  auto a = numbers({1, 2, 3});
  auto b = a;
  auto c = a.copy();
  a(1) = 20;
  CHECK(b(1) == 20);
  CHECK(c(1) == 2);
  CHECK(b.data() == a.data());
  CHECK(a.contiguous().data() == a.data());
}

TEST_CASE("assignment: no other handle sees it") {
  auto y = numbers({1, 2, 3});
  auto const z = y;
  auto const part = cog::slice(y, 0, 1, 3);

  SECTION("plain") { y = y * 2; }
  SECTION("of an expression without y") { y = numbers({2, 4, 6}) + 0; }
  SECTION("+=") { y += numbers({1, 2, 3}); }
  SECTION("*= of a number") { y *= 2; }
  SECTION("with itself") { y += y; }

  CHECK(y.to_vector() == vector{2, 4, 6});
  CHECK(z.to_vector() == vector{1, 2, 3});
  CHECK(part.to_vector() == vector{2, 3});
}

TEST_CASE("assignment by an operator keeps the shape") {
  auto y = numbers({1});
  CHECK_THROWS_WITH(y += numbers({1, 2, 3}), Catch::Contains("[3]") && Catch::Contains("[1]"));
  CHECK_THROWS_AS(y *= numbers({1, 2, 3}) + 1, cog::error);
  CHECK(y.to_vector() == vector{1});
  auto x = numbers({1, 2, 3});
  x -= y;
  CHECK(x.to_vector() == vector{0, 1, 2});
}

TEST_CASE("assignment: a stored lazy expression is another handle") {
  auto y = numbers({1, 2, 3});
  auto const e = y + 1;
  y = e;
  CHECK(y.to_vector() == vector{2, 3, 4});
  CHECK(cog::eval(e).to_vector() == vector{2, 3, 4});
  y = e * 2;
  CHECK(cog::eval(e).to_vector() == vector{2, 3, 4});
  y = e + y;
  CHECK(cog::eval(e).to_vector() == vector{2, 3, 4});
  CHECK(y.to_vector() == vector{6, 9, 12});
}

TEST_CASE("assignment: right whatever overlaps") {
  for (index_t n : {1, 2, 3, 7, 16, 33}) {
    auto const start = square(n);
    auto const want = [&](auto f) {
      auto out = cog::empty<float>(context(), {n, n});
      for_each_index(out.extents(), [&](auto const& i) { out(i[0], i[1]) = f(i[0], i[1]); });
      return out;
    };
    auto const transpose_sum = want([&](index_t i, index_t j) { return start(j, i) + start(i, j); });
    {
      auto a = start.copy();
      a = cog::transposed(a) + a;
      CHECK(same(a, transpose_sum));
    }
    {
      auto a = start.copy();
      a.assign(cog::transposed(a) + a);
      CHECK(same(a, transpose_sum));
    }
    {
      auto a = start.copy();
      a.assign(cog::transposed(a));
      CHECK(same(a, cog::transposed(start)));
    }
    {
      auto a = start.copy();
      a = a + cog::slice(a, 0, 0, 1);  // a row of a, stretched
      CHECK(same(a, want([&](index_t i, index_t j) { return start(i, j) + start(0, j); })));
    }
    {
      auto a = start.copy();
      a -= cog::select(a, 1, n - 1);
      CHECK(same(a, want([&](index_t i, index_t j) { return start(i, j) - start(j, n - 1); })));
    }
    if (n > 1) {
      auto a = start.copy();
      cog::slice(a, 0, 1, n).assign(cog::slice(a, 0, 0, n - 1));  // down by one row
      CHECK(same(a, want([&](index_t i, index_t j) { return start(std::max<index_t>(i - 1, 0), j); })));
      a = start.copy();
      cog::slice(a, 0, 0, n - 1).assign(cog::slice(a, 0, 1, n) * 1);  // up by one row
      CHECK(same(a, want([&](index_t i, index_t j) { return start(std::min(i + 1, n - 1), j); })));
      a = start.copy();
      cog::slice(a, 1, 0, n).assign(cog::select(a, 0, 1));  // one of its rows into all
      CHECK(same(a, want([&](index_t, index_t j) { return start(1, j); })));
    }
  }
}

TEST_CASE("assign: seen through every handle, broadcasts, refuses what does not fit") {
  auto a = square(3);
  auto const whole = a;
  cog::slice(a, 0, 1, 2).assign(numbers({-1, -2, -3}));
  CHECK(whole.to_vector() == vector{0, 1, 2, -1, -2, -3, 6, 7, 8});
  cog::slice(a, 1, 0, 3, 2).assign(5);
  CHECK(whole.to_vector() == vector{5, 1, 5, 5, -2, 5, 5, 7, 5});
  cog::transposed(a).assign(square(3) + 0);
  CHECK(whole.to_vector() == vector{0, 3, 6, 1, 4, 7, 2, 5, 8});
  CHECK_THROWS_WITH(a.assign(numbers({1, 2})), Catch::Contains("[2]") && Catch::Contains("[3, 3]"));
  CHECK_THROWS_AS(cog::slice(a, 0, 0, 1).assign(square(3)), cog::error);
  CHECK(whole.to_vector() == vector{0, 3, 6, 1, 4, 7, 2, 5, 8});
  auto flags = cog::zeros<bool>(context(), {3});
  flags.assign(cog::select(a, 0, 1) > 3);
  CHECK((!flags(0) && flags(1) && flags(2)));
}

TEST_CASE("storage is reused exactly where nobody can see it") {
  memory_watch watch;
  index_t const n = 1000;
  auto const x = cog::ones<float>(watch.ctx, {n});
  auto y = cog::ones<float>(watch.ctx, {n});
  auto* const before = y.data();
  std::size_t const bytes = static_cast<std::size_t>(n) * sizeof(float);

  CHECK(watch.during([&] { y = y * 2 + x; }) == 0);
  CHECK(watch.during([&] { y += x; }) == 0);
  CHECK(watch.during([&] { y = y * y + y; }) == 0);
  CHECK(watch.during([&] { y = x - 1; }) == 0);
  CHECK(watch.during([&] { y = cog::where(y > 0, y, x); }) == 0);
  CHECK(watch.during([&] { y.assign(y + x); }) == 0);
  CHECK(y.data() == before);
  auto const stored = x + 3;
  CHECK(watch.during([&] { y = stored; }) == 0);
  CHECK(y.data() == before);
  CHECK(y(7) == 4);

  SECTION("a shared handle") {
    auto const z = y;
    CHECK(watch.during([&] { y = y + 1; }) >= bytes);
    CHECK(y.data() != before);
    CHECK(z.data() == before);
  }
  SECTION("a view of another order") {
    auto a = cog::ones<float>(watch.ctx, {20, 20});
    auto* const at = a.data();
    a = a + cog::transposed(a);
    CHECK(a.data() != at);
  }
  SECTION("a slice keeps the whole alive") {
    auto part = cog::slice(y, 0, 0, 10);
    y = {};
    part = part + 1;
    CHECK(part.storage_handle().bytes() >= 10 * sizeof(float));
    CHECK(part(0) == 5);
  }
  SECTION("another shape") {
    auto m = cog::ones<float>(watch.ctx, {3, 1});
    m = m + cog::ones<float>(watch.ctx, {1, 4});
    CHECK(m.extents() == cog::extents<2>{3, 4});
  }
}

TEST_CASE("a warm loop takes its memory from the pool") {
  memory_watch watch;
  auto x = cog::ones<float>(watch.ctx, {50, 50});
  auto const step = [&] {
    cog::tensor h = x * 2 + 1;
    cog::tensor k = h + cog::transposed(h);
    x = x * 0.5f + k * 0.001f;
  };
  step();
  auto const idle = watch.ctx.memory().report();
  for (int i = 0; i < 10; ++i) step();
  auto const after = watch.ctx.memory().report();
  CHECK(after.in_use == idle.in_use);
  CHECK(after.in_use + after.cached == idle.in_use + idle.cached);
}

// ---- lifetime; the sanitizers look on

namespace {
auto affine(tensor<float, 1> const& x) {
  auto const bias = numbers({10, 20, 30});
  return x * 2 + bias;  // the local is gone when this is evaluated
}
auto of_temporaries() { return cog::exp(numbers({0, 0, 0}) * numbers({1, 2, 3})) + numbers({1, 1, 1}); }
}  // namespace

TEST_CASE("lazy expressions own what they hold") {
  auto e = affine(numbers({1, 2, 3}));
  auto f = of_temporaries();
  CHECK(cog::eval(e).to_vector() == vector{12, 24, 36});
  CHECK(cog::eval(f).to_vector() == vector{2, 2, 2});
  auto g = e - f;
  auto moved = std::move(e);
  auto copied = g;
  CHECK(cog::eval(moved).to_vector() == vector{12, 24, 36});
  CHECK(cog::eval(g).to_vector() == cog::eval(copied).to_vector());
  std::vector<decltype(g)> many(5, g);
  many.erase(many.begin(), many.begin() + 4);
  CHECK(cog::eval(many[0]).to_vector() == vector{10, 22, 34});

  auto x = std::make_unique<tensor<float, 1>>(numbers({1, 2, 3}));
  auto const later = *x + 1;
  x.reset();
  CHECK(cog::eval(later).to_vector() == vector{2, 3, 4});
}

TEST_CASE("tensors outlive their context's handle") {
  tensor<float, 1> x;
  {
    cog::cpu::context ctx{{.threads = 3}};
    x = cog::ones<float>(ctx, {100}) * 3;
  }
  cog::tensor y = x + x;
  CHECK(y(99) == 6);
  CHECK(y.context().threads() == 3);
}

TEST_CASE("moves") {
  auto a = numbers({1, 2, 3});
  auto* const data = a.data();
  auto b = std::move(a);
  CHECK(b.data() == data);
  a = b + 1;  // a moved-from tensor takes a value
  CHECK(a.to_vector() == vector{2, 3, 4});
  b = std::move(b) * 2;
  CHECK(b.to_vector() == vector{2, 4, 6});
  std::swap(a, b);
  CHECK(a.to_vector() == vector{2, 4, 6});
}

TEST_CASE("to: between contexts") {
  cog::cpu::context other{{.threads = 1}};
  auto const x = cog::transposed(square(3));
  auto const y = x.to(other);
  CHECK(same(x, y));
  CHECK(y.context().threads() == 1);
  CHECK(y.data() != x.data());
}

TEST_CASE("errors say where and what") {
  try {
    throw cog::error("matmul: ", std::array<index_t, 2>{2, 3}, " and ", 1.5);
  } catch (cog::error const& e) {
    CHECK(std::string(e.what()) == "matmul: [2, 3] and 1.5");
    CHECK(std::string(e.where().file).find("core_tensor") != std::string::npos);
    CHECK(e.where().line > 0);
  }
}
