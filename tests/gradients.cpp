// Derivatives: of every op in the table (as functors, scalar and SIMD), of every form that runs at once, of products, fusion,
// attention and views, against central differences in double; and what the tape promises about parameters.
#include <catch2/catch.hpp>

#include <random>
#include <thread>

#include <cog/cog.hpp>
#include <cog/nn/module.hpp>

using namespace cog;

namespace {

template <class Op>
constexpr int arity() {
  if constexpr (requires { Op::apply(0.5); }) return 1;
  else return 2;
}

/// Ops with a domain and a derivative.
template <class Op>
constexpr bool checked = requires { Op::domain; } && Op::differentiable;

template <class Op, class S>
std::pair<S, std::array<S, 2>> value_and_slopes(S x, S y, S g) {
  if constexpr (arity<Op>() == 1) {
    using tree = branch<Op, arg<0, double>>;
    auto const d = reverse<tree>{}(g, x);
    return {forward<tree>{}(x), {get<0>(d), S(0.0)}};
  } else {
    using tree = branch<Op, arg<0, double>, arg<1, double>>;
    auto const d = reverse<tree>{}(g, x, y);
    return {forward<tree>{}(x, y), {get<0>(d), get<1>(d)}};
  }
}

template <class Op>
double value(double x, double y) {
  return value_and_slopes<Op>(x, y, 1.0).first;
}

template <class Op>
void check_op() {
  INFO(Op::name);
  std::mt19937 random(7);
  std::uniform_real_distribution<double> in(Op::domain.low, Op::domain.high);
  for (int trial = 0; trial < 200; ++trial) {
    double const x = in(random), y = in(random), g = 1.7;
    if (arity<Op>() == 2 && std::abs(x - y) < 1e-3) continue;  // a kink of min and max
    CAPTURE(x, y);
    auto const [v, d] = value_and_slopes<Op>(x, y, g);
    double const h = 1e-6;
    CHECK(d[0] == Approx(g * (value<Op>(x + h, y) - value<Op>(x - h, y)) / (2 * h)).epsilon(1e-7).margin(1e-8));
    if (arity<Op>() == 2)
      CHECK(d[1] == Approx(g * (value<Op>(x, y + h) - value<Op>(x, y - h)) / (2 * h)).epsilon(1e-7).margin(1e-8));

    using S = cpu_detail::simd<double>;
    auto const [vs, ds] = value_and_slopes<Op>(S(x), S(y), S(g));
    double lanes[3][S::size];
    vs.store(lanes[0]);
    ds[0].store(lanes[1]);
    ds[1].store(lanes[2]);
    CHECK(lanes[0][S::size - 1] == Approx(v).epsilon(1e-13));
    CHECK(lanes[1][0] == Approx(d[0]).epsilon(1e-12).margin(1e-15));
    if (arity<Op>() == 2) CHECK(lanes[2][0] == Approx(d[1]).epsilon(1e-12).margin(1e-15));

    using F = cpu_detail::simd<float>;
    float const xf = static_cast<float>(x), yf = static_cast<float>(y);
    auto const [vf, df] = value_and_slopes<Op>(F(xf), F(yf), F(static_cast<float>(g)));
    auto const [ve, de] = value_and_slopes<Op>(double(xf), double(yf), double(static_cast<float>(g)));
    float out[2][F::size];
    vf.store(out[0]);
    df[0].store(out[1]);
    CHECK(out[0][0] == Approx(ve).epsilon(2e-6).margin(1e-6));
    CHECK(out[1][F::size - 1] == Approx(de[0]).epsilon(4e-6).margin(2e-6));
  }
}

struct affine {
  tensor<double, 2, cpu> weight;
  tensor<double, 1, cpu> bias;
  void visit(auto&& f) {
    f("weight", weight);
    f("bias", bias);
  }
  auto operator()(auto const& x) const { return eval(gelu(matmul(x, weight) + bias)); }
};
struct summands {
  tensor<double, 2, cpu> a, b;
  void visit(auto&& f) {
    f("a", a);
    f("b", b);
  }
};

cpu::context& here() {
  static cpu::context ctx;
  return ctx;
}
auto random_matrix(index_t rows, index_t columns, std::uint64_t seed) { return randn<double>(here(), {rows, columns}, seed); }

#define REQUIRE_GRADIENT(...)                  \
  do {                                         \
    auto const result = gradcheck(__VA_ARGS__); \
    INFO(result.message);                      \
    CHECK(result.ok);                          \
  } while (false)

/// Its parameter is not row-major.
struct turned {
  tensor<double, 2, cpu> weight = transposed(random_matrix(3, 2, 7));
  void visit(auto&& f) { f("weight", weight); }
  auto operator()(auto const& x) const { return matmul(x, weight); }
};

}  // namespace

