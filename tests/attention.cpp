// Attention against reference values: the official code's (golden), the definition's own (section 11), and finite
// differences.
#include "attention_common.hpp"

#include <cog/io/safetensors.hpp>

using namespace attention_test;

namespace {

/// The published cases. `mask` is passed as the mask type that says the same.
struct golden {
  cog::safetensors_file file{std::string(COG_GOLDEN_DIR) + "/attention.safetensors"};
  cog::cpu_context ctx;

  template <class T, class Rule, class Mask>
  void check(std::string const& name, Mask const& mask) const {
    double const bound = std::is_same_v<T, double> ? 1e-11 : name == "large_scores" ? 2e-4 : 2e-5;
    std::string const results = name + (kind_of<Rule> == kind::cog ? ".cog." : ".softmax.");
    auto const load = [&](std::string const& what) { return file.template load<T, 4>(ctx, name + what); };
    auto const wanted = [&](std::string const& what) {
      return file.template load<double, 4>(ctx, results + what).to_vector();
    };
    auto const q = load(".q"), k = load(".k"), v = load(".v"), dout = load(".dout");
    double const scale = 1 / std::sqrt(static_cast<double>(q.extents()[3]));
    INFO(results << cog::name(cog::dtype_of<T>));
    // Where one weight is nearly 1, ds = p (g - <dout, out>) cancels down to the rounding of out, g and the sum: about
    // epsilon |dout| |v|. dq and dk cannot be better than that times scale |k|, however small they are themselves.
    auto const largest = [](tensor4<T> const& x) { return static_cast<double>(cog::max(cog::abs(x)).item()); };
    double const rounding = static_cast<double>(std::numeric_limits<T>::epsilon()) * scale *
                            std::max(largest(q), largest(k)) * largest(v) * largest(dout) *
                            std::sqrt(static_cast<double>(v.extents()[3]));
    auto const close = [&](tensor4<T> const& gradient, char const* what) {
      auto const w = wanted(what);
      double size = 0;
      for (double x : w) size = std::max(size, std::fabs(x));
      return distance(gradient, w) * size <= bound * size + rounding;
    };

    auto const fused = cog::attention_forward<Rule>(q, k, v, mask);
    auto const composed = cog::composed::forward<Rule>(q, k, v, mask, scale);
    CHECK(distance(fused.out, wanted("out")) <= bound);
    CHECK(distance(composed.out, wanted("out")) <= bound);
    CHECK(distance(fused.logsumexp, composed.logsumexp.to_vector()) <= bound);
    if (file.contains(results + "weights"))
      CHECK(distance(cog::attention_weights<Rule>(q, k, mask), wanted("weights")) <= bound);

    auto const d = cog::attention_backward<Rule>(q, k, v, fused.out, fused.logsumexp, dout, mask);
    CHECK(close(d.dq, "dq"));
    CHECK(close(d.dk, "dk"));
    CHECK(close(d.dv, "dv"));
    auto const e = cog::composed::backward<Rule>(q, k, v, composed.out, composed.logsumexp, dout, mask, scale);
    CHECK(close(e.dq, "dq"));
    CHECK(close(e.dk, "dk"));
    CHECK(close(e.dv, "dv"));
  }

  template <class T, class Rule>
  void check_all() const {
    for (auto name : {"plain", "square_odd", "zero_scores", "large_scores", "single_key", "head128_value96"})
      check<T, Rule>(name, cog::no_mask);
    for (auto name : {"causal", "causal_decode", "head64"}) check<T, Rule>(name, cog::causal);
    check<T, Rule>("document", cog::document{cog::document_starts(file.load<bool, 2>(ctx, "document.bos"))});
    for (auto name : {"document", "causal", "random_mask"})
      check<T, Rule>(name, cog::boolean{file.load<bool, 4>(ctx, std::string(name) + ".mask")});
  }
};

}  // namespace

