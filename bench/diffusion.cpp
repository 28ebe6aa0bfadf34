// U-ViT and U-ViC: a training step and one evaluation of the network, which is what a solver's step costs. tiny is the model of
// `sh examples/run.sh image` (16 x 16 pictures); small is U-ViT-S/2 for CIFAR-10 (44 M). And convolutions: one product with the
// windows laid out as columns, as conv2d is, against a product for every place of the kernel, which lays out nothing.
#include <benchmark/benchmark.h>

#include <cog/cog.hpp>
#include <cog/models/uvit.hpp>

#include "machine.hpp"

namespace {

using namespace cog;

uvit_config const tiny{.img_size = 16, .patch_size = 2, .embed_dim = 128, .depth = 4, .num_heads = 4};
uvit_config const small{.img_size = 32, .patch_size = 2, .embed_dim = 512, .depth = 12, .num_heads = 8};

/// Runs f once a repetition; pictures a second and the share of the multiply-add peak. `passes`: a forward pass is one, a backward two.
template <class F>
void measure(benchmark::State& state, cpu::context const& ctx, uvit_config const& c, index_t parameters, index_t batch, int passes, F const& f) {
  f();
  double seconds = 0;
  for (auto _ : state) {
    double const start = machine::seconds();
    f();
    seconds += machine::seconds() - start;
  }
  double const tokens = static_cast<double>(c.tokens());
  // 2 a token for every parameter, and 4 n dim a block for scores and values.
  double const work = tokens * (2.0 * static_cast<double>(parameters) + 4.0 * tokens * static_cast<double>(c.embed_dim * (c.depth + 1)));
  double const rate = static_cast<double>(state.iterations() * batch) / seconds;
  state.counters["pictures/s"] = rate;
  state.counters["share_of_peak"] = rate * work * passes / machine::fma_peak<float>(ctx);
}

/// y = sum over (u, v) of weight[:, :, u, v] times the pixels under that place of the kernel.
tensor<float, 4, cpu> by_places(tensor<float, 4, cpu> const& input, tensor<float, 4, cpu> const& w, window_steps const& steps) {
  auto const [down, right] = steps.padding;
  auto const x = pad(input, {down, down, right, right});
  index_t const rows = (x.extent(2) - w.extent(2)) / steps.stride[0] + 1, columns = (x.extent(3) - w.extent(3)) / steps.stride[1] + 1;
  auto y = zeros<float>(x.context(), {x.extent(0), w.extent(0), rows * columns});
  for (index_t u = 0; u < w.extent(2); ++u)
    for (index_t v = 0; v < w.extent(3); ++v) {
      auto const part = slice(slice(x, 2, u, u + (rows - 1) * steps.stride[0] + 1, steps.stride[0]), 3, v, v + (columns - 1) * steps.stride[1] + 1, steps.stride[1]);
      y = matmul(select(select(w, 3, v), 2, u), reshape(part, {x.extent(0), x.extent(1), rows * columns})) + y;
    }
  return reshape(y, {x.extent(0), w.extent(0), rows, columns});
}

/// Floating-point operations of the definition a second, of the multiply-add peak.
void convolve(benchmark::State& state, extents<4> const& shape, extents<4> const& kernel, window_steps const& steps, bool columns) {
  cpu::context const ctx;
  auto const x = randn<float>(ctx, shape, 1), w = randn<float>(ctx, kernel, 2);
  auto const y = conv2d(x, w, {}, steps);
  if (auto const off = max(abs(y - by_places(x, w, steps))).item(); !(off < 1e-2)) return state.SkipWithError(("the two differ by " + std::to_string(off)).c_str());
  double seconds = 0;
  for (auto _ : state) {
    double const start = machine::seconds();
    if (columns) benchmark::DoNotOptimize(conv2d(x, w, {}, steps));
    else benchmark::DoNotOptimize(by_places(x, w, steps));
    seconds += machine::seconds() - start;
  }
  double const work = 2.0 * static_cast<double>(y.size() * kernel[1] * kernel[2] * kernel[3]) * static_cast<double>(state.iterations());
  state.counters["GF/s"] = work / seconds * 1e-9;
  state.counters["share_of_peak"] = work / seconds / machine::fma_peak<float>(ctx);
}

struct {
  char const* name;
  extents<4> x, w;
  window_steps steps;
} const convolutions[] = {{"autoencoder 512 to 512, 3 x 3, 32 x 32", {1, 512, 32, 32}, {512, 512, 3, 3}, {{1, 1}, {1, 1}}},
                          {"autoencoder 128 to 128, 3 x 3, 128 x 128", {1, 128, 128, 128}, {128, 128, 3, 3}, {{1, 1}, {1, 1}}},
                          {"autoencoder 512 to 512, 1 x 1, 32 x 32", {1, 512, 32, 32}, {512, 512, 1, 1}, {}},
                          {"Inception 192 to 192, 1 x 7, 17 x 17, batch 8", {8, 192, 17, 17}, {192, 192, 1, 7}, {{1, 1}, {0, 3}}},
                          {"classifier 32 to 64, 3 x 3 by 2, 16 x 16, batch 32", {32, 32, 16, 16}, {64, 32, 3, 3}, {{2, 2}, {1, 1}}},
                          {"U-ViT 3 to 3, 3 x 3, 32 x 32, batch 32", {32, 3, 32, 32}, {3, 3, 3, 3}, {{1, 1}, {1, 1}}}};

bool const added = [] {
  for (bool const np : {false, true})
    for (auto [size, config, batch] : {std::tuple("tiny", tiny, index_t(32)), std::tuple("small", small, index_t(4))}) {
      config.np = np;
      std::string const name = std::string(np ? "U-ViC " : "U-ViT ") + size;
      benchmark::RegisterBenchmark((name + " training step").c_str(), [c = config, n = batch](benchmark::State& state) {
        cpu::context const ctx;
        uvit<float, cpu> model(ctx, c);
        model.initialise(1);
        adamw<cpu> optimizer(model, {});
        vp_schedule const schedule;
        random_stream random{.seed = 1};
        auto const x = randn<float>(ctx, {n, c.in_chans, c.img_size, c.img_size}, 2), noise = randn<float>(ctx, {n, c.in_chans, c.img_size, c.img_size}, 3);
        auto const times = draw_times(schedule, n, random);
        measure(state, ctx, c, parameter_count(model), n, 3, [&] {
          auto [loss, gradients] = value_and_grad(model, [&](auto& m) { return noise_prediction_loss(m, schedule, x, noise, times); });
          optimizer.step(model, gradients, 1e-4);
          benchmark::DoNotOptimize(loss.item());
        });
      })->UseRealTime()->Unit(benchmark::kMillisecond);
      benchmark::RegisterBenchmark((name + " evaluation").c_str(), [c = config, n = batch](benchmark::State& state) {
        cpu::context const ctx;
        uvit<float, cpu> model(ctx, c);
        model.initialise(1);
        auto const predict = predictor(model);
        auto const x = randn<float>(ctx, {n, c.in_chans, c.img_size, c.img_size}, 2);
        measure(state, ctx, c, parameter_count(model), n, 1, [&] { benchmark::DoNotOptimize(predict(x, 0.5)); });
      })->UseRealTime()->Unit(benchmark::kMillisecond);
    }
  for (auto const& c : convolutions)
    for (bool const columns : {true, false})
      benchmark::RegisterBenchmark((std::string(c.name) + (columns ? ": columns" : ": by places")).c_str(),
                                   [=](benchmark::State& state) { convolve(state, c.x, c.w, c.steps, columns); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
  return true;
}();

}  // namespace
