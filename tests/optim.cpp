// Optimisers against their formulas in double, over many steps; tied weights, clipping, accumulation, averages.
#include <catch2/catch.hpp>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <cog/cog.hpp>
#include <cog/optim/accumulate.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>
#include <cog/optim/ema.hpp>
#include <cog/optim/learning_rate.hpp>

using cog::index_t;

namespace {

cog::cpu::context const ctx{{.threads = 2}};

/// Parameters of several ranks; a transposed one, and a second name for the same elements.
template <class T>
struct parts {
  cog::tensor<T, 2, cog::cpu> matrix = cog::randn<T>(ctx, {33, 17}, 1, 0);
  cog::tensor<T, 1, cog::cpu> bias = cog::randn<T>(ctx, {19}, 1, 1);
  cog::tensor<T, 4, cog::cpu> filters = cog::randn<T>(ctx, {3, 2, 5, 5}, 1, 2);
  cog::tensor<T, 2, cog::cpu> turned = transposed(cog::randn<T>(ctx, {6, 7}, 1, 3));
  cog::tensor<T, 2, cog::cpu> tied = matrix;
  void visit(auto&& f) {
    f("matrix", matrix);
    f("bias", bias);
    f("filters", filters);
    f("turned", turned);
    f("tied", tied);
  }
};

/// Gradients by number: a made-up function of the parameter and the step, the same for the oracle.
struct made_up {
  std::uint64_t step;
  double size = 1;
  template <class T, int R>
  auto operator()(cog::tensor<T, R, cog::cpu> const& p) const {
    return cog::tensor(cog::randn<T>(ctx, p.extents(), 77, step * 10 + R) * T(static_cast<float>(size)));
  }
};

template <class T, int R>
std::vector<double> values(cog::tensor<T, R, cog::cpu> const& x) {
  std::vector<double> out;
  for (T v : x.to_vector()) out.push_back(static_cast<double>(v));
  return out;
}
template <class M>
std::map<std::string, std::vector<double>> all_values(M& model) {
  std::map<std::string, std::vector<double>> out;
  cog::for_each_parameter(model, [&](std::string const& name, auto& x) { out[name] = values(x); });
  return out;
}

/// The textbook AdamW on one vector.
struct oracle {
  std::vector<double> p, m, v;
  int t = 0;
  explicit oracle(std::vector<double> start) : p(std::move(start)), m(p.size()), v(p.size()) {}
  void step(std::vector<double> const& g, double rate, cog::adamw_options const& o, bool decays) {
    ++t;
    for (std::size_t i = 0; i < p.size(); ++i) {
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
      double const m_hat = m[i] / (1 - std::pow(o.beta1, t));
      double const v_hat = v[i] / (1 - std::pow(o.beta2, t));
      if (decays) p[i] -= rate * o.weight_decay * p[i];
      p[i] -= rate * m_hat / (std::sqrt(v_hat) + o.epsilon);
    }
  }
};

template <class T, class State>
void follows_the_formula(double tolerance) {
  parts<T> model;
  cog::adamw_options const options{.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1};
  cog::adamw<cog::cpu, State> optimizer(model, options);
  cog::learning_rate const rate{.peak = 1e-2, .floor = 1e-3, .warmup = 10, .steps = 200};
  std::map<std::string, oracle> expected;
  for (auto const& [name, x] : all_values(model)) expected.emplace(name, oracle(x));
  for (index_t step = 0; step < 200; ++step) {
    made_up const g{static_cast<std::uint64_t>(step)};
    cog::for_each_parameter(model, [&](std::string const& name, auto& x) {
      expected.at(name).step(values(g(x)), rate(step), options, name != "bias");
    });
    optimizer.step(model, g, rate(step));
  }
  CHECK(optimizer.steps() == 200);
  CHECK(model.tied.data() == model.matrix.data());
  for (auto const& [name, x] : all_values(model)) {
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(x[i] - expected.at(name).p[i]));
    INFO(name);
    CHECK(worst < tolerance);
  }
}

}  // namespace