TEST_CASE("every op of the table has the derivative it states, on scalars and on SIMD values") {
  int count = 0;
  [&]<class... Op>(std::type_identity<std::tuple<Op...>>) {
    auto const one = [&]<class O>() {
      if constexpr (checked<O>) {
        check_op<O>();
        ++count;
      }
    };
    (one.template operator()<Op>(), ...);
  }(std::type_identity<op::all_ops>{});
  CHECK(count >= 25);  // the loop does see the table
}

TEST_CASE("gradcheck notices a wrong derivative") {
  auto const x = random_matrix(2, 3, 1);
  auto const wrong = [](auto const& v) { return sum(v * stop_gradient(v)); };  // half of d(x^2)
  auto const result = gradcheck(wrong, x);
  CHECK_FALSE(result.ok);
  CHECK(result.message.find("argument 0[") != std::string::npos);
}

TEST_CASE("gradcheck of a parameter of any strides") {
  turned m;
  auto const before = m.weight.to_vector();
  auto const x = random_matrix(4, 2, 1);
  REQUIRE_GRADIENT(m, [&](auto& model) { return sum(square(model(x)) * random_matrix(4, 3, 2)); });
  CHECK(m.weight.to_vector() == before);
}

TEST_CASE("element-wise expressions: repeated leaves, broadcasting, mixed dtypes, choice") {
  auto const x = random_matrix(3, 4, 1), y = random_matrix(3, 4, 2);
  auto const row = randn<double>(here(), {4}, 3);
  auto const column = random_matrix(3, 1, 4);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(a * a * tanh(a)); }, x);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) { return sum(square(a * b + b) / (2 + square(a))); }, x, y);
  REQUIRE_GRADIENT([&](auto const& a, auto const& r, auto const& c) { return sum(square(a * r + c) * sigmoid(r)); }, x, row, column);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(where(a > 0.1, a * a, -a) * clamp(a, -0.5, 0.9)); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(a * x + maximum(a, y)); }, x);
  // Through float and back: exact for a linear function.
  auto const [v, g] = value_and_grad([](auto const& a) { return sum(cast<double>(cast<float>(a) * 3)); }, x);
  CHECK(max(abs(std::get<0>(g) - 3)).item() == 0);
}

TEST_CASE("sums hand their gradient on: nothing is computed, and no two gradients that are returned share elements") {
  auto const x = random_matrix(3, 4, 1), y = random_matrix(3, 4, 2), r = random_matrix(3, 4, 3);
  auto const row = randn<double>(here(), {4}, 4);
  auto const column = random_matrix(3, 1, 5);
  auto const squares = [](auto const& e) { return sum(square(variable(e))); };  // of a step of its own
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) { return squares(a + b + a); }, x, y);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) { return squares((a - r) - b); }, x, y);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b, auto const& c) { return squares(b + (a * r + c)); }, x, row, column);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) { return squares(a + a * b); }, x, y);
  REQUIRE_GRADIENT([&](auto const& a) { return squares(fuse([](auto u) { return u + u; }, a)); }, x);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) { return squares(fuse([](auto u, auto v) { return u + u * v; }, a, b)); }, x, y);
  // A gradient that two variables have for a while, each of which gets another one besides.
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) {
    auto const first = variable(a * 2), second = variable(b * 3);
    auto const both = variable(first + second);
    return sum(square(both) + first * r) + sum(slice(second, 0, 1, 3) * slice(r, 0, 0, 2)) + sum(square(second));
  }, x, y);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) {  // ... the other one to a part
    auto const first = variable(a * 2), second = variable(b * 3);
    auto const part = sum(slice(first, 0, 0, 2) * slice(r, 0, 0, 2));
    auto const both = squares(first + second);
    return variable(part) + both;
  }, x, y);
  auto const empty = value_and_grad([&](auto const& a, auto const& b) { return squares(a + b); }, zeros<double>(here(), {1, 0}), zeros<double>(here(), {3, 0}));
  CHECK(std::get<0>(empty.gradients).extents() == extents<2>{1, 0});
  // Of other types than the sum.
  auto const narrow = eval(cast<float>(y));
  auto const [v, g] = value_and_grad([&](auto const& a, auto const& b) { return sum(variable(a + b) * r); }, x, narrow);
  CHECK(max(abs(std::get<0>(g) - r)).item() == 0);
  CHECK(max(abs(std::get<1>(g) - cast<float>(r))).item() == 0);

  auto const [value, own] = value_and_grad([](auto const& a, auto const& b) { return sum(a + b); }, x, y);
  std::get<0>(own).assign(7);
  CHECK(max(abs(std::get<1>(own) - 1)).item() == 0);

  summands model{x, y};
  auto const handed = value_and_grad(model, [&](auto& m) { return squares(m.record(m->a) + m.record(m->b)); }).gradients;
  CHECK(handed(model.a).data() == handed(model.b).data());
  CHECK(max(abs(handed(model.a) - 2 * (x + y))).item() < 1e-14);
}

