// The small layers: what they compute, against the formulas written out; their gradients, against differences; their errors.
#include <map>

#include <cog/nn/dropout.hpp>
#include <cog/nn/embedding.hpp>
#include <cog/nn/linear.hpp>
#include <cog/nn/loss.hpp>
#include <cog/nn/mlp.hpp>
#include <cog/nn/norm.hpp>
#include <cog/nn/rotary.hpp>

#include "nn_common.hpp"

using namespace nn_test;
namespace nn = cog::nn;

namespace {

struct pair_of_layers {
  tensor<float, 2> first = cog::zeros<float>(ctx, {2, 3});
  std::vector<nn::linear<float, cog::cpu>> layers;
  std::vector<tensor<float, 1>> scales;
  std::optional<nn::linear<float, cog::cpu>> head;
  std::optional<nn::linear<float, cog::cpu>> absent;
  void visit(auto&& f) {
    f("first", first);
    f("layers", layers);
    f("scales", scales);
    f("head", head);
    f("absent", absent);
  }
};

pair_of_layers make_pair() {
  pair_of_layers m;
  m.layers.emplace_back(ctx, 3, 4);
  m.layers.emplace_back(ctx, 4, 2, false);
  m.scales = {cog::ones<float>(ctx, {2}), cog::ones<float>(ctx, {5})};
  m.head.emplace(ctx, 2, 2);
  return m;
}

struct two {
  tensor<float, 2> a = cog::zeros<float>(ctx, {2, 2}), b = cog::zeros<float>(ctx, {1, 3});
  void visit(auto&& f) {
    f("a", a);
    f("b", b);
  }
};

/// Some of the names of pair_of_layers, in another order.
struct reordered {
  std::optional<nn::linear<float, cog::cpu>> head{std::in_place, ctx, 2, 2};
  tensor<float, 2> first = cog::zeros<float>(ctx, {2, 3});
  void visit(auto&& f) {
    f("head", head);
    f("first", first);
  }
};

struct nothing {
  void visit(auto&&) {}
};

/// Tensors by name, all of rank 2.
struct tensors {
  std::map<std::string, tensor<float, 2>, std::less<>> at;
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (auto const& [name, x] : at) out.push_back(name);
    return out;
  }
  bool contains(std::string_view name) const { return at.contains(name); }
  template <int R>
  void load_into(std::string_view name, tensor<float, R> const& target) const {
    if constexpr (R == 2) target.assign(at.find(name)->second);
    else throw cog::error("tensors: ", name, " is of rank 2");
  }
};

template <class T>
T silu(T x) {
  return x / (1 + std::exp(-x));
}

}  // namespace

TEST_CASE("a module's parameters are named by its visit, in order", "[nn][module]") {
  auto const m = make_pair();
  std::vector<std::string> names;
  cog::for_each_parameter(m, [&](std::string const& name, auto const& x) {
    STATIC_REQUIRE(std::is_const_v<std::remove_reference_t<decltype(x)>>);
    names.push_back(name);
  });
  CHECK(names == std::vector<std::string>{"first", "layers.0.weight", "layers.0.bias", "layers.1.weight", "scales.0", "scales.1",
                                          "head.weight", "head.bias"});
  CHECK(cog::parameter_count(m) == 6 + 12 + 4 + 8 + 2 + 5 + 4 + 2);
  auto const info = cog::parameters_of(m);
  REQUIRE(info.size() == names.size());
  CHECK(info[1].name == "layers.0.weight");
  CHECK(info[1].type == cog::dtype::f32);
  CHECK(info[1].shape == std::vector<index_t>{4, 3});
  CHECK(info[1].size == 12);
}

TEST_CASE("copying a module shares its tensors, copy_of does not, assignment is seen by nobody else", "[nn][module]") {
  auto a = make_pair();
  auto b = a;
  auto c = cog::copy_of(a);
  a.first(0, 0) = 7;
  CHECK(b.first(0, 0) == 7);
  CHECK(c.first(0, 0) == 0);
  a.first = a.first + 1;
  CHECK(a.first(0, 0) == 8);
  CHECK(b.first(0, 0) == 7);
}

