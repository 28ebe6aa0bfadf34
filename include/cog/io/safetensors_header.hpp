// The header of a safetensors file: 8 bytes of length, then JSON that names each tensor's type, shape and place.
// What passes the reader is whole: no overlap, no hole, nothing out of range, every byte count right.
// Source: https://github.com/huggingface/safetensors, "Format".
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cog/core/error.hpp>
#include <cog/io/elements.hpp>
#include <cog/io/json.hpp>

namespace cog {

/// A tensor in a safetensors file. `dtype` is the file's own name ("F32"), which may be one that cog cannot load.
struct safetensors_info {
  std::string name;
  std::string dtype;
  std::vector<index_t> shape;
  std::size_t begin, end;  // bytes, from the end of the header
};

namespace detail {

/// The format's name of a type that cog writes.
constexpr std::string_view safetensors_name(dtype d) {
  constexpr std::string_view names[] = {"F64", "F32", "BF16", "F16", "I64", "I32", "U8", "BOOL"};
  return names[static_cast<int>(d)];
}

/// The types that can be loaded.
inline std::optional<stored_type> safetensors_type(std::string_view dtype) {
  using enum stored_kind;
  static constexpr std::pair<std::string_view, stored_type> types[] = {
      {"F64", {real, 8}},           {"F32", {real, 4}},           {"F16", {real, 2}},
      {"BF16", {brain, 2}},         {"I64", {signed_integer, 8}}, {"I32", {signed_integer, 4}},
      {"I16", {signed_integer, 2}}, {"I8", {signed_integer, 1}},  {"U64", {unsigned_integer, 8}},
      {"U32", {unsigned_integer, 4}}, {"U16", {unsigned_integer, 2}}, {"U8", {unsigned_integer, 1}},
      {"BOOL", {boolean, 1}}};
  for (auto const& [name, type] : types)
    if (name == dtype) return type;
  return std::nullopt;
}

/// Bits of an element, also of types that are only listed; 0 for names that nobody has heard of.
inline index_t safetensors_bits(std::string_view dtype) {
  if (auto const type = safetensors_type(dtype)) return static_cast<index_t>(8 * type->bytes);
  if (dtype == "C64") return 64;
  if (dtype.starts_with("F8_")) return 8;
  if (dtype.starts_with("F6_")) return 6;
  return dtype == "F4" ? 4 : 0;
}

}  // namespace detail

/// Everything a safetensors file says about its tensors; `tensors` are in the order of their bytes.
class safetensors_header {
 public:
  static constexpr std::uint64_t most_bytes = 100'000'000;

  safetensors_header() = default;
  /// Reads and checks the header of a whole file. Throws on anything that the format does not allow.
  explicit safetensors_header(std::span<std::byte const> file) {
    std::uint64_t length = 0;
    if (file.size() < sizeof(length)) throw error("truncated: ", file.size(), " bytes, a header has at least 8");
    std::memcpy(&length, file.data(), sizeof(length));
    if (length > most_bytes)
      throw error("not a safetensors file: its header would have ", length, " bytes, at most ", most_bytes,
                  " are allowed");
    if (length > file.size() - sizeof(length))
      throw error("truncated: the header has ", length, " bytes, the file ", file.size());
    data_begin = sizeof(length) + static_cast<std::size_t>(length);
    parse({reinterpret_cast<char const*>(file.data()) + sizeof(length), static_cast<std::size_t>(length)});
    check_places(file.size() - data_begin);
  }

  safetensors_info const* find(std::string_view name) const {
    auto const at = by_name_.find(std::string(name));
    return at == by_name_.end() ? nullptr : &tensors[at->second];
  }

  std::vector<safetensors_info> tensors;
  std::map<std::string, std::string> metadata;
  std::size_t data_begin = 0;

 private:
  using json = nlohmann::json;

