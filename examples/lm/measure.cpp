// cog-lm eval, info and plot: what a model is worth, what it is, and how it came to be.
#include <algorithm>
#include <cstdio>
#include <numbers>

#include "commands.hpp"
#include "metrics.hpp"
#include "model.hpp"
#include "terminal.hpp"
#include "text.hpp"
#include "train_settings.hpp"

namespace lm {

namespace {

namespace fs = std::filesystem;
using cog::index_t;

/// Rows of equal length under their names; numbers to the right.
void print_table(std::vector<std::vector<std::string>> const& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (auto const& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  for (auto const& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      std::string const blanks(widths[c] - row[c].size(), ' ');
      line += c == 0 ? row[c] + blanks : "  " + blanks + row[c];
    }
    std::printf("%s\n", line.c_str());
  }
}

/// The settings that a checkpoint was trained with, if it is one.
std::optional<train_settings> settings_of(model_description const& about) {
  if (!about.checkpoint) return std::nullopt;
  train_settings out;
  settings_from_json(out, about.checkpoint->state().at("settings"));
  return out;
}

auto notes_of(char const* command) {
  return [command](std::string const& text) {
    std::fprintf(stderr, "cog-lm %s: passed over: %s\n", command, text.c_str());
  };
}

}  // namespace

int eval(eval_settings const& s) {
  device::context const ctx({.threads = static_cast<int>(s.threads)});
  interruption const asked;
  std::vector<std::vector<std::string>> rows{
      {"model", "parameters", "loss", "bits/byte", "perplexity", "tokens", "eval tok/s", "train tok/s"}};
  for (auto const& path : s.ckpt) {
    auto const loaded = load_model(ctx, path, !s.no_ema, notes_of("eval"));
    auto const& words = loaded.about.words;
    std::vector<document> documents;
    if (!s.data.empty()) {
      documents = read_documents(s.data);
    } else {
      auto const settings = settings_of(loaded.about);
      if (!settings) throw cog::error(path, " does not say what it was trained on: --data is required");
      documents = hold_out(read_documents(settings->data), settings->held_out).held_out;
      if (documents.empty()) throw cog::error(path, ": its training held nothing out: --data is required");
    }
    std::vector<std::int32_t> ids;
    for (auto const& d : documents) {
      auto const more = words.encode(d.text);
      ids.insert(ids.end(), more.begin(), more.end());
    }
    progress_bar bar("eval " + path);
    auto const result = evaluate(loaded.model, words, ids, 0, [&](double done) {
      bar.update(done, "");
      return interruption::signal() == 0;
    });
    if (int const signal = interruption::signal()) return 128 + signal;

    std::string speed = "-";
    if (auto const run = loaded.about.folder.parent_path(); loaded.about.checkpoint && fs::exists(run / "log.jsonl"))
      speed = with_prefix(read_curves(run).tokens_per_second);
    rows.push_back({path, with_prefix(static_cast<double>(parameter_count(loaded.model))),
                    format("%.4f", result.loss()), format("%.4f", result.bits_per_byte()),
                    format("%.3f", result.perplexity()), std::to_string(result.tokens),
                    with_prefix(static_cast<double>(result.tokens) / result.seconds), speed});
  }
  print_table(rows);
  return 0;
}

int info(info_settings const& s) {
  device::context const ctx;
  auto const loaded = load_model(ctx, s.ckpt, true, notes_of("info"));
  auto const& about = loaded.about;
  auto const say = [](char const* name, std::string const& text) { std::printf("%-12s %s\n", name, text.c_str()); };
  say("folder", about.folder.string());
  say("weights", loaded.weights);
  auto const config = config_to_json(about.config);
  for (auto const& [key, value] : config.items())
    say(key.c_str(), value.is_string() ? value.get<std::string>() : value.dump());
  std::string kinds;
  for (index_t l = 0; l < about.config.n_layers; ++l)
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
  for (auto const& run : s.runs) curves.push_back(read_curves(run));
  if (auto const why = plot_losses(curves, s.out); !why.empty()) throw cog::error("no picture: ", why);
  std::printf("%s\n", s.out.c_str());
  return 0;
}

}  // namespace lm
