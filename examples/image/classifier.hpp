// A small convolutional classifier that the program trains itself: its last hidden layer is where distances are
// measured when there is no Inception, and it tells of what class a picture is.
#pragma once

#include <cog/autograd/functional.hpp>
#include <cog/nn/conv.hpp>
#include <cog/nn/linear.hpp>
#include <cog/nn/loss.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/learning_rate.hpp>
#include <cog/random/stream.hpp>

#include "../common/terminal.hpp"
#include "dataset.hpp"

namespace image {

using namespace tool;

template <class B>
struct classifier {
  static constexpr cog::index_t width = 64;  // of the features
  cog::nn::conv2d<float, B> conv1, conv2, conv3;
  cog::nn::linear<float, B> head;

  classifier() = default;
  classifier(typename B::context const& ctx, cog::index_t channels, cog::index_t classes)
      : conv1(ctx, channels, 32, 3, 2, 1),
        conv2(ctx, 32, width, 3, 2, 1),
        conv3(ctx, width, width, 3, 2, 1),
        head(ctx, width, classes) {}

  void visit(auto&& f) {
    f("conv1", conv1);
    f("conv2", conv2);
    f("conv3", conv3);
    f("head", head);
  }

  /// [n, width]: the means over the picture.
  auto features(auto const& x) const {
    auto const step = [](auto const& layer, auto const& v) { return eval(gelu(layer(v))); };
    return mean(step(conv3, step(conv2, step(conv1, x))), cog::axes<2, 3>{});
  }
  auto operator()(auto const& x) const { return head(features(x)); }
};

/// f(pictures, indices) for these of a dataset, a few at a time.
template <class Context, class F>
void in_batches(Context const& ctx, dataset const& data, std::span<cog::index_t const> which, F const& f) {
  constexpr std::size_t at_once = 32;
  for (std::size_t first = 0; first < which.size(); first += at_once) {
    interruption::check();
    auto const part = which.subspan(first, std::min(at_once, which.size() - first));
    f(data.batch(ctx, part), part);
  }
}

/// The share of pictures that are taken for their own class; classes are matched by name.
template <class B>
double accuracy_of(typename B::context const& ctx, classifier<B> const& judge, dataset const& data,
                   std::span<cog::index_t const> which, std::vector<std::string> const& classes) {
  cog::index_t right = 0;
  in_batches(ctx, data, which, [&](auto const& x, auto const& part) {
    auto const said = cog::argmax(judge(x), -1).to_vector();
    for (std::size_t i = 0; i < part.size(); ++i)
      right += classes[static_cast<std::size_t>(said[i])] ==
               data.classes[static_cast<std::size_t>(data.labels[static_cast<std::size_t>(part[i])])];
  });
  return static_cast<double>(right) / static_cast<double>(which.size());
}

/// Trained on nine tenths of the pictures; `accuracy` is its share of right answers on the others.
template <class B>
classifier<B> train_classifier(typename B::context const& ctx, dataset const& data, std::uint64_t seed,
                               double& accuracy) {
  constexpr cog::index_t steps = 400, batch = 32;
  classifier<B> model(ctx, data.channels, static_cast<cog::index_t>(data.classes.size()));
  cog::nn::initialise(model, seed, cog::nn::kaiming_uniform{});
  cog::random_stream random{seed, 0};
  auto const order = cog::permutation(data.count(), random);
  auto const learnt = data.count() - std::max<cog::index_t>(1, data.count() / 10);
  cog::adamw<B> optimizer(model, {.weight_decay = 0.01});
  cog::learning_rate const rate{.peak = 3e-3, .warmup = 20, .steps = steps};
  progress_bar bar("classifier");
  for (cog::index_t step = 0; step < steps; ++step) {
    interruption::check();
    std::vector<cog::index_t> which;
    for (cog::index_t i = 0; i < batch; ++i) which.push_back(order[static_cast<std::size_t>(random.below(learnt))]);
    auto const x = data.batch(ctx, which);
    auto const labels = cog::from(ctx, data.labels_of(which), {batch});
    auto const result = cog::value_and_grad(model, [&](auto& m) { return cross_entropy(m(x), labels); });
    optimizer.step(model, result.gradients, rate(step));
    bar.update(static_cast<double>(step + 1) / static_cast<double>(steps),
               format("loss %.3f", static_cast<double>(result.value.item())));
  }
  accuracy = accuracy_of<B>(ctx, model, data, std::span(order).subspan(static_cast<std::size_t>(learnt)), data.classes);
  return model;
}

}  // namespace image
