// Attention on the GPU against the composed form in double on plain loops.
#pragma once

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "backend_loops.hpp"
#include "cuda.hpp"

namespace cuda_attention {

using namespace cog;

template <class T, class Context>
using tensor4 = tensor<T, 4, typename Context::backend_type>;

/// Normal numbers of type T, and the same as doubles on plain loops. `order`: how the axes lie in memory, the outermost first;
/// `step`: every step-th element of the last axis.
template <class T>
struct operand {
  tensor4<T, cuda_context> device;
  tensor4<double, loops_context> exact;

  /// edit(x): x(b, h, i, c) may be changed.
  template <class Edit>
  operand(extents<4> const& shape, unsigned seed, std::array<int, 4> order, index_t step, Edit const& edit)
      : device(gpu(), extents<4>{}), exact(loops_context{}, shape) {
    std::mt19937 bits(seed);
    std::normal_distribution<double> draw;
    for (index_t i = 0; i < exact.size(); ++i) exact.data()[i] = draw(bits);
    edit(exact);
    for (index_t i = 0; i < exact.size(); ++i) exact.data()[i] = double(compute_t<T>(T(exact.data()[i])));
    extents<4> stored{};
    std::array<int, 4> back{};
    for (std::size_t a = 0; a < 4; ++a) {
      stored[a] = shape[static_cast<std::size_t>(order[a])] * (order[a] == 3 ? step : 1);
      back[static_cast<std::size_t>(order[a])] = static_cast<int>(a);
    }
    tensor<T, 4, loops> memory(loops_context{}, stored);
    std::fill_n(memory.data(), memory.size(), T(std::numeric_limits<float>::quiet_NaN()));
    auto const part = [&](auto const& x) { return slice(permuted(x, back), 3, 0, shape[3] * step, step); };
    part(memory).assign(cast<T>(exact));
    device = part(memory.to(gpu()));
  }
};

struct packed_rows {
  static constexpr std::array<int, 4> order{0, 1, 2, 3};  // [B, H, N, W]
};
struct packed_heads {
  static constexpr std::array<int, 4> order{0, 2, 1, 3};  // [B, N, H, W], as projections give it
};
struct columns_first {
  static constexpr std::array<int, 4> order{3, 1, 0, 2};
};

struct sizes {
  index_t batch = 1, heads = 2, key_heads = 2, queries = 16, keys = 16, width = 16, value_width = 16;
};

inline constexpr auto as_drawn = [](auto&) {};

template <class T, class Layout = packed_rows>
struct problem {
  sizes n;
  operand<T> q, k, v, dout;
  double scale;
  template <class Q = decltype(as_drawn), class K = decltype(as_drawn), class V = decltype(as_drawn), class G = decltype(as_drawn)>
  explicit problem(sizes const& s, index_t step = 1, unsigned seed = 1, Q const& eq = as_drawn, K const& ek = as_drawn, V const& ev = as_drawn, G const& eg = as_drawn)
      : n(s),
        q({s.batch, s.heads, s.queries, s.width}, seed, Layout::order, step, eq),
        k({s.batch, s.key_heads, s.keys, s.width}, seed + 1, Layout::order, step, ek),
        v({s.batch, s.key_heads, s.keys, s.value_width}, seed + 2, Layout::order, step, ev),
        dout({s.batch, s.heads, s.queries, s.value_width}, seed + 3, Layout::order, step, eg),
        scale(1 / std::sqrt(static_cast<double>(std::max<index_t>(1, s.width)))) {}
};

/// max |x - y| over max |y|; infinity where NaN or infinities stand in different places.
template <class X, class Y>
double distance(X const& x, Y const& y) {
  auto const a = eval(cast<double>(x)).to_vector(), b = y.to_vector();
  double worst = 0, largest = 0;
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isfinite(a[i]) && std::isfinite(b[i])) {
      worst = std::max(worst, std::abs(a[i] - b[i]));
      largest = std::max(largest, std::abs(b[i]));
    } else if (!(std::isnan(a[i]) && std::isnan(b[i])) && a[i] != b[i]) {
      return std::numeric_limits<double>::infinity();
    }
  }
  return largest > 0 ? worst / largest : worst;
}

