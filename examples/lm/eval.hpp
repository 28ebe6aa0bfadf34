// cog-lm eval: what a model is worth.
#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "../common/device.hpp"
#include "../common/metrics.hpp"
#include "../common/terminal.hpp"
#include "commands.hpp"
#include "model.hpp"
#include "text.hpp"
#include "train_settings.hpp"

namespace lm {

/// The settings that a checkpoint was trained with, if it is one.
inline std::optional<train_settings> settings_of(model_description const& about) {
  if (!about.checkpoint) return std::nullopt;
  train_settings out;
  settings_from_json(out, about.checkpoint->state().at("settings"));
  return out;
}

inline auto notes_of(char const* command) {
  return [command](std::string const& text) {
    std::fprintf(stderr, "cog-lm %s: passed over: %s\n", command, text.c_str());
  };
}

template <class B, class T>
int eval(eval_settings const& s) {
  auto const ctx = make_context<B>(s.threads);
  interruption const asked;
  std::vector<std::vector<std::string>> rows{
      {"model", "parameters", "loss", "bits/byte", "perplexity", "tokens", "eval tok/s", "train tok/s"}};
  for (auto const& path : s.ckpt) {
    auto const loaded = load_model<B, T>(ctx, path, !s.no_ema, notes_of("eval"));
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
    if (auto const run = loaded.about.folder.parent_path(); loaded.about.checkpoint && std::filesystem::exists(run / "log.jsonl"))
      speed = with_prefix(read_curves(run, "tokens_per_second").speed);
    rows.push_back({path, with_prefix(static_cast<double>(parameter_count(loaded.model))),
                    format("%.4f", result.loss()), format("%.4f", result.bits_per_byte()),
                    format("%.3f", result.perplexity()), std::to_string(result.tokens),
                    with_prefix(static_cast<double>(result.tokens) / result.seconds), speed});
  }
  print_table(rows);
  return 0;
}

}  // namespace lm