TEST_CASE("load_parameters is strict, and leaves other handles alone", "[nn][module]") {
  two m;
  auto const before = m.a;
  tensors file{{{"a", cog::ones<float>(ctx, {2, 2})}, {"b", cog::ones<float>(ctx, {1, 3})}}};
  cog::load_parameters(m, file);
  CHECK(m.a(1, 1) == 1);
  CHECK(before(1, 1) == 0);

  file.at.erase("b");
  file.at["c"] = cog::ones<float>(ctx, {1, 1});
  check_error([&] { cog::load_parameters(m, file); }, {"missing: b", "unexpected: c"});
  file.at["b"] = cog::ones<float>(ctx, {1, 3});
  check_error([&] { cog::load_parameters(m, file); }, {"unexpected: c"});
  cog::load_parameters(m, file, [](auto const& name) { return name == "c"; });
  for (char const* name : {"d", "e", "f", "g", "h"}) file.at[name] = cog::ones<float>(ctx, {1, 1});
  check_error([&] { cog::load_parameters(m, file); }, {"unexpected: c, d, e, f and 2 more"});
}

TEST_CASE("initialisation depends on the seed and the name alone", "[nn][init]") {
  auto a = make_pair();
  nn::initialise(a, 5, nn::normal{0.02});
  reordered b;
  nn::initialise(b, 5, nn::normal{0.02});
  CHECK(same_bits(a.first, b.first));
  CHECK(same_bits(a.head->weight, b.head->weight));
  CHECK(distance(a.first, cog::zeros<float>(ctx, {2, 3})) > 0);
  CHECK(distance(a.layers[0].bias, cog::zeros<float>(ctx, {4})) == 0);
  CHECK(distance(a.scales[0], cog::ones<float>(ctx, {2})) == 0);
  auto const first = a.first;
  nn::initialise(a, 6, nn::normal{0.02});
  CHECK_FALSE(same_bits(a.first, first));
}

TEST_CASE("initialisers have the moments and bounds of their sources", "[nn][init]") {
  auto w = cog::zeros<float>(ctx, {300, 500});
  auto const mean = [&] { return static_cast<double>(cog::mean(w).item()); };
  auto const deviation = [&] { return std::sqrt(static_cast<double>(cog::variance(w).item())); };
  auto const largest = [&] { return static_cast<double>(cog::max(cog::abs(w)).item()); };
  nn::normal{0.02}(w, 1, 0);
  CHECK(mean() == Approx(0).margin(2e-4));
  CHECK(deviation() == Approx(0.02).epsilon(0.01));
  nn::truncated_normal{0.02}(w, 1, 0);
  CHECK(deviation() == Approx(0.02 * 0.8796).epsilon(0.01));
  CHECK(largest() <= 0.04f);
  nn::xavier_uniform{}(w, 1, 0);
  CHECK(largest() <= std::sqrt(6.0 / 800) * 1.0001);
  CHECK(largest() > std::sqrt(6.0 / 800) * 0.999);
  CHECK(deviation() == Approx(std::sqrt(2.0 / 800)).epsilon(0.01));
  nn::kaiming_uniform{}(w, 1, 0);  // [out, in]: fan-in 500
  CHECK(largest() == Approx(std::sqrt(6.0 / 500)).epsilon(1e-3));
  nn::kaiming_uniform{1, nn::weight_order::in_out}(w, 1, 0);
  CHECK(largest() == Approx(std::sqrt(3.0 / 300)).epsilon(1e-3));
  nn::ones{}(w);
  CHECK(mean() == 1);
  nn::zeros{}(w);
  CHECK(largest() == 0);
}

