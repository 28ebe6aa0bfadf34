// Schedules, objective, solvers and guidance, against published values, exact solutions and loops in double.
#include <cog/diffusion/guidance.hpp>
#include <cog/diffusion/objective.hpp>
#include <cog/diffusion/solver.hpp>
#include <cog/io/safetensors.hpp>

#include "nn_common.hpp"

using namespace nn_test;

namespace {

cog::discrete_schedule const discrete;
cog::vp_schedule const continuous;

/// The best predictor of noise for data N(0, 0.7^2).
template <class S>
auto gaussian(S const& schedule) {
  return [&schedule](auto const& x, double time) {
    auto const at = cog::level(schedule, time / schedule.network_time(1));
    double const a = at.alpha(), s = at.sigma();
    return cog::eval(x * (s / (0.49 * a * a + s * s)));
  };
}
/// What the ordinary differential equation makes of x(1) by time t: the variance of the data mixed with noise shrinks,
/// x with it.
template <class S>
double exact(S const& schedule, double x, double t) {
  auto const deviation = [&](double at) {
    auto const l = cog::level(schedule, at);
    return std::sqrt(0.49 * l.alpha() * l.alpha() + l.sigma() * l.sigma());
  };
  return x * deviation(t) / deviation(1);
}
auto one(double x) { return cog::from(ctx, std::vector<double>{x}, {1, 1}); }

/// A network of one number.
struct scaling {
  tensor<float, 1> factor = cog::ones<float>(ctx, {1});
  void visit(auto&& f) { f("factor", factor); }
  auto operator()(auto const& shown, auto const& time) const {
    return cog::eval(shown * factor + reshape(time, {3, 1, 1, 1}) * 0.0f);
  }
};

cog::dpm_options const noise_form{
    .prediction = cog::dpm_prediction::noise, .spacing = cog::dpm_spacing::lambda, .end = 1e-4};

}  // namespace

TEST_CASE("the discrete schedule is Stable Diffusion's", "[diffusion][golden]") {
  std::pair<index_t, double> const products[] = {{1, 0.999150000},   {10, 0.991321089},  {100, 0.895462773},
                                                 {500, 0.277669650}, {999, 0.004716699}, {1000, 0.004660099}};
  for (auto const& [n, value] : products) CHECK(discrete.cumulative_alpha(n) == Approx(value).margin(5e-10));
  CHECK(discrete.cumulative_alpha(0) == 1);
  std::pair<double, double> const lambdas[] = {{1, -2.6820239},       {0.98002, -2.5624733}, {0.96004, -2.4462888},
                                               {0.94006, -2.3333906}, {0.04096, 1.6147064},  {0.02098, 1.9810758},
                                               {0.001, 3.5347119}};
  for (auto const& [t, value] : lambdas) {
    CHECK(cog::level(discrete, t).lambda() == Approx(value).margin(1e-7));
    CHECK(cog::time_of_lambda(discrete, value) == Approx(t).margin(1e-7));
  }
  auto const lambda_at = [](index_t i) { return cog::level(discrete, 1 - static_cast<double>(i) * 0.999 / 50).lambda(); };
  double const first = lambda_at(3) - lambda_at(0), last = lambda_at(50) - lambda_at(48);  // steps of DPM-Solver
  CHECK(first == Approx(0.3486332).margin(1e-7));
  CHECK((lambda_at(1) - lambda_at(0)) / first == Approx(0.3429120).margin(1e-7));
  CHECK((lambda_at(2) - lambda_at(0)) / first == Approx(0.6761692).margin(1e-7));
  CHECK(last == Approx(1.9200055).margin(1e-7));
  CHECK((lambda_at(49) - lambda_at(48)) / last == Approx(0.1908169).margin(1e-7));
  cog::safetensors_file const file(COG_GOLDEN_DIR "/noise_schedule.safetensors");
  auto const betas = file.load<double, 1>(ctx, "betas"), products_of_file = file.load<double, 1>(ctx, "cum_alphas");
  for (index_t n = 0; n <= 1000; ++n) {
    if (n > 0) CHECK(discrete.betas()[static_cast<std::size_t>(n) - 1] == Approx(betas(n - 1)).epsilon(1e-12));
    CHECK(discrete.cumulative_alpha(n) == Approx(products_of_file(n)).epsilon(1e-12));
  }
  auto const t = file.load<float, 1>(ctx, "t"), log_alpha = file.load<float, 1>(ctx, "log_alpha"),
             lambda = file.load<float, 1>(ctx, "lambda");
  for (index_t i = 0; i < t.extent(0); ++i) {
    CAPTURE(t(i));
    CHECK(discrete.log_alpha(t(i)) == Approx(log_alpha(i)).epsilon(2e-4));
    CHECK(cog::level(discrete, t(i)).lambda() == Approx(lambda(i)).epsilon(1e-4));
  }
}

