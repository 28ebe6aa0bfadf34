// The language model with its vocabulary, and the folder it lives in:
//   config.json (the published model_cfg), model.safetensors, tokenizer.json or tokenizer.model
// which a checkpoint of `train` and a released model converted by convert.py both are.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include <cog/cog.hpp>
#include <cog/io/checkpoint.hpp>
#include <cog/models/cogformer.hpp>

#include "vocabulary.hpp"

namespace lm {

using device = cog::cpu;
using network = cog::cogformer<float, device>;

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

struct language_model {
  model_description about;
  network model;
  std::string weights;  // the file they came from
};
/// Loads the averaged weights where there are some and `averaged`; else those of the last step.
language_model load_model(device::context const& ctx, std::filesystem::path const& path, bool averaged,
                          std::function<void(std::string const&)> const& note);

struct evaluation {
  double nats = 0;  // in total
  cog::index_t tokens = 0, bytes = 0;
  double seconds = 0;
  double loss() const { return nats / static_cast<double>(tokens); }
  double bits_per_byte() const;
  double perplexity() const;
};
/// The loss of predicting every token of a text from those before it in a window of max_seq_length; windows follow each
/// other. With `most_windows` > 0 only so many, evenly spread. `progress(fraction)` returning false ends it early.
evaluation evaluate(network const& model, vocabulary const& words, std::span<std::int32_t const> tokens,
                    cog::index_t most_windows, std::function<bool(double)> const& progress);

}  // namespace lm
