// Training on the GPU backend against plain loops: lists of kernels, norms, AdamW, averages, a model's step.
#include "conformance.hpp"
#include "cuda.hpp"

#include <cog/nn/linear.hpp>
#include <cog/optim/accumulate.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>
#include <cog/optim/ema.hpp>

using namespace cog;

namespace {

/// Parameters of several ranks and lengths, one of them not a multiple of anything.
template <class T, backend B>
struct odd_model {
  nn::linear<T, B> first, second;
  tensor<T, 1, B> scale;
  std::vector<tensor<T, 3, B>> many;
  void visit(auto&& f) {
    f("first", first);
    f("second", second);
    f("scale", scale);
    f("many", many);
  }
};

template <class T, class Context>
auto make_odd_model(Context const& c) {
  using B = typename Context::backend_type;
  odd_model<T, B> m{{c, 67, 31}, {c, 31, 5}, eval(cast<T>(randn<float>(c, {31}, 9))), {}};
  nn::initialise(m.first, 1, nn::xavier_uniform{});
  nn::initialise(m.second, 2, nn::xavier_uniform{});
  for (int i = 0; i < 140; ++i)  // more than one launch's worth
    m.many.push_back(eval(cast<T>(randn<float>(c, {2, 3, i + 1}, 10, static_cast<std::uint64_t>(i)))));
  return m;
}

}  // namespace

TEST_CASE("gpu: AdamW, clipping, averages over many parameters at once") {
  auto const one_type = []<class T>(T, double tolerance) {
    conformance::agree(gpu(), "three steps", tolerance, []<class C>(C const& c) {
      using B = typename C::backend_type;
      auto m = make_odd_model<T>(c);
      adamw<B> optimizer(m, {.weight_decay = 0.1});
      ema<B> average(m, 0.9);
      gradient_mean<B> mean;
      double norm = 0;
      for (int step = 0; step < 3; ++step) {
        // Any function of the parameter will do for its gradient.
        auto const g = [&](auto const& p) { return eval(cast<T>(cast<float>(p) * 0.5 + 0.01 * (step + 1))); };
        mean.clear();
        mean.add(m, g);
        mean.add(m, [&](auto const& p) { return eval(cast<T>(cast<float>(p) * -0.25)); });
        auto const clipped = clip_norm(m, mean, 1.0);
        norm += clipped.norm;
        optimizer.step(m, clipped, 0.01);
        average.update(m);
      }
      auto const smooth = average.of(m);
      return std::tuple(m.first.weight, m.second.weight, m.scale, m.many[0], m.many[139], smooth.scale, smooth.many[77], scalar(c, norm));
    });
  };
  one_type(float{}, 1e-5);
  one_type(bf16{}, 0.01);
}

TEST_CASE("gpu: small steps of bf16 parameters add up in their master copies") {
  auto m = odd_model<bf16, cog::cuda>{{gpu(), 8, 8}, {gpu(), 8, 8}, full<bf16>(gpu(), {16}, bf16(1.0f)), {}};
  adamw<cog::cuda> optimizer(m, {.weight_decay = 0});
  auto const g = [](auto const& p) { return eval(cast<bf16>(cast<float>(p) * 0 + 1)); };
  for (int step = 0; step < 100; ++step) optimizer.step(m, g, 1e-4);  // each far below the spacing of bf16 at 1
  CHECK(std::abs(static_cast<float>(m.scale.to_vector()[3]) - 0.99f) < 0.004f);
}