template <class T>
constexpr double tolerance = std::same_as<T, double> ? 1e-12 : std::same_as<T, float> ? 2e-5 : std::same_as<T, cog::half> ? 2e-3 : 1.2e-2;

/// mask(context) is the mask on that backend.
template <class Rule, class T, class Layout, class Mask>
void check(problem<T, Layout> const& x, Mask const& mask, double bound = tolerance<T>) {
  INFO(Rule::name << " of " << name(dtype_of<T>) << ", q " << x.n.batch << ' ' << x.n.heads << ' ' << x.n.queries << ' ' << x.n.width << ", k " << x.n.key_heads << ' '
                  << x.n.keys << ", value width " << x.n.value_width);
  auto const theirs = mask(loops_context{});
  auto const want = composed::forward<Rule>(x.q.exact, x.k.exact, x.v.exact, theirs, x.scale);
  auto const ours = mask(gpu());
  auto const got = attention_forward<Rule>(x.q.device, x.k.device, x.v.device, ours);
  CHECK(distance(got.out, want.out) <= bound);
  CHECK(distance(got.logsumexp, want.logsumexp) <= std::min(bound, 2e-5));
  auto const d = composed::backward<Rule>(x.q.exact, x.k.exact, x.v.exact, want.out, want.logsumexp, x.dout.exact, theirs, x.scale);
  auto const g = attention_backward<Rule>(x.q.device, x.k.device, x.v.device, got.out, got.logsumexp, x.dout.device, ours);
  CHECK(distance(g.dq, d.dq) <= bound);
  CHECK(distance(g.dk, d.dk) <= bound);
  CHECK(distance(g.dv, d.dv) <= bound);
}

inline constexpr auto unmasked = [](auto const&) { return no_mask; };
inline constexpr auto with_causal = [](auto const&) { return causal; };
inline auto with_window(index_t n) {
  return [n](auto const&) { return sliding_window{n}; };
}
/// Documents of 1, 2, 3 ... tokens, one position later in every further sequence; the keys before the queries belong to the first.
inline auto with_documents(sizes const& n) {
  return [n](auto const& ctx) {
    std::vector<std::int32_t> start;
    for (index_t b = 0; b < n.batch; ++b)
      for (index_t i = 0, first = 0, length = 1 + b; i < n.queries; ++i) {
        if (i - first == length) first = i, ++length;
        start.push_back(static_cast<std::int32_t>(first > 0 ? first + n.keys - n.queries : 0));
      }
    return document{from(ctx, std::span<std::int32_t const>(start), extents<2>{n.batch, n.queries})};
  };
}
/// Two keys of three, differently for every entry of `shape`, which broadcasts to [B, H, Nq, Nk]. Query 2 sees none.
template <class T>
auto with_entries(extents<4> const& shape) {
  return [shape](auto const& ctx) {
    std::vector<std::uint8_t> entries;
    std::mt19937 bits(5);
    for (index_t i = 0; i < size_of(shape); ++i) entries.push_back(i / shape[3] % shape[2] == 2 ? 0 : static_cast<std::uint8_t>(bits() % 3));
    return boolean{eval(cast<T>(from(ctx, std::span<std::uint8_t const>(entries), shape)))};
  };
}

/// A rule of a user's own: u = s^2 / 2 below 1 and |s| - 1/2 above, with the sign of s.
struct rounded_rule {
  static constexpr char const* name = "rounded";
  template <class S> static COG_HD S exponent(S s) {
    using math::abs, math::where;
    return where(abs(s) < S(1), S(0.5) * s * s, abs(s) - S(0.5));
  }
  template <class S> static COG_HD S weight(S s, S p) { return cog_rule::weight(s, p); }
  template <class S> static COG_HD S gradient(S s, S p, S g, S mean) {
    using math::abs, math::where;
    S const sign = cog_rule::weight(s, S(1));
    return where(abs(s) < S(1), s, sign) * p * (sign * g - mean);
  }
};

// ---- The tests of an element type

using index_list = std::initializer_list<index_t>;

template <class T>
void lengths(index_list all_queries, index_list all_keys, index_t width) {
  for (index_t const queries : all_queries)
    for (index_t const keys : all_keys) {
      problem<T> const x({.queries = queries, .keys = keys, .width = width, .value_width = width});
      check<cog_rule>(x, with_causal);
      if (queries == 65 || keys == 65) check<softmax_rule>(x, unmasked);
    }
}
template <class T>
void lengths() { lengths<T>({1, 16, 17, 64, 65, 130}, {1, 15, 63, 64, 65, 130}, 24); }