TEST_CASE("fuse gives the values and the gradients of the expression it names") {
  auto const x = random_matrix(3, 4, 1);
  auto const z = randn<double>(here(), {4}, 2);
  auto const f = [](auto a, auto b) { return tanh(a * b) * a + a * b * 2; };
  CHECK(max(abs(fuse(f, x, z) - f(x, z))).item() == 0);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) { return sum(square(fuse(f, a, b))); }, x, z);
  auto const lazy = [&] { return fuse(f, random_matrix(3, 4, 5), z); }();  // owns its inputs
  CHECK(max(abs(lazy - f(random_matrix(3, 4, 5), z))).item() == 0);
  auto a = x.copy();
  double const* const before = a.data();
  a = fuse([](auto u) { return u * u + u; }, a);
  CHECK(a.data() == before);
  CHECK(max(abs(a - (x * x + x))).item() == 0);
}

TEST_CASE("reductions") {
  auto const x = randn<double>(here(), {3, 4, 2}, 1);
  auto const w = randn<double>(here(), {3, 1, 2}, 2);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(a * a); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(sum(a, 1))); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(mean(a, axes<0, 2>{}))); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(max(a, -1)) + min(a, 2)); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(logsumexp(a, 1, keep) * w); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(variance(a, axes<0, 1>{}))); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return variance(a) * mean(a); }, x);
}

TEST_CASE("row-wise forms") {
  auto const x = random_matrix(3, 5, 1), r = random_matrix(3, 5, 2);
  auto const w = randn<double>(here(), {5}, 3), b = randn<double>(here(), {5}, 4);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(softmax(a * 2) * r); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(log_softmax(a) * r); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(softmax(a * 2, 0) * r + log_softmax(a, 0) * r); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(row_logsumexp(a * a)); }, x);
  REQUIRE_GRADIENT([&](auto const& a, auto const& v, auto const& c) { return sum(layer_norm(a, v, c) * r); }, x, w, b);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(layer_norm(a) * r); }, x);
  REQUIRE_GRADIENT([&](auto const& a, auto const& v) { return sum(rms_norm(a, v) * r); }, x, w);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(rms_norm(a) * r); }, x);
}

TEST_CASE("products: every orientation, batches, broadcasting, epilogues") {
  auto const a = randn<double>(here(), {2, 3, 4}, 1);
  auto const b = randn<double>(here(), {2, 4, 5}, 2);
  auto const w = random_matrix(4, 5, 3);
  auto const bias = randn<double>(here(), {5}, 4);
  REQUIRE_GRADIENT([](auto const& x, auto const& y) { return sum(square(matmul(x, y))); }, a, b);
  REQUIRE_GRADIENT([](auto const& x, auto const& y, auto const& c) { return sum(silu(matmul(x, y) + c)); }, a, w, bias);
  REQUIRE_GRADIENT([](auto const& x) { return sum(square(matmul(x, transposed(x)))); }, a);
  REQUIRE_GRADIENT([](auto const& x, auto const& y) { return sum(square(matmul(transposed(y), transposed(x)))); }, a, w);
  auto const single = randn<double>(here(), {1, 3, 4}, 5);
  REQUIRE_GRADIENT([](auto const& x, auto const& y) { return sum(square(matmul(x, y) * 2)); }, single, b);
}