TEST_CASE("learning rates: constant, warm-up, cosine, floor") {
  cog::learning_rate const constant{3e-4};
  CHECK(constant(0) == 3e-4);
  CHECK(constant(1'000'000) == 3e-4);

  cog::learning_rate const rate{.peak = 1e-3, .floor = 1e-4, .warmup = 100, .steps = 2000};
  CHECK(rate(0) == Approx(1e-3 / 101));
  CHECK(rate(99) == Approx(1e-3 * 100 / 101));
  CHECK(rate(100) == Approx(1e-3));
  CHECK(rate(1050) == Approx(5.5e-4));
  CHECK(rate(2000) == Approx(1e-4));
  CHECK(rate(5000) == Approx(1e-4));
  for (index_t step = 100; step < 2000; ++step) CHECK(rate(step + 1) < rate(step));

  CHECK_THROWS_WITH((cog::learning_rate{.peak = 1e-4, .floor = 1e-3})(0), Catch::Contains("floor"));
  CHECK_THROWS_AS((cog::learning_rate{.peak = -1})(0), cog::error);
  CHECK_THROWS_WITH((cog::learning_rate{.peak = 1, .warmup = 10, .steps = 5})(0),
                    Catch::Contains("10 steps of warm-up"));
}

TEST_CASE("AdamW follows its formula over 200 steps") {
  follows_the_formula<float, float>(2e-5);
  follows_the_formula<double, double>(1e-12);
}

TEST_CASE("AdamW of bf16 parameters keeps its moments in float") {
  parts<cog::bf16> model;
  cog::adamw<cog::cpu> optimizer(model);
  optimizer.step(model, made_up{1}, 1e-2);
  cog::for_each_parameter(optimizer, [](std::string const& name, auto& x) {
    using T = typename std::remove_cvref_t<decltype(x)>::value_type;
    if (name != "steps") CHECK(std::same_as<T, float>);
  });
}

TEMPLATE_TEST_CASE("master copies: small steps add up, and what else writes a parameter is not undone", "", cog::bf16, cog::half) {
  using T = TestType;
  parts<T> model;
  cog::adamw<cog::cpu> optimizer(model, {.weight_decay = 0});
  auto const rate = 1e-5;  // a step of the first is about the rate, far below half a digit of 1
  auto const gradient_of_one = [](auto const& p) { return cog::ones<T>(ctx, p.extents()); };
  model.bias.assign(cog::full<T>(ctx, {19}, 1.0));
  for (int i = 0; i < 2000; ++i) optimizer.step(model, gradient_of_one, rate);
  for (double x : values(model.bias)) CHECK(x == Approx(0.98).margin(0.003));

  model.bias.assign(cog::full<T>(ctx, {19}, 1e-6));  // a number of which half keeps four bits
  for (int i = 0; i < 2000; ++i) optimizer.step(model, gradient_of_one, 1e-10);
  for (double x : values(model.bias)) CHECK(x == Approx(8e-7).margin(4e-8));

  // Numbers of many sizes, subnormal ones among them, in other memory and in place; the gradient is 0.
  auto const none = [](auto const& p) { return cog::zeros<T>(ctx, p.extents()); };
  cog::adamw<cog::cpu> fresh(model, {.weight_decay = 0});
  for (double size : {1.0, 1e-3, 3e-8, 1e-30, 0.0, 1e4, 1.0}) {
    model.matrix = cog::tensor(cog::cast<T>(cog::randn<float>(ctx, {33, 17}, 5) * size));  // other memory
    model.tied = model.matrix;
    model.turned.assign(cog::cast<T>(cog::randn<float>(ctx, {7, 6}, 6) * size));
    auto const want = values(model.matrix), turned = values(model.turned);
    fresh.step(model, none, 1e-3);
    CHECK(values(model.matrix) == want);
    CHECK(values(model.turned) == turned);
  }
  auto const written = cog::full<T>(ctx, {19}, 1.0);
  model.bias.assign(written);
  fresh.step(model, none, 1e-3);
  CHECK(values(model.bias) == values(written));
}

