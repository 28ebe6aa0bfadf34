// What a backend must do: every member on the same numbers as plain loops (backend_loops.hpp), through the library's own functions.
//   TEST_CASE("mine conforms") { conformance::all(my_context); }
// Each part is a function of its own, so that source files may share the work of compiling. Needs Catch2.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>

#include <catch2/catch.hpp>

#include <cog/attention/attention.hpp>
#include <cog/autograd/attention.hpp>
#include <cog/autograd/functional.hpp>
#include <cog/core/print.hpp>
#include <cog/expr/fuse.hpp>
#include <cog/nn/loss.hpp>
#include <cog/random/random.hpp>

#include "backend_loops.hpp"

namespace conformance {

using namespace cog;

/// f(context) gives a tensor, or a tuple of tensors; on both backends it must be the same, up to `tolerance` (1 + |value|).
/// NaNs and infinities match their like.
template <class Context, class F>
void agree(Context const& ctx, std::string const& what, double tolerance, F const& f) {
  auto const compare = [&](auto const& got, auto const& want) {
    INFO(what);
    REQUIRE(got.extents() == want.extents());
    auto const g = eval(cast<double>(got)).to_vector(), w = eval(cast<double>(want)).to_vector();
    for (std::size_t i = 0; i < w.size(); ++i) {
      bool const like = g[i] == w[i] || (std::isnan(g[i]) && std::isnan(w[i]));
      if (!like && !(std::abs(g[i] - w[i]) <= tolerance * (1 + std::abs(w[i]))))
        FAIL_CHECK(what << ", element " << i << ": " << g[i] << ", not " << w[i]);
    }
  };
  auto const got = f(ctx);
  auto const want = f(loops_context{});
  if constexpr (requires { std::tuple_size<std::remove_cvref_t<decltype(got)>>::value; }) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (compare(std::get<I>(got), std::get<I>(want)), ...);
    }(std::make_index_sequence<std::tuple_size_v<std::remove_cvref_t<decltype(got)>>>{});
  } else {
    compare(got, want);
  }
}

/// A few units in the last place.
template <class T>
constexpr double tolerance = std::same_as<T, bf16> ? 0x1p-7 : std::same_as<T, cog::half> ? 0x1p-10 : std::same_as<T, float> ? 4e-6 : 1e-13;

/// Random numbers in [low, high], with the same bits on every backend, as every second column of a transposed tensor.
template <class T, class Context>
auto strided(Context const& ctx, index_t rows, index_t columns, std::uint64_t seed, double low = -2, double high = 2) {
  auto const wide = eval(cast<T>(rand<float>(ctx, {2 * columns, rows}, seed) * (high - low) + low));
  return slice(transposed(wide), 1, 0, 2 * columns, 2);
}