TEST_CASE("a product plus a row: as without a recording, to the bit; its gradients, and those of rows that stretch") {
  auto const x = randn<double>(here(), {2, 3, 4}, 1), batches = randn<double>(here(), {2, 4, 5}, 2);
  auto const w = random_matrix(4, 5, 3), one = random_matrix(4, 1, 4);
  auto const row = randn<double>(here(), {5}, 5), single = randn<double>(here(), {1}, 6);
  auto const f = [](auto const& a, auto const& b, auto const& c) { return sum(square(matmul(a, b) + c) * gelu(matmul(a, b) + c)); };
  REQUIRE_GRADIENT(f, x, w, row);
  REQUIRE_GRADIENT(f, x, batches, row);
  REQUIRE_GRADIENT(f, x, w, single);
  REQUIRE_GRADIENT(f, x, one, row);  // the row stretches the product
  REQUIRE_GRADIENT(f, x, one, single);
  REQUIRE_GRADIENT([&](auto const& c) { return f(x, w, c); }, row);
  REQUIRE_GRADIENT([&](auto const& a) { return f(a, w, row); }, x);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b, auto const& c) { return sum(square(c + matmul(a, b)) + (matmul(a, b) + c) * c); }, x, w, row);

  for (auto [k, n] : {std::pair<index_t, index_t>{0, 4}, {3, 0}}) {  // nothing to sum; nothing to give
    auto const [value, g] = value_and_grad([](auto const& u, auto const& v) { return sum(matmul(u, v)); }, ones<double>(here(), {2, 3, k}), ones<double>(here(), {k, n}));
    CHECK(value.item() == 0);
    CHECK(std::get<0>(g).extents() == extents<3>{2, 3, k});
    CHECK(std::get<1>(g).extents() == extents<2>{k, n});
    if (k > 0) CHECK(max(abs(std::get<0>(g))).item() == 0);
  }
  auto const wide = value_and_grad([&](auto const& u) { return sum(matmul(u, w) + cast<float>(row)); }, x);  // of two dtypes: by steps
  CHECK(max(abs(std::get<0>(wide.gradients) - reshape(sum(w, 1), {1, 1, 4}))).item() < 1e-14);
  CHECK_THROWS_WITH(value_and_grad([&](auto const& other) {
    return sum(other) + value_and_grad([&](auto const& u) { return sum(matmul(u, w) + other); }, x).value;
  }, row), Catch::Contains("different tapes"));

  auto const narrow = [](auto const& t) { return eval(cast<bf16>(t)); };
  auto const a = narrow(x);
  auto const b = narrow(w);
  auto const c = narrow(row * 0.01);
  auto const plain = eval(matmul(a, b) + c);
  (void)value_and_grad([&](auto const& u, auto const& v, auto const& z) {
    CHECK(variable(matmul(u, v) + z).value().to_vector() == plain.to_vector());
    return sum(cast<float>(u));
  }, a, b, c);
}

TEST_CASE("several products of one operand: their gradients add up where the first lies") {
  auto const x = random_matrix(5, 4, 1), w = random_matrix(4, 4, 2), v = random_matrix(4, 4, 3);
  REQUIRE_GRADIENT([](auto const& a, auto const& b, auto const& c) { return sum(square(matmul(a, b) + matmul(a, c) * matmul(a, b))); }, x, w, v);
  // Its gradient so far is that of a sum, which others have too.
  REQUIRE_GRADIENT([](auto const& a, auto const& b) {
    auto const h = variable(a * 2), y = variable(h + matmul(h, b));
    return sum(square(y + matmul(y, b)));
  }, x, w);
  // ... or lies transposed.
  REQUIRE_GRADIENT([](auto const& a, auto const& b) {
    auto const product = variable(matmul(a, b));
    return sum(square(product)) + sum(square(matmul(transposed(a), product)));
  }, x, w);
}

TEST_CASE("views, indexed access and joins") {
  auto const x = randn<double>(here(), {3, 4}, 1), r = random_matrix(4, 3, 2);
  auto const ids = from<std::int64_t>(here(), {2, 0, 2});
  REQUIRE_GRADIENT([&](auto const& a) { return sum(reshape(a, {4, 3}) * r + transposed(a) * permuted(a, {1, 0})); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(slice(a, 1, 1, 4, 2)) * slice(a, 1, 0, 2)); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(select(a, 0, 1) * select(a, 0, -1)); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(expand(unsqueeze(a, 1), std::array<index_t, 3>{3, 2, 4})) * 3); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(concatenate(0, a, slice(a, 0, 0, 1) * 2))); }, x);
  REQUIRE_GRADIENT([&](auto const& a, auto const& b) {
    std::vector parts{variable(x, a.recorder()), variable(a * 1), variable(b * 1), variable(a * b)};
    return sum(square(concatenate(-1, parts)));
  }, x, transposed(r));
  CHECK_THROWS_WITH(value_and_grad([&](auto const& other) {
    return sum(other) + value_and_grad([&](auto const& a) { return sum(concatenate(0, std::vector{a, other})); }, x).value;
  }, x), Catch::Contains("different tapes"));
  CHECK(concatenate(0, x * 2, x).to_vector() == concatenate(0, eval(x * 2), x).to_vector());
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(cumulative_sum(a, 0)) * cumulative_sum(a, 1)); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(take(a, ids))); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(take(select(a, 1, 2), ids))); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(take(reshape(a, {3, 2, 2}), unsqueeze(ids, 0))) * 2); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(take_along(a, ids))); }, x);
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(top_k(a, 2).values) * slice(r, 1, 0, 2)) + sum(a); }, transposed(x));
  REQUIRE_GRADIENT([&](auto const& a) { return sum(square(top_k(flatten(a), 3).values)); }, x);
}