  void parse(std::string_view text) {
    if (!text.starts_with('{')) throw error("bad header: it does not begin with '{'");
    try {
      json const root = parse_header(text);
      for (auto const& [name, entry] : root.items()) {
        if (name == "__metadata__") read_metadata(entry);
        else tensors.push_back(read_tensor(name, entry));
      }
    } catch (json::exception const& e) {
      throw error("bad header: ", e.what());
    }
    std::ranges::sort(tensors, {}, [](auto const& t) { return std::pair(t.begin, t.end); });
    for (std::size_t i = 0; i < tensors.size(); ++i) by_name_.emplace(tensors[i].name, i);
  }

  static json parse_header(std::string_view text) {
    try {
      return detail::parse_json(text);
    } catch (error const& e) {
      throw error("bad header: ", e.what());
    }
  }

  void read_metadata(json const& entry) {
    if (!entry.is_object()) throw error("bad header: __metadata__ is not an object");
    for (auto const& [key, value] : entry.items()) {
      if (!value.is_string()) throw error("bad header: __metadata__ '", key, "' is not a string");
      metadata.emplace(key, value.get<std::string>());
    }
  }

  static safetensors_info read_tensor(std::string const& name, json const& entry) {
    auto const bad = [&](auto const&... why) { return error("tensor '", name, "': ", why...); };
    if (!entry.is_object()) throw bad("its header entry is not an object");
    for (auto const* key : {"dtype", "shape", "data_offsets"})
      if (!entry.contains(key)) throw bad("its header entry has no '", key, "'");
    auto const& type = entry["dtype"];
    auto const& shape = entry["shape"];
    auto const& offsets = entry["data_offsets"];
    auto const whole = [](json const& n) { return n.is_number_unsigned() && n.get<std::uint64_t>() <= most_index; };
    if (!type.is_string()) throw bad("dtype ", type.dump(), " is not a string");
    if (!shape.is_array() || !std::ranges::all_of(shape, whole))
      throw bad("shape ", shape.dump(), " is not a list of extents");
    if (!offsets.is_array() || offsets.size() != 2 || !std::ranges::all_of(offsets, whole))
      throw bad("data_offsets ", offsets.dump(), " are not two positions");
    safetensors_info t{name, type.get<std::string>(), shape.get<std::vector<index_t>>(), offsets[0].get<std::size_t>(),
                       offsets[1].get<std::size_t>()};
    if (t.end < t.begin) throw bad("data_offsets ", offsets.dump(), " end before they begin");
    check_bytes(t);
    return t;
  }

  static void check_bytes(safetensors_info const& t) {
    index_t count = 0;
    index_t bits = 0;
    index_t const width = detail::safetensors_bits(t.dtype);
    if (!detail::count_elements(t.shape, count) || __builtin_mul_overflow(count, width, &bits))
      throw error("tensor '", t.name, "': shape ", detail::shape_text(t.shape), " has too many elements");
    if (width == 0) return;  // a type nobody knows: its bytes can be counted by nobody
    if (bits % 8 != 0 || static_cast<std::uint64_t>(bits / 8) != t.end - t.begin)
      throw error("tensor '", t.name, "': ", t.dtype, " ", detail::shape_text(t.shape), " needs ", (bits + 7) / 8,
                  " bytes, the file gives ", t.end - t.begin);
  }

  void check_places(std::size_t available) const {
    std::size_t at = 0;
    for (auto const& t : tensors) {
      if (t.end > available)
        throw error("truncated: tensor '", t.name, "' ends at byte ", t.end, " of the data, the file has ", available);
      if (t.begin != at)
        throw error("tensor '", t.name, t.begin < at ? "' overlaps the one before it" : "' leaves a hole",
                    ": it begins at ", t.begin, ", not at ", at);
      at = t.end;
    }
    if (at != available) throw error("the tensors end at byte ", at, " of the data, the file has ", available);
  }

  static constexpr std::uint64_t most_index = std::uint64_t{1} << 62;
  std::unordered_map<std::string, std::size_t> by_name_;
};

}  // namespace cog