template <class Context>
void memory(Context const& ctx) {
  using B = typename Context::backend_type;
  auto const x = from<float>(ctx, {{1, 2, 3}, {4, 5, 6}});
  CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
  CHECK(x.to_vector() == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(transposed(x).to_vector() == std::vector<float>{1, 4, 2, 5, 3, 6});
  CHECK(transposed(x).to(loops_context{}).to(ctx).to_vector() == std::vector<float>{1, 4, 2, 5, 3, 6});
  CHECK(select(select(x, 0, 1), 0, 2).item() == 6);
  CHECK(full<std::int32_t>(ctx, {3}, 7).to_vector() == std::vector<std::int32_t>{7, 7, 7});
  CHECK(full<bf16>(ctx, {1}, bf16(0.5f)).item() == 0.5f);
  CHECK(zeros<double>(ctx, {0, 4}).to_vector().empty());
  std::ostringstream text;
  text << x;
  CHECK(text.str().find("on " + std::string(B::name)) != std::string::npos);
  CHECK_THROWS_AS(empty<double>(ctx, {index_t{1} << 55}), error);
}

template <class Context>
void element_wise(Context const& ctx) {
  auto const one_type = [&]<class T>(T) {
    agree(ctx, "strides, broadcasting, numbers", tolerance<T>, [](auto const& c) {
      auto const x = strided<T>(c, 5, 37, 1), y = strided<T>(c, 5, 37, 2);
      auto const row = select(y, 0, 0);
      auto const column = slice(x, 1, 0, 1);
      return eval(x * y * 2 - row / 3 + column + 1);
    });
    agree(ctx, "comparisons and choice", tolerance<T>, [](auto const& c) {
      auto const x = strided<T>(c, 3, 41, 1), y = strided<T>(c, 3, 41, 2);
      return std::tuple(eval(x < y), eval(where(x > 0 && !(y >= x), x, y)), eval(clamp(x, -1, 0.5)));
    });
    agree(ctx, "a part of a tensor is written", 0, [](auto const& c) {
      auto const x = zeros<T>(c, {4, 33});
      slice(x, 1, 1, 32, 3).assign(strided<T>(c, 4, 11, 1));
      slice(x, 0, 1, 3).assign(2);
      return x;
    });
    [&]<class... Op>(std::type_identity<std::tuple<Op...>>) {
      auto const one = [&]<class O>() {
        if constexpr (requires { O::domain; })
          agree(ctx, O::name, 2 * tolerance<T>, [](auto const& c) {
            auto const x = strided<T>(c, 2, 19, 1, O::domain.low, O::domain.high), y = strided<T>(c, 2, 19, 2, O::domain.low, O::domain.high);
            if constexpr (requires { O::apply(1.0f); }) return eval(cog::detail::make_node<O>(x));
            else return eval(cog::detail::make_node<O>(x, y));
          });
      };
      (one.template operator()<Op>(), ...);
    }(std::type_identity<op::all_ops>{});
  };
  one_type(float{});
  one_type(bf16{});
  agree(ctx, "integers and conversions", 0, [](auto const& c) {
    auto const i = arange<std::int32_t>(c, 50, -20), k = arange<std::int32_t>(c, 50, 7);
    auto const u = eval(cast<std::uint8_t>(k * 9));
    return std::tuple(eval(i * k - abs(i)), eval(maximum(i, k) + cast<std::int64_t>(u)), u, eval(cast<cog::half>(i) * 0.5), eval(cast<bool>(i)),
                      eval(cast<std::int32_t>(cast<float>(i) * 0.3f)), eval(i == k - 27));
  });
  agree(ctx, "ranks 0 and 4, and no elements", 0, [](auto const& c) {
    auto const x = randn<float>(c, {2, 3, 4, 5}, 1);
    return std::tuple(eval(permuted(x, {3, 1, 0, 2}) * 2), eval(scalar(c, 3.0f) + 1), eval(slice(x, 2, 1, 1) + 1));
  });
  agree(ctx, "fuse", 1e-6, [](auto const& c) {
    return eval(fuse([](auto a, auto b) { return a * b + a * 3; }, strided<float>(c, 3, 21, 1), randn<float>(c, {21}, 2)));
  });
}

template <class Context>
void reductions(Context const& ctx) {
  auto const one_type = [&]<class T>(T) {
    auto const over = [&](std::string const& axes, auto const&... a) {
      agree(ctx, "reductions over " + axes, 4 * tolerance<T>, [&](auto const& c) {
        auto const x = unsqueeze(strided<T>(c, 6, 35, 1), 1);
        return std::tuple(sum(x * 2, a...), mean(x, a...), max(x, a...), min(x, a...), logsumexp(x, a...), variance(x, a...),
                          argmax(x, a...), argmin(x, a...), product(x * 0.5 + 1, a...));
      });
    };
    over("all");
    over("0", 0);
    over("-1, kept", -1, keep);
    over("0 and 2", axes<0, 2>{});
  };
  one_type(float{});
  one_type(bf16{});
  agree(ctx, "sums of integers and bools", 0, [](auto const& c) {
    auto const i = arange<std::int32_t>(c, 40, -3);
    return std::tuple(sum(i), sum(i > 5), max(i), sum(reshape(i, {4, 10}), 0), sum(zeros<float>(c, {3, 0}), 1));
  });
  CHECK_THROWS_AS(max(zeros<float>(ctx, {3, 0}), 1), error);
}

template <class Context>
void rows(Context const& ctx) {
  auto const one_type = [&]<class T>(T) {
    agree(ctx, "row-wise forms", 4 * tolerance<T>, [](auto const& c) {
      auto const x = strided<T>(c, 5, 43, 1);
      auto const w = select(strided<T>(c, 1, 43, 2), 0, 0), b = select(strided<T>(c, 1, 43, 3), 0, 0);
      return std::tuple(softmax(x * 2), log_softmax(x), row_logsumexp(x + 1), layer_norm(x, w, b), layer_norm(x), rms_norm(x * x, w),
                        rms_norm(x));
    });
  };
  one_type(float{});
  one_type(bf16{});
}

template <class Context>
void products(Context const& ctx) {
  auto const one_type = [&]<class T>(T) {
    agree(ctx, "products, strides and epilogues", 16 * tolerance<T>, [](auto const& c) {
      auto const a = strided<T>(c, 7, 12, 1), b = strided<T>(c, 12, 9, 2), d = eval(strided<T>(c, 7, 9, 3) * 1);
      auto const bias = select(b, 0, 0);
      return std::tuple(eval(matmul(a, b)), eval(matmul(transposed(b), transposed(a))), eval(gelu(matmul(a, b) * 0.5 + bias)),
                        eval(matmul(a, b) + d), eval(matmul(slice(a, 1, 0, 0), slice(b, 0, 0, 0)) + 1));
    });
    agree(ctx, "batches", 16 * tolerance<T>, [](auto const& c) {
      auto const a = eval(cast<T>(randn<float>(c, {3, 1, 4, 5}, 1)));
      auto const b = eval(cast<T>(randn<float>(c, {2, 5, 6}, 2)));
      return std::tuple(eval(matmul(a, b)), eval(relu(matmul(transposed(b), transposed(select(select(a, 0, 0), 0, 0))))));
    });
  };
  one_type(float{});
  one_type(bf16{});
  one_type(double{});
}

/// A view of a larger tensor of random numbers: its axes lie in memory in any order, and one is a part of an axis with a step.
struct random_view {
  extents<3> shape;
  std::array<int, 3> order;  // axis a of the view is axis order[a] in memory
  int axis;
  index_t first, step;
  std::uint64_t seed;

  template <class Draw>
  random_view(extents<3> const& s, Draw const& draw)
      : shape(s), order(std::array<std::array<int, 3>, 6>{{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}}[static_cast<std::size_t>(draw(0, 5))]),
        axis(static_cast<int>(draw(0, 2))), first(draw(0, 4)), step(draw(1, 2)), seed(static_cast<std::uint64_t>(draw(1, 1000))) {}

  template <class Context>
  auto on(Context const& c) const {
    extents<3> memory{};
    for (std::size_t a = 0; a < 3; ++a)
      memory[static_cast<std::size_t>(order[a])] = static_cast<int>(a) == axis ? first + shape[a] * step : shape[a];
    return slice(permuted(randn<float>(c, memory, seed), order), axis, first, first + shape[static_cast<std::size_t>(axis)] * step, step);
  }
};

/// Shapes, views and broadcasts as they come.
template <class Context>
void random_shapes(Context const& ctx) {
  std::mt19937 bits(11);
  auto const draw = [&](index_t low, index_t high) { return std::uniform_int_distribution<index_t>(low, high)(bits); };
  for (int i = 0; i < 40; ++i) {
    index_t const b = draw(1, 4), m = draw(1, 30), k = draw(1, 90), n = draw(1, 40);
    auto const or_one = [&](index_t extent) { return draw(0, 2) == 0 ? 1 : extent; };
    random_view const x({b, m, k}, draw), y({or_one(b), or_one(m), or_one(k)}, draw), w({or_one(b), k, n}, draw);
    agree(ctx, "shape " + std::to_string(b) + " " + std::to_string(m) + " " + std::to_string(k) + " (draw " + std::to_string(i) + ")", 2e-5, [&](auto const& c) {
      auto const p = x.on(c), q = y.on(c);
      return std::tuple(eval(p * q + p), eval(cast<bf16>(p) * 2), sum(p, x.axis), argmax(p * q, x.axis), softmax(p * 2), layer_norm(p), eval(matmul(p, w.on(c))));
    });
  }
}

template <class Context>
void indexed(Context const& ctx) {
  agree(ctx, "indexed access", 1e-6, [](auto const& c) {
    auto const x = strided<float>(c, 6, 10, 1);
    auto const ids = from<std::int64_t>(c, {{5, 0}, {2, 2}});
    auto sums = zeros<float>(c, {6, 10});
    add_rows(sums, ids, take(x, ids));
    auto const each = from<std::int32_t>(c, {0, 9, 3, 3, 1, 2});
    add_along(sums, each, take_along(x, each));
    auto const top = top_k(x, 4);
    return std::tuple(take(x, ids), sums, cumulative_sum(x, 0), cumulative_sum(x, 1), top.values, top.indices, concatenate(1, x, x));
  });
  auto const x = zeros<float>(ctx, {3, 4});
  CHECK_THROWS_AS(take(x, from<std::int64_t>(ctx, {3})).to_vector(), error);  // at the latest when somebody looks
  CHECK_THROWS_AS(take_along(x, from<std::int64_t>(ctx, {0, -1, 0})).to_vector(), error);
}

template <class Context>
void random_numbers(Context const& ctx) {
  agree(ctx, "random numbers, bit for bit", 0, [](auto const& c) {
    return std::tuple(randn<float>(c, {3, 67}, 1, 2), rand<double>(c, {131}, 3), truncated_normal<float>(c, {50}, 4),
                      randint<std::int64_t>(c, {33}, -5, 9, 5), bernoulli(c, {77}, 0.3, 6), randn<cog::half>(c, {9}, 7));
  });
}

template <class Context>
void gradients(Context const& ctx) {
  agree(ctx, "a gradient through every kind of kernel", 2e-5, [](auto const& c) {
    auto const x = randn<float>(c, {4, 6}, 1), w = randn<float>(c, {6, 5}, 2);
    auto const b = randn<float>(c, {5}, 3), row = randn<float>(c, {6}, 4);
    auto const ids = from<std::int64_t>(c, {1, 3, 1, 0});
    auto const labels = from<std::int64_t>(c, {1, 0, ignore_index, 4});
    auto const f = [&](auto const& table, auto const& weight, auto const& bias, auto const& gain) {
      auto const h = take(eval(table * gain * table + gain), ids);
      auto const y = eval(silu(matmul(rms_norm(h, gain), weight) + bias));
      return cross_entropy(y, labels) + sum(softmax(y) * cumulative_sum(y, 1)) + mean(square(concatenate(0, y, slice(y, 0, 1, 3)))) +
             logsumexp(layer_norm(table));
    };
    auto const [value, g] = value_and_grad(f, x, w, b, row);
    return std::tuple_cat(std::tuple(value), g);
  });
}

/// The backend's kernels, or the composed form where it has none.
template <class Context>
void attention(Context const& ctx) {
  auto const one_rule = [&]<class Rule>(Rule) {
    auto const one_mask = [&](std::string const& name, auto const& mask_on) {
      agree(ctx, std::string(Rule::name) + ", " + name, 2e-5, [&](auto const& c) {
        auto const q = randn<float>(c, {2, 4, 7, 8}, 1), k = randn<float>(c, {2, 2, 9, 8}, 2), g = randn<float>(c, {2, 4, 7, 6}, 4);
        auto const v = permuted(randn<float>(c, {2, 9, 2, 6}, 3), {0, 2, 1, 3});
        auto const mask = mask_on(c);
        auto const y = attention_forward<Rule>(q, k, v, mask, {.scale = 0.4});
        auto const d = attention_backward<Rule>(q, k, v, y.out, y.logsumexp, g, mask, {.scale = 0.4});
        return std::tuple(y.out, y.logsumexp, d.dq, d.dk, d.dv);
      });
    };
    one_mask("no mask", [](auto const&) { return no_mask; });
    one_mask("causal", [](auto const&) { return causal; });
    one_mask("window", [](auto const&) { return sliding_window{3}; });
    one_mask("documents", [](auto const& c) { return document{from<std::int32_t>(c, {{0, 0, 2, 2, 5, 9, 8}, {1, 1, 1, 4, 4, 4, 4}})}; });
    one_mask("boolean", [](auto const& c) { return boolean{bernoulli(c, {4, 7, 9}, 0.4, 5)}; });
  };
  one_rule(cog_rule{});
  one_rule(softmax_rule{});
}

template <class Context>
void all(Context const& ctx) {
  static_assert(backend<typename Context::backend_type> && context<Context>);
  memory(ctx);
  element_wise(ctx);
  reductions(ctx);
  rows(ctx);
  products(ctx);
  random_shapes(ctx);
  indexed(ctx);
  random_numbers(ctx);
  gradients(ctx);
  attention(ctx);
}

}  // namespace conformance
