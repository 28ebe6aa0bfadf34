// Checkpoints: ROOT/step-00000120/ with state.json, written last, beside the files that the caller puts there.
// A checkpoint is made under a hidden name, flushed to the disk and renamed, so that after a crash at any moment every
// folder called step-* is whole. There is no pointer to the newest one that could disagree with what is there: it is
// the highest step. state.json also knows the size and CRC-32 of every file, and its own, so that damage on the way is an
// error with a name, not a strange model.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <cog/core/error.hpp>
#include <cog/io/file.hpp>
#include <cog/io/json.hpp>
#include <cog/io/safetensors.hpp>
#include <cog/nn/module.hpp>

namespace cog {

/// Writes all parameters of a module (or the state of an optimiser) to a safetensors file, atomically.
template <visitable M>
void save_parameters(M& module, std::filesystem::path const& path) {
  safetensors_writer writer;
  for_each_parameter(module, [&](std::string const& name, auto& parameter) { writer.add(name, parameter); });
  writer.write(path);
}

namespace detail {

/// The CRC-32 of zip and zlib, eight bytes at a time.
inline std::uint32_t crc32(std::span<std::byte const> bytes) {
  static constexpr auto tables = [] {
    std::array<std::array<std::uint32_t, 256>, 8> t{};
    for (std::uint32_t n = 0; n < 256; ++n) {
      std::uint32_t c = n;
      for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0);
      t[0][n] = c;
    }
    for (std::size_t k = 1; k < 8; ++k)
      for (std::size_t n = 0; n < 256; ++n) t[k][n] = (t[k - 1][n] >> 8) ^ t[0][t[k - 1][n] & 255];
    return t;
  }();
  auto const byte = [&](std::size_t i) { return static_cast<std::uint32_t>(bytes[i]); };
  std::uint32_t crc = ~0u;
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint32_t const low = crc ^ (byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24);
    crc = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^ tables[5][low >> 16 & 255] ^ tables[4][low >> 24] ^
          tables[3][byte(i + 4)] ^ tables[2][byte(i + 5)] ^ tables[1][byte(i + 6)] ^ tables[0][byte(i + 7)];
  }
  for (; i < bytes.size(); ++i) crc = (crc >> 8) ^ tables[0][(crc ^ byte(i)) & 255];
  return ~crc;
}

/// What is not UTF-8 becomes U+FFFD: the name of a file must not fail the save of a long run.
inline std::string text_of_state(nlohmann::json const& state, int indent) {
  return state.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}
/// Of all that state.json says but this number itself.
inline std::uint32_t crc32_of_state(nlohmann::json state) {
  state.erase("crc32");
  std::string const text = text_of_state(state, -1);
  return crc32(std::as_bytes(std::span(text)));
}

inline constexpr std::string_view different_content = "the content is not what was written (its CRC-32 differs)";

inline constexpr std::string_view checkpoint_prefix = "step-";

inline std::string checkpoint_name(index_t step) {
  std::string const digits = std::to_string(step);
  return std::string(checkpoint_prefix) + std::string(digits.size() < 8 ? 8 - digits.size() : 0, '0') + digits;
}
inline std::optional<index_t> checkpoint_step(std::string const& name) {
  if (!name.starts_with(checkpoint_prefix)) return std::nullopt;
  auto const digits = std::string_view(name).substr(checkpoint_prefix.size());
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != digits.npos)
    return std::nullopt;
  return std::stoll(std::string(digits));
}

/// A count in JSON. Throws on a fraction, a sign, anything else.
inline std::uint64_t count_of(nlohmann::json const& j, char const* key) {
  auto const& n = j.at(key);
  if (!n.is_number_unsigned()) throw error(key, " is ", n.dump(), ", not a count");
  return n.get<std::uint64_t>();
}

}  // namespace detail

/// A checkpoint on the disk, open for reading.
class checkpoint_reader {
 public:
  static constexpr int format_version = 2;

  /// Reads state.json and compares the sizes of all files. Throws, naming the file, when one is missing or truncated, when
  /// state.json is not what was written, and when a folder step-N holds another step.
  explicit checkpoint_reader(std::filesystem::path folder) : folder_(std::move(folder)) {
    auto const path = folder_ / "state.json";
    mapped_file const text(path);
    try {
      state_ = detail::parse_json(text.text());
      if (state_.at("format_version") != format_version)
        throw error("format_version ", state_.at("format_version").dump(), " is not the one that this program knows (",
                    format_version, ")");
      if (detail::count_of(state_, "crc32") != detail::crc32_of_state(state_)) throw error(detail::different_content);
      step_ = static_cast<index_t>(detail::count_of(state_, "step"));
      if (auto const named = detail::checkpoint_step(folder_.filename().string()); named.value_or(step_) != step_)
        throw error("it is of step ", step_);
      for (auto const& [name, file] : state_.at("files").items())
        files_.push_back({name, detail::count_of(file, "bytes"), detail::count_of(file, "crc32")});
    } catch (std::exception const& e) {
      throw error("checkpoint ", path.string(), ": ", e.what());
    }
    for (auto const& f : files_) {
      std::error_code code;
      auto const size = std::filesystem::file_size(folder_ / f.name, code);
      if (code) throw error("checkpoint ", (folder_ / f.name).string(), ": ", code.message());
      if (size != f.bytes)
        throw error("checkpoint ", (folder_ / f.name).string(), ": ", size, " bytes, ", f.bytes, " were written");
    }
  }

  std::filesystem::path const& folder() const noexcept { return folder_; }
  index_t step() const noexcept { return step_; }
  /// What the caller gave to save_checkpoint, and the members step, files, format_version and crc32.
  nlohmann::json const& state() const noexcept { return state_; }
  bool contains(std::string const& file) const {
    return std::ranges::any_of(files_, [&](auto const& f) { return f.name == file; });
  }

