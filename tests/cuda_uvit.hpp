// Training and sampling of a small U-ViC of one element type on the GPU.
#pragma once

#include "cuda.hpp"

#include <cog/diffusion/guidance.hpp>
#include <cog/diffusion/objective.hpp>
#include <cog/diffusion/solver.hpp>
#include <cog/models/uvit.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>
#include <cog/optim/ema.hpp>
#include <cog/optim/loss_scale.hpp>

namespace cuda_uvit {

using namespace cog;

/// The loss falls, and every solver draws something finite.
template <class T>
void learns() {
  cog::cuda::context const ctx;
  uvit<T, cog::cuda> model(ctx, {.img_size = 4, .embed_dim = 32, .depth = 2, .num_heads = 2, .np = true, .num_classes = 3});
  model.initialise(1);
  adamw<cog::cuda> optimizer(model);
  ema<cog::cuda> average(model, 0.5);
  loss_scaler scaler(1024);
  vp_schedule const schedule;
  random_stream random{1};
  auto const labels = from<std::int64_t>(ctx, {0, 1, 0, 1, 0, 1, 0, 1});
  auto const x = eval(cast<float>(reshape(labels, {8, 1, 1, 1})) - 0.5f + zeros<float>(ctx, {8, 3, 4, 4}));
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    auto const noise = randn<float>(ctx, x.extents(), 2, random.next());
    auto const times = draw_times(schedule, 8, random);
    auto const r = value_and_grad(model, [&](auto& m) { return scaler.scale(noise_prediction_loss(m, schedule, x, noise, times, labels)); });
    auto const gradients = scaler.unscale(r.gradients);
    if (scaler.update(global_norm(model, gradients))) optimizer.step(model, gradients, 5e-3);
    average.update(model);
    last = static_cast<double>(r.value.item()) / scaler.current();
    if (step == 0) first = last;
  }
  INFO(first << " to " << last);
  CHECK(last < 0.8 * first);

  auto const smooth = average.of(model);
  auto const wanted = from<std::int64_t>(ctx, {0, 1}), none = from<std::int64_t>(ctx, {2});
  auto const predict = guided(smooth, wanted, none, 0.5);
  auto const start = randn<float>(ctx, {2, 3, 4, 4}, 3);
  auto const finite = [](auto const& y) { return std::isfinite(static_cast<double>(sum(y).item())); };
  CHECK(finite(dpm_solver(predict, start, schedule, {.steps = 5, .threshold = dynamic_threshold{}})));
  CHECK(finite(dpm_solver(predict, start, schedule, {.steps = 3, .order = 2, .method = dpm_method::multistep})));
  CHECK(finite(ddpm(predict, start, schedule, {.steps = 3})));
  CHECK(finite(euler_maruyama(predict, start, schedule, {.steps = 3})));
}

}  // namespace cuda_uvit
