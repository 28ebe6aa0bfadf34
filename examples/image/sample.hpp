// cog-diffusion sample: pictures from a model.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "../common/device.hpp"
#include "commands.hpp"
#include "dataset.hpp"
#include "latent.hpp"
#include "sampler.hpp"

namespace image {

/// What is drawn in turn: classes, texts, or one nameless thing.
struct subjects {
  std::vector<std::string> names;    // for people
  std::vector<std::string> folders;  // for files
  std::vector<std::int64_t> labels;
};
inline subjects subjects_of(sample_settings const& s, model_description const& about) {
  subjects out;
  if (about.config.has_text()) {
    if (!s.classes.empty()) throw cog::error("--class: ", s.ckpt, " is a model of texts; give --prompt");
    if (s.prompts.empty() || s.clip.empty())
      throw cog::error(s.ckpt, ": a model of texts: --prompt and --clip are required");
    for (auto const& text : s.prompts) {
      out.folders.push_back(format("%03zu", out.names.size()));
      out.names.push_back(text);
    }
    return out;
  }
  if (!s.prompts.empty()) throw cog::error("--prompt: ", s.ckpt, " is no model of texts");
  for (auto const& word : s.classes) out.labels.push_back(about.class_of(word));
  if (out.labels.empty())
    for (std::size_t i = 0; i < std::max<std::size_t>(1, about.classes.size()); ++i)
      out.labels.push_back(static_cast<std::int64_t>(i));
  for (auto const label : out.labels)
    out.names.push_back(about.classes.empty() ? std::string() : about.classes[static_cast<std::size_t>(label)]);
  out.folders = out.names;
  return out;
}

/// Removes the numbered pictures of an earlier call from `folder` and its folders of classes: a mixture would be measured as one set. What
/// another program made stays.
inline void forget_pictures(std::filesystem::path const& folder) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> old;
  for (auto at = fs::recursive_directory_iterator(folder); at != fs::recursive_directory_iterator(); ++at) {
    if (at.depth() > 0) at.disable_recursion_pending();
    auto const name = at->path().stem().string();
    if (at->path().extension() != ".png" || name.size() < 5 || name.find_first_not_of("0123456789") != name.npos) continue;
    constexpr std::string_view ours("tEXtSoftware\0cog-diffusion", 26);
    if (cog::mapped_file(at->path()).text().find(ours) != std::string_view::npos) old.push_back(at->path());
  }
  for (auto const& file : old) fs::remove(file);
}

