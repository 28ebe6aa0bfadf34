// The language model with its vocabulary, and the folder it lives in:
//   config.json (the published model_cfg), model.safetensors, tokenizer.json or tokenizer.model
// which a checkpoint of `train` and a released model converted by convert.py both are.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <functional>
#include <numbers>
#include <optional>
#include <span>
#include <string>

#include <cog/floors.hpp>
#include <cog/io/checkpoint.hpp>
#include <cog/models/cogformer.hpp>

#include "../common/terminal.hpp"
#include "vocabulary.hpp"

namespace lm {

using namespace tool;

template <class B, class T>
using network = cog::cogformer<T, B>;

nlohmann::ordered_json config_to_json(cog::cogformer_config const& config);
/// Throws when a key is missing or of another kind; further keys are ignored, as by the published code.
cog::cogformer_config config_from_json(nlohmann::json const& object);

/// Puts config.json and the tokenizer into a folder.
void save_description(std::filesystem::path const& folder, cog::cogformer_config const& config,
                      vocabulary const& words);

/// What a folder says of its model, without the weights.
struct model_description {
  std::filesystem::path folder;
  cog::cogformer_config config;
  vocabulary words;
  std::optional<cog::checkpoint_reader> checkpoint;  // when it is a checkpoint of `train`
};
/// `path` is such a folder, or one of checkpoints, of which the newest complete one is taken; `note` hears of others.
model_description describe_model(std::filesystem::path const& path,
                                 std::function<void(std::string const&)> const& note);

template <class B, class T>
struct language_model {
  model_description about;
  network<B, T> model;
  std::string weights;  // the file they came from
};
/// Loads the averaged weights where there are some and `averaged`; else those of the last step.
template <class B, class T>
language_model<B, T> load_model(typename B::context const& ctx, std::filesystem::path const& path, bool averaged,
                                std::function<void(std::string const&)> const& note) {
  auto about = describe_model(path, note);
  auto model = [&] {
    try {
      return network<B, T>(ctx, about.config);
    } catch (cog::error const& e) {
      throw cog::error((about.folder / "config.json").string(), ": ", e.what());
    }
  }();
  std::string file = "model.safetensors";
  if (about.checkpoint) {
    if (averaged && about.checkpoint->contains("ema.safetensors")) file = "ema.safetensors";
    about.checkpoint->load(file, model);
  } else {
    cog::safetensors_file const source(about.folder / file);
    try {
      model.load(source);
    } catch (cog::error const& e) {
      std::string const text = e.what();
      throw cog::error(text.find(source.path().string()) == text.npos ? source.path().string() + ": " + text : text);
    }
  }
  return {std::move(about), std::move(model), file};
}

struct evaluation {
  double nats = 0;  // in total
  cog::index_t tokens = 0, bytes = 0;
  double seconds = 0;
  double loss() const { return nats / static_cast<double>(tokens); }
  double bits_per_byte() const { return nats / std::numbers::ln2 / static_cast<double>(bytes); }
  double perplexity() const { return std::exp(loss()); }
};
/// The loss of predicting every token of a text from those before it in a window of max_seq_length; windows follow each
/// other. With `most_windows` > 0 only so many, evenly spread. `progress(fraction)` returning false ends it early.
template <class B, class T>
evaluation evaluate(network<B, T> const& model, vocabulary const& words, std::span<std::int32_t const> tokens,
                    cog::index_t most_windows, std::function<bool(double)> const& progress) {
  using cog::index_t;
  auto const& ctx = model.context();
  index_t const window = model.config.max_seq_length, total = static_cast<index_t>(tokens.size()) - 1;
  if (total < 1) throw cog::error("evaluate: ", tokens.size(), " tokens; at least two are needed");
  stopwatch const since;
  evaluation out;
  auto const sizes = words.byte_counts();

  std::vector<index_t> starts;
  index_t const whole = total / window;
  index_t const used = most_windows > 0 ? std::min(most_windows, whole) : whole;
  for (index_t i = 0; i < used; ++i) starts.push_back(i * whole / used * window);
  index_t const rest = used == whole ? total % window : 0;
  // Logits of about a quarter of a gigabyte at a time.
  index_t const rows = std::clamp<index_t>((index_t{1} << 26) / (window * model.config.vocab_size), 1, 64);

  auto const add = [&](std::span<index_t const> at, index_t length) {
    std::vector<std::int32_t> x, y;
    for (index_t start : at)
      for (index_t i = start; i < start + length; ++i) {
        x.push_back(tokens[static_cast<std::size_t>(i)]);
        y.push_back(tokens[static_cast<std::size_t>(i) + 1]);
        out.bytes += sizes[static_cast<std::size_t>(y.back())];
      }
    index_t const shape[] = {static_cast<index_t>(at.size()), length};
    out.nats +=
        static_cast<double>(cross_entropy_sum(model(cog::from(ctx, x, shape)), cog::from(ctx, y, shape)).item());
    out.tokens += static_cast<index_t>(y.size());
    return progress(static_cast<double>(out.tokens) / static_cast<double>(used * window + rest));
  };
  bool on = true;
  for (std::size_t i = 0; i < starts.size() && on; i += static_cast<std::size_t>(rows))
    on = add(std::span(starts).subspan(i, std::min(starts.size() - i, static_cast<std::size_t>(rows))), window);
  if (on && rest > 0) add(std::array{whole * window}, rest);
  out.seconds = since.seconds();
  return out;
}

}  // namespace lm
