// The tape where things go wrong, and where parameters are not plain: exceptions inside a recording, variables that outlive it,
// results of another one, tied and overlapping parameters.
#include "support.hpp"

#include <cog/nn/loss.hpp>
#include <optional>

using namespace test;

namespace {

struct parameter {
  tensor<float, 2> w;
  void visit(auto&& f) { f("w", w); }
  auto operator()(auto const& x) const { return cog::eval(cog::matmul(x, w)); }
};
template <int R>
struct pair_of {
  tensor<float, 2> w;
  tensor<float, R> v;
  void visit(auto&& f) {
    f("w", w);
    f("v", v);
  }
};

tensor<float, 2> matrix(index_t rows, index_t columns, std::uint64_t seed) { return cog::randn<float>(context(), {rows, columns}, seed); }
float greatest(tensor<float, 2> const& x) { return cog::max(cog::abs(x)).item(); }

}  // namespace

TEST_CASE("an exception inside a recording leaves nothing behind") {
  cog::cpu::context const ctx{{.threads = 1}};
  parameter a{cog::randn<float>(ctx, {4, 4}, 1)}, b{cog::randn<float>(ctx, {4, 4}, 2)};
  auto const x = cog::randn<float>(ctx, {3, 4}, 3);
  auto const before = ctx.memory().report().in_use;
  auto const narrow = cog::slice(x, 1, 0, 3);
  CHECK_THROWS_AS(cog::value_and_grad(a, [&](auto& m) { return cog::sum(m(m(x)) + narrow); }), cog::error);  // of shapes
  CHECK_THROWS_AS(cog::value_and_grad(a, [&](auto& m) { return m(x); }), cog::error);                        // not one number
  CHECK_THROWS_AS(cog::value_and_grad([&](auto const& v) { return cog::sum(v * 2 + narrow); }, x), cog::error);
  CHECK(ctx.memory().report().in_use == before);
  // Nobody records `a` any more: it may be used as it is beside a recording of b.
  CHECK_NOTHROW(cog::value_and_grad(b, [&](auto& m) { return cog::sum(m(x) * cog::eval(cog::matmul(x, a.w))); }));
}

TEST_CASE("gradients that are kept do not bind their model") {
  parameter teacher{matrix(4, 4, 1)}, student{matrix(4, 4, 2)};
  auto const x = matrix(3, 4, 3);
  auto const kept = cog::value_and_grad(teacher, [&](auto& m) { return cog::sum(m(x)); });
  CHECK_NOTHROW(cog::value_and_grad(student, [&](auto& m) { return cog::sum(cog::square(m(x) - teacher(x))); }));
  CHECK(cog::sum(kept.gradients(teacher.w)).size() == 1);
}

TEST_CASE("a variable is of use only inside its recording") {
  auto const x = matrix(3, 4, 1);
  std::optional<cog::variable<float, 2, cog::cpu>> escaped;
  auto const first = cog::value_and_grad([&](auto const& v) { escaped.emplace(v * 2); return cog::sum(v); }, x);
  CHECK_THROWS_WITH(cog::eval(*escaped + 1), Catch::Contains("after"));
  CHECK_THROWS_WITH(cog::value_and_grad([&](auto const& v) { return cog::sum(*escaped * v); }, x), Catch::Contains("different tapes"));
  CHECK_THROWS_WITH(cog::value_and_grad([&](auto const&) { return cog::variable<float, 0, cog::cpu>(first.value, escaped->recorder()); }, x),
                    Catch::Contains("another call"));
  CHECK(same(escaped->value(), cog::eval(x * 2)));
}

TEST_CASE("a variable assigned by an operator keeps its shape") {
  auto const grown = [](auto const& v) {
    auto row = cog::variable(cog::slice(v, 0, 0, 1) * 1);
    row += v;
    return cog::sum(row);
  };
  CHECK_THROWS_WITH(cog::value_and_grad(grown, matrix(3, 4, 1)), Catch::Contains("[3, 4]") && Catch::Contains("[1, 4]"));
}

TEST_CASE("recordings within recordings") {
  parameter model{matrix(4, 4, 1)};
  auto const x = matrix(3, 4, 2);
  auto const plain = cog::value_and_grad(model, [&](auto& m) { return cog::sum(cog::square(m(x))); });
  auto const nested = cog::value_and_grad(model, [&](auto& m) {
    auto const y = m(x);  // recorded before, used after
    auto const inner = cog::value_and_grad(model, [&](auto& n) { return cog::sum(cog::square(n(x))); });
    CHECK(same(inner.gradients(model.w), plain.gradients(model.w)));
    CHECK_THROWS_AS(cog::eval(model.w * 2), cog::error);  // the outer recording still looks after its parameters
    return cog::sum(cog::square(y)) + inner.value;
  });
  CHECK(same(nested.gradients(model.w), plain.gradients(model.w)));
}

TEST_CASE("parameters that are views of the same elements have one gradient, each in its own shape") {
  auto const x = matrix(3, 4, 1);
  auto const w = matrix(4, 4, 2);
  auto const loss = [&](auto& m) { return cog::sum(cog::matmul(m.record(x), m->w) * cog::slice(x, 1, 0, 4)); };
  pair_of<2> turned{w, cog::transposed(w)};
  auto const a = cog::value_and_grad(turned, loss).gradients;
  CHECK(same(cog::eval(a(turned.v) * 1), cog::eval(cog::transposed(a(turned.w)) * 1)));
  CHECK(greatest(a(turned.w)) > 0);
  pair_of<1> flat{w, cog::flatten(w)};
  auto const b = cog::value_and_grad(flat, loss).gradients;
  CHECK(b(flat.v).to_vector() == a(turned.w).to_vector());
  // A part that is no parameter itself has its part of the gradient.
  CHECK(a(cog::select(w, 0, 3)).to_vector() == cog::select(a(turned.w), 0, 3).to_vector());
  auto const unused = cog::value_and_grad(turned, [&](auto& m) { return cog::sum(m.record(x)); }).gradients;
  CHECK(greatest(unused(turned.v)) == 0);
}