TEST_CASE("the continuous schedule and its inverse", "[diffusion]") {
  std::pair<double, double> const products[] = {{1e-3, 0.9998900560}, {0.5, 0.0790638125}, {1, 4.31857e-5}};
  for (auto const& [t, value] : products) CHECK(std::exp(2 * continuous.log_alpha(t)) == Approx(value).epsilon(2e-6));
  auto const inverse = [](auto const& schedule) {
    for (double t : {1e-4, 1e-3, 0.01, 0.1234, 0.5, 0.999, 1.0}) {
      CHECK(schedule.time(schedule.log_alpha(t)) == Approx(t).epsilon(1e-9));
      if (t >= 1e-3) CHECK(cog::time_of_lambda(schedule, cog::level(schedule, t).lambda()) == Approx(t).epsilon(1e-9));
      double const h = 1e-7;  // the slope of the inner pieces
      if (t < 1)
        CHECK(schedule.beta(t + h) ==
              Approx(-2 * (schedule.log_alpha(t + 2 * h) - schedule.log_alpha(t)) / (2 * h)).epsilon(1e-5));
    }
  };
  inverse(continuous);
  inverse(discrete);
  CHECK(discrete.network_time(discrete.first()) == Approx(1));
  CHECK(continuous.network_time(1) == 999);
  check_error([] { cog::discrete_schedule({0.1}); }, {"1 betas"});
  check_error([] { cog::discrete_schedule({0.1, 1.5}); }, {"1.5"});
  check_error([] { static_cast<void>(discrete.cumulative_alpha(1001)); }, {"1001"});
}

TEST_CASE("noise is added, and the loss is what the prediction misses", "[diffusion][golden]") {
  cog::safetensors_file const file(COG_GOLDEN_DIR "/noise_schedule.safetensors");
  auto const x = file.load<float, 4>(ctx, "x0"), noise = file.load<float, 4>(ctx, "eps");
  auto const n = file.load<std::int64_t, 1>(ctx, "n");
  std::vector<double> times;
  for (index_t i = 0; i < n.extent(0); ++i) times.push_back(static_cast<double>(n(i)) / 1000);
  CHECK(relative(cog::add_noise(discrete, x, noise, times), file.load<float, 4>(ctx, "xn")) < 1e-6);

  scaling network;
  auto const [loss, gradients] =
      cog::value_and_grad(network, [&](auto& m) { return noise_prediction_loss(m, discrete, x, noise, times); });
  auto const shown = cog::add_noise(discrete, x, noise, times);
  CHECK(loss.item() == Approx(mean(square(shown - noise)).item()));
  CHECK(gradients(network.factor)(0) == Approx(mean((shown - noise) * shown).item() * 2));
  CHECK(cog::network_times<float>(discrete, ctx, times)(1) == Approx(static_cast<float>(n(1))));
  check_error([&] { cog::add_noise(discrete, x, noise, std::vector<double>{1}); }, {"add_noise", "1 times"});

  cog::random_stream random{7};
  auto const drawn = cog::draw_times(discrete, 2000, random);
  CHECK(*std::ranges::min_element(drawn) >= 0.001);
  CHECK(*std::ranges::max_element(drawn) <= 1);
  double total = 0;
  for (double t : drawn) {
    CHECK(t * 1000 == Approx(std::round(t * 1000)));
    total += t;
  }
  CHECK(total / 2000 == Approx(0.5).margin(0.03));
}

