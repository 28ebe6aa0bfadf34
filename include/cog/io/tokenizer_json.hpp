// byte_bpe and byte_tokenizer as Hugging Face `tokenizer.json`. A file that would give other ids there is refused;
// what Hugging Face does around tokenisation (templates, padding, truncation) is the caller's and is not read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <cog/core/error.hpp>
#include <cog/io/json.hpp>
#include <cog/io/tokenizer_bpe.hpp>
#include <cog/io/tokenizer_byte.hpp>

namespace cog {

namespace detail {

inline std::string tokenizer_json(std::vector<std::string> const& spellings, std::vector<bpe_merge> const& merges,
                                  added_tokens const& added, bool ignore_merges) {
  using json = nlohmann::ordered_json;
  json tokens = json::array();
  for (auto const& t : added.all())
    tokens.push_back({{"id", t.id}, {"content", t.text}, {"single_word", false}, {"lstrip", false}, {"rstrip", false},
                      {"normalized", t.normalized}, {"special", t.special}});
  json const bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  // Filled as text: json looks every new key up among the old ones.
  std::string vocabulary, pairs;
  for (std::size_t id = 0; id < spellings.size(); ++id)
    if (!spellings[id].empty())
      vocabulary.append(vocabulary.empty() ? "\n      " : ",\n      ")
          .append(json(spellings[id]).dump())
          .append(": ")
          .append(std::to_string(id));
  // As "a b": a space cannot occur in a spelling, and readers of all ages take it.
  for (auto const& m : merges) {
    std::string const& left = spellings[static_cast<std::size_t>(m.left)];
    std::string const& right = spellings[static_cast<std::size_t>(m.right)];
    pairs.append(pairs.empty() ? "\n      " : ",\n      ").append(json(left + " " + right).dump());
  }
  std::string out = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": ";
  out.append(tokens.dump())
      .append(",\n  \"normalizer\": null,\n  \"pre_tokenizer\": ").append(bytes.dump())
      .append(",\n  \"post_processor\": null,\n  \"decoder\": ").append(bytes.dump())
      .append(",\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
              "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
              "    \"byte_fallback\": false,\n    \"ignore_merges\": ").append(ignore_merges ? "true" : "false")
      .append(",\n    \"vocab\": {").append(vocabulary).append("\n    },\n    \"merges\": [").append(pairs)
      .append("\n    ]\n  }\n}\n");
  return out;
}

/// Reads a parsed tokenizer.json; errors do not yet name the file.
class tokenizer_json_reader {
  using json = nlohmann::json;

 public:
  explicit tokenizer_json_reader(json const& root) : root_(object(root, "the file")) {}