TEST_CASE("golden, double, cog") { golden().check_all<double, cog::cog_rule>(); }
TEST_CASE("golden, double, softmax") { golden().check_all<double, cog::softmax_rule>(); }
TEST_CASE("golden, float, cog") { golden().check_all<float, cog::cog_rule>(); }
TEST_CASE("golden, float, softmax") { golden().check_all<float, cog::softmax_rule>(); }

TEST_CASE("the definition's own vectors") {
  cog::cpu_context ctx;
  auto const table = [&](std::vector<double> const& x) { return cog::from(ctx, x, {1, 1, 3, 2}); };
  auto const q = table({1, -2, .5, .25, -1, 0}), k = table({.5, 1, -1.5, .5, 2, 2}), v = table({1, 0, 0, 1, 2, -1});
  auto const dout = table({1, 2, -1, .5, .25, -.75});
  auto const check = [&](auto rule, std::vector<double> const& w, std::vector<double> const& o,
                         std::vector<double> const& dq, std::vector<double> const& dk, std::vector<double> const& dv,
                         std::vector<double> const& unmasked) {
    using Rule = decltype(rule);
    double const digits = 5e-8;  // eight are printed
    auto const f = cog::attention_forward<Rule>(q, k, v, cog::causal);
    auto const d = cog::attention_backward<Rule>(q, k, v, f.out, f.logsumexp, dout, cog::causal);
    CHECK(distance(cog::attention_weights<Rule>(q, k, cog::causal), w) < digits);
    CHECK(distance(f.out, o) < digits);
    CHECK(distance(d.dq, dq) < digits);
    CHECK(distance(d.dk, dk) < digits);
    CHECK(distance(d.dv, dv) < digits);
    CHECK(distance(cog::attention<Rule>(q, k, v), unmasked) < digits);
  };
  check(cog::cog_rule{}, {-1, 0, 0, .47791729, -.52208271, 0, -.16902193, .34279590, -.48818217},
        {-1, 0, .47791729, -.52208271, -1.14538626, .83097807}, {0, 0, .08821594, -.13232391, .13758669, .17553362},
        {.03472277, -.02205398, -.08278912, -.02205398, -.11751189, 0},
        {-1.52017277, -1.63427491, .60778169, -.51813828, -.12204554, .36613663},
        {-.86433868, -.13566132, 1.22708325, -.75731261, -1.14538626, .83097807});
  check(cog::softmax_rule{}, {1, 0, 0, .68901002, .31098998, 0, .18316771, .75341465, .06341764},
        {1, 0, .68901002, .31098998, .31000298, .68999702}, {0, 0, -.45454637, -.11363659, .44398175, .15836082},
        {-.20300440, -.05681830, .27878901, .05681830, -.07578461, 0},
        {.35678191, 2.20712923, -.12263632, -.40956600, .01585441, -.04756323},
        {1.09525982, -.09525982, 1.45315984, -.45315984, .31000298, .68999702});
}

TEST_CASE("the weight of one number") {
  using cog::cog_rule;
  CHECK(cog_rule::weight(2.0f, 0.5f) == 0.5f);
  CHECK(cog_rule::weight(-1e-45f, 0.5f) == -0.5f);
  CHECK(cog_rule::weight(0.0f, 0.5f) == 0);
  CHECK(cog_rule::weight(-0.0, 0.5) == 0);
  CHECK(cog_rule::gradient(0.0, 0.5, 3.0, 1.0) == 0);
}