TEST_CASE("a dropped condition is the empty one, as often as it should", "[diffusion]") {
  auto const labels = cog::full<std::int64_t>(ctx, {4000}, 3);
  auto const some = cog::drop_condition(labels, cog::full<std::int64_t>(ctx, {1}, 10), 0.25, 5, 1);
  CHECK(static_cast<double>(sum(some == std::int64_t{10}).item()) == Approx(1000).margin(120));
  CHECK(sum(some == std::int64_t{3}).item() + sum(some == std::int64_t{10}).item() == 4000);
  auto const texts = cog::randn<float>(ctx, {50, 3, 2}, 1), empty = cog::zeros<float>(ctx, {1, 3, 2});
  auto const kept = sum(cast<std::int64_t>(cog::drop_condition(texts, empty, 0.5, 5, 1) == texts), cog::axes<1, 2>{});
  for (index_t i = 0; i < 50; ++i) CHECK((kept(i) == 0 || kept(i) == 6));  // whole texts
}

TEST_CASE("singlestep orders take as many evaluations as they were given", "[diffusion]") {
  CHECK(cog::singlestep_orders(50, 3) == [] {
    std::vector<int> o(16, 3);
    o.push_back(2);
    return o;
  }());
  CHECK(cog::singlestep_orders(6, 3) == std::vector{3, 2, 1});
  CHECK(cog::singlestep_orders(7, 3) == std::vector{3, 3, 1});
  for (int order : {1, 2, 3})
    for (index_t steps = 1; steps < 20; ++steps) {
      auto const orders = cog::singlestep_orders(steps, order);
      CHECK(std::accumulate(orders.begin(), orders.end(), 0) == steps);
      CHECK(*std::ranges::max_element(orders) <= order);
    }
  check_error([] { cog::singlestep_orders(0, 3); }, {"0 steps"});
  check_error([] { cog::singlestep_orders(5, 4); }, {"order 4"});
}

TEST_CASE("DPM-Solver gives the values of the specification", "[diffusion][golden]") {
  auto const plus_plus = [](index_t steps) {
    index_t calls = 0;
    auto const predict = [&](auto const& x, double time) {
      ++calls;
      return gaussian(discrete)(x, time);
    };
    double const x = cog::dpm_solver(predict, one(1.3), discrete, {.steps = steps}).item();
    CHECK(calls == steps);
    return x;
  };
  CHECK(plus_plus(50) == Approx(0.9195035732).margin(1e-9));
  CHECK(plus_plus(49) == Approx(0.9027406872).margin(1e-9));
  CHECK(plus_plus(48) == Approx(0.8999917582).margin(1e-9));
  CHECK(exact(discrete, 1.3, 0.001) == Approx(0.9114862330).margin(1e-9));
  CHECK(plus_plus(500) == Approx(0.9114862330).margin(5e-4));
  CHECK(cog::dpm_solver(gaussian(continuous), one(1.3), continuous, noise_form).item() ==
        Approx(0.9104459828).margin(1e-9));
  CHECK(exact(continuous, 1.3, 1e-4) == Approx(0.9100148043).margin(1e-9));
}

