// cog-lm: trains small language models with Cog or softmax attention on any text, lets them write, and measures them.
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include <cog/version.hpp>

#include "commands.hpp"
#include "terminal.hpp"

namespace {

constexpr int usage_error = 2;
std::string const version = lm::format("cog-lm %d.%d.%d", COG_VERSION_MAJOR, COG_VERSION_MINOR, COG_VERSION_PATCH);

/// CLI11's layout, with one line an option and one blank line between groups.
struct help_layout : CLI::Formatter {
  help_layout() {
    column_width(32);
    label("SUBCOMMAND", "COMMAND");
    label("Subcommands", "Commands");
  }
  std::string make_option_opts(CLI::Option const* option) const override {
    return option->get_type_name().empty() ? "" : " " + option->get_type_name();
  }
  std::string make_help(CLI::App const* app, std::string name, CLI::AppFormatMode mode) const override {
    auto text = CLI::Formatter::make_help(app, std::move(name), mode);
    for (auto at = text.find("\n\n\n"); at != text.npos; at = text.find("\n\n\n")) text.erase(at, 1);
    return text;
  }
};

/// What was wrong, naming the flag. CLI11 lists everything after an unknown option, and backwards.
std::string complaint(CLI::App const& app, CLI::ParseError const& e) {
  if (dynamic_cast<CLI::ExtrasError const*>(&e) || dynamic_cast<CLI::RequiredError const*>(&e))
    for (auto const& word : app.remaining(true))
      return (word.starts_with("-") ? "unknown option " : "unexpected argument ") + word;
  return e.what();
}

class program {
 public:
  program() : app_("Trains small language models with Cog or softmax attention, lets them write, and measures them.") {
    app_.name("cog-lm");
    app_.formatter(std::make_shared<help_layout>());
    app_.set_help_flag("-h,--help", "this text")->group("Common");
    app_.set_version_flag("--version", version, "the version")->group("Common");
    app_.require_subcommand(1);
    app_.footer(
        "'cog-lm COMMAND --help' tells more.\n\nExamples:\n"
        "  cog-lm train --data book.txt --out out/book\n"
        "  cog-lm sample --ckpt out/book --prompt \"Once\" --tokens 200");
  }

  template <class Settings, class Run>
  void add(char const* name, char const* what, char const* examples, Settings settings, Run const& run) {
    auto* const command = app_.add_subcommand(name, what);
    command->set_help_flag("-h,--help", "this text")->group("Common");
    command->footer(std::string("Examples:\n") + examples);
    auto const kept = std::make_shared<Settings>(std::move(settings));
    lm::add_options(*command, *kept);
    runs_.push_back({command, [=] { return run(*kept, *command); }});
  }

  int run(int count, char** arguments) {
    try {
      app_.parse(count, arguments);
    } catch (CLI::Success const& e) {  // --help, --version
      return app_.exit(e);
    } catch (CLI::ParseError const& e) {
      auto const* const command = app_.get_subcommands().empty() ? &app_ : app_.get_subcommands().front();
      std::string const name = command == &app_ ? "cog-lm" : "cog-lm " + command->get_name();
      std::fprintf(stderr, "%s: %s\nSee %s --help\n", name.c_str(), complaint(app_, e).c_str(), name.c_str());
      return usage_error;
    }
    for (auto const& [command, call] : runs_)
      if (command->parsed()) return call();
    return usage_error;
  }

 private:
  CLI::App app_;
  std::vector<std::pair<CLI::App*, std::function<int()>>> runs_;
};

}  // namespace

int main(int count, char** arguments) {
  try {
    program p;
    p.add("train", "learn from text",
          "  cog-lm train --data book.txt --out out/book\n"
          "  cog-lm train --data src/ --tokenizer bpe:4096 --attention softmax --steps 5000 --out out/src\n"
          "  cog-lm train --out out/book --resume auto --steps 4000",
          lm::train_settings{}, [](auto& s, CLI::App& app) { return lm::train(s, lm::given_options(app, s)); });
    p.add("sample", "write text",
          "  cog-lm sample --ckpt out/book --prompt \"Once\" --tokens 200\n"
          "  cog-lm sample --ckpt out/book --greedy --stop \"\\n\\n\" > text.txt",
          lm::sample_settings{}, [](auto& s, CLI::App&) { return lm::sample(s); });
    p.add("eval", "measure on held-out or other text: nats per token, bits per byte, perplexity",
          "  cog-lm eval --ckpt out/book\n"
          "  cog-lm eval --ckpt out/cog --ckpt out/softmax --data other.txt",
          lm::eval_settings{}, [](auto& s, CLI::App&) { return lm::eval(s); });
    p.add("info", "what a checkpoint or converted model holds",
          "  cog-lm info --ckpt out/book\n"
          "  cog-lm info --ckpt released/",
          lm::info_settings{}, [](auto& s, CLI::App&) { return lm::info(s); });
    p.add("plot", "draw the losses of one or several runs",
          "  cog-lm plot --run out/book\n"
          "  cog-lm plot --run out/cog --run out/softmax --out both.png",
          lm::plot_settings{}, [](auto& s, CLI::App&) { return lm::plot(s); });
    return p.run(count, arguments);
  } catch (std::exception const& e) {
    std::fprintf(stderr, "cog-lm: %s\n", e.what());
    return 1;
  }
}
