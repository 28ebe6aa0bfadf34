// cog-lm sample: text on stdout as it is made, its speed on stderr.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <unistd.h>

#include <cog/models/generate.hpp>

#include "../common/device.hpp"
#include "../common/terminal.hpp"
#include "commands.hpp"
#include "model.hpp"

namespace lm {

/// Text on its way out: holds back what may be the beginning of a stop text, and tells when one is complete.
class output {
 public:
  explicit output(std::vector<std::string> const& stops) : stops_(stops), on_terminal_(::isatty(STDOUT_FILENO) == 1) {}

  /// False: a stop text was found; what came before it has been written.
  bool push(std::string const& text) {
    held_ += text;
    auto cut = held_.npos;
    for (auto const& stop : stops_) cut = std::min(cut, held_.find(stop));
    if (cut != held_.npos) {
      write(held_.substr(0, cut));
      held_.clear();
      return false;
    }
    std::size_t keep = 0;
    for (auto const& stop : stops_)
      for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n)
        if (held_.ends_with(std::string_view(stop).substr(0, n))) keep = n;
    write(held_.substr(0, held_.size() - keep));
    held_.erase(0, held_.size() - keep);
    return true;
  }
  void finish() {
    write(held_);
    held_.clear();
  }

 private:
  /// A model may write anything, also what a terminal would obey.
  void write(std::string text) const {
    if (on_terminal_)
      for (char& c : text)
        if (static_cast<unsigned char>(c) < 32 && c != '\n' && c != '\t') c = '?';
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  std::vector<std::string> const& stops_;
  std::string held_;
  bool const on_terminal_;
};

/// \n, \t and \\ of a command line.
inline std::string unescaped(std::string const& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char const next = i + 1 < text.size() ? text[i + 1] : '\0';
    bool const escape = text[i] == '\\' && (next == 'n' || next == 't' || next == '\\');
    out += !escape ? text[i] : next == 'n' ? '\n' : next == 't' ? '\t' : '\\';
    i += escape;
  }
  return out;
}

template <class B, class T>
int sample(sample_settings s) {
  s.prompt = unescaped(s.prompt);
  for (auto& stop : s.stop)
    if ((stop = unescaped(stop)).empty()) throw cog::error("--stop: an empty text would end at once");
  auto const ctx = make_context<B>(s.threads);
  auto const loaded = load_model<B, T>(ctx, s.ckpt, !s.no_ema, [](std::string const& text) {
    std::fprintf(stderr, "cog-lm sample: passed over: %s\n", text.c_str());
  });
  auto const& words = loaded.about.words;
  auto prompt = words.encode(s.prompt);
  if (prompt.empty()) prompt = words.tokenizer.encode_ordinary("\n");  // where a line may begin

  interruption const asked;
  double prompt_seconds = 0, seconds = 0;
  cog::index_t tokens = 0;
  for (cog::index_t i = 0; i < s.count && interruption::signal() == 0; ++i) {
    if (i > 0) std::printf("---------------\n");
    output out(s.stop);
    cog::text_stream text(words.tokenizer);
    std::fputs(s.prompt.c_str(), stdout);
    stopwatch const since;
    double first = 0;
    bool stopped = false;
    generate(loaded.model, cog::from(ctx, prompt, {1, static_cast<cog::index_t>(prompt.size())}),
             {.max_tokens = s.tokens,
              .sampling = {.repetition_penalty = s.repeat_penalty,
                           .temperature = s.greedy ? 0 : s.temperature,
                           .top_k = s.top_k,
                           .top_p = s.top_p,
                           .min_p = s.min_p},
              .seed = static_cast<std::uint64_t>(s.seed + i),
              .stop = words.ends,
              .bos = words.document_start,
              .on_token = [&](cog::index_t, std::int64_t token) {
                if (first == 0) first = since.seconds();
                else ++tokens;
                stopped = !out.push(text.push(static_cast<std::int32_t>(token)));
                return !stopped && interruption::signal() == 0;
              }});
    seconds += since.seconds() - first;
    prompt_seconds += first;
    if (!stopped && out.push(text.finish())) out.finish();
    std::printf("\n");
    std::fflush(stdout);
  }
  auto const rate = [](auto n, double time) { return with_prefix(time > 0 ? static_cast<double>(n) / time : 0); };
  std::fprintf(stderr, "prompt %zu tokens, %s tok/s | generation %ld tokens, %s tok/s\n", prompt.size(),
               rate(static_cast<cog::index_t>(prompt.size()) * s.count, prompt_seconds).c_str(),
               static_cast<long>(tokens), rate(tokens, seconds).c_str());
  return interruption::signal() ? 128 + interruption::signal() : 0;
}

}  // namespace lm