TEST_CASE("linear: both orientations, bias and activation", "[nn][linear]") {
  nn::linear<double, cog::cpu> rows(ctx, 3, 5);
  nn::linear<double, cog::cpu, nn::weight_order::in_out> columns(ctx, 3, 5);
  rows.weight = cog::randn<double>(ctx, {5, 3}, 1);
  rows.bias = cog::randn<double>(ctx, {5}, 2);
  columns.weight = transposed(rows.weight).copy();
  columns.bias = rows.bias;
  CHECK(rows.in() == 3);
  CHECK(columns.in() == 3);
  CHECK(columns.out() == 5);
  auto const x = cog::randn<double>(ctx, {2, 4, 3}, 3);
  auto const y = rows(x);
  CHECK(relative(columns(x), y) < 1e-14);
  for (index_t j = 0; j < 5; ++j) {
    double sum = rows.bias(j);
    for (index_t i = 0; i < 3; ++i) sum += x(1, 2, i) * rows.weight(j, i);
    CHECK(y(1, 2, j) == Approx(sum).epsilon(1e-13));
  }
  CHECK(relative(rows(x, [](auto const& v) { return cog::gelu(v); }), cog::gelu(y)) < 1e-14);
  CHECK(relative(rows(x * 2), rows(cog::tensor(x * 2))) < 1e-14);
  auto bare = rows;
  bare.bias = {};
  CHECK(relative(bare(x), y - rows.bias) < 1e-13);
  check_gradients(rows, x);
  check_gradients(columns, x);
  check_gradients(bare, cog::randn<double>(ctx, {4, 3}, 3));
  check_error([&] { rows(cog::zeros<double>(ctx, {2, 4})); }, {"linear", "[2, 4]", "[5, 3]", "[out, in]"});
  check_error([&] { columns(cog::zeros<double>(ctx, {2, 4})); }, {"linear", "[2, 4]", "[3, 5]", "[in, out]"});
}

TEST_CASE("embedding: rows of the table, of any integer type", "[nn][embedding]") {
  nn::embedding<double, cog::cpu> e(ctx, 7, 3);
  e.weight = cog::randn<double>(ctx, {7, 3}, 1);
  auto const ids = cog::from(ctx, std::vector<std::int64_t>{0, 6, 3, 3}, {2, 2});
  auto const y = e(ids);
  CHECK(y.extents() == std::array<index_t, 3>{2, 2, 3});
  CHECK(y(0, 1, 2) == e.weight(6, 2));
  CHECK(same_bits(e(tensor<std::int32_t, 2>(cog::cast<std::int32_t>(ids))), y));
  auto const [loss, gradients] = cog::value_and_grad(e, [&](auto& m) { return sum(m(ids)); });
  auto const g = gradients(e.weight);
  CHECK(g(3, 0) == 2);
  CHECK(g(6, 1) == 1);
  CHECK(g(1, 1) == 0);
  check_error([&] { e(cog::from(ctx, std::vector<std::int64_t>{7}, {1})); }, {"7"});
  check_error([&] { e(cog::from(ctx, std::vector<std::int64_t>{-1}, {1})); }, {"-1"});
}

TEST_CASE("norms are their formulas, and their composed forms the same", "[nn][norm]") {
  auto const x = cog::randn<double>(ctx, {3, 2, 10}, 1);
  nn::rms_norm<double, cog::cpu> rms(ctx, 10, 1e-2);
  rms.weight = cog::randn<double>(ctx, {10}, 2);
  nn::layer_norm<double, cog::cpu> layer(ctx, 10, 1e-2);
  layer.weight = rms.weight;
  layer.bias = cog::randn<double>(ctx, {10}, 3);
  auto const y = rms(x);
  auto const z = layer(x);
  double squares = 0, mean = 0, variance = 0;
  for (index_t i = 0; i < 10; ++i) squares += x(2, 1, i) * x(2, 1, i) / 10, mean += x(2, 1, i) / 10;
  for (index_t i = 0; i < 10; ++i) variance += (x(2, 1, i) - mean) * (x(2, 1, i) - mean) / 10;
  for (index_t i = 0; i < 10; ++i) {
    CHECK(y(2, 1, i) == Approx(x(2, 1, i) / std::sqrt(squares + 1e-2) * rms.weight(i)).epsilon(1e-12));
    CHECK(z(2, 1, i) == Approx((x(2, 1, i) - mean) / std::sqrt(variance + 1e-2) * rms.weight(i) + layer.bias(i)).epsilon(1e-12));
  }
  cog::hooks<double, cog::cpu> hooks;
  hooks.cache("hook_scale");
  hooks.cache("hook_normalized");
  CHECK(relative(rms(x, hooks), y) < 1e-14);
  CHECK(hooks.cached<3>("hook_scale").extents() == std::array<index_t, 3>{3, 2, 1});
  CHECK(hooks.cached<3>("hook_scale")(2, 1, 0) == Approx(std::sqrt(squares + 1e-2)).epsilon(1e-13));
  CHECK(relative(hooks.cached<3>("hook_normalized") * rms.weight, y) < 1e-14);
  CHECK(relative(layer(x, hooks), z) < 1e-13);
  check_gradients(rms, x);
  check_gradients(layer, x);
  check_gradients(rms, x, [&](auto const& l, auto const& v) { return l(v, hooks); });
  check_gradients(layer, x, [&](auto const& l, auto const& v) { return l(v, hooks); });
  check_error([&] { rms(cog::zeros<double>(ctx, {2, 4})); }, {"rms_norm", "[10]", "[2, 4]"});
}

