// What training commands share: which checkpoint a run goes on from, with which settings, and the loop over its steps
// with lines, bar, log, checkpoints, validation and Ctrl-C.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>

#include <cog/io/checkpoint.hpp>

#include "metrics.hpp"
#include "settings.hpp"
#include "terminal.hpp"

namespace tool {

/// The checkpoint that s.resume asks for, if any. `s` becomes its settings, but for those that were given; one of those
/// that Settings::is_fixed calls built into the checkpoint cannot be given another value. s.out stays. Throws when
/// there is no such checkpoint, when it is beyond s.steps, or when s.out holds some and none is asked for.
template <class Settings>
std::optional<cog::checkpoint_reader> resume_settings(Settings& s, std::set<std::string> const& given,
                                                      std::string const& program) {
  namespace fs = std::filesystem;
  std::optional<cog::checkpoint_reader> from;
  auto const note = [&](std::string const& text) {
    std::fprintf(stderr, "%s train: passed over: %s\n", program.c_str(), text.c_str());
  };
  if (s.resume == "auto") from = cog::latest_checkpoint(s.out, note);
  else if (!s.resume.empty())
    from = fs::exists(fs::path(s.resume) / "state.json") ? cog::checkpoint_reader(s.resume)
                                                         : cog::latest_checkpoint(s.resume, note);
  if (!from && !s.resume.empty() && s.resume != "auto")
    throw cog::error("--resume ", s.resume, ": no complete checkpoint there");
  if (!from && !cog::checkpoint_folders(s.out).empty())
    throw cog::error("--out ", s.out, s.resume.empty() ? " holds checkpoints already: go on with --resume auto, or choose another folder"
                                                       : " holds checkpoints, but none that is whole: choose another folder");
  if (from && !cog::checkpoint_folders(s.out).empty() && !fs::equivalent(fs::canonical(from->folder()).parent_path(), s.out))
    throw cog::error("--out ", s.out, " holds the checkpoints of another run: choose another folder");
  if (from) {
    auto settings = Settings{};
    settings_from_json(settings, from->state().at("settings"));
    auto const old = settings_to_json(settings), now = settings_to_json(s);
    for (auto const& name : given) {
      if (Settings::is_fixed(name) && now.at(name) != old.at(name))
        throw cog::error("--", name, " ", now.at(name).dump(), ": the checkpoint ", from->folder().string(), " has ",
                         old.at(name).dump());
      settings_from_json(settings, {{name, now.at(name)}});
    }
    if (settings.steps < from->step())
      throw cog::error("--steps ", settings.steps, ": the checkpoint ", from->folder().string(), " is beyond that");
    settings.out = s.out;
    s = std::move(settings);
  }
  return from;
}

/// How often what happens, and what a step's speed is called in the log and on the screen.
struct step_loop {
  std::string program;  // "cog-lm"
  std::string out;
  cog::index_t first, steps, log_every, eval_every, save_every;
  char const* speed_key;   // "tokens_per_second"
  char const* speed_unit;  // "tok/s"
};

/// Runs the steps after `first` up to `steps`. `step(i, line)` makes step i, counted from 0, fills in the line of the
/// log (step, loss, norm, lr, ms and the speed) and returns its seconds; `validate(n)` and `save(n)` are called after n
/// steps. Returns 0, or 128 + the signal that ended it after a last `save`.
template <class Step, class Validate, class Save>
int run_steps(step_loop const& loop, progress_bar& bar, metrics_log& log, Step const& step, Validate const& validate,
              Save const& save) {
  interruption const asked;
  auto const every = [](cog::index_t n, cog::index_t at) { return n > 0 && at % n == 0; };
  double seconds = 0;
  for (cog::index_t n = loop.first + 1; n <= loop.steps; ++n) {
    nlohmann::ordered_json line;
    seconds += step(n - 1, line);
    log.write(line);
    auto const speed = with_prefix(line[loop.speed_key].template get<double>());
    auto const value = [&](char const* key) { return line[key].template get<double>(); };
    if (n % loop.log_every == 0 || n == loop.steps || n == loop.first + 1)
      bar.print(format("step %ld/%ld | loss %.4f | norm %.2f | lr %.2e | %.1f ms | %s %s", static_cast<long>(n),
                       static_cast<long>(loop.steps), value("loss"), value("norm"), value("lr"), value("ms"),
                       speed.c_str(), loop.speed_unit));
    double const left = seconds / static_cast<double>(n - loop.first) * static_cast<double>(loop.steps - n);
    bar.update(static_cast<double>(n) / static_cast<double>(loop.steps),
               format("step %ld, loss %.3f, %s %s, %s left", static_cast<long>(n), value("loss"), speed.c_str(),
                      loop.speed_unit, duration(left).c_str()));
    if (int const signal = interruption::signal()) {
      save(n);
      bar.print(format("interrupted after step %ld; go on with: %s train --out %s --resume auto", static_cast<long>(n),
                       loop.program.c_str(), loop.out.c_str()));
      return 128 + signal;
    }
    if (every(loop.eval_every, n) && n < loop.steps) validate(n);
    if (every(loop.save_every, n)) save(n);
  }
  validate(loop.steps);
  save(loop.steps);
  return 0;
}

}  // namespace tool
