// Settings: each is stated once, with its group, flag, help, default and range. The command line, --help, the table at
// the start, and state.json are all made from that one line.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace tool {

/// `flags` as CLI11 has them: "-n,--tokens". A number outside [low, high] is refused; so is a word not among `words`.
struct setting {
  char const* group;
  char const* flags;
  char const* value;  // what stands for the value in the help; none for a switch
  char const* help;
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  std::vector<std::string> words{};
  bool required = false;

  /// "tokens" of "-n,--tokens".
  std::string name() const {
    std::string_view const all = flags;
    return std::string(all.substr(all.rfind("--") + 2));
  }
};

/// --device and --dtype (device.hpp).
void visit_device(auto&& f, std::string& device) {
  f(setting{"Common", "--device", "NAME", "cpu, or cuda: a GPU", {}, {}, {"cpu", "cuda"}}, device);
}
void visit_target(auto&& f, std::string& device, std::string& dtype) {
  visit_device(f, device);
  f(setting{"Common", "--dtype", "NAME", "float; on a GPU also bf16 and half, with float master weights", {}, {}, {"float", "bf16", "half"}}, dtype);
}

/// As short as it can be said: 0.001, 1e-08, 1000000.
inline std::string brief(double x) {
  std::ostringstream out;
  if (x == std::floor(x)) out.precision(16);
  out << x;
  return out.str();
}

namespace detail {

/// A bound above a milliard is there for arithmetic, not for people.
inline std::string range_text(setting const& s) {
  return brief(s.low) + (s.high < 1e9 ? " to " + brief(s.high) : " and up");
}

template <class T>
std::string described(setting const& s, T const& value) {
  std::string notes;
  auto const note = [&](std::string const& text) { notes += (notes.empty() ? "" : ", ") + text; };
  if constexpr (std::same_as<T, bool>) {
    note("default: off");
  } else if constexpr (std::is_arithmetic_v<T>) {
    note("default: " + brief(static_cast<double>(value)));
    note("range: " + range_text(s));
  } else if constexpr (std::same_as<T, std::string>) {
    note("default: " + (value.empty() ? "none" : value));
  } else {
    note("default: none; may be given several times");
  }
  return std::string(s.help) + " (" + (s.required ? "required" : notes) + ")";
}

/// Why a text is no value for the setting; empty: it is one.
template <class T>
std::string refusal(setting const& s, std::string const& text) {
  if constexpr (std::is_arithmetic_v<T>) {
    T value{};
    if (!CLI::detail::lexical_cast(text, value))
      return "'" + text + "' is not a " + (std::integral<T> ? "whole number" : "number");
    auto const x = static_cast<double>(value);
    if (!(x >= s.low && x <= s.high)) return text + " is outside the range " + range_text(s);
  } else if (!s.words.empty() && std::ranges::find(s.words, text) == s.words.end()) {
    std::string all;
    for (auto const& word : s.words) all += (all.empty() ? "" : ", ") + word;
    return "'" + text + "' is none of: " + all;
  }
  return {};
}

}  // namespace detail

/// Adds an option for every setting of `settings`, which must outlive the parsing.
template <class Settings>
void add_options(CLI::App& app, Settings& settings) {
  settings.visit([&]<class T>(setting const& s, T& value) {
    auto const text = detail::described(s, value);
    if constexpr (std::same_as<T, bool>) {
      app.add_flag(s.flags, value, text)->group(s.group);
    } else {
      auto* const option = app.add_option(s.flags, value, text);
      if constexpr (std::is_arithmetic_v<T> || std::same_as<T, std::string>)
        option->take_last();  // of the same option twice
      option->group(s.group)
          ->type_name(s.value)
          ->allow_extra_args(false)
          ->required(s.required)
          ->check(CLI::Validator([s](std::string& given) { return detail::refusal<T>(s, given); }, ""));
    }
  });
}

/// The names of the settings that were given on the command line.
template <class Settings>
std::set<std::string> given_options(CLI::App const& app, Settings& settings) {
  std::set<std::string> out;
  settings.visit([&](setting const& s, auto&) {
    if (app.get_option("--" + s.name())->count() > 0) out.insert(s.name());
  });
  return out;
}

template <class Settings>
nlohmann::json settings_to_json(Settings settings) {
  auto out = nlohmann::json::object();
  settings.visit([&](setting const& s, auto& value) { out[s.name()] = value; });
  return out;
}
/// Settings that the object lacks keep their value. Throws, naming the setting, when a value is of another kind.
template <class Settings>
void settings_from_json(Settings& settings, nlohmann::json const& object) {
  settings.visit([&](setting const& s, auto& value) {
    auto const at = object.find(s.name());
    if (at == object.end()) return;
    try {
      at->get_to(value);
    } catch (nlohmann::json::exception const& e) {
      throw std::runtime_error("setting '" + s.name() + "': " + e.what());
    }
  });
}

}  // namespace tool