TEST_CASE("rotary turns interleaved pairs by the position", "[nn][rotary]") {
  nn::rotary<double, cog::cpu> const rotary(ctx, 6, 20);
  auto const x = cog::randn<double>(ctx, {2, 5, 3, 6}, 1);
  auto const y = rotary(x, 4);
  for (index_t n = 0; n < 5; ++n)
    for (index_t i = 0; i < 3; ++i) {
      double const angle = static_cast<double>(n + 4) * std::pow(10000, -2.0 * static_cast<double>(i) / 6);
      double const a = x(1, n, 2, 2 * i), b = x(1, n, 2, 2 * i + 1);
      CHECK(y(1, n, 2, 2 * i) == Approx(a * std::cos(angle) - b * std::sin(angle)).epsilon(1e-12));
      CHECK(y(1, n, 2, 2 * i + 1) == Approx(a * std::sin(angle) + b * std::cos(angle)).epsilon(1e-12));
    }
  // Any strides, and what they say.
  auto const turned = permuted(permuted(x, {3, 2, 1, 0}).copy(), {3, 2, 1, 0});
  CHECK(same_bits(rotary(turned, 4), y));
  CHECK(same_bits(rotary(slice(x, 1, 1, 5, 2), 5), slice(rotary(x, 4), 1, 1, 2)) == false);
  CHECK(same_bits(slice(rotary(slice(x, 1, 2, 5), 6), 1, 0, 3), slice(y, 1, 2, 5)));
  CHECK(rotary(slice(x, 1, 0, 0), 0).size() == 0);

  // Relative: <turn(q, m), turn(k, n)> depends on m - n.
  auto const q = slice(x, 1, 0, 1), k = slice(x, 1, 1, 2);
  CHECK(sum(rotary(q, 3) * rotary(k, 7)).item() == Approx(sum(rotary(q, 10) * rotary(k, 14)).item()).epsilon(1e-12));
  check_gradients(nothing{}, x, [&](auto const&, auto const& v) { return rotary(v, 2); });

  CHECK(rotary.positions() == 20);
  check_error([&] { rotary(x, 16); }, {"rotary", "16", "21", "20"});
  check_error([&] { rotary(cog::zeros<double>(ctx, {1, 2, 1, 8})); }, {"rotate_pairs", "[1, 2, 1, 8]", "[2, 1, 3, 2]"});
  check_error([&] { nn::rotary<double, cog::cpu>(ctx, 5, 20); }, {"5"});
}

TEST_CASE("rotary of bf16 is computed in float", "[nn][rotary]") {
  auto const x = cog::randn<float>(ctx, {1, 9, 2, 8}, 1);
  auto const narrow = cog::tensor(cog::cast<cog::bf16>(x));
  auto const wide = nn::rotary<float, cog::cpu>(ctx, 8, 16)(cog::cast<float>(narrow));
  auto const y = nn::rotary<cog::bf16, cog::cpu>(ctx, 8, 16)(narrow);
  CHECK(same_bits(y, cog::tensor(cog::cast<cog::bf16>(wide))));
}