TEST_CASE("the composed form says what the oracle says") {
  cog::cpu_context ctx;
  problem<double> const x(ctx, 2, 4, 2, 9, 13, 6, 5);
  auto const run = [&](auto rule, auto const& mask, sees_t const& sees) {
    using Rule = decltype(rule);
    auto const r = attend(kind_of<Rule>, x.q, x.k, x.v, x.dout, sees, x.scale());
    auto const f = cog::composed::forward<Rule>(x.q, x.k, x.v, mask, x.scale());
    auto const d = cog::composed::backward<Rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout, mask, x.scale());
    CHECK(distance(f.out, r.out) < 1e-12);
    CHECK(distance(f.logsumexp, r.logsumexp) < 1e-12);
    CHECK(distance(cog::attention_weights<Rule>(x.q, x.k, mask), r.weights) < 1e-12);
    CHECK(distance(d.dq, r.dq) < 1e-12);
    CHECK(distance(d.dk, r.dk) < 1e-12);
    CHECK(distance(d.dv, r.dv) < 1e-12);
  };
  run(cog::cog_rule{}, cog::no_mask, sees_all());
  run(cog::softmax_rule{}, cog::causal, sees_causal(9, 13));
  run(cog::cog_rule{}, cog::sliding_window{3}, sees_window(9, 13, 3));
}

TEST_CASE("gradients by central differences") {
  cog::cpu_context ctx;
  auto const run = [&](auto rule, unsigned seed) {
    using Rule = decltype(rule);
    problem<double> const x(ctx, 1, 4, 2, 6, 9, 8, 5, seed), step(ctx, 1, 4, 2, 6, 9, 8, 5, seed + 10);
    double const h = 1e-6;
    auto const loss = [&](double t) {
      auto const out = cog::attention<Rule>(x.q + step.q * t, x.k + step.k * t, x.v + step.v * t, cog::causal);
      return cog::sum(out * x.dout).item();
    };
    auto const f = cog::attention_forward<Rule>(x.q, x.k, x.v, cog::causal);
    auto const d = cog::attention_backward<Rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout, cog::causal);
    double const slope =
        cog::sum(d.dq * step.q).item() + cog::sum(d.dk * step.k).item() + cog::sum(d.dv * step.v).item();
    CHECK((loss(h) - loss(-h)) / (2 * h) == Approx(slope).epsilon(1e-7));
  };
  for (unsigned seed = 1; seed < 6; ++seed) {
    run(cog::cog_rule{}, seed);
    run(cog::softmax_rule{}, seed);
  }
}

namespace {

/// A rule of a user's own: u = s^2 / 2 below 1 and |s| - 1/2 above, with the sign of s.
struct rounded_rule {
  static constexpr char const* name = "rounded";
  template <class S>
  static S exponent(S s) {
    using cog::math::abs, cog::math::where;
    return where(abs(s) < S(1), S(0.5) * s * s, abs(s) - S(0.5));
  }
  template <class S>
  static S weight(S s, S p) {
    return cog::cog_rule::weight(s, p);
  }
  template <class S>
  static S gradient(S s, S p, S g, S mean) {
    using cog::math::abs, cog::math::where;
    S const sign = cog::cog_rule::weight(s, S(1));
    return where(abs(s) < S(1), s, sign) * p * (sign * g - mean);
  }
};

}  // namespace

TEST_CASE("a rule of a user's own runs fused and composed") {
  cog::cpu_context ctx;
  problem<double> const x(ctx, 2, 2, 1, 70, 80, 16, 24);
  auto const f = cog::attention_forward<rounded_rule>(x.q, x.k, x.v, cog::causal);
  auto const c = cog::composed::forward<rounded_rule>(x.q, x.k, x.v, cog::causal, x.scale());
  CHECK(distance(f.out, c.out.to_vector()) < 1e-12);
  auto const d = cog::attention_backward<rounded_rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout, cog::causal);
  auto const e =
      cog::composed::backward<rounded_rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout, cog::causal, x.scale());
  CHECK(distance(d.dq, e.dq.to_vector()) < 1e-12);
  CHECK(distance(d.dk, e.dk.to_vector()) < 1e-12);
  CHECK(distance(d.dv, e.dv.to_vector()) < 1e-12);
  CHECK(distance(f.out, cog::cog_attention(x.q, x.k, x.v, cog::causal).to_vector()) > 1e-3);
}