/// Pairs of widths.
template <class T>
void widths(std::initializer_list<std::array<index_t, 2>> const& all) {
  for (auto const [width, value_width] : all) {
    problem<T> const x({.heads = 1, .key_heads = 1, .queries = 33, .keys = 70, .width = width, .value_width = value_width});
    double const bound = tolerance<T> * (width < 8 ? 2 : 1);  // a gradient's terms cancel, and there are no others to compare it with
    check<cog_rule>(x, with_causal, bound);
    check<softmax_rule>(x, with_causal, bound);
  }
}

template <class T>
void masks_and_groups() {
  for (auto const& n : {sizes{2, 4, 2, 70, 70, 16, 16}, sizes{1, 6, 1, 20, 140, 16, 16}, sizes{2, 2, 2, 140, 70, 16, 16}}) {
    problem<T> const x(n);
    check<cog_rule>(x, unmasked);
    check<cog_rule>(x, with_causal);  // 140 queries of 70 keys: half of them see nothing
    check<softmax_rule>(x, with_window(1));
    check<cog_rule>(x, with_window(67));
    if (n.keys >= n.queries) check<cog_rule>(x, with_documents(n));
    check<cog_rule>(x, with_entries<bool>({n.batch, n.heads, n.queries, n.keys}));
    check<cog_rule>(x, with_entries<bool>({1, 1, 1, n.keys}));
  }
}

/// However the operands lie in memory.
template <class T>
void layouts() {
  sizes const n{2, 2, 1, 37, 70, 24, 40};
  check<cog_rule>(problem<T, packed_heads>(n), with_causal);
  check<cog_rule>(problem<T, columns_first>(n), with_causal);
  check<cog_rule>(problem<T, packed_rows>(n, 2), with_causal);
  check<cog_rule>(problem<T, packed_heads>({2, 2, 1, 37, 70, 21, 13}), with_causal);
}

/// A score of exactly 0 has weight and gradient 0, and is counted.
template <class T>
void zeros_in_scores(index_t width = 16, index_t count = 90) {
  auto const keys = [=](auto& k) {
    for (index_t const j : {3, 64, 65, 89})
      for (index_t c = 0; c < width; ++c) k(0, 0, j, c) = j == 65 ? -0.0 : 0.0;
  };
  auto const queries = [=](auto& q) {
    for (index_t c = 0; c < width; ++c) q(0, 1, 5, c) = 0;
  };
  problem<T> const x({.heads = 2, .key_heads = 1, .queries = 20, .keys = count, .width = width, .value_width = width}, 1, 1, queries, keys);
  check<cog_rule>(x, unmasked);
  check<cog_rule>(x, with_causal);
  check<rounded_rule>(x, with_causal);
  auto const f = attention_forward<cog_rule>(x.q.device, x.k.device, x.v.device, causal).out.to(loops_context{});
  for (index_t c = 0; c < width; ++c) CHECK(compute_t<T>(f(0, 1, 5, c)) == 0);
}

template <class T>
void sizes_of_scores(index_t width = 16, index_t keys = 90) {
  for (double const size : {1e-25, 1e-8, 1e-3, 30.0, 300.0}) {
    auto const times = [&](auto& x) {
      for (index_t i = 0; i < x.size(); ++i) x.data()[i] *= size;
    };
    problem<T> const x({.queries = 20, .keys = keys, .width = width, .value_width = width}, 1, 1, times);
    double const bound = tolerance<T> * std::max(1.0, size);  // an exponent of 1000 has an error of 1000 epsilon, and gradients cancel
    check<cog_rule>(x, with_causal, bound);
    check<softmax_rule>(x, with_causal, bound);
  }
}

