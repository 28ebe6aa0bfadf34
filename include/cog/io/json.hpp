// JSON as files of others need it read: an object with one key twice is an error, and so is a NUL, after which the
// parser alone would ignore what follows. Nesting of any depth is safe.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>

#include <cog/core/error.hpp>

namespace cog::detail {

/// Throws cog::error or nlohmann::json::exception; neither names the file yet.
inline nlohmann::json parse_json(std::string_view text) {
  using json = nlohmann::json;
  if (text.find('\0') != text.npos) throw error("parse error: a NUL character");
  std::vector<std::unordered_set<std::string>> open;
  return json::parse(text, [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) open.emplace_back();
    else if (event == json::parse_event_t::object_end) open.pop_back();
    else if (event == json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second)
      throw error("the name '", value.get<std::string>(), "' occurs twice");
    return true;
  });
}

}  // namespace cog::detail
