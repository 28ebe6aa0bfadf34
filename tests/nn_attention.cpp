// The attention layer and the block: against their parts written out, under every mask, with grouped heads and with a cache; what an
// observer sees, replaces and leaves alone.
#include <map>

#include <cog/nn/transformer.hpp>

#include "nn_common.hpp"

using namespace nn_test;
namespace nn = cog::nn;
using cog::cpu;

namespace {

template <class T>
using block_of = nn::transformer_block<nn::attention<T, cpu>, nn::swiglu<T, cpu>, nn::rms_norm<T, cpu>>;

template <class T>
nn::attention<T, cpu> make_attention(nn::attention_kind kind, index_t key_heads = 0, bool turned = true) {
  nn::attention<T, cpu> a(ctx, {10, 4, 6, key_heads}, kind, turned ? nn::rotary<T, cpu>(ctx, 6, 40) : nn::rotary<T, cpu>());
  nn::initialise(a, 3, nn::normal{0.4});
  return a;
}
template <class T>
block_of<T> make_block(nn::attention_kind kind) {
  block_of<T> b{make_attention<T>(kind), {ctx, 10, 12}, {ctx, 10}, {ctx, 10}};
  nn::initialise(b, 3, nn::normal{0.4});
  b.attention_norm.weight = cog::randn<T>(ctx, {10}, 8) * 0.2 + 1;
  return b;
}

/// What the layer does, one query at a time. `sees(b, i, j)`.
template <class F>
tensor<double, 3> by_hand(nn::attention<double, cpu> const& a, tensor<double, 3> const& x, F const& sees) {
  index_t const batch = x.extent(0), n = x.extent(1);
  index_t const d = a.qw.extent(1) / a.heads;
  auto heads_of = [&](auto const& w, index_t heads, bool turn) {
    auto const y = reshape(cog::eval(matmul(x, w)), {batch, n, heads, d});
    return turn && a.rotary.has_table() ? a.rotary(y) : y;
  };
  auto const q = heads_of(a.qw, a.heads, true), k = heads_of(a.kw, a.key_heads, true), v = heads_of(a.vw, a.key_heads, false);
  auto z = cog::zeros<double>(ctx, {batch, n, a.heads * d});
  for (index_t b = 0; b < batch; ++b)
    for (index_t h = 0; h < a.heads; ++h)
      for (index_t i = 0; i < n; ++i) {
        index_t const g = h / (a.heads / a.key_heads);
        std::vector<double> weight(static_cast<std::size_t>(n));
        double total = 0;
        for (index_t j = 0; j < n; ++j) {
          if (!sees(b, i, j)) continue;
          double s = 0;
          for (index_t c = 0; c < d; ++c) s += q(b, i, h, c) * k(b, j, g, c) / std::sqrt(static_cast<double>(d));
          bool const cog_kind = a.kind == nn::attention_kind::cog;
          double const share = std::exp(cog_kind ? std::abs(s) : s);
          total += share;
          weight[static_cast<std::size_t>(j)] = cog_kind && s < 0 ? -share : share;
        }
        for (index_t j = 0; j < n; ++j)
          for (index_t c = 0; c < d && total > 0; ++c)
            z(b, i, h * d + c) += weight[static_cast<std::size_t>(j)] / total * v(b, j, g, c);
      }
  return matmul(z, a.ow);
}

constexpr auto kinds = {nn::attention_kind::softmax, nn::attention_kind::cog};
constexpr auto points = {"hook_resid_pre", "ln1.hook_scale", "ln1.hook_normalized", "attn.hook_q", "attn.hook_k", "attn.hook_v",
                         "attn.hook_attn_scores", "attn.hook_attn", "attn.hook_z", "attn.hook_result", "hook_attn_out",
                         "hook_resid_mid", "ln2.hook_scale", "ln2.hook_normalized", "hook_mlp_out", "hook_resid_post"};

/// Wants nothing; counts how often it is asked, and that nothing is shown to it.
struct indifferent {
  int asked = 0, shown = 0;
  bool wants(std::string_view) {
    ++asked;
    return false;
  }
  void on(std::string_view, auto&) { ++shown; }
};

}  // namespace