/// What a query does not see changes nothing, and what it sees is not hidden: `what` of the operands holds `with` at `at`.
template <class T>
void hidden(double with, index_t width = 16) {
  enum operand_number { queries, keys, values, gradients };
  sizes const n{1, 2, 1, 130, 130, width, width};
  index_t const window = 40;
  problem<T> const clean(n);
  auto const run = [&](problem<T> const& x) {
    auto const f = attention_forward<cog_rule>(x.q.device, x.k.device, x.v.device, sliding_window{window});
    auto const d = attention_backward<cog_rule>(x.q.device, x.k.device, x.v.device, f.out, f.logsumexp, x.dout.device, sliding_window{window});
    return std::array{eval(cast<double>(f.out)).to(loops_context{}), eval(cast<double>(d.dq)).to(loops_context{}), eval(cast<double>(d.dk)).to(loops_context{}),
                      eval(cast<double>(d.dv)).to(loops_context{})};
  };
  auto const want = run(clean);
  for (auto const what : {queries, keys, values, gradients})
    for (index_t const at : {0, 17, 64, 129}) {
      INFO("operand " << what << ", position " << at << ", " << with);
      auto const spoil = [&](operand_number which) {
        return [=](auto& x) {
          if (which == what) x(0, which == keys || which == values ? 0 : 1, at, 5) = with;
        };
      };
      auto const got = run(problem<T>(n, 1, 1, spoil(queries), spoil(keys), spoil(values), spoil(gradients)));
      auto const is_query = what == queries || what == gradients;
      // Rows of queries that meet the spoilt place, then keys that meet such a row.
      auto const query_meets = [&](index_t h, index_t i) { return is_query ? h == 1 && i == at : i >= at && i < at + window; };
      auto const key_meets = [&](index_t j) {
        bool met = false;
        for (index_t h = 0; h < 2; ++h)
          for (index_t i = j; i < std::min<index_t>(j + window, n.queries); ++i) met = met || query_meets(h, i);
        return met;
      };
      bool same = true, shows = true;
      for (std::size_t r = 0; r < 4; ++r)
        for (index_t h = 0; h < want[r].extents()[1]; ++h)
          for (index_t i = 0; i < 130; ++i) {
            bool finite = true;
            for (index_t c = 0; c < width; ++c) {
              double const x = got[r](0, h, i, c), y = want[r](0, h, i, c);
              finite = finite && std::isfinite(x);
              if (!(r < 2 ? query_meets(h, i) : key_meets(i))) same = same && std::abs(x - y) <= tolerance<T> * (1 + std::abs(y));
            }
            if (r == 0 && what != gradients && query_meets(h, i) && std::isnan(with)) shows = shows && !finite;
            if (r == 3 && what != values && key_meets(i) && std::isnan(with)) shows = shows && !finite;
          }
      CHECK(same);
      CHECK(shows);
    }
}

/// Keys that nobody sees may hold anything, and not a bit changes.
template <class T>
void hidden_from_all() {
  sizes const n{1, 4, 2, 20, 90, 16, 16};
  auto const spoil = [](auto& x) {
    for (index_t const j : {3, 64}) x(0, 1, j, 5) = std::numeric_limits<double>::quiet_NaN();
  };
  problem<T> const clean(n), spoilt(n, 1, 1, as_drawn, spoil, spoil);
  auto const compare = [&](auto const& mask) {
    auto const run = [&](problem<T> const& x) {
      auto const f = attention_forward<cog_rule>(x.q.device, x.k.device, x.v.device, mask);
      auto const d = attention_backward<cog_rule>(x.q.device, x.k.device, x.v.device, f.out, f.logsumexp, x.dout.device, mask);
      return std::array{f.out.to_vector(), d.dq.to_vector(), d.dk.to_vector(), d.dv.to_vector()};
    };
    CHECK(run(spoilt) == run(clean));
  };
  std::vector<std::uint8_t> entries(90, 1);
  entries[3] = entries[64] = 0;
  compare(boolean{eval(cast<bool>(from(gpu(), std::span<std::uint8_t const>(entries), extents<1>{90})))});
  compare(sliding_window{5});
}

/// Few queries of many keys: the keys are split.
template <class T>
void many_keys() {
  for (index_t const keys : {255, 600, 1111})
    for (index_t const queries : {1, 3, 70}) {
      problem<T> const x({1, 2, 1, queries, keys, 16, 24});
      check<cog_rule>(x, with_causal);
      check<cog_rule>(x, with_window(300));
      check<softmax_rule>(x, unmasked);
    }
}

