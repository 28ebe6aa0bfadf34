// A program of several commands, each with its settings: parsing, help, and what is said about a wrong option.
#pragma once

#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <cog/version.hpp>

#include "settings.hpp"
#include "terminal.hpp"

namespace tool {

/// CLI11's layout, with one line an option and one blank line between groups.
struct help_layout : CLI::Formatter {
  help_layout() {
    column_width(32);
    label("SUBCOMMAND", "COMMAND");
  }
  std::string make_option_opts(CLI::Option const* option) const override {
    return option->get_type_name().empty() ? "" : " " + option->get_type_name();
  }
  std::string make_help(CLI::App const* app, std::string name, CLI::AppFormatMode mode) const override {
    auto text = CLI::Formatter::make_help(app, std::move(name), mode);
    for (auto at = text.find("\n\n\n"); at != text.npos; at = text.find("\n\n\n")) text.erase(at, 1);
    std::string const heading = "\nSubcommands:";
    if (auto const at = text.find(heading); at != text.npos) text.replace(at, heading.size(), "\nCommands:");
    return text;
  }
};

/// What was wrong, naming the flag. CLI11 lists everything after an unknown option, and backwards.
inline std::string complaint(CLI::App const& app, CLI::ParseError const& e) {
  if (dynamic_cast<CLI::ExtrasError const*>(&e) || dynamic_cast<CLI::RequiredError const*>(&e))
    for (auto const& word : app.remaining(true))
      return (word.starts_with("-") ? "unknown option " : "unexpected argument ") + word;
  return e.what();
}

class command_line {
 public:
  command_line(std::string name, std::string const& what, std::string const& examples)
      : name_(std::move(name)), app_(what) {
    app_.name(name_);
    app_.formatter(std::make_shared<help_layout>());
    app_.set_help_flag("-h,--help", "this text")->group("Common");
    auto const version = std::to_string(COG_VERSION_MAJOR) + "." + std::to_string(COG_VERSION_MINOR) + "." +
                         std::to_string(COG_VERSION_PATCH);
    app_.set_version_flag("--version", name_ + " " + version, "the version")->group("Common");
    app_.require_subcommand(1);
    app_.footer("'" + name_ + " COMMAND --help' tells more.\n\nExamples:\n" + examples);
  }

  /// `run(settings, given)` is called with the settings and the names of those given; it returns the exit status.
  template <class Settings, class Run>
  void add(char const* name, char const* what, char const* examples, Settings settings, Run const& run) {
    auto* const command = app_.add_subcommand(name, what);
    command->set_help_flag("-h,--help", "this text")->group("Common");
    command->footer(std::string("Examples:\n") + examples);
    auto const kept = std::make_shared<Settings>(std::move(settings));
    add_options(*command, *kept);
    runs_.push_back({command, [=] { return run(*kept, given_options(*command, *kept)); }});
  }

  /// Runs the command that is named. Returns the exit status: 2 for a wrong command line, 128 + the signal that ended it, 1 for what
  /// went wrong later.
  int run(int count, char** arguments) {
    constexpr int usage_error = 2;
    try {
      app_.parse(count, arguments);
      for (auto const& [command, call] : runs_)
        if (command->parsed()) return call();
      return usage_error;
    } catch (CLI::Success const& e) {  // --help, --version
      return app_.exit(e);
    } catch (CLI::ParseError const& e) {
      auto const* const command = app_.get_subcommands().empty() ? &app_ : app_.get_subcommands().front();
      std::string const name = command == &app_ ? name_ : name_ + " " + command->get_name();
      std::fprintf(stderr, "%s: %s\nSee %s --help\n", name.c_str(), complaint(app_, e).c_str(), name.c_str());
      return usage_error;
    } catch (interrupted const& e) {
      std::fprintf(stderr, "%s: %s\n", name_.c_str(), e.what());
      return 128 + e.signal;
    } catch (std::bad_alloc const&) {
      std::fprintf(stderr, "%s: there is not enough memory\n", name_.c_str());
      return 1;
    } catch (std::exception const& e) {
      std::fprintf(stderr, "%s: %s\n", name_.c_str(), e.what());
      return 1;
    }
  }

 private:
  std::string name_;
  CLI::App app_;
  std::vector<std::pair<CLI::App*, std::function<int()>>> runs_;
};

}  // namespace tool