  std::variant<byte_tokenizer, byte_bpe> read() const {
    check_surroundings();
    json const& model = object(member(root_, "model"), "model");
    if (json const& type = member(model, "type"); !type.is_null() && type != "BPE")
      throw error("model is ", type.dump(), ", only \"BPE\" is read");
    for (auto const* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (auto const& v = member(model, key); !v.is_null() && v != "") throw error("model.", key, " is not supported");
    if (auto const& v = member(model, "dropout"); !v.is_null() && v != 0.0)
      throw error("model.dropout is not supported");
    if (flag(model, "byte_fallback", false)) throw error("model.byte_fallback is not supported");

    auto tokens = read_added();
    auto spellings = read_vocabulary(object(member(model, "vocab"), "model.vocab"));
    auto merges = read_merges(member(model, "merges"), spellings);
    if (merges.empty() && is_bytes(spellings, tokens)) return byte_tokenizer::with_added(std::move(tokens));
    return byte_bpe(std::move(spellings), std::move(merges), std::move(tokens), flag(model, "ignore_merges", false));
  }

 private:
  static json const& object(json const& j, char const* what) {
    if (!j.is_object()) throw error(what, " is not a JSON object");
    return j;
  }
  static json const& member(json const& j, char const* key) {
    static json const null;
    auto const at = j.find(key);
    return at == j.end() ? null : *at;
  }
  static bool flag(json const& j, char const* key, bool otherwise) {
    json const& v = member(j, key);
    if (v.is_null()) return otherwise;
    if (!v.is_boolean()) throw error(key, " is not a boolean");
    return v.get<bool>();
  }
  static std::int32_t id(json const& j, std::string_view token) {
    if (!j.is_number_unsigned() || j.get<std::uint64_t>() >= most_ids)
      throw error("token '", token, "' has the id ", j.dump(), ", expected 0 to ", most_ids - 1);
    return j.get<std::int32_t>();
  }

  void check_surroundings() const {
    if (auto const& n = member(root_, "normalizer"); !n.is_null())
      throw error("normalizer ", n.dump(), " is not supported, only null");
    json const* split = &member(root_, "pre_tokenizer");
    if (split->is_object() && member(*split, "type") == "Sequence" && member(*split, "pretokenizers").size() == 1)
      split = &(*split)["pretokenizers"][0];
    if (!split->is_object() || member(*split, "type") != "ByteLevel" || flag(*split, "add_prefix_space", true) ||
        !flag(*split, "use_regex", true))
      throw error("pre_tokenizer ", split->dump(),
                  " is not supported, only ByteLevel with \"add_prefix_space\": false and \"use_regex\": true");
    json const& decoder = member(root_, "decoder");
    if (!decoder.is_object() || member(decoder, "type") != "ByteLevel")
      throw error("decoder ", decoder.dump(), " is not supported, only ByteLevel");
  }

  std::vector<added_token> read_added() const {
    std::vector<added_token> tokens;
    json const& list = member(root_, "added_tokens");
    if (!list.is_array() && !list.is_null()) throw error("added_tokens is not a JSON array");
    for (json const& t : list) {
      json const& content = member(object(t, "an added token"), "content");
      if (!content.is_string()) throw error("added token ", t.dump(), " has no content");
      auto const& text = content.get_ref<std::string const&>();
      for (auto const* key : {"single_word", "lstrip", "rstrip"})
        if (flag(t, key, false)) throw error("added token '", text, "': ", key, " is not supported");
      tokens.push_back({text, id(member(t, "id"), text), flag(t, "special", false), flag(t, "normalized", true)});
    }
    return tokens;
  }

  static std::vector<std::string> read_vocabulary(json const& vocabulary) {
    std::vector<std::string> spellings;
    for (auto const& [token, value] : vocabulary.items()) {
      auto const n = static_cast<std::size_t>(id(value, token));
      if (token.empty()) throw error("model.vocab has an empty token");
      if (n >= spellings.size()) spellings.resize(n + 1);
      if (!spellings[n].empty()) throw error("tokens '", spellings[n], "' and '", token, "' have the same id ", n);
      spellings[n] = token;
    }
    return spellings;
  }

  static std::vector<bpe_merge> read_merges(json const& list, std::vector<std::string> const& spellings) {
    if (!list.is_array()) throw error("model.merges is not a JSON array");
    std::unordered_map<std::string_view, std::int32_t> ids;
    for (std::size_t n = 0; n < spellings.size(); ++n)
      if (!spellings[n].empty()) ids.emplace(spellings[n], static_cast<std::int32_t>(n));
    std::vector<bpe_merge> merges;
    merges.reserve(list.size());
    for (json const& entry : list) {
      std::string_view left, right;
      if (entry.is_string()) {
        std::string_view const both = entry.get_ref<std::string const&>();
        auto const space = both.find(' ');
        if (space != both.npos && both.find(' ', space + 1) == both.npos)
          left = both.substr(0, space), right = both.substr(space + 1);
      } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
        left = entry[0].get_ref<std::string const&>();
        right = entry[1].get_ref<std::string const&>();
      }
      if (left.empty() || right.empty()) throw error("merge ", merges.size(), " is ", entry.dump(), ", not two tokens");
      auto const find = [&](std::string const& token) {
        auto const at = ids.find(token);
        if (at == ids.end())
          throw error("merge ", merges.size(), " ", entry.dump(), ": '", token, "' is not in the vocabulary");
        return at->second;
      };
      merges.push_back({find(std::string(left)), find(std::string(right)), find(std::string(left) += right)});
    }
    return merges;
  }

  static bool is_bytes(std::vector<std::string> const& spellings, std::vector<added_token> const& tokens) {
    if (spellings.size() < 256) return false;
    for (std::size_t b = 0; b < 256; ++b)
      if (spellings[b] != spelling_of(std::string(1, static_cast<char>(b)))) return false;
    if (spellings.size() > 256 + tokens.size()) return false;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i].id != static_cast<std::int32_t>(256 + i)) return false;
      if (256 + i < spellings.size() && spellings[256 + i] != tokens[i].text) return false;
    }
    return true;
  }

  static constexpr std::uint64_t most_ids = 1 << 22;
  json const& root_;
};

}  // namespace detail

/// The text of a tokenizer.json.
inline std::string to_json(byte_bpe const& t) {
  return detail::tokenizer_json(t.spellings(), t.merges(), t.added(), t.ignore_merges());
}
/// A byte vocabulary is byte-level BPE that never merges.
inline std::string to_json(byte_tokenizer const& t) {
  std::vector<std::string> spellings;
  for (int b = 0; b < 256; ++b) spellings.push_back(detail::spelling_of(std::string(1, static_cast<char>(b))));
  for (auto const& token : t.added().all()) spellings.push_back(token.text);
  return detail::tokenizer_json(spellings, {}, t.added(), false);
}

/// Reads the text of a tokenizer.json; `name` is what errors call it.
/// Throws on bad JSON and on everything that would make Hugging Face `tokenizers` give other ids.
inline std::variant<byte_tokenizer, byte_bpe> tokenizer_from_json(std::string_view text, std::string_view name) {
  try {
    return detail::tokenizer_json_reader(detail::parse_json(text)).read();
  } catch (nlohmann::json::exception const& e) {
    throw error("tokenizer ", name, ": ", e.what());
  } catch (error const& e) {
    throw error("tokenizer ", name, ": ", e.what());
  }
}

}  // namespace cog