TEST_CASE("the attention layer is its formula, under every mask and grouping", "[nn][attention]") {
  auto const x = cog::randn<double>(ctx, {2, 7, 10}, 1);
  auto const starts = cog::from(ctx, std::vector<std::int32_t>{0, 0, 2, 2, 2, 5, 5, 0, 1, 1, 1, 1, 1, 6}, {2, 7});
  auto const seen = cog::bernoulli(ctx, {2, 1, 7, 7}, 0.6, 4);
  for (auto kind : kinds)
    for (index_t key_heads : {4, 2, 1})
      for (bool turned : {true, false}) {
        CAPTURE(static_cast<int>(kind), key_heads, turned);
        auto const a = make_attention<double>(kind, key_heads, turned);
        CHECK(relative(a(x), by_hand(a, x, [](auto...) { return true; })) < 1e-12);
        CHECK(relative(a(x, cog::causal), by_hand(a, x, [](auto, auto i, auto j) { return j <= i; })) < 1e-12);
        CHECK(relative(a(x, cog::sliding_window{3}), by_hand(a, x, [](auto, auto i, auto j) { return j <= i && j > i - 3; })) < 1e-12);
        CHECK(relative(a(x, cog::document{starts}),
                       by_hand(a, x, [&](auto b, auto i, auto j) { return j <= i && j >= starts(b, i); })) < 1e-12);
        CHECK(relative(a(x, cog::boolean{seen}), by_hand(a, x, [&](auto b, auto i, auto j) { return seen(b, 0, i, j); })) < 1e-12);
      }
}

TEST_CASE("gradients of the attention layer and the block", "[nn][attention]") {
  auto const x = cog::randn<double>(ctx, {2, 5, 10}, 1);
  auto const starts = cog::from(ctx, std::vector<std::int32_t>{0, 0, 2, 2, 2, 0, 1, 1, 1, 4}, {2, 5});
  cog::hooks<double, cpu> seen;  // the form that has scores and weights in sight
  seen.cache("hook_attn_scores");
  seen.cache("hook_attn");
  seen.cache("hook_result");
  for (auto kind : kinds) {
    check_gradients(make_attention<double>(kind), x, [](auto const& a, auto const& v) { return a(v, cog::causal); });
    check_gradients(make_attention<double>(kind, 2), x, [&](auto const& a, auto const& v) { return a(v, cog::document{starts}); });
    check_gradients(make_attention<double>(kind, 2), x, [&](auto const& a, auto const& v) { return a(v, cog::causal, seen); });
    check_gradients(make_block<double>(kind), x, [](auto const& b, auto const& v) { return b(v, cog::causal); });
  }
}

TEST_CASE("options may come in any order", "[nn][attention]") {
  auto const a = make_attention<float>(nn::attention_kind::cog);
  auto const x = cog::randn<float>(ctx, {2, 7, 10}, 1);
  cog::hooks<float, cpu> hooks;
  hooks.cache("hook_z");
  auto const y = a(x, cog::causal);
  CHECK(same_bits(a(x, hooks, cog::causal), y));
  cog::kv_cache<float, cpu> cache(ctx, {2, 4, 7, 6});
  CHECK(relative(a(x, cache, hooks, cog::causal), y) < 1e-6);
  CHECK(cache.length() == 7);
}

