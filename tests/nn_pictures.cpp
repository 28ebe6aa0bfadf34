// The layers of pictures: convolution, pooling, group norm, patches, up-sampling, time, against plain loops and
// difference quotients.
#include <cog/nn/conv.hpp>
#include <cog/nn/group_norm.hpp>
#include <cog/nn/patch.hpp>
#include <cog/nn/qkv_attention.hpp>
#include <cog/nn/time_embedding.hpp>

#include "nn_common.hpp"

using namespace nn_test;
using cog::cpu, cog::extents, cog::window_steps;

namespace {

auto random(cog::extents<4> const& shape, std::uint64_t seed) { return cog::randn<double>(ctx, shape, seed); }

/// The definition, one product at a time.
tensor<double, 4> plain_conv(tensor<double, 4> const& x, tensor<double, 4> const& w, tensor<double, 1> const& bias,
                             window_steps const& s) {
  index_t const rows = (x.extent(2) + 2 * s.padding[0] - w.extent(2)) / s.stride[0] + 1;
  index_t const columns = (x.extent(3) + 2 * s.padding[1] - w.extent(3)) / s.stride[1] + 1;
  auto y = cog::zeros<double>(ctx, {x.extent(0), w.extent(0), rows, columns});
  for (index_t b = 0; b < y.extent(0); ++b)
    for (index_t o = 0; o < y.extent(1); ++o)
      for (index_t i = 0; i < rows; ++i)
        for (index_t j = 0; j < columns; ++j) {
          double total = bias.has_storage() ? bias(o) : 0;
          for (index_t c = 0; c < w.extent(1); ++c)
            for (index_t u = 0; u < w.extent(2); ++u)
              for (index_t v = 0; v < w.extent(3); ++v) {
                index_t const r = i * s.stride[0] + u - s.padding[0], k = j * s.stride[1] + v - s.padding[1];
                if (r >= 0 && r < x.extent(2) && k >= 0 && k < x.extent(3)) total += w(o, c, u, v) * x(b, c, r, k);
              }
          y(b, o, i, j) = total;
        }
  return y;
}

struct conv_case {
  extents<4> x, w;
  window_steps steps;
  bool with_bias;
};
std::vector<conv_case> const cases{
    {{2, 3, 5, 6}, {4, 3, 3, 3}, {{1, 1}, {1, 1}}, true},  {{2, 3, 7, 6}, {2, 3, 3, 3}, {{2, 2}, {0, 0}}, false},
    {{1, 2, 4, 9}, {3, 2, 1, 7}, {{1, 1}, {0, 3}}, true},  {{3, 5, 4, 4}, {2, 5, 1, 1}, {{1, 1}, {0, 0}}, true},
    {{2, 2, 6, 6}, {2, 2, 2, 3}, {{3, 1}, {1, 0}}, false}, {{1, 1, 5, 5}, {1, 1, 5, 5}, {{1, 1}, {0, 0}}, true},
    {{2, 1, 8, 8}, {1, 1, 2, 2}, {{3, 4}, {0, 0}}, true}};

}  // namespace

TEST_CASE("convolution is its definition, for any kernel, stride and padding", "[nn][conv]") {
  for (auto const& c : cases) {
    CAPTURE(c.x, c.w, c.steps.stride, c.steps.padding);
    cog::nn::conv2d<double, cpu> layer(ctx, c.w[1], c.w[0], {c.w[2], c.w[3]}, c.steps, c.with_bias);
    layer.weight = random(c.w, 2);
    if (c.with_bias) layer.bias = cog::randn<double>(ctx, {c.w[0]}, 3);
    auto const x = random(c.x, 1);
    CHECK(distance(layer(x), plain_conv(x, layer.weight, layer.bias, c.steps)) < 1e-12);
    auto const turned = permuted(random({c.x[3], c.x[0], c.x[2], c.x[1]}, 1), {1, 3, 2, 0});  // any strides
    CHECK(distance(layer(turned), plain_conv(turned, layer.weight, layer.bias, c.steps)) < 1e-12);
    check_gradients(layer, x);
  }
}