template <class T>
void nothing() {
  for (auto const& n : {sizes{1, 2, 1, 5, 0, 8, 8}, sizes{1, 2, 1, 0, 5, 8, 8}, sizes{1, 2, 1, 5, 70, 0, 8}, sizes{1, 2, 1, 5, 70, 8, 0}, sizes{0, 2, 1, 5, 7, 8, 8},
                        sizes{1, 0, 0, 5, 7, 8, 8}, sizes{1, 1, 1, 1, 900, 8, 0}}) {
    check<cog_rule>(problem<T>(n), unmasked);
    check<softmax_rule>(problem<T>(n), with_causal);
  }
}

/// Plain views: results anywhere, no logsumexp wanted.
template <class T>
void results_anywhere() {
  problem<T> const x({2, 4, 2, 20, 30, 16, 24});
  using mask = lowered::window;
  mask const window{10, 12};
  auto const want = attention_forward<cog_rule>(x.q.device, x.k.device, x.v.device, sliding_window{12});
  tensor<T, 4, cog::cuda> memory(gpu(), extents<4>{2, 20, 24, 4});
  auto out = permuted(memory, {0, 3, 1, 2});
  cog::cuda::attention_forward<cog_rule>(gpu(), attention_arguments<T, mask>{x.q.device.view(), x.k.device.view(), x.v.device.view(), out.view(), {},
                                                                        static_cast<compute_t<T>>(x.scale), window});
  CHECK(out.to_vector() == want.out.to_vector());
  auto const d = attention_backward<cog_rule>(x.q.device, x.k.device, x.v.device, want.out, want.logsumexp, x.dout.device, sliding_window{12});
  tensor<T, 4, cog::cuda> queries(gpu(), extents<4>{2, 20, 16, 4}), keys(gpu(), extents<4>{2, 30, 16, 2}), values(gpu(), extents<4>{2, 30, 24, 2});
  auto dq = permuted(queries, {0, 3, 1, 2}), dk = permuted(keys, {0, 3, 1, 2}), dv = permuted(values, {0, 3, 1, 2});
  view<compute_t<T> const, 3> const logsumexp = want.logsumexp.view();
  cog::cuda::attention_backward<cog_rule>(
      gpu(), attention_backward_arguments<T, mask>{x.q.device.view(), x.k.device.view(), x.v.device.view(), out.view(), logsumexp, x.dout.device.view(), dq.view(),
                                                   dk.view(), dv.view(), static_cast<compute_t<T>>(x.scale), window});
  CHECK(dq.to_vector() == d.dq.to_vector());
  CHECK(dk.to_vector() == d.dk.to_vector());
  CHECK(dv.to_vector() == d.dv.to_vector());
}

/// Numbers between -2 and 2 that another language can draw as well: tests/golden/make_sdpa_errors.py.
inline auto hashed(std::uint32_t seed) {
  return [seed](tensor<double, 4, loops>& x) {
    for (index_t i = 0; i < x.size(); ++i) {
      std::uint32_t h = (static_cast<std::uint32_t>(i) + 1) * 2654435761u + seed * 40503u;
      h = (h ^ h >> 15) * 2246822519u;
      h = (h ^ h >> 13) * 3266489917u;
      x.data()[i] = static_cast<double>((h & 0xffff) + (h >> 16)) / 32768 - 2;
    }
  };
}

/// The root of the mean of (x - y)^2 over that of y^2.
template <class X, class Y>
double mean_error(X const& x, Y const& y) {
  auto const a = eval(cast<double>(x)).to_vector(), b = y.to_vector();
  double off = 0, all = 0;
  for (std::size_t i = 0; i < b.size(); ++i) off += (a[i] - b[i]) * (a[i] - b[i]), all += b[i] * b[i];
  return std::sqrt(off / all);
}