TEST_CASE("a cache continues: one by one, in chunks, at once", "[nn][attention]") {
  auto const x = cog::randn<float>(ctx, {2, 12, 10}, 1);
  for (auto kind : kinds)
    for (index_t key_heads : {4, 1}) {
      auto const a = make_attention<float>(kind, key_heads);
      auto const whole = a(x, cog::causal);
      for (auto const& chunks : {std::vector<index_t>{12}, {5, 7}, {1, 3, 8}, std::vector<index_t>(12, 1)}) {
        cog::kv_cache<float, cpu> cache(ctx, {2, key_heads, 12, 6});
        index_t at = 0;
        for (index_t n : chunks) {
          CHECK(distance(a(slice(x, 1, at, at + n), cache, cog::causal), slice(whole, 1, at, at + n)) < 2e-6);
          at += n;
        }
      }
    }
}

TEST_CASE("errors of the attention layer name the shapes", "[nn][attention]") {
  auto const a = make_attention<float>(nn::attention_kind::cog);
  check_error([&] { a(cog::zeros<float>(ctx, {2, 7, 9})); }, {"attention", "[2, 7, 9]", "10"});
  check_error([&] { a(cog::zeros<float>(ctx, {1, 41, 10})); }, {"rotary", "41", "40"});
  check_error([] { nn::attention<float, cpu>(ctx, {10, 4, 6, 3}, nn::attention_kind::cog); }, {"4", "3"});
  cog::kv_cache<float, cpu> cache(ctx, {1, 4, 3, 6});
  check_error([&] { a(cog::zeros<float>(ctx, {1, 4, 10}), cache); }, {"kv_cache", "4", "3"});
  CHECK(cache.length() == 0);
}

TEST_CASE("an observer sees every point, by its name and shape, and what it sees fits together", "[nn][observer]") {
  auto const x = cog::randn<double>(ctx, {2, 7, 10}, 1);
  for (auto kind : kinds) {
    auto const b = make_block<double>(kind);
    cog::hooks<double, cpu> hooks;
    for (auto point : points) hooks.cache(point);
    auto const y = b(x, cog::causal, hooks);
    CHECK(relative(y, b(x, cog::causal)) < 1e-12);
    for (auto point : points) CHECK(hooks.has_cached(point));

    auto const shape3 = [&](char const* point) { return hooks.cached<3>(point).extents(); };
    auto const shape4 = [&](char const* point) { return hooks.cached<4>(point).extents(); };
    CHECK(shape3("hook_resid_pre") == std::array<index_t, 3>{2, 7, 10});
    CHECK(shape3("ln1.hook_scale") == std::array<index_t, 3>{2, 7, 1});
    CHECK(shape4("attn.hook_q") == std::array<index_t, 4>{2, 7, 4, 6});
    CHECK(shape4("attn.hook_attn") == std::array<index_t, 4>{2, 4, 7, 7});
    CHECK(shape4("attn.hook_z") == std::array<index_t, 4>{2, 7, 4, 6});
    CHECK(shape4("attn.hook_result") == std::array<index_t, 4>{2, 7, 4, 10});

    auto const at3 = [&](char const* point) { return hooks.cached<3>(point); };
    auto const at4 = [&](char const* point) { return hooks.cached<4>(point); };
    auto const& a = b.attention;
    CHECK(same_bits(at3("hook_resid_pre"), x));
    CHECK(relative(at3("ln1.hook_normalized") * at3("ln1.hook_scale"), x) < 1e-13);
    auto const normal = cog::eval(at3("ln1.hook_normalized") * b.attention_norm.weight);
    CHECK(relative(reshape(at4("attn.hook_q"), {2, 7, 24}), matmul(normal, a.qw)) < 1e-13);
    auto const swapped = [](auto const& t) { return permuted(t, {0, 2, 1, 3}); };
    auto const q = swapped(a.rotary(at4("attn.hook_q"))), k = swapped(a.rotary(at4("attn.hook_k")));
    auto const w = kind == nn::attention_kind::cog ? cog::attention_weights<cog::cog_rule>(q, k, cog::causal)
                                                   : cog::attention_weights<cog::softmax_rule>(q, k, cog::causal);
    CHECK(relative(at4("attn.hook_attn"), w) < 1e-12);
    CHECK(at4("attn.hook_attn_scores")(0, 1, 2, 3) == -std::numeric_limits<double>::infinity());
    double dot = 0;
    for (index_t c = 0; c < 6; ++c) dot += q(1, 2, 5, c) * k(1, 2, 3, c);
    CHECK(at4("attn.hook_attn_scores")(1, 2, 5, 3) == Approx(dot / std::sqrt(6.0)).epsilon(1e-12));
    CHECK(relative(swapped(at4("attn.hook_z")), matmul(w, swapped(at4("attn.hook_v")))) < 1e-12);
    CHECK(relative(sum(at4("attn.hook_result"), 2), at3("hook_attn_out")) < 1e-13);
    CHECK(relative(at3("hook_resid_mid"), x + at3("hook_attn_out")) < 1e-14);
    CHECK(relative(at3("hook_mlp_out"), b.ffn(b.ffn_norm(at3("hook_resid_mid")))) < 1e-12);
    CHECK(relative(at3("hook_resid_post"), at3("hook_resid_mid") + at3("hook_mlp_out")) < 1e-14);
    CHECK(same_bits(at3("hook_resid_post"), y));
  }
}