TEST_CASE("a convolution in parts is the convolution", "[nn][conv]") {
  // 1 picture of 3 x 300 x 400 has 3.2 M numbers of columns a picture: several pictures, and rows of a larger one
  for (extents<4> const shape : {extents<4>{3, 3, 300, 400}, extents<4>{1, 3, 700, 400}}) {
    auto const x = cog::randn<float>(ctx, shape, 1), w = cog::randn<float>(ctx, {2, 3, 3, 3}, 2);
    auto const bias = cog::randn<float>(ctx, {2}, 3);
    auto const steps = window_steps{{1, 1}, {1, 1}};
    REQUIRE(shape[0] * 27 * shape[2] * shape[3] > cog::conv_columns);
    auto const [y, d] =
        cog::value_and_grad([&](auto const& v) { return sum(square(cog::conv2d(v, w, bias, steps))); }, x);
    auto const whole = cog::conv2d(x, w, bias, steps);
    CHECK(y.item() == Approx(sum(square(whole)).item()).epsilon(1e-5));
    index_t const middle = shape[2] / 2;  // the lower half alone, with what its first row sees above it
    auto const half = cog::conv2d(slice(x, 2, middle - 1, shape[2]), w, bias, steps);
    CHECK(relative(slice(half, 2, 1, half.extent(2)), slice(whole, 2, middle, shape[2])) < 1e-6);
    // <d, v> is the derivative along v
    auto const v = cog::randn<float>(ctx, shape, 4);
    auto const along = cog::conv2d(v, w, tensor<float, 1>(), steps);
    CHECK(sum(std::get<0>(d) * v).item() == Approx(2 * sum(whole * along).item()).epsilon(1e-3));
    // of the weight too: the sum over all parts
    cog::nn::conv2d<float, cpu> layer(ctx, 3, 2, 3, 1, 1);
    layer.weight = w, layer.bias = bias;
    auto const [same, gradients] = cog::value_and_grad(layer, [&](auto& m) { return cog::sum(square(m(x))); });
    auto const u = cog::randn<float>(ctx, {2, 3, 3, 3}, 5);
    CHECK(cog::sum(gradients(layer.weight) * u).item() ==
          Approx(2 * cog::sum(whole * cog::conv2d(x, u, tensor<float, 1>(), steps)).item()).epsilon(1e-3));
  }
}