template <class B, class T>
int sample(sample_settings const& s) {
  namespace fs = std::filesystem;
  using cog::index_t;
  auto const ctx = make_context<B>(s.threads);
  auto const loaded = load_model<B, T>(ctx, s.ckpt, !s.no_ema, "sample");
  auto const& about = loaded.found.about;
  auto const wanted = subjects_of(s, about);
  auto const kinds = wanted.names.size();
  if (about.of_latents() && s.autoencoder.empty())
    throw cog::error(s.ckpt, ": a model of latents: --autoencoder is required");
  std::optional<cog::autoencoder_kl<T, B>> autoencoder;
  if (!s.autoencoder.empty()) autoencoder.emplace(load_autoencoder<B, T>(ctx, s.autoencoder, about.scale_factor));
  cog::tensor<float, 3, B> texts, no_text;
  if (about.config.has_text()) {
    text_encoder<B, T> const encoder(ctx, s.clip);
    texts = encoder(wanted.names);
    no_text = encoder({""});
    if (texts.extent(1) != about.config.num_clip_token || texts.extent(2) != about.config.clip_dim)
      throw cog::error("--clip ", s.clip, ": its states are of shape ", texts.extents(), ", the model takes [",
                       about.config.num_clip_token, ", ", about.config.clip_dim, "]");
  }
  sampling const how{
      s.solver, s.steps, s.order, s.guidance, about.of_latents() ? 0 : s.threshold, static_cast<std::uint64_t>(s.seed)};
  std::map<std::string, std::string> text{{"Software", "cog-diffusion"},
                                          {"checkpoint", loaded.found.folder.string() + "/" + loaded.weights},
                                          {"solver", s.solver},
                                          {"steps", std::to_string(s.steps)},
                                          {"order", std::to_string(s.order)},
                                          {"guidance", brief(s.guidance)},
                                          {"threshold", brief(how.threshold)},
                                          {"seed", std::to_string(s.seed)}};
  char const* const kind = about.config.has_text() ? "prompt" : "class";

  interruption const asked;
  stopwatch const since;
  progress_bar bar("sample");
  fs::create_directories(s.out);
  std::vector<picture> shown;
  index_t evaluations = 0;
  index_t const batches = (s.count + s.batch - 1) / s.batch;
  for (index_t first = 0; first < s.count; first += s.batch) {
    std::vector<std::size_t> which;
    for (index_t i = first; i < std::min(s.count, first + s.batch); ++i)
      which.push_back(static_cast<std::size_t>(i) % kinds);
    wishes<B> what{.count = static_cast<index_t>(which.size()), .no_text = no_text};
    if (about.config.has_text()) {
      std::vector<index_t> const rows(which.begin(), which.end());
      auto const [count, tokens, width] = texts.extents();
      what.texts =
          reshape(take(reshape(texts, cog::extents<2>{count, tokens * width}), cog::from(ctx, rows, {what.count})),
                  cog::extents<3>{what.count, tokens, width});
    } else {
      for (auto const k : which) what.labels.push_back(wanted.labels[k]);
    }
    auto x = draw_pictures<B, T>(loaded.model, about, what, how, first, [&] {
      ++evaluations;
      bar.update(static_cast<double>(evaluations) / static_cast<double>(batches * s.steps),
                 format("%.1f evaluations/s", static_cast<double>(evaluations) / since.seconds()));
      interruption::check();
    });
    if (autoencoder) x = decode<B, T>(*autoencoder, x);
    if (!std::isfinite(static_cast<double>(cog::sum(cog::abs(x)).item())))
      throw cog::error(s.ckpt, ": what it draws is not finite; fewer --guidance or --dtype float may help");
    auto const made = to_pictures(x);
    if (first == 0 && !s.no_singles) forget_pictures(fs::path(s.out) / "pictures");
    for (std::size_t i = 0; i < made.size(); ++i) {
      auto const number = first + static_cast<index_t>(i);
      auto const& name = wanted.names[which[i]];
      if (!name.empty()) text[kind] = name;
      text["number"] = std::to_string(number);
      if (!s.no_singles) {
        auto const folder = fs::path(s.out) / "pictures" / (kinds > 1 ? wanted.folders[which[i]] : std::string());
        fs::create_directories(folder);
        write_png(folder / format("%05ld.png", static_cast<long>(number)), made[i], text);
      }
      if (shown.size() < 10 * kinds || shown.size() < 100) shown.push_back(made[i]);
    }
  }
  text.erase("number");
  if (kinds > 1) text.erase(kind);
  index_t columns = s.columns;
  if (columns == 0)
    columns = kinds > 1 ? static_cast<index_t>(kinds)
                        : static_cast<index_t>(std::ceil(std::sqrt(static_cast<double>(shown.size()))));
  write_png(fs::path(s.out) / "grid.png", grid(shown, columns), text);
  double const seconds = since.seconds();
  bar.print(format("%ld pictures in %s: %.2f pictures/s, %.1f evaluations/s of %ld pictures; %s",
                   static_cast<long>(s.count), duration(seconds).c_str(), static_cast<double>(s.count) / seconds,
                   static_cast<double>(evaluations) / seconds, static_cast<long>(std::min(s.batch, s.count)),
                   (fs::path(s.out) / "grid.png").c_str()));
  return 0;
}

}  // namespace image