TEST_CASE("every solver of the ordinary equation converges to its solution, by its order", "[diffusion]") {
  double const solution = exact(continuous, 1.3, 1e-4);
  auto const error_of = [&](cog::dpm_options options, index_t steps) {
    options.steps = steps;
    return std::abs(cog::dpm_solver(gaussian(continuous), one(1.3), continuous, options).item() - solution);
  };
  for (auto prediction : {cog::dpm_prediction::noise, cog::dpm_prediction::data})
    for (int order : {1, 2, 3}) {
      CAPTURE(order, prediction == cog::dpm_prediction::data);
      auto options = noise_form;
      options.prediction = prediction;
      options.order = order;
      double const gain = error_of(options, 120) / error_of(options, 240);
      CHECK(gain > 0.75 * std::pow(2, order));
      if (order < 3) {
        options.method = cog::dpm_method::multistep;
        CHECK(error_of(options, 120) / error_of(options, 240) > 0.75 * std::pow(2, order));
      }
    }
  // DDIM is DPM-Solver of order 1; it ends in the data at t = 0.
  double const at_zero = exact(continuous, 1.3, 0);
  auto const ddim = [&](index_t steps) {
    return std::abs(cog::ddim(gaussian(continuous), one(1.3), continuous, {.steps = steps}).item() - at_zero);
  };
  CHECK(ddim(800) < 4e-3);
  CHECK(ddim(200) / ddim(400) == Approx(2).epsilon(0.2));
  auto const euler = [&](index_t steps) {
    return std::abs(cog::euler(gaussian(continuous), one(1.3), continuous, {.steps = steps}).item() - at_zero);
  };
  CHECK(euler(1000) < 1e-2);
  CHECK(euler(1000) > 1.5 * euler(2000));
}

TEST_CASE("stochastic solvers give the distribution of the data, and the same for a seed", "[diffusion]") {
  auto const noise = cog::randn<double>(ctx, {8, 2500}, 3);
  auto const spread = [](auto const& x) { return std::sqrt(cog::variance(x).item()); };
  auto const a = cog::ddpm(gaussian(continuous), noise, continuous, {.steps = 300, .seed = 1});
  CHECK(spread(a) == Approx(0.7).epsilon(0.02));
  CHECK(cog::mean(a).item() == Approx(0).margin(0.02));
  CHECK(same_bits(a, cog::ddpm(gaussian(continuous), noise, continuous, {.steps = 300, .seed = 1})));
  CHECK(!same_bits(a, cog::ddpm(gaussian(continuous), noise, continuous, {.steps = 300, .seed = 2})));
  CHECK(std::abs(cog::mean(a * noise).item()) < 0.02);  // it has forgotten where it began
  auto const b = cog::euler_maruyama(gaussian(continuous), noise, continuous, {.steps = 500, .seed = 1});
  CHECK(spread(b) == Approx(0.7).epsilon(0.02));
  CHECK(spread(cog::ddim(gaussian(discrete), noise, discrete, {.steps = 100, .eta = 0.5, .seed = 1})) ==
        Approx(0.7).epsilon(0.03));
  check_error([&] { cog::ddim(gaussian(discrete), noise, discrete, {.eta = 2}); }, {"eta = 2"});
  check_error([&] { cog::euler(gaussian(discrete), noise, discrete, {.steps = 0}); }, {"euler", "0 steps"});
  check_error(
      [&] { cog::dpm_solver(gaussian(discrete), noise, discrete, {.order = 3, .method = cog::dpm_method::multistep}); },
      {"multistep of order 3"});
  for (double end : {0.0, 1.0, -1.0, 1e-6})
    check_error([&] { cog::dpm_solver(gaussian(discrete), noise, discrete, {.end = end}); }, {"dpm_solver: end ="});
}

TEST_CASE("dynamic thresholding bounds each example by its own quantile", "[diffusion]") {
  auto x = cog::randn<float>(ctx, {3, 2, 100}, 4) * 0.1f;
  tensor<float, 3> scaled = x * cog::from<float>(ctx, {{{1.0f}}, {{10.0f}}, {{100.0f}}});
  auto const y = cog::dynamic_threshold{}(scaled);
  for (index_t i = 0; i < 3; ++i) {
    std::vector<float> sizes;
    for (float v : select(scaled, 0, i).copy().to_vector()) sizes.push_back(std::abs(v));
    std::ranges::sort(sizes);
    double const place = 0.995 * 199;
    double const q = std::max(1.0, sizes[198] + (sizes[199] - sizes[198]) * (place - 198));
    CHECK(place >= 198);
    for (index_t c = 0; c < 2; ++c)
      for (index_t k = 0; k < 100; ++k)
        CHECK(y(i, c, k) == Approx(std::clamp<double>(scaled(i, c, k), -q, q) / q).epsilon(1e-5));
  }
  CHECK(same_bits(select(y, 0, 0), select(scaled, 0, 0)));  // within bounds: as it was
  auto const noise = cog::eval(cog::randn<double>(ctx, {4, 50}, 8) * 5);
  auto const largest = [&](std::optional<cog::dynamic_threshold> threshold) {
    return max(abs(cog::dpm_solver(gaussian(discrete), noise, discrete, {.steps = 12, .threshold = threshold}))).item();
  };
  CHECK(largest({}) > 4);
  CHECK(largest(cog::dynamic_threshold{}) < 1.5);
  check_error([&] { cog::dynamic_threshold{.quantile = 1.5}(noise); }, {"quantile 1.5"});
  check_error([&] { cog::dynamic_threshold{.bound = 0}(noise); }, {"bound 0"});
}

