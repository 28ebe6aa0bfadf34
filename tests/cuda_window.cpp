// The layers of pictures on the GPU backend against plain loops, with gradients.
#include "conformance.hpp"
#include "cuda.hpp"

#include <cog/diffusion/solver.hpp>
#include <cog/nn/conv.hpp>
#include <cog/nn/group_norm.hpp>

using namespace cog;

TEST_CASE("gpu: convolution, group norm, pooling and up-sampling, with gradients") {
  auto const both = [](auto const& c, extents<4> const& shape, auto const& f) {
    auto const x = randn<float>(c, shape, 1);
    auto const r = value_and_grad([&](auto const& v) {
      auto const y = f(v);
      return sum(y * randn<float>(c, y.extents(), 9));
    }, x);
    return std::tuple(f(x), std::get<0>(r.gradients));
  };
  struct {
    extents<4> x, w;
    window_steps steps;
  } const cases[] = {{{2, 3, 5, 6}, {4, 3, 3, 3}, {{1, 1}, {1, 1}}}, {{2, 3, 7, 6}, {2, 3, 3, 3}, {{2, 2}, {0, 0}}},
                     {{1, 2, 4, 9}, {3, 2, 1, 7}, {{1, 1}, {0, 3}}}, {{2, 1, 8, 8}, {1, 1, 2, 2}, {{3, 4}, {0, 0}}}};
  for (auto const& one : cases)
    conformance::agree(gpu(), "conv2d", 1e-5, [&](auto const& c) {
      auto const bias = randn<float>(c, {one.w[0]}, 3);
      return both(c, one.x, [&](auto const& v) { return conv2d(v, randn<float>(c, one.w, 2), bias, one.steps); });
    });
  conformance::agree(gpu(), "the weight of a convolution", 1e-5, [&](auto const& c) {
    using B = typename std::remove_cvref_t<decltype(c)>::backend_type;
    nn::conv2d<float, B> layer(c, 3, 4, 3, 1, 1);
    layer.weight = randn<float>(c, {4, 3, 3, 3}, 2);
    auto const x = randn<float>(c, {2, 3, 5, 6}, 1);
    auto const r = value_and_grad(layer, [&](auto& m) { return sum(m(x) * randn<float>(c, {2, 4, 5, 6}, 9)); });
    return std::tuple(r.gradients(layer.weight), r.gradients(layer.bias));
  });
  conformance::agree(gpu(), "group_norm", 2e-5, [&](auto const& c) {
    using B = typename std::remove_cvref_t<decltype(c)>::backend_type;
    nn::group_norm<float, B> layer(c, 6, 3);
    layer.weight = randn<float>(c, {6}, 4);
    return both(c, {2, 6, 3, 5}, [&](auto const& v) { return layer(v, [](auto const& y) { return silu(y); }); });
  });
  conformance::agree(gpu(), "max_pool", 1e-6, [&](auto const& c) { return both(c, {2, 3, 7, 6}, [](auto const& v) { return max_pool(v, {3, 3}, {{2, 2}, {1, 1}}); }); });
  conformance::agree(gpu(), "average_pool", 1e-6, [&](auto const& c) { return both(c, {2, 3, 7, 6}, [](auto const& v) { return average_pool(v, {3, 3}, {{1, 1}, {1, 1}}, false); }); });
  conformance::agree(gpu(), "upsample_nearest", 1e-6, [&](auto const& c) { return both(c, {1, 2, 3, 4}, [](auto const& v) { return upsample_nearest(v, 2); }); });
  conformance::agree(gpu(), "dynamic_threshold", 1e-6, [](auto const& c) { return dynamic_threshold{.quantile = 0.9}(eval(randn<float>(c, {3, 2, 4, 4}, 1) * 3)); });
}