TEST_CASE("swiglu: silu on the pw branch, the first expert of the recipe", "[nn][mlp]") {
  nn::swiglu<double, cog::cpu> m(ctx, 4, 10, {2, 1, 2});
  REQUIRE(m.shared_experts.size() == 3);
  CHECK(m.shared_experts[0].gw.extents() == std::array<index_t, 2>{4, 4});
  CHECK(m.shared_experts[1].pw.extents() == std::array<index_t, 2>{4, 2});
  CHECK(m.shared_experts[2].ow.extents() == std::array<index_t, 2>{4, 4});
  nn::initialise(m, 1, nn::normal{1});
  auto const x = cog::randn<double>(ctx, {2, 3, 4}, 3);
  auto const& e = m.shared_experts[0];
  auto const y = m(x);
  auto const dot = [&](tensor<double, 2> const& w, index_t j) {
    double sum = 0;
    for (index_t i = 0; i < 4; ++i) sum += x(1, 2, i) * w(i, j);
    return sum;
  };
  for (index_t c = 0; c < 4; ++c) {
    double right = 0, swapped = 0;
    for (index_t h = 0; h < 4; ++h) {
      right += dot(e.gw, h) * silu(dot(e.pw, h)) * e.ow(h, c);
      swapped += silu(dot(e.gw, h)) * dot(e.pw, h) * e.ow(h, c);
    }
    CHECK(y(1, 2, c) == Approx(right).epsilon(1e-12));
    CHECK(std::abs(y(1, 2, c) - swapped) > 1e-3);
  }
  check_gradients(m, x);
  check_error([&] { nn::swiglu<double, cog::cpu>(ctx, 4, 10, {}); }, {"recipe"});
  check_error([&] { nn::swiglu<double, cog::cpu>(ctx, 4, 10, {1, 0}); }, {"recipe", "0"});
  constexpr index_t most = std::numeric_limits<index_t>::max();
  check_error([&] { nn::swiglu<double, cog::cpu>(ctx, 4, 10, {most, most}); }, {"recipe", "10 hidden"});
  check_error([&] { nn::swiglu<double, cog::cpu>(ctx, 4, 2, {1, 2}); }, {"2 hidden", "3 shares"});
}

TEST_CASE("gelu mlp", "[nn][mlp]") {
  nn::gelu_mlp<double, cog::cpu> m(ctx, 4, 7);
  nn::initialise(m, 1, nn::xavier_uniform{});
  m.fc1.bias = cog::randn<double>(ctx, {7}, 2);
  auto const x = cog::randn<double>(ctx, {3, 4}, 3);
  auto const h = cog::gelu(cog::matmul(x, transposed(m.fc1.weight)) + m.fc1.bias);
  CHECK(relative(m(x), cog::matmul(h, transposed(m.fc2.weight)) + m.fc2.bias) < 1e-13);
  check_gradients(m, x);
}

TEST_CASE("cross-entropy: value, ignored labels, reductions", "[nn][loss]") {
  auto logits = cog::randn<double>(ctx, {2, 3, 5}, 1);
  auto labels = cog::from(ctx, std::vector<std::int64_t>{4, 0, -100, 2, -100, 1}, {2, 3});
  auto const row = [&](index_t b, index_t n) {
    double total = 0;
    for (index_t c = 0; c < 5; ++c) total += std::exp(logits(b, n, c));
    return std::log(total) - logits(b, n, labels(b, n));
  };
  double const expected = row(0, 0) + row(0, 1) + row(1, 0) + row(1, 2);
  CHECK(cog::cross_entropy_sum(logits, labels).item() == Approx(expected).epsilon(1e-13));
  CHECK(cog::cross_entropy(logits, labels).item() == Approx(expected / 4).epsilon(1e-13));
  auto const each = cog::cross_entropy_each(logits, labels);
  CHECK(each.extents() == labels.extents());
  CHECK(each(1, 0) == Approx(row(1, 0)).epsilon(1e-13));
  CHECK(each(0, 2) == 0);
  CHECK(cog::cross_entropy(logits * 1, labels).item() == Approx(expected / 4).epsilon(1e-13));
  CHECK(cog::cross_entropy(logits, tensor<std::int32_t, 2>(cog::cast<std::int32_t>(labels))).item() ==
        Approx(expected / 4).epsilon(1e-13));

  // Another label may be the ignored one.
  CHECK(cog::cross_entropy_sum(logits, cog::tensor(cog::where(labels == -100, std::int64_t(1), labels)), 1).item() ==
        Approx(row(0, 0) + row(0, 1) + row(1, 0)).epsilon(1e-13));
  CHECK(cog::gradcheck([&](auto const& x) { return cog::cross_entropy(x, labels); }, logits));
  CHECK(cog::gradcheck([&](auto const& x) { return cog::cross_entropy_sum(x * 2, labels); }, logits));
  CHECK(cog::gradcheck([&](auto const& x) { return sum(cog::cross_entropy_each(x, labels) * cog::randn<double>(ctx, {2, 3}, 5)); }, logits));

  // Whatever is computed where the label is ignored, nothing of it gets out.
  for (index_t c = 0; c < 5; ++c) logits(0, 2, c) = c ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  auto const [loss, gradient] = cog::value_and_grad([&](auto const& x) { return cog::cross_entropy(x, labels); }, logits);
  CHECK(loss.item() == Approx(expected / 4).epsilon(1e-13));
  auto const g = std::get<0>(gradient);
  CHECK(distance(select(select(g, 0, 0), 0, 2), cog::zeros<double>(ctx, {5})) == 0);
  CHECK(g(0, 0, 4) < 0);

  auto const none = cog::full<std::int64_t>(ctx, {2, 3}, cog::ignore_index);
  CHECK(cog::cross_entropy(logits, none).item() == 0);

  check_error([&] { cog::cross_entropy(logits, cog::full<std::int64_t>(ctx, {2, 3}, 5)); }, {"cross_entropy", "5", "[2, 3, 5]"});
  check_error([&] { cog::cross_entropy(logits, cog::full<std::int64_t>(ctx, {2, 3}, -1)); }, {"cross_entropy", "-1"});
  check_error([&] { cog::cross_entropy(logits, cog::full<std::int64_t>(ctx, {3, 2}, 0)); }, {"[3, 2]", "[2, 3, 5]"});
}

