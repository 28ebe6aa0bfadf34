// Pictures from a model: what `sample` and the previews of `train` share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <cog/diffusion/guidance.hpp>
#include <cog/diffusion/solver.hpp>

#include "model.hpp"

namespace image {

struct sampling {
  std::string solver = "dpm++";
  cog::index_t steps = 50;
  cog::index_t order = 0;  // of DPM-Solver; 0: the highest
  double guidance = 0;
  double threshold = 0.995;  // quantile of dynamic thresholding; 0: none
  std::uint64_t seed = 1;
};

/// What the pictures of a batch are to show: a label each for a model of classes, the states of a text each and those
/// of no text, [1, tokens, width], for one of texts, else nothing.
template <class B>
struct wishes {
  cog::index_t count = 0;
  std::vector<std::int64_t> labels{};
  cog::tensor<float, 3, B> texts{}, no_text{};
};

namespace detail {

template <class B>
using predictor = std::function<cog::tensor<float, 4, B>(cog::tensor<float, 4, B> const&, double)>;

template <class B, class Schedule>
cog::tensor<float, 4, B> solve(predictor<B> const& predict, cog::tensor<float, 4, B> const& noise,
                               Schedule const& schedule, sampling const& how, std::uint64_t seed) {
  std::optional<cog::dynamic_threshold> threshold;
  if (how.threshold > 0) threshold = {.quantile = how.threshold};
  if (how.solver == "ddim") return ddim(predict, noise, schedule, {.steps = how.steps, .threshold = threshold});
  if (how.solver == "ddpm")
    return ddpm(predict, noise, schedule, {.steps = how.steps, .seed = seed, .threshold = threshold});
  if (how.solver == "euler") return euler(predict, noise, schedule, {.steps = how.steps});
  if (how.solver == "euler-maruyama")
    return euler_maruyama(predict, noise, schedule, {.steps = how.steps, .seed = seed});
  cog::dpm_options o{.steps = how.steps, .threshold = threshold};
  if (how.solver == "dpm") o.prediction = cog::dpm_prediction::noise;
  if (how.solver == "dpm++2m") {
    o.method = cog::dpm_method::multistep;
    o.order = 2;
  }
  if (how.order > 0) o.order = static_cast<int>(how.order);
  if constexpr (std::same_as<Schedule, cog::vp_schedule>) {  // as U-ViT samples its models of this kind
    o.spacing = cog::dpm_spacing::lambda;
    o.end = 1e-4;
  }
  return dpm_solver(predict, noise, schedule, o);
}

}  // namespace detail

/// What the model draws, [n, channels, size, size]. `done` is called before every evaluation. Which noise picture i
/// begins with depends on `first` + i and the seed alone.
template <class B, class T>
cog::tensor<float, 4, B> draw_pictures(network<B, T> const& model, model_description const& about,
                                       wishes<B> const& what, sampling const& how, cog::index_t first,
                                       std::function<void()> const& done) {
  auto const& c = about.config;
  auto const& ctx = model.context();
  cog::tensor<float, 4, B> noise(ctx, {what.count, c.in_chans, c.img_size, c.img_size});
  for (cog::index_t i = 0; i < what.count; ++i)
    select(noise, 0, i)
        .assign(cog::randn<float>(ctx, cog::extents<3>{c.in_chans, c.img_size, c.img_size}, how.seed,
                                  static_cast<std::uint64_t>(first + i)));

  detail::predictor<B> predict;
  if (how.guidance != 0 && !about.can_be_guided())
    throw cog::error("--guidance ", how.guidance,
                     c.has_classes() ? ": the model was trained without --drop-class, so it cannot be guided"
                                     : ": the model knows no classes");
  if (c.has_text()) {
    predict = guided(model, what.texts, what.no_text, how.guidance);
  } else if (c.has_classes()) {
    predict = guided(model, cog::from(ctx, what.labels, {what.count}),
                     cog::full<std::int64_t>(ctx, {1}, c.num_classes - 1), how.guidance);
  } else {
    predict = cog::predictor(model);
  }
  detail::predictor<B> const counted = [&](cog::tensor<float, 4, B> const& x, double time) {
    done();
    return predict(x, time);
  };
  auto const seed =
      how.seed + 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(first + 1);  // of the noise that solvers add
  return std::visit([&](auto const& schedule) { return detail::solve<B>(counted, noise, schedule, how, seed); },
                    about.make_schedule());
}

}  // namespace image