TEST_CASE("AdamW names what is wrong") {
  parts<float> model;
  CHECK_THROWS_WITH((cog::adamw<cog::cpu>(model, {.beta1 = 1})), Catch::Contains("beta1 = 1"));
  CHECK_THROWS_WITH((cog::adamw<cog::cpu>(model, {.weight_decay = -1})), Catch::Contains("weight_decay"));

  cog::adamw<cog::cpu> optimizer(model);
  auto const wrong = [](auto const& p) {
    return cog::zeros<float>(ctx, std::array<index_t, std::remove_cvref_t<decltype(p)>::rank>{});
  };
  CHECK_THROWS_WITH(optimizer.step(model, wrong, 1e-3),
                    Catch::Contains("'matrix' has shape [33, 17], its gradient [0, 0]"));
  model.bias = cog::zeros<float>(ctx, {20});
  CHECK_THROWS_WITH(optimizer.step(model, made_up{1}, 1e-3),
                    Catch::Contains("'bias' has shape [20], its state has [19]"));
}

TEST_CASE("what decays can be chosen by name") {
  parts<float> model;
  cog::adamw<cog::cpu> optimizer(
      model, {.weight_decay = 0.5, .decays = [](std::string_view name, int) { return name == "bias"; }});
  auto const zero = [](auto const& p) { return zeros_like(p); };
  auto const before = all_values(model);
  optimizer.step(model, zero, 0.1);
  auto const after = all_values(model);
  CHECK(after.at("matrix") == before.at("matrix"));
  for (std::size_t i = 0; i < after.at("bias").size(); ++i)
    CHECK(after.at("bias")[i] == Approx(0.95 * before.at("bias")[i]));
}

TEST_CASE("the state of AdamW is a module: copied over, another optimiser goes on bit for bit") {
  parts<float> a;
  cog::adamw<cog::cpu> first(a);
  for (std::uint64_t s = 0; s < 5; ++s) first.step(a, made_up{s}, 1e-2);

  parts<float> b;
  cog::adamw<cog::cpu> second(b);
  auto const copy = [](auto& from, auto& to) {
    std::map<std::string, std::any> kept;
    cog::for_each_parameter(from, [&](std::string const& name, auto& x) { kept[name] = x.copy(); });
    cog::for_each_parameter(to, [&]<class X>(std::string const& name, X& x) { x = std::any_cast<X>(kept.at(name)); });
  };
  copy(a, b);
  copy(first, second);
  CHECK(second.steps() == 5);
  b.tied = b.matrix;
  for (std::uint64_t s = 5; s < 10; ++s) {
    first.step(a, made_up{s}, 1e-2);
    second.step(b, made_up{s}, 1e-2);
  }
  CHECK(all_values(a) == all_values(b));
}

TEST_CASE("clipping by the global norm") {
  parts<float> model;
  made_up const g{3, 10};
  double squares = 0;
  cog::for_each_distinct_parameter(model, [&](auto const&, auto& p) {
    for (double x : values(g(p))) squares += x * x;
  });
  auto const clipped = cog::clip_norm(model, g, 1.0);
  CHECK(clipped.norm == Approx(std::sqrt(squares)).epsilon(1e-5));
  CHECK(cog::global_norm(model, clipped) == Approx(1.0).epsilon(1e-5));
  CHECK(cog::clip_norm(model, g, 1e6).scale == 1.0);

  // The factor is part of the optimiser's kernel, and of nothing else.
  parts<float> scaled;
  cog::adamw<cog::cpu> one(model), other(scaled);
  one.step(model, clipped, 1e-2);
  other.step(
      scaled, [&](auto const& p) { return cog::tensor(g(p) * static_cast<float>(clipped.scale)); }, 1e-2);
  CHECK(all_values(model) == all_values(scaled));

  auto const broken = [](auto const& p) {
    auto out = cog::ones<float>(ctx, p.extents());
    if constexpr (std::remove_cvref_t<decltype(p)>::rank == 1) out(2) = std::numeric_limits<float>::quiet_NaN();
    return out;
  };
  CHECK_THROWS_WITH(cog::clip_norm(model, broken, 1.0), Catch::Contains("'bias' is not finite"));
}