/// As near to double as PyTorch's fused softmax attention on a CPU, which rounds weights, their gradients and results at the same places: the root
/// mean squares of both errors over 16 draws (tests/golden/make_sdpa_errors.py). Over 48 draws on Hopper in software, softmax has 0.995 (bf16) and
/// 0.980 (half) times its error in out, 0.999 and 0.993 in dq, 0.65 to 0.67 in dk and dv; single draws lie between 0.967 and 1.004 in out and
/// 0.88 and 1.03 in dq. The signed rule, whose results are smaller: 0.999 and 0.985 in out, 1.006 and 0.991 in dq. No score of the draws is so near
/// to 0 that rounding could turn its sign: |s| <= 4 epsilon scale |q| |k|.
template <class T>
void precision() {
  struct case_errors {
    index_t width;
    bool is_causal;
    std::array<double, 4> theirs;  // out, dq, dk, dv
  };
  std::initializer_list<case_errors> const of_bf16{{64, false, {0.002319, 0.002375, 0.003372, 0.003364}},
                                                   {64, true, {0.001964, 0.002528, 0.003861, 0.003767}},
                                                   {128, false, {0.002328, 0.002364, 0.003373, 0.003397}},
                                                   {128, true, {0.001995, 0.002446, 0.003896, 0.00388}}};
  std::initializer_list<case_errors> const of_half{{64, false, {0.000295, 0.0002968, 0.0004215, 0.0004182}},
                                                   {64, true, {0.0002468, 0.0003226, 0.0004903, 0.0004757}},
                                                   {128, false, {0.0002961, 0.0002961, 0.0004218, 0.0004245}},
                                                   {128, true, {0.0002491, 0.0003144, 0.0004819, 0.000475}}};
  std::array<double, 4> softmax{}, signed_rule{};  // squares of ours over theirs, 16 draws
  for (case_errors const& c : std::same_as<T, bf16> ? of_bf16 : of_half)
    for (std::uint32_t const first : {21u, 33u, 53u, 65u}) {
      problem<T> const x({1, 1, 1, 300, 300, c.width, c.width}, 1, 1, hashed(first), hashed(first + 1), hashed(first + 2), hashed(first + 3));
      auto const add = [&]<class Rule>(Rule, auto const& mask, std::array<double, 4>& squares) {
        auto const want = composed::forward<Rule>(x.q.exact, x.k.exact, x.v.exact, mask, x.scale);
        auto const got = attention_forward<Rule>(x.q.device, x.k.device, x.v.device, mask);
        auto const d = composed::backward<Rule>(x.q.exact, x.k.exact, x.v.exact, want.out, want.logsumexp, x.dout.exact, mask, x.scale);
        auto const g = attention_backward<Rule>(x.q.device, x.k.device, x.v.device, got.out, got.logsumexp, x.dout.device, mask);
        std::array<double, 4> const ours{mean_error(got.out, want.out), mean_error(g.dq, d.dq), mean_error(g.dk, d.dk), mean_error(g.dv, d.dv)};
        for (std::size_t i = 0; i < 4; ++i) squares[i] += ours[i] * ours[i] / (c.theirs[i] * c.theirs[i]) / 16;
      };
      auto const both = [&](auto const& mask) {
        add(softmax_rule{}, mask, softmax);
        add(cog_rule{}, mask, signed_rule);
      };
      if (c.is_causal) both(causal);
      else both(no_mask);
    }
  for (auto const* squares : {&softmax, &signed_rule}) {
    INFO((squares == &softmax ? "softmax of " : "signed rule of ") << name(dtype_of<T>));
    auto const [out, dq, dk, dv] = *squares;
    CHECK(std::sqrt(out) <= 1);
    CHECK(std::sqrt(dq) <= 1.002);  // the same roundings in the same order: a tie
    CHECK(std::sqrt(dk) <= 0.7);
    CHECK(std::sqrt(dv) <= 0.7);
  }
}

/// The same bits every time: nothing depends on the order in which threads run.
template <class T>
void repeatable(index_t width = 16) {
  std::vector<std::vector<T>> first;
  in_every_order([&] {
    problem<T> const x({1, 4, 2, 70, 300, width, width});
    auto const f = attention_forward<cog_rule>(x.q.device, x.k.device, x.v.device, causal);
    auto const d = attention_backward<cog_rule>(x.q.device, x.k.device, x.v.device, f.out, f.logsumexp, x.dout.device, causal);
    std::vector<std::vector<T>> const all{f.out.to_vector(), d.dq.to_vector(), d.dk.to_vector(), d.dv.to_vector()};
    if (first.empty()) first = all;
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(std::memcmp(all[i].data(), first[i].data(), all[i].size() * sizeof(T)) == 0);
  });
}

}  // namespace cuda_attention