TEST_CASE("checkpoint: the same gradient, without what lies between") {
  auto const x = random_matrix(3, 4, 1);
  affine model{random_matrix(4, 4, 2), randn<double>(here(), {4}, 3)};
  auto const plain = value_and_grad(model, [&](auto& m) { return sum(square(m(m.record(x)))); });
  auto const saved = value_and_grad(model, [&](auto& m) {
    return sum(square(checkpoint([&](auto const& v) { return (*m)(v); }, m.record(x))));
  });
  CHECK(plain.value.item() == saved.value.item());
  CHECK(max(abs(plain.gradients(model.weight) - saved.gradients(model.weight))).item() == 0);
  CHECK(max(abs(plain.gradients(model.bias) - saved.gradients(model.bias))).item() == 0);
  REQUIRE_GRADIENT([](auto const& a) { return sum(checkpoint([](auto const& v) { return tanh(v) * v; }, a) * a); }, x);
}

TEST_CASE("models: gradients of parameters, of views of them, of tied and of unused ones") {
  auto const x = random_matrix(3, 4, 1);
  affine model{random_matrix(4, 4, 2), randn<double>(here(), {4}, 3)};
  REQUIRE_GRADIENT(model, [&](auto& m) { return sum(square(m(x))); });
  // A parameter used whole, transposed and sliced.
  REQUIRE_GRADIENT(model, [&](auto& m) {
    auto const v = m.record(x);
    return sum(square(matmul(v, transposed(m->weight)))) + sum(matmul(v, m->weight) * slice(m->weight, 0, 0, 3)) +
           sum(v * select(m->weight, 1, 2));
  });
  auto const [loss, gradients] = value_and_grad(model, [&](auto& m) { return sum(matmul(m.record(x), m->weight)); });
  CHECK(max(abs(gradients(model.bias))).item() == 0);
  CHECK_THROWS_WITH(gradients(x), Catch::Contains("[3, 4] is not a parameter"));
}

TEST_CASE("a parameter cannot slip into an operation that is not recorded") {
  auto const x = random_matrix(3, 4, 1);
  affine model{random_matrix(4, 4, 2), randn<double>(here(), {4}, 3)};
  auto const lost = [&](auto& m) { return sum(m(x)) + sum(m->weight * m->weight); };
  CHECK_THROWS_WITH(value_and_grad(model, lost), Catch::Contains("[4, 4]") && Catch::Contains("not recorded"));
  CHECK_THROWS_WITH(value_and_grad(model, [&](auto& m) { return sum(m(x)) + sum(evaluate(matmul(m->weight, m->weight))); }),
                    Catch::Contains("not recorded"));
  auto const meant = value_and_grad(model, [&](auto& m) {
    pause_recording const paused;
    auto const penalty = sum(m->weight * m->weight);
    return sum(m(x)) + penalty;
  });
  CHECK(meant.value.size() == 1);
  CHECK(sum(model.weight).size() == 1);  // outside of a recording all is as usual
}

TEST_CASE("errors: a result that is not one number, variables of two tapes") {
  auto const x = random_matrix(3, 4, 1);
  CHECK_THROWS_WITH(value_and_grad([](auto const& a) { return a * 2; }, x), Catch::Contains("[3, 4]"));
  CHECK_THROWS_WITH(value_and_grad(
                        [&](auto const& a) {
                          return value_and_grad([&](auto const& b) { return sum(a * b); }, x).value * sum(a);
                        },
                        x),
                    Catch::Contains("different tapes"));
}

TEST_CASE("one model, several threads, each with its own tape") {
  affine model{random_matrix(4, 4, 2), randn<double>(here(), {4}, 3)};
  auto const x = random_matrix(3, 4, 1);
  auto const f = [&](auto& m) { return sum(square(m(x))); };
  auto const expected = value_and_grad(model, f).gradients(model.weight);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round)
        if (max(abs(value_and_grad(model, f).gradients(model.weight) - expected)).item() != 0) ++wrong;
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
}