TEST_CASE("guidance is one batch of twice the size, in the convention of U-ViT", "[diffusion]") {
  index_t batches = 0;
  auto const network = [&](auto const& x, auto const& times, auto const& labels) {
    ++batches;
    CHECK(times.extents() == cog::extents<1>{x.extent(0)});
    return cog::eval(x * 0.0 + reshape(cog::eval(cast<double>(labels)), {-1, 1}) + reshape(times, {-1, 1}));
  };
  auto const x = cog::randn<double>(ctx, {2, 3}, 1);
  auto const labels = cog::from<std::int64_t>(ctx, {4, 5}), empty = cog::from<std::int64_t>(ctx, {9});
  auto const y = cog::guided(network, labels, empty, 0.5)(x, 100);
  CHECK(batches == 1);
  for (index_t k = 0; k < 3; ++k) {
    CHECK(y(0, k) == Approx(104 + 0.5 * (104 - 109)));
    CHECK(y(1, k) == Approx(105 + 0.5 * (105 - 109)));
  }
  CHECK(cog::guided(network, labels, empty, 0)(x, 100)(0, 0) == 104);
  check_error([&] { cog::guided(network, labels, empty, std::nan("")); }, {"guided", "nan"});
  check_error([&] { cog::guided(network, labels, cog::from<std::int64_t>(ctx, {9, 9, 9}), 1); }, {"guided", "[3]", "[2]"});
}

TEST_CASE("a predictor keeps a network that is a temporary, and refers to any other", "[diffusion]") {
  struct scaling {
    double factor;
    auto operator()(cog::tensor<double, 2, cog::cpu> const& x, cog::tensor<double, 1, cog::cpu> const&) const { return x * factor; }
  };
  auto const x = cog::randn<double>(ctx, {2, 3}, 1);
  scaling network{2};
  auto const refers = cog::predictor(network);
  auto const keeps = cog::predictor(scaling{3});
  network.factor = 5;
  CHECK(refers(x, 1)(0, 0) == x(0, 0) * 5);
  CHECK(keeps(x, 1)(0, 0) == x(0, 0) * 3);
}