TEST_CASE("calls and their errors") {
  cog::cpu_context ctx;
  auto const q = normal<float>(ctx, {2, 4, 3, 8}, 1), k = normal<float>(ctx, {2, 2, 5, 8}, 2),
             v = normal<float>(ctx, {2, 2, 5, 6}, 3);

  // Deduced or named; with and without mask and options; lazy arguments.
  auto const o = cog::cog_attention(q, k, v);
  CHECK(o.extents() == extents<4>{2, 4, 3, 6});
  CHECK(same_bits(o, cog::cog_attention<float, cpu>(q, k, v)));
  CHECK(same_bits(o, cog::attention<cog::cog_rule>(q, k, v, cog::no_mask, {.scale = 1 / std::sqrt(8.0)})));
  CHECK(same_bits(o, cog::cog_attention(q, k, v, {}, {})));
  CHECK(distance(cog::cog_attention(q * 2.0f, k, v),
                 cog::cog_attention(q, k, v, cog::no_mask, {.scale = 2 / std::sqrt(8.0)}).to_vector()) < 1e-5);
  CHECK_FALSE(same_bits(o, cog::softmax_attention(q, k, v)));

  using cog::slice;
  auto const says = [](std::string const& text, std::initializer_list<char const*> parts) {
    INFO(text);
    for (auto part : parts) CHECK(text.find(part) != std::string::npos);
  };
  says(message_of([&] { cog::cog_attention(q, slice(k, 3, 0, 7), v); }),
       {"cog_attention", "[2, 4, 3, 8]", "[2, 2, 5, 7]"});
  says(message_of([&] { cog::cog_attention(slice(q, 0, 0, 1), k, v); }), {"[1, 4, 3, 8]", "[2, 2, 5, 8]"});
  says(message_of([&] { cog::softmax_attention(q, k, slice(v, 2, 0, 4)); }),
       {"softmax_attention", "[2, 2, 5, 8]", "[2, 2, 4, 6]"});
  says(message_of([&] { cog::cog_attention(slice(q, 1, 0, 3), k, v); }), {"[2, 3, 3, 8]", "[2, 2, 5, 8]", "multiple"});
  for (double scale : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()})
    says(message_of([&] { cog::cog_attention(q, k, v, cog::causal, {.scale = scale}); }), {"scale", "above 0"});
  says(message_of([&] { cog::cog_attention(q, k, v, cog::sliding_window{0}); }), {"sliding_window", "0"});
  says(message_of([&] {
         cog::cog_attention(q, k, v, cog::boolean{cog::zeros<bool>(ctx, {4, 5})});
       }),
       {"[4, 5]", "[2, 4, 3, 5]"});
  says(message_of([&] {
         cog::cog_attention(q, k, v, cog::document{cog::zeros<std::int32_t>(ctx, {2, 4})});
       }),
       {"[2, 4]", "[2, 3]"});
  auto const f = cog::attention_forward<cog::cog_rule>(q, k, v);
  says(message_of([&] { cog::attention_backward<cog::cog_rule>(q, k, v, f.out, f.logsumexp, q); }),
       {"[2, 4, 3, 8]", "[2, 4, 3, 6]"});
}

TEST_CASE("results lie as the queries do, gradients as what they are of: a layer takes heads apart and together without a copy") {
  cog::cpu_context const ctx;
  auto const packed = normal<float>(ctx, {2, 9, 4, 8}, 1);  // [B, N, H, D]
  auto const heads_first = [](auto const& x) { return cog::permuted(x, {0, 2, 1, 3}); };
  auto const q = heads_first(packed), k = heads_first(normal<float>(ctx, {2, 9, 4, 8}, 2));
  auto const f = cog::attention_forward<cog::cog_rule>(q, k, k.copy(), cog::causal);
  CHECK(heads_first(f.out).is_contiguous());
  auto const d = cog::attention_backward<cog::cog_rule>(q, k, k.copy(), f.out, f.logsumexp, q, cog::causal);
  CHECK(heads_first(d.dq).is_contiguous());
  CHECK(heads_first(d.dk).is_contiguous());
  CHECK(d.dv.is_contiguous());
  CHECK(cog::attention_forward<cog::cog_rule>(q.copy(), k, k).out.is_contiguous());
}