TEST_CASE("cross-entropy of bf16 logits is computed in float", "[nn][loss]") {
  auto const wide = cog::randn<float>(ctx, {6, 50}, 1);
  auto const logits = cog::tensor(cog::cast<cog::bf16>(wide * 3));
  auto const labels = cog::randint<std::int64_t>(ctx, {6}, 0, 50, 2);
  auto const loss = cog::cross_entropy(logits, labels);
  STATIC_REQUIRE(std::is_same_v<decltype(loss.item()), float>);
  CHECK(loss.item() == Approx(cog::cross_entropy(cog::cast<float>(logits), labels).item()).epsilon(1e-6));
  auto const narrow = cog::value_and_grad([&](auto const& x) { return cog::cross_entropy(x, labels); }, logits);
  auto const exact = cog::value_and_grad([&](auto const& x) { return cog::cross_entropy(x, labels); },
                                         cog::tensor(cog::cast<float>(logits)));
  CHECK(relative(std::get<0>(narrow.gradients), std::get<0>(exact.gradients)) < 0.01);
}

TEST_CASE("large logits do not overflow", "[nn][loss]") {
  auto const logits = cog::from<float>(ctx, {{1e30f, -1e30f, 0}, {-3e38f, -3e38f, 3e38f}});
  auto const labels = cog::from(ctx, std::vector<std::int64_t>{0, 2}, {2});
  CHECK(cog::cross_entropy(logits, labels).item() == 0);
}

TEST_CASE("dropout drops in training alone, and the same again", "[nn][dropout]") {
  auto const x = cog::rand<float>(ctx, {100, 200}, 1) + 1;
  auto const plain = cog::eval(x);
  CHECK(same_bits(nn::dropout(plain, 0.5, 7), plain));
  auto const training = [&](double rate, std::uint64_t seed, std::uint64_t stream) {
    auto kept = plain;
    auto const [loss, gradients] = cog::value_and_grad(
        [&](auto const& v) {
          auto const y = nn::dropout(v, rate, seed, stream);
          kept = y.value();
          return sum(y);
        },
        plain);
    return std::pair(kept, std::get<0>(gradients));
  };
  auto const [y, g] = training(0.25, 7, 1);
  double dropped = 0;
  bool right = true;
  for (index_t i = 0; i < y.size(); ++i) {
    bool const gone = y.data()[i] == 0;
    dropped += gone;
    right = right && (gone ? g.data()[i] == 0 : std::abs(y.data()[i] - plain.data()[i] / 0.75f) < 1e-6f && g.data()[i] == 1 / 0.75f);
  }
  CHECK(right);
  CHECK(dropped / static_cast<double>(y.size()) == Approx(0.25).margin(0.01));
  CHECK(same_bits(training(0.25, 7, 1).first, y));
  CHECK_FALSE(same_bits(training(0.25, 7, 2).first, y));
  CHECK_FALSE(same_bits(training(0.25, 8, 1).first, y));
  CHECK(same_bits(training(0, 7, 1).first, plain));
  check_error([&] { nn::dropout(plain, 1, 7); }, {"dropout", "1"});
}