TEST_CASE("steps by hand: what each solver does with a bound, and in its last step", "[diffusion]") {
  auto const x = cog::eval(cog::randn<double>(ctx, {3, 4}, 2) * 3.0);
  auto const predict = gaussian(discrete);
  auto const at = [](double t) { return cog::level(discrete, t); };
  auto const near = [](auto const& a, auto const& b) { return max(abs(a - b)).item() < 1e-12; };
  using matrix = tensor<double, 2>;
  cog::dynamic_threshold const narrow{.quantile = 0.5, .bound = 0.25};
  auto const data_of = [&](matrix const& y, double t) { return matrix((y - predict(y, discrete.network_time(t)) * at(t).sigma()) / at(t).alpha()); };
  auto const noise_of = [&](matrix const& y, matrix const& data, double t) { return matrix((y - data * at(t).alpha()) / at(t).sigma()); };

  // DDIM: the noise of the second step's start is that of the data as it was bounded.
  matrix const bounded = narrow(data_of(x, 1));
  CHECK(max(abs(bounded)).item() <= 0.25 + 1e-12);
  matrix const middle = bounded * at(0.5).alpha() + noise_of(x, bounded, 1) * at(0.5).sigma();
  CHECK(near(cog::ddim(predict, x, discrete, {.steps = 2, .threshold = narrow}), narrow(data_of(middle, 0.5))));

  // DPM-Solver, predicting noise: one step of order 1, with the noise of bounded data, and without a bound.
  double const end = discrete.first(), h = at(end).lambda() - at(1).lambda();
  auto const step = [&](matrix const& noise) { return matrix(x * (at(end).alpha() / at(1).alpha()) - noise * (at(end).sigma() * std::expm1(h))); };
  cog::dpm_options one{.steps = 1, .order = 1, .prediction = cog::dpm_prediction::noise};
  CHECK(near(cog::dpm_solver(predict, x, discrete, one), step(predict(x, discrete.network_time(1)))));
  one.threshold = narrow;
  CHECK(near(cog::dpm_solver(predict, x, discrete, one), step(noise_of(x, bounded, 1))));

  // Multistep: below 15 steps the last is of order 1; from 15 on it is of order 2.
  for (index_t const steps : {14, 15}) {
    matrix y = x, before;
    double h_before = 0;
    for (index_t i = 0; i < steps; ++i) {
      auto const time = [&](index_t k) { return 1 + (discrete.first() - 1) * static_cast<double>(k) / static_cast<double>(steps); };
      double const from = time(i), to = time(i + 1), rise = at(to).lambda() - at(from).lambda();
      matrix const f = data_of(y, from);
      bool const first = i == 0 || (i + 1 == steps && steps == 14);
      matrix const used = first ? f : matrix(f + (f - before) * (0.5 * rise / h_before));
      y = y * (at(to).sigma() / at(from).sigma()) - used * (at(to).alpha() * std::expm1(-rise));
      before = f, h_before = rise;
    }
    CHECK(near(cog::dpm_solver(predict, x, discrete, {.steps = steps, .order = 2, .method = cog::dpm_method::multistep}), y));
  }

  // The last step of the stochastic equation adds nothing, those before do.
  auto const ends = [&](index_t steps, std::uint64_t seed) { return cog::euler_maruyama(gaussian(continuous), x, continuous, {.steps = steps, .seed = seed}); };
  CHECK(same_bits(ends(1, 1), ends(1, 2)));
  CHECK(!same_bits(ends(2, 1), ends(2, 2)));
}

TEST_CASE("a continuous schedule draws times from all of (0, 1); one whose rate does not change has times too", "[diffusion]") {
  cog::random_stream random{.seed = 5};
  auto times = cog::draw_times(continuous, 4000, random);
  std::ranges::sort(times);
  CHECK(times.front() >= 0);
  CHECK(times.back() < 1);
  for (std::size_t i = 0; i < times.size(); ++i) CHECK(std::abs(times[i] - (static_cast<double>(i) + 0.5) / 4000) < 0.04);  // Kolmogorov's 1e-5 quantile
  cog::vp_schedule const even{.low = 1, .high = 1};
  CHECK(even.time(even.log_alpha(0.3)) == Approx(0.3));
}

TEST_CASE("networks are told times between the whole ones; a loss wants one prediction for each element", "[diffusion]") {
  auto const times = [](auto const& x, auto const& t) { return cog::eval(x * 0.0 + reshape(t, {-1, 1})); };
  auto const x = cog::randn<double>(ctx, {2, 3}, 1);
  CHECK(cog::predictor(times)(x, 500.25)(1, 2) == 500.25);
  auto const half = [](auto const& shown, auto const&) { return slice(shown, 1, 0, 1).copy(); };
  check_error([&] { cog::noise_prediction_loss(half, discrete, x, x, std::vector<double>{0.5, 0.5}); }, {"noise_prediction_loss", "[2, 1]", "[2, 3]"});
  CHECK(cog::dynamic_threshold{}(cog::zeros<double>(ctx, {0, 3})).extents() == cog::extents<2>{0, 3});
}
