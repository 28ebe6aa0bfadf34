// cog-lm info and plot: what a model is, and how it came to be.
#include <cstdio>

#include <cog/cog.hpp>

#include "eval.hpp"

namespace lm {

int info(info_settings const& s) {
  cog::cpu::context const ctx;
  auto const loaded = load_model<cog::cpu, float>(ctx, s.ckpt, true, notes_of("info"));
  auto const& about = loaded.about;
  auto const say = [](char const* name, std::string const& text) { std::printf("%-12s %s\n", name, text.c_str()); };
  say("folder", about.folder.string());
  say("weights", loaded.weights);
  auto const config = config_to_json(about.config);
  for (auto const& [key, value] : config.items())
    say(key.c_str(), value.is_string() ? value.get<std::string>() : value.dump());
  std::string kinds;
  for (cog::index_t l = 0; l < about.config.n_layers; ++l)
    kinds += (l ? " " : "") + std::string(about.config.kind(l) == cog::nn::attention_kind::cog ? "cog" : "softmax");
  say("layers", kinds);
  say("tokenizer", about.words.description + ", " + std::to_string(about.words.size()) + " tokens");
  if (auto const settings = settings_of(about)) {
    say("step", std::to_string(about.checkpoint->step()) + " of " + std::to_string(settings->steps));
    say("trained on", settings->data);
  }
  auto const parameters = parameter_count(loaded.model);
  say("parameters", format("%ld (%sB in float)", static_cast<long>(parameters),
                           with_prefix(static_cast<double>(parameters) * sizeof(float)).c_str()));
  std::printf("\n");
  std::vector<std::vector<std::string>> rows{{"parameter", "dtype", "shape", "mean", "deviation"}};
  for_each_parameter(loaded.model, [&](std::string const& name, auto const& x) {
    std::string shape;
    for (auto n : x.extents()) shape += (shape.empty() ? "" : " x ") + std::to_string(n);
    using T = typename std::remove_cvref_t<decltype(x)>::value_type;
    rows.push_back({name, std::string(cog::name(cog::dtype_of<T>)), shape,
                    format("%.4f", static_cast<double>(mean(x).item())),
                    format("%.4f", std::sqrt(static_cast<double>(variance(x).item())))});
  });
  print_table(rows);
  return 0;
}

int plot(plot_settings const& s) {
  std::vector<loss_curves> curves;
  for (auto const& run : s.runs) curves.push_back(read_curves(run, "tokens_per_second"));
  if (auto const why = plot_losses(curves, s.out, loss_axis); !why.empty()) throw cog::error("no picture: ", why);
  std::printf("%s\n", s.out.c_str());
  return 0;
}

}  // namespace lm