TEST_CASE("an observer that wants nothing changes no bit", "[nn][observer]") {
  auto const x = cog::randn<float>(ctx, {2, 7, 10}, 1);
  for (auto kind : kinds) {
    auto const b = make_block<float>(kind);
    auto const y = b(x, cog::causal);
    indifferent nobody;
    CHECK(same_bits(b(x, cog::causal, nobody), y));
    CHECK(nobody.asked >= 16);
    CHECK(nobody.shown == 0);
    cog::hooks<float, cpu> empty;
    CHECK(same_bits(b(x, empty, cog::causal), y));
    // Reading a point that costs no other path changes none either.
    empty.cache("attn.hook_z");
    empty.read<3>("hook_resid_mid", [](auto const&) {});
    CHECK(same_bits(b(x, empty, cog::causal), y));
  }
}

TEST_CASE("replaced values are what the block goes on with", "[nn][observer]") {
  auto const x = cog::randn<double>(ctx, {2, 7, 10}, 1), other = cog::randn<double>(ctx, {2, 7, 10}, 2);
  auto const b = make_block<double>(nn::attention_kind::cog);
  auto const clean = b(x, cog::causal);
  cog::hooks<double, cpu> there;
  for (auto point : points) there.cache(point);
  auto const target = b(other, cog::causal, there);

  // Every point alone: patching in the value of another input changes the result, and patching in the same value does not.
  cog::hooks<double, cpu> here;
  for (auto point : points) here.cache(point);
  b(x, cog::causal, here);
  for (std::string_view point : points) {
    CAPTURE(point);
    auto const patch = [&](auto const& source) {
      cog::hooks<double, cpu> hooks;
      bool const four = point.starts_with("attn.");
      if (four) hooks.write<4>(std::string(point), [&](auto& v) { v = source.template cached<4>(point); });
      else hooks.write<3>(std::string(point), [&](auto& v) { v = source.template cached<3>(point); });
      return b(x, cog::causal, hooks);
    };
    CHECK(relative(patch(here), clean) < 1e-12);
    CHECK(distance(patch(there), clean) > 1e-3);
  }
  cog::hooks<double, cpu> post;
  post.write<3>("hook_resid_pre", [&](auto& v) { v = other; });
  CHECK(relative(b(x, cog::causal, post), target) < 1e-12);
  CHECK(same_bits(x, cog::randn<double>(ctx, {2, 7, 10}, 1)));

  // Scores that are replaced give weights by the rule; the mask stays.
  cog::hooks<double, cpu> scores;
  scores.write<4>("attn.hook_attn_scores", [&](auto& s) { s = s * 0 + 1; });
  scores.cache("attn.hook_attn");
  b(x, cog::causal, scores);
  CHECK(scores.cached<4>("attn.hook_attn")(1, 3, 4, 2) == Approx(1.0 / 5));
  CHECK(scores.cached<4>("attn.hook_attn")(1, 3, 4, 5) == 0);
}

