// The subcommands: each takes its settings and returns the exit status; what goes wrong is an exception.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "../common/settings.hpp"
#include "train_settings.hpp"

namespace lm {

struct sample_settings {
  std::string ckpt, prompt;
  cog::index_t tokens = 200, count = 1, seed = 1, threads = 0;
  bool greedy = false, no_ema = false;
  double temperature = 0.8;
  cog::index_t top_k = 40;
  double top_p = 0.95, min_p = 0.05, repeat_penalty = 1;
  std::vector<std::string> stop;
  std::string device = "cpu", dtype = "float";

  void visit(auto&& f) {
    using s = setting;
    f(s{"Common", "-c,--ckpt", "DIR", "what train wrote, or a converted model", {}, {}, {}, true}, ckpt);
    f(s{"Common", "-p,--prompt", "TEXT", "what the text begins with; \\n and \\t are understood"}, prompt);
    f(s{"Common", "-t,--threads", "N", "of the CPU; 0: all cores", 0, 1024}, threads);
    visit_target(f, device, dtype);
    f(s{"Common", "--no-ema", nullptr, "the weights of the last step, not their average"}, no_ema);
    f(s{"Sampling", "-n,--tokens", "N", "most tokens to write", 1, 1e9}, tokens);
    f(s{"Sampling", "-s,--seed", "N", "the same seed writes the same text", 0, 9e15}, seed);
    f(s{"Sampling", "--greedy", nullptr, "always the most likely token"}, greedy);
    f(s{"Sampling", "--temperature", "X", "below 1: more careful; 0: greedy", 0, 100}, temperature);
    f(s{"Sampling", "--top-k", "N", "of the N most likely tokens; 0: of all", 0, 1e9}, top_k);
    f(s{"Sampling", "--top-p", "X", "of the fewest tokens that reach this probability", 1e-9, 1}, top_p);
    f(s{"Sampling", "--min-p", "X", "of tokens at least this likely beside the likeliest", 0, 1}, min_p);
    f(s{"Sampling", "--repeat-penalty", "X", "makes tokens less likely that are already there; 1: off", 0.01, 100},
      repeat_penalty);
    f(s{"Sampling", "--stop", "TEXT", "end before this text; \\n and \\t are understood"}, stop);
    f(s{"Output", "--count", "N", "texts to write, one after the other", 1, 1e9}, count);
  }
};

struct eval_settings {
  std::vector<std::string> ckpt;
  std::string data;
  cog::index_t threads = 0;
  bool no_ema = false;
  std::string device = "cpu", dtype = "float";

  void visit(auto&& f) {
    using s = setting;
    f(s{"Common", "-c,--ckpt", "DIR", "what train wrote, or a converted model; several make a table", {}, {}, {}, true},
      ckpt);
    f(s{"Common", "-d,--data", "FILE|DIR", "text to predict; if not given, what each model's training held out"}, data);
    f(s{"Common", "-t,--threads", "N", "of the CPU; 0: all cores", 0, 1024}, threads);
    visit_target(f, device, dtype);
    f(s{"Common", "--no-ema", nullptr, "the weights of the last step, not their average"}, no_ema);
  }
};

struct info_settings {
  std::string ckpt;
  void visit(auto&& f) {
    f(setting{"Common", "-c,--ckpt", "DIR", "what train wrote, or a converted model", {}, {}, {}, true}, ckpt);
  }
};

struct plot_settings {
  std::vector<std::string> runs;
  std::string out = "loss.png";
  void visit(auto&& f) {
    using s = setting;
    f(s{"Common", "-r,--run", "DIR", "what train wrote; several are drawn together", {}, {}, {}, true}, runs);
    f(s{"Output", "-o,--out", "FILE", "the picture"}, out);
  }
};

/// What a loss is, in pictures.
inline constexpr char const* loss_axis = "loss (nats per token)";

/// `given`: the settings named on the command line; a resumed run takes the others from its checkpoint.
template <class B, class T>
int train(train_settings settings, std::set<std::string> const& given);
template <class B, class T>
int sample(sample_settings settings);
template <class B, class T>
int eval(eval_settings const& settings);
int info(info_settings const& settings);
int plot(plot_settings const& settings);

}  // namespace lm