TEST_CASE("pooling, padding and up-sampling are their definitions", "[nn][conv]") {
  auto const x = random({2, 3, 6, 7}, 1);
  for (auto const& [window, steps] :
       std::vector<std::pair<std::array<index_t, 2>, window_steps>>{{{3, 3}, {{2, 2}, {0, 0}}},
                                                                    {{3, 3}, {{1, 1}, {1, 1}}},
                                                                    {{2, 3}, {{2, 1}, {0, 1}}},
                                                                    {{1, 1}, {{1, 1}, {0, 0}}}}) {
    auto const largest = cog::max_pool(x, window, steps), mean = cog::average_pool(x, window, steps),
               inner = cog::average_pool(x, window, steps, false);
    for (index_t b = 0; b < 2; ++b)
      for (index_t c = 0; c < 3; ++c)
        for (index_t i = 0; i < largest.extent(2); ++i)
          for (index_t j = 0; j < largest.extent(3); ++j) {
            double top = -1e300, total = 0, count = 0;
            for (index_t u = 0; u < window[0]; ++u)
              for (index_t v = 0; v < window[1]; ++v) {
                index_t const r = i * steps.stride[0] + u - steps.padding[0],
                              k = j * steps.stride[1] + v - steps.padding[1];
                if (r < 0 || r >= 6 || k < 0 || k >= 7) continue;
                top = std::max(top, x(b, c, r, k));
                total += x(b, c, r, k);
                ++count;
              }
            CHECK(largest(b, c, i, j) == top);
            CHECK(mean(b, c, i, j) == Approx(total / static_cast<double>(window[0] * window[1])));
            CHECK(inner(b, c, i, j) == Approx(total / count));
          }
    auto const weigh = [](auto const& y) { return sum(y * cog::randn<double>(ctx, y.extents(), 5)); };
    auto const w = window;
    auto const s = steps;
    for (auto const& result :
         {cog::gradcheck([&](auto const& v) { return weigh(cog::max_pool(v, w, s)); }, x),
          cog::gradcheck([&](auto const& v) { return weigh(cog::average_pool(v, w, s, false)); }, x)}) {
      INFO(result.message);
      CHECK(result.ok);
    }
  }
  auto const big = cog::upsample_nearest(x, 3);
  for (index_t i = 0; i < 18; ++i)
    for (index_t j = 0; j < 21; ++j) CHECK(big(1, 2, i, j) == x(1, 2, i / 3, j / 3));
  auto const framed = cog::pad(x, {.top = 1, .right = 2}, 9.0);
  CHECK(framed.extents() == extents<4>{2, 3, 7, 9});
  CHECK(framed(0, 0, 0, 0) == 9);
  CHECK(framed(0, 0, 6, 8) == 9);
  CHECK(framed(1, 2, 3, 4) == x(1, 2, 2, 4));
  auto const weigh = [](auto const& y) { return sum(y * cog::randn<double>(ctx, y.extents(), 5)); };
  CHECK(cog::gradcheck([&](auto const& v) { return weigh(cog::upsample_nearest(v, 2)); }, x).ok);
  CHECK(cog::gradcheck([&](auto const& v) { return weigh(cog::pad(v, {1, 2, 0, 1})); }, x).ok);
  check_error([&] { cog::max_pool(x, {8, 1}, {}); }, {"max_pool", "window of 8", "6 pixels"});
  check_error([&] { cog::pad(x, {-1, 0, 0, 0}); }, {"pad", "-1"});
  check_error([&] { cog::upsample_nearest(x, 0); }, {"upsample_nearest", "factor of 0"});
  check_error(
      [&] {
        cog::conv2d(x, random({2, 4, 1, 1}, 1), tensor<double, 1>());
      },
      {"conv2d", "[2, 3, 6, 7]", "[2, 4, 1, 1]"});
  CHECK_THROWS_WITH(cog::average_pool(x, {2, 2}, {{1, 1}, {2, 0}}, false), Catch::Contains("average_pool") && Catch::Contains("no pixel"));
  CHECK_THROWS_AS(cog::average_pool(x, {2, 2}, {{1, 1}, {0, 2}}, false), cog::error);
  CHECK_THROWS_AS(cog::average_pool(slice(x, 2, 0, 0), {2, 2}, {{1, 1}, {1, 1}}, false), cog::error);
  CHECK(cog::average_pool(x, {2, 2}, {{1, 1}, {2, 0}})(0, 0, 0, 0) == 0);
}

TEST_CASE("group norm normalises each group of each picture", "[nn][conv]") {
  cog::nn::group_norm<double, cpu> layer(ctx, 6, 3);
  layer.weight = cog::randn<double>(ctx, {6}, 1);
  layer.bias = cog::randn<double>(ctx, {6}, 2);
  auto const x = random({2, 6, 3, 4}, 3);
  auto const y = layer(x);
  for (index_t b = 0; b < 2; ++b)
    for (index_t g = 0; g < 3; ++g) {
      auto const group = slice(select(x, 0, b), 0, 2 * g, 2 * g + 2).copy();
      double const mean = cog::mean(group).item(), deviation = std::sqrt(cog::variance(group).item() + 1e-6);
      for (index_t c = 2 * g; c < 2 * g + 2; ++c)
        CHECK(y(b, c, 1, 2) == Approx((x(b, c, 1, 2) - mean) / deviation * layer.weight(c) + layer.bias(c)));
    }
  check_gradients(layer, x);
  check_gradients(layer, x, [](auto const& l, auto const& v) { return l(v, [](auto const& n) { return silu(n); }); });
  check_error([] { cog::nn::group_norm<double, cpu>(ctx, 6, 4); }, {"6 channels", "4 groups"});
  check_error([] { cog::nn::group_norm<double, cpu>(ctx, 4, 2)(random({1, 6, 2, 2}, 1)); }, {"group_norm", "[1, 6, 2, 2]", "4 channels"});
  auto const small = cog::eval(random({1, 2, 2, 2}, 1) * 1e-3);  // beside a variance of 1e-6, eps decides
  cog::nn::group_norm<double, cpu> const coarse(ctx, 2, 1, 1.0);
  double const middle = cog::mean(small).item(), spread = cog::mean(square(small - middle)).item();
  CHECK(relative(coarse(small), (small - middle) / std::sqrt(spread + 1.0)) < 1e-12);
}