TEST_CASE("parameters that share some of their elements are refused") {
  auto const w = matrix(6, 4, 1);
  auto const x = matrix(3, 4, 2);
  auto const loss = [&](auto& m) { return cog::sum(cog::matmul(m.record(x), cog::transposed(m->w))); };
  pair_of<2> part_first{cog::slice(w, 0, 0, 2), w}, part_last{w, cog::slice(w, 0, 2, 6)}, columns{cog::slice(w, 1, 0, 4, 2), cog::slice(w, 1, 1, 4, 2)};
  CHECK_THROWS_WITH(cog::value_and_grad(part_first, loss), Catch::Contains("[6, 4]") && Catch::Contains("some of its elements"));
  CHECK_THROWS_AS(cog::value_and_grad(part_last, loss), cog::error);
  CHECK_THROWS_AS(cog::value_and_grad(columns, loss), cog::error);
  pair_of<2> halves{cog::slice(w, 0, 0, 3), cog::slice(w, 0, 3, 6)};  // of one storage, beside each other
  auto const g = cog::value_and_grad(halves, loss).gradients;
  CHECK(greatest(g(halves.w)) > 0);
  CHECK(greatest(g(halves.v)) == 0);
}

TEST_CASE("views of a parameter that is itself one of columns: found, wherever they are") {
  auto const w = matrix(10, 4, 1);
  auto const x = cog::randn<float>(context(), {2}, 2);
  parameter m{cog::slice(w, 1, 0, 2)};
  CHECK_THROWS_WITH(cog::value_and_grad(m, [&](auto& r) { return cog::sum(r.record(x) * cog::select(r->w, 0, 9)); }), Catch::Contains("row-major"));
}

TEST_CASE("functions of a parameter itself are recorded") {
  parameter model{matrix(3, 5, 1)};
  auto const ids = cog::from<std::int64_t>(context(), {4, 0, 2});
  auto const gradient = [&](auto f) { return cog::value_and_grad(model, [&](auto& m) { return f(m.record(m->w)); }).gradients(model.w); };
  CHECK(greatest(gradient([&](auto const& w) { return cog::sum(cog::take_along(w, ids)); })) == 1);
  CHECK(greatest(gradient([&](auto const& w) { return cog::sum(cog::cumulative_sum(w, 1)); })) == 5);
  CHECK(greatest(gradient([&](auto const& w) { return cog::cross_entropy(w, ids); })) > 0);
  CHECK(greatest(gradient([&](auto const& w) { return cog::sum(w * cog::cast<float>(cog::argmax(w, 1, cog::keep))); })) > 0);
  CHECK_THROWS_WITH(gradient([&](auto const& w) { return cog::sum(w) + cog::sum(cog::take_along(model.w, ids)); }), Catch::Contains("not recorded"));
  CHECK_THROWS_WITH(gradient([&](auto const& w) { return cog::sum(w) + cog::sum(cog::top_k(model.w, 2).values); }), Catch::Contains("not recorded"));
}

TEST_CASE("cumulative_sum: the gradient of a position is a sum of what follows, of nothing else") {
  auto const x = cog::zeros<float>(context(), {4});
  auto const weights = cog::from<float>(context(), {1e9f, 1, 2, 4});
  auto const g = std::get<0>(cog::value_and_grad([&](auto const& v) { return cog::sum(cog::cumulative_sum(v, 0) * weights); }, x).gradients);
  CHECK(cog::slice(g, 0, 1, 4).to_vector() == std::vector<float>{7, 6, 4});
  auto const odd = cog::from<float>(context(), {NAN, 1, 2, 4});
  auto const h = std::get<0>(cog::value_and_grad([&](auto const& v) { return cog::sum(cog::cumulative_sum(v, 0) * odd); }, x).gradients);
  CHECK(cog::slice(h, 0, 1, 4).to_vector() == std::vector<float>{7, 6, 4});
}

TEST_CASE("pow: the derivative of a constant is 0") {
  auto const x = cog::from<float>(context(), {0, -2, 3});
  auto const g = std::get<0>(cog::value_and_grad([](auto const& v) { return cog::sum(cog::pow(v, 0)) + cog::sum(cog::pow(v, 2)); }, x).gradients);
  CHECK(g.to_vector() == std::vector<float>{0, -4, 6});
}

TEST_CASE("integers have no gradient; what is computed from them has") {
  auto const x = cog::from<std::int32_t>(context(), {1, 2, 3});
  auto const w = cog::from<float>(context(), {1, 2, 3});
  auto const [value, gradients] = cog::value_and_grad([](auto const& i, auto const& v) { return cog::sum(cog::cast<float>(i) * v + i); }, x, w);
  CHECK(value.item() == 20);
  CHECK(std::get<0>(gradients).to_vector() == std::vector<std::int32_t>{0, 0, 0});
  CHECK(std::get<1>(gradients).to_vector() == std::vector<float>{1, 2, 3});
}