TEST_CASE("a rate may be a schedule or a tensor, and the norm a tensor: a step then needs nothing of the host") {
  cog::learning_rate const schedule{.peak = 1e-2, .floor = 1e-3, .warmup = 3, .steps = 8};
  parts<float> by_number, by_schedule, by_tensor, by_formula;
  cog::adamw<cog::cpu> first(by_number), second(by_schedule), third(by_tensor), fourth(by_formula);
  auto const norm = cog::zeros<double>(ctx, cog::extents<0>{});
  auto const rate = cog::zeros<double>(ctx, cog::extents<0>{});
  for (index_t step = 0; step < 10; ++step) {
    made_up const g{static_cast<std::uint64_t>(step)};
    auto const clipped = cog::clip_norm(by_number, g, 1.0);
    first.step(by_number, clipped, schedule(step));
    second.step(by_schedule, cog::clip_norm(by_schedule, g, 1.0, norm), schedule);
    CHECK(norm.item() == clipped.norm);
    rate.assign(schedule(step));
    third.step(by_tensor, clipped, rate);
    fourth.step(by_formula, clipped, [&](auto const& made) { return where(made < 3.0, 1e-2 * (made + 1.0) / 4.0, schedule(made)); });
  }
  CHECK(second.steps() == 10);
  CHECK(all_values(by_tensor) == all_values(by_number));
  auto const expected = all_values(by_number), actual = all_values(by_schedule), formula = all_values(by_formula);
  for (auto const& [name, x] : expected)
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(actual.at(name)[i] == Approx(x[i]).epsilon(1e-6));
      CHECK(formula.at(name)[i] == Approx(x[i]).epsilon(1e-6));
    }
  CHECK_THROWS_AS(second.step(by_schedule, made_up{0}, cog::learning_rate{-1.0}), cog::error);
  CHECK(second.steps() == 10);

  // Where the norm is not finite, the gradients are 0.
  auto const broken = [](auto const& p) { return cog::full<float>(ctx, p.extents(), std::numeric_limits<float>::quiet_NaN()); };
  auto const nothing = cog::clip_norm(by_number, broken, 1.0, norm);
  CHECK(std::isnan(norm.item()));
  CHECK(cog::global_norm(by_number, nothing) == 0);
  CHECK_THROWS_AS(cog::clip_norm(by_number, made_up{0}, 0.0, norm), cog::error);
}

TEST_CASE("the mean over small batches") {
  parts<float> model;
  cog::gradient_mean<cog::cpu> mean;
  CHECK_THROWS_AS(mean(model.bias), cog::error);
  parts<float> before;
  for (int round = 0; round < 2; ++round) {
    mean.clear();
    for (std::uint64_t s = 0; s < 4; ++s) mean.add(model, made_up{s});
    CHECK(mean.count() == 4);
    cog::for_each_distinct_parameter(model, [&](auto const&, auto& p) {
      std::vector<double> expected(static_cast<std::size_t>(p.size()));
      for (std::uint64_t s = 0; s < 4; ++s) {
        auto const g = values(made_up{s}(p));
        for (std::size_t i = 0; i < g.size(); ++i) expected[i] += g[i] / 4;
      }
      auto const got = values(cog::tensor(mean(p)));
      for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(got[i] == Approx(expected[i]).margin(1e-6));
    });
    CHECK_THROWS_AS(mean(before.bias), cog::error);
    before = model;
    model = cog::copy_of(model);  // in other memory, as after loading
  }
}

TEST_CASE("a moving average of the parameters") {
  parts<float> model;
  cog::ema<cog::cpu> average(model, 0.9);
  auto expected = all_values(model);
  for (std::uint64_t s = 0; s < 50; ++s) {
    cog::for_each_distinct_parameter(model, [&](auto const&, auto& p) { p.assign(p + made_up{s}(p)); });
    average.update(model);
    for (auto const& [name, x] : all_values(model))
      for (std::size_t i = 0; i < x.size(); ++i) expected[name][i] = 0.9 * expected[name][i] + 0.1 * x[i];
  }
  auto smooth = average.of(model);
  CHECK(smooth.tied.data() == smooth.matrix.data());
  CHECK(smooth.matrix.data() != model.matrix.data());
  for (auto const& [name, x] : all_values(smooth)) {
    INFO(name);
    for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == Approx(expected[name][i]).margin(1e-5));
  }
  CHECK_THROWS_WITH((cog::ema<cog::cpu>(model, 1.0)), Catch::Contains("decay"));
}