TEST_CASE("patches are cut and put back", "[nn][conv]") {
  auto const x = random({2, 3, 4, 6}, 1);
  auto const first = cog::patchify(x, 2), last = cog::patchify(x, 2, cog::patch_order::channels_last);
  CHECK(first.extents() == extents<3>{2, 6, 12});
  for (index_t i = 0; i < 2; ++i)
    for (index_t j = 0; j < 3; ++j)
      for (index_t c = 0; c < 3; ++c)
        for (index_t u = 0; u < 2; ++u)
          for (index_t v = 0; v < 2; ++v) {
            CHECK(first(1, i * 3 + j, (c * 2 + u) * 2 + v) == x(1, c, i * 2 + u, j * 2 + v));
            CHECK(last(1, i * 3 + j, (u * 2 + v) * 3 + c) == x(1, c, i * 2 + u, j * 2 + v));
          }
  CHECK(same_bits(cog::unpatchify(first, 2, 2, 3), x));
  CHECK(same_bits(cog::unpatchify(last, 2, 2, 3, cog::patch_order::channels_last), x));
  cog::nn::patch_embedding<double, cpu> layer(ctx, 3, 5, 2);
  layer.weight = random({5, 3, 2, 2}, 2);
  layer.bias = cog::randn<double>(ctx, {5}, 3);
  auto const convolved = cog::conv2d(x, layer.weight, layer.bias, {{2, 2}, {0, 0}});
  CHECK(distance(layer(x), transposed(reshape(convolved, {2, 5, 6}))) < 1e-12);
  check_gradients(layer, x);
  check_error([&] { cog::patchify(x, 4); }, {"patches of 4", "[2, 3, 4, 6]"});
  check_error([&] { cog::unpatchify(first, 2, 3, 3); }, {"3 x 3", "[2, 6, 12]"});
  check_error([&] { cog::unpatchify(slice(first, 2, 0, 11).copy(), 2, 2, 3); }, {"2 x 3 patches of 2", "[2, 6, 11]"});
  check_error([&] { cog::nn::patch_embedding<double, cpu>(ctx, 4, 8, 2)(x); }, {"patch_embedding", "[2, 3, 4, 6]"});
}

TEST_CASE("times become cosines and sines", "[nn]") {
  auto const times = cog::from<double>(ctx, {0, 1.5, 999});
  for (index_t const dim : {6, 7}) {
    auto const y = cog::nn::time_embedding<double, cpu>(ctx, dim)(times);
    CHECK(y.extents() == extents<2>{3, dim});
    for (index_t n = 0; n < 3; ++n)
      for (index_t i = 0; i < 3; ++i) {
        double const angle = times(n) * std::exp(-std::log(10000.0) * static_cast<double>(i) / 3);
        CHECK(y(n, i) == Approx(std::cos(angle)).margin(1e-12));
        CHECK(y(n, 3 + i) == Approx(std::sin(angle)).margin(1e-12));
        if (dim == 7) CHECK(y(n, 6) == 0);
      }
  }
}

TEST_CASE("attention with one product for q, k and v", "[nn]") {
  for (auto const kind : {cog::nn::attention_kind::softmax, cog::nn::attention_kind::cog}) {
    cog::nn::qkv_attention<double, cpu> layer(ctx, 6, 2, kind, true);
    cog::nn::initialise(layer, 3, cog::nn::normal{0.5});
    layer.qkv.bias = cog::randn<double>(ctx, {18}, 4);
    auto const x = cog::randn<double>(ctx, {2, 4, 6}, 5);
    auto const all = cog::eval(matmul(x, transposed(layer.qkv.weight)) + layer.qkv.bias);
    auto const part = [&](index_t k) {
      return permuted(reshape(slice(all, 2, 6 * k, 6 * k + 6), {2, 4, 2, 3}), {0, 2, 1, 3});
    };
    auto const z = kind == cog::nn::attention_kind::cog ? cog::cog_attention(part(0), part(1), part(2))
                                                        : cog::softmax_attention(part(0), part(1), part(2));
    auto const merged = reshape(permuted(z, {0, 2, 1, 3}), {2, 4, 6});
    CHECK(distance(layer(x), matmul(merged, transposed(layer.proj.weight)) + layer.proj.bias) < 1e-12);
    check_gradients(layer, x);
  }
  check_error([] { cog::nn::qkv_attention<double, cpu>(ctx, 6, 4, cog::nn::attention_kind::cog); }, {"6", "4 heads"});
}