TEST_CASE("hooks run in the order they were added, on values of their own", "[nn][observer]") {
  auto const b = make_block<double>(nn::attention_kind::cog);
  auto const x = cog::randn<double>(ctx, {1, 3, 10}, 1);
  cog::hooks<double, cpu> hooks;
  std::vector<int> order;
  double before = 0, after = 0;
  hooks.cache("attn.hook_v");  // sees what was there before the next one
  hooks.write<4>("attn.hook_v", [&](auto& v) {
    order.push_back(1);
    before = v(0, 1, 2, 3);
    v(0, 1, 2, 3) = 5;  // one head, one position, in place
  });
  hooks.read<4>("attn.hook_v", [&](auto const& v) {
    order.push_back(2);
    after = v(0, 1, 2, 3);
  });
  auto const y = b(x, cog::causal, hooks);
  CHECK(order == std::vector<int>{1, 2});
  CHECK(after == 5);
  CHECK(hooks.cached<4>("attn.hook_v")(0, 1, 2, 3) == before);
  CHECK(before != 5);
  auto const clean = b(x, cog::causal);
  CHECK(same_bits(slice(y, 1, 0, 1), slice(clean, 1, 0, 1)));  // causal: position 0 does not see it
  CHECK(distance(slice(y, 1, 1, 3), slice(clean, 1, 1, 3)) > 1e-3);

  check_error([&] { hooks.cached<3>("attn.hook_v"); }, {"hooks", "attn.hook_v", "3"});
  check_error([&] { hooks.cached<3>("attn.hook_k"); }, {"hooks", "attn.hook_k"});
  hooks.write<3>("attn.hook_q", [](auto&) {});
  check_error([&] { b(x, cog::causal, hooks); }, {"rank 3", "attn.hook_q", "[1, 3, 4, 6]"});
  hooks.reset();
  hooks.write<4>("attn.hook_q", [](auto& q) { q = slice(q, 1, 0, 1); });
  check_error([&] { b(x, cog::causal, hooks); }, {"attn.hook_q", "[1, 3, 4, 6]", "[1, 1, 4, 6]"});
  hooks.reset();
  CHECK(same_bits(b(x, cog::causal, hooks), clean));
  CHECK_FALSE(hooks.has_cached("attn.hook_v"));
}

TEST_CASE("where gradients are recorded, hooks read values and write constants", "[nn][observer]") {
  auto const b = make_block<double>(nn::attention_kind::cog);
  auto const x = cog::randn<double>(ctx, {1, 3, 10}, 1);
  auto const loss = [&](auto&... observer) {
    return cog::value_and_grad([&](auto const& v) { return sum(square(b(v, cog::causal, observer...))); }, x);
  };
  auto const [value, gradient] = loss();
  cog::hooks<double, cpu> hooks;
  hooks.cache("attn.hook_z");
  auto const [seen_value, seen_gradient] = loss(hooks);
  CHECK(seen_value.item() == value.item());
  CHECK(same_bits(std::get<0>(seen_gradient), std::get<0>(gradient)));
  CHECK(hooks.has_cached("attn.hook_z"));

  hooks.write<3>("hook_attn_out", [](auto& v) { v = v * 1; });
  hooks.write<3>("hook_mlp_out", [](auto& v) { v = v * 1; });
  auto const [cut_value, cut_gradient] = loss(hooks);
  CHECK(cut_value.item() == value.item());
  CHECK(relative(std::get<0>(cut_gradient), b(x, cog::causal) * 2) < 1e-13);  // what is left is x itself
}