namespace {
struct weights_of_half {
  cog::tensor<cog::half, 1, cog::cpu> w;
  void visit(auto&& f) { f("w", w); }
};
}  // namespace

TEST_CASE("small gradients of half survive by loss scaling, and a step that overflows is left out") {
  weights_of_half model{cog::full<cog::half>(ctx, {8}, cog::half(1.0f))};
  cog::adamw<cog::cpu> optimizer(model, {.weight_decay = 0});
  auto const x = cog::full<cog::half>(ctx, {8}, cog::half(1e-4f));
  auto const gradients_at = [&](cog::loss_scaler const& scaler) {
    return scaler.unscale(cog::value_and_grad(model, [&](auto& m) {
                            return scaler.scale(sum(cog::cast<float>(m.record(m->w) * x * x)));  // 1e-8: below half's least number
                          }).gradients);
  };
  CHECK(cog::global_norm(model, gradients_at(cog::loss_scaler(1))) == 0);
  cog::loss_scaler scaler(0x1p44, 3);  // 2^44 1e-8 is above the largest half
  int made = 0, left_out = 0;
  for (int i = 0; i < 30; ++i) {
    auto const g = gradients_at(scaler);
    double const norm = cog::global_norm(model, g);
    if (!scaler.update(norm)) {
      ++left_out;
      continue;
    }
    ++made;
    CHECK(norm == Approx(std::sqrt(8.0) * 1e-8).epsilon(0.01));
    optimizer.step(model, g, 1e-3);
  }
  CHECK(made > 15);
  CHECK(left_out > 1);
  auto const kept = scaler.save();
  cog::loss_scaler again(1, 3);
  again.load(kept);
  CHECK(again.current() == scaler.current());
  CHECK_THROWS_AS(cog::loss_scaler(3.0), cog::error);
  cog::loss_scaler hopeless;
  CHECK_THROWS_WITH([&] { for (int i = 0; i < 60; ++i) hopeless.update(std::nan("")); }(), Catch::Contains("at any scale"));
}

namespace {

/// A source of tensors for load_parameters that lacks the second name of the tied ones.
struct parts_without_tied {
  parts<float>& from;
  std::vector<std::string> names() const { return {"matrix", "bias", "filters", "turned"}; }
  bool contains(std::string_view name) const { return name != "tied"; }
  void load_into(std::string_view name, auto const& target) const {
    cog::for_each_parameter(from, [&]<class X>(std::string const& n, X const& x) {
      if constexpr (std::is_same_v<X, std::remove_cvref_t<decltype(target)>>)
        if (n == name) target.assign(x);
    });
  }
};

struct turned_square {
  cog::tensor<float, 2, cog::cpu> square = cog::randn<float>(ctx, {4, 4}, 1, 0), turned = transposed(square);
  void visit(auto&& f) {
    f("square", square);
    f("turned", turned);
  }
};

}  // namespace

TEST_CASE("tied parameters stay tied in copies, after loading and initialising; the first name gives the value") {
  parts<float> model, other;
  other.tied = other.matrix;
  auto const copy = cog::copy_of(model);
  CHECK(copy.tied.data() == copy.matrix.data());
  CHECK(copy.matrix.data() != model.matrix.data());
  CHECK(values(copy.turned) == values(model.turned));
  CHECK(cog::parameter_count(copy) == cog::parameter_count(model));

  parts_without_tied const source{other};
  cog::adamw<cog::cpu> optimizer(model, {});
  other.matrix.assign(cog::zeros<float>(ctx, {33, 17}));
  cog::load_parameters(model, source);
  CHECK(model.tied.data() == model.matrix.data());
  CHECK(values(model.matrix) == values(other.matrix));
  CHECK(values(model.tied) == values(other.matrix));
  optimizer.step(model, made_up{1});

  cog::nn::initialise(model, 3, cog::nn::xavier_uniform{});
  CHECK(model.tied.data() == model.matrix.data());
  CHECK(values(model.matrix) != values(other.matrix));

  turned_square const overlapping;
  CHECK_THROWS_WITH(cog::copy_of(overlapping), Catch::Contains("'turned' of shape [4, 4] shares its elements with one of another"));
}
