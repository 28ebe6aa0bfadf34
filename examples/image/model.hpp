// The network with what it was trained on, and the folder it lives in: config.json, model.safetensors, and
// ema.safetensors of averages.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <cog/diffusion/schedule.hpp>
#include <cog/floors.hpp>
#include <cog/io/checkpoint.hpp>
#include <cog/models/uvit.hpp>

#include "../common/terminal.hpp"

namespace image {

using namespace tool;

template <class B, class T>
using network = cog::uvit<T, B>;
using any_schedule = std::variant<cog::discrete_schedule, cog::vp_schedule>;

/// What config.json says. A model of K classes that can be guided has an embedding more than classes: index K is "no
/// class".
struct model_description {
  cog::uvit_config config;
  std::string schedule = "vp";       // vp or discrete
  std::vector<std::string> classes;  // none: unconditional, or of texts
  double scale_factor = 0;           // of an autoencoder's latents; 0: the model's pictures are pictures

  any_schedule make_schedule() const;
  bool of_latents() const { return scale_factor != 0; }
  bool can_be_guided() const {
    return config.has_text() || config.num_classes > static_cast<cog::index_t>(classes.size());
  }
  /// The index of a class by its name or number. Throws, naming the classes, when there is none.
  cog::index_t class_of(std::string const& word) const;
};

void save_description(std::filesystem::path const& folder, model_description const& about);

/// What a folder says of its model, without the weights.
struct found_model {
  std::filesystem::path folder;
  model_description about;
  std::optional<cog::checkpoint_reader> checkpoint;  // when it is a checkpoint of `train`
};
/// `path` is a checkpoint, a folder of checkpoints, of which the newest complete one is taken, or a converted model.
/// Throws, naming the file, when something is missing or does not fit.
found_model find_model(std::filesystem::path const& path, char const* command);

/// Weights under the model's names from a file whose name stands in every error.
void load_file(std::filesystem::path const& file, auto const& load) {
  try {
    load(cog::safetensors_file(file));
  } catch (cog::error const& e) {
    std::string const text = e.what();
    throw cog::error(text.find(file.string()) == text.npos ? file.string() + ": " + text : text);
  }
}

/// Throws, naming file and parameter, where weights hold an infinity or what is no number.
void check_finite(auto const& model, std::filesystem::path const& file) {
  for_each_parameter(model, [&](std::string const& name, auto const& x) {
    if (!std::isfinite(static_cast<double>(cog::sum(cog::abs(cog::cast<float>(x))).item())))
      throw cog::error(file.string(), ": '", name, "' holds numbers that are not finite");
  });
}

template <class B, class T>
struct loaded_model {
  found_model found;
  network<B, T> model;
  std::string weights;  // the file they came from
};
/// Averaged weights where there are some and `averaged`.
template <class B, class T>
loaded_model<B, T> load_model(typename B::context const& ctx, std::filesystem::path const& path, bool averaged,
                              char const* command) {
  auto found = find_model(path, command);
  network<B, T> model(ctx, found.about.config);
  std::string file = "model.safetensors";
  if (averaged && std::filesystem::exists(found.folder / "ema.safetensors")) file = "ema.safetensors";
  if (found.checkpoint) found.checkpoint->load(file, model);
  else load_file(found.folder / file, [&](auto const& source) { load_parameters(model, source); });
  check_finite(model, found.folder / file);
  return {std::move(found), std::move(model), file};
}

}  // namespace image
