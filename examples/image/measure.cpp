// cog-diffusion info and plot: what a model is, and how it came to be.
#include <cstdio>

#include <cog/backend/cpu/cpu.hpp>

#include "../common/metrics.hpp"
#include "commands.hpp"
#include "model.hpp"
#include "published.hpp"

namespace image {

using cog::index_t;

namespace {

void describe(settings_table& table, model_description const& about, index_t parameters) {
  auto const& c = about.config;
  table.row(about.of_latents() ? "latents" : "pictures",
            format("%ld channels of %ld x %ld, patches of %ld", static_cast<long>(c.in_chans),
                   static_cast<long>(c.img_size), static_cast<long>(c.img_size), static_cast<long>(c.patch_size)));
  table.row("model",
            format("%ld + 1 blocks, %ld heads, width %ld, %ld tokens", static_cast<long>(c.depth),
                   static_cast<long>(c.num_heads), static_cast<long>(c.embed_dim), static_cast<long>(c.tokens())));
  table.row("attention", c.np ? "Cog in all blocks but the first and the last" : "softmax");
  table.row("parameters",
            format("%ld, %s", static_cast<long>(parameters), with_prefix(static_cast<double>(parameters)).c_str()));
  table.row("schedule", about.schedule);
  if (about.of_latents()) table.row("scale", format("%g: of latents", about.scale_factor));
}

index_t parameters_of(cog::uvit_config const& config) {
  cog::cpu::context const ctx({.threads = 1});
  return parameter_count(cog::uvit<float, cog::cpu>(ctx, config));
}

}  // namespace

int info(info_settings const& s) {
  if (s.ckpt.empty() == s.config.empty()) throw cog::error("info: give either --ckpt or --config");
  if (s.config == "all") {
    for (auto const& name : published_names()) std::printf("%s\n", name.c_str());
    return 0;
  }
  settings_table table;
  if (!s.config.empty()) {
    auto const& m = published(s.config);
    describe(table, {m.config, m.schedule, {}, m.scale_factor}, parameters_of(m.config));
    train_settings given;
    given.config = s.config;
    auto const settings = settings_to_json(with_published(given, {}));
    for (auto const& [key, value] : settings.items())
      table.row(("--" + key).c_str(), value.dump());
    return 0;
  }
  cog::cpu::context const ctx({.threads = 1});
  auto const loaded = load_model<cog::cpu, float>(ctx, s.ckpt, true, "info");
  auto const& [folder, about, checkpoint] = loaded.found;
  table.row("folder", folder.string());
  table.row("weights", loaded.weights);
  describe(table, about, parameter_count(loaded.model));
  std::string all = about.config.has_text() ? "a text" : "none";
  if (!about.classes.empty()) {
    all.clear();
    for (auto const& name : about.classes) all += (all.empty() ? "" : ", ") + name;
    if (about.can_be_guided()) all += "; can be guided";
  }
  table.row("condition", all);
  if (checkpoint) {
    table.row("step", std::to_string(checkpoint->step()));
    for (auto const& [key, value] : checkpoint->state().at("settings").items())
      table.row(("--" + key).c_str(), value.dump());
  }
  return 0;
}

int plot(plot_settings const& s) {
  std::vector<loss_curves> curves;
  for (auto const& run : s.runs) curves.push_back(read_curves(run, "images_per_second"));
  if (auto const why = plot_losses(curves, s.out, loss_axis); !why.empty()) throw cog::error("no picture: ", why);
  std::printf("picture    %s\n", s.out.c_str());
  return 0;
}

}  // namespace image