  /// Loads what save_parameters wrote. Throws, naming the file and the tensor and both shapes, when they do not fit,
  /// and when the file is not the one that was written.
  template <visitable M>
  void load(std::string const& file, M& module) const {
    auto const known = std::ranges::find(files_, file, &entry::name);
    if (known == files_.end()) throw error("checkpoint ", folder_.string(), ": has no ", file);
    safetensors_file const source(folder_ / file);
    if (detail::crc32(mapped_file(folder_ / file).bytes()) != known->crc32)
      throw error("checkpoint ", source.path().string(), ": ", detail::different_content);
    try {
      load_parameters(module, source);
    } catch (error const& e) {
      std::string const text = e.what();
      throw error(text.find(source.path().string()) == text.npos ? source.path().string() + ": " + text : text);
    }
  }

 private:
  struct entry {
    std::string name;
    std::uint64_t bytes, crc32;
  };
  std::filesystem::path folder_;
  nlohmann::json state_;
  index_t step_ = 0;
  std::vector<entry> files_;
};

/// The folders step-* below `root`, the newest first; none when there is no such folder. Throws when it cannot be read: a run that
/// finds nothing would start from the beginning.
inline std::vector<std::filesystem::path> checkpoint_folders(std::filesystem::path const& root) {
  namespace fs = std::filesystem;
  std::vector<std::pair<index_t, fs::path>> found;
  std::error_code code, ignored;
  for (auto e = fs::directory_iterator(root, code); !code && e != fs::directory_iterator(); e.increment(code))
    if (auto const step = detail::checkpoint_step(e->path().filename().string()); step && fs::is_directory(e->path(), ignored))
      found.emplace_back(*step, e->path());
  if (code && code != std::errc::no_such_file_or_directory) detail::throw_file_error("read", root, code.value());
  std::ranges::sort(found, std::greater{});
  std::vector<std::filesystem::path> out;
  for (auto& [step, path] : found) out.push_back(std::move(path));
  return out;
}

/// The newest complete checkpoint below `root`. One that a copy from elsewhere left incomplete is passed over, and
/// `skipped` receives the reason.
inline std::optional<checkpoint_reader> latest_checkpoint(
    std::filesystem::path const& root,
    std::function<void(std::string const&)> const& skipped = [](std::string const&) {}) {
  for (auto const& folder : checkpoint_folders(root)) {
    try {
      return checkpoint_reader(folder);
    } catch (error const& e) {
      skipped(e.what());
    }
  }
  return std::nullopt;
}

/// Writes ROOT/step-N: `write(folder)` puts files into a folder, `state` is an object that state.json holds, with U+FFFD for what is
/// not UTF-8 in it.
/// Then removes all but the newest `keep_newest` checkpoints up to this one (0: none is removed). One program at a time
/// writes below a root. Returns the folder's final path. Throws when the disk does not take it; what was there before
/// is then still there.
template <class Write>
std::filesystem::path save_checkpoint(std::filesystem::path const& root, index_t step, nlohmann::json state,
                                      Write const& write, index_t keep_newest = 0) {
  namespace fs = std::filesystem;
  if (step < 0) throw error("save_checkpoint: step ", step);
  if (std::error_code code; !fs::create_directories(root, code) && code) detail::throw_file_error("create", root, code.value());
  auto const hidden = [](fs::path const& e) { return e.filename().string().starts_with(".step-"); };
  for (auto const& e : fs::directory_iterator(root))
    if (hidden(e.path())) fs::remove_all(e.path());  // what an interrupted run left

  auto const name = detail::checkpoint_name(step);
  auto const made = root / ("." + name), final = root / name;
  fs::create_directory(made);
  try {
    write(std::as_const(made));
    auto files = nlohmann::json::object();
    for (auto const& e : fs::directory_iterator(made)) {
      mapped_file const file(e.path());
      files[e.path().filename().string()] = {{"bytes", file.bytes().size()}, {"crc32", detail::crc32(file.bytes())}};
    }
    state["format_version"] = checkpoint_reader::format_version;
    state["step"] = step;
    state["files"] = std::move(files);
    state["crc32"] = detail::crc32_of_state(state);
    write_file(made / "state.json", detail::text_of_state(state, 2) + "\n");

    // A checkpoint of this step that is already there changes places with the new one, at once.
    bool placed = ::rename(made.c_str(), final.c_str()) == 0;
#if defined(RENAME_EXCHANGE)
    if (!placed && (errno == ENOTEMPTY || errno == EEXIST))
      placed = ::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, final.c_str(), RENAME_EXCHANGE) == 0;
#endif
    if (!placed &&
        (errno == ENOTEMPTY || errno == EEXIST || errno == EINVAL || errno == ENOSYS)) {  // not all file systems can
      fs::remove_all(final);
      placed = ::rename(made.c_str(), final.c_str()) == 0;
    }
    if (!placed) detail::throw_file_error("write", final, errno);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(made, ignored);
    throw;
  }
  detail::descriptor const directory(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.number >= 0) ::fsync(directory.number);

  // Renamed before they are emptied: nothing called step-* is ever half there.
  index_t kept = 0;
  for (auto const& folder : checkpoint_folders(root))
    if (keep_newest > 0 && detail::checkpoint_step(folder.filename().string()) <= step && ++kept > keep_newest) {
      auto const gone = root / ("." + folder.filename().string());
      fs::remove_all(gone);
      fs::rename(folder, gone);
      fs::remove_all(gone);
    }
  std::error_code ignored;
  fs::remove_all(made, ignored);  // the one that changed places
  return final;
}

}  // namespace cog
