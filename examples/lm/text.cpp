#include "text.hpp"

#include <algorithm>
#include <cmath>

#include <cog/core/error.hpp>
#include <cog/io/file.hpp>

namespace lm {

namespace fs = std::filesystem;

namespace {
/// All files below a folder but hidden ones. One iterator a folder: the error of one that cannot be read then names it.
void collect(fs::path const& folder, std::vector<fs::path>& files) {
  for (auto const& e : fs::directory_iterator(folder)) {
    if (e.path().filename().string().starts_with(".")) continue;
    if (e.is_regular_file()) files.push_back(e.path());
    else if (e.is_directory() && !e.is_symlink()) collect(e.path(), files);
  }
}
}  // namespace

std::vector<document> read_documents(fs::path const& path) {
  std::vector<document> out;
  if (!fs::is_directory(path)) {
    out.push_back({path, std::string(cog::mapped_file(path).text())});
    if (out.front().text.empty()) throw cog::error("no text in ", path.string(), ": the file is empty");
    return out;
  }
  std::vector<fs::path> files;
  collect(path, files);
  std::ranges::sort(files);
  for (auto const& file : files) {
    std::string text(cog::mapped_file(file).text());
    if (!text.empty() && text.find('\0') == text.npos) out.push_back({file, std::move(text)});
  }
  if (out.empty()) throw cog::error("no text in ", path.string(), ": ", files.size(), " files, none of them text");
  return out;
}

split_text hold_out(std::vector<document> documents, double fraction) {
  split_text out{documents.size(), {}, {}};
  if (static_cast<double>(documents.size()) * fraction < 1) {
    for (auto& d : documents) {
      auto cut = static_cast<std::size_t>(static_cast<double>(d.text.size()) * (1 - fraction));
      while (cut < d.text.size() && (static_cast<unsigned char>(d.text[cut]) & 0xc0) == 0x80) ++cut;  // UTF-8
      if (cut < d.text.size()) out.held_out.push_back({d.path, d.text.substr(cut)});
      d.text.resize(cut);
    }
    out.training = std::move(documents);
    return out;
  }
  for (std::size_t i = 0; i < documents.size(); ++i) {
    auto const before = std::floor(static_cast<double>(i) * fraction);
    bool const held = std::floor(static_cast<double>(i + 1) * fraction) > before;
    (held ? out.held_out : out.training).push_back(std::move(documents[i]));
  }
  return out;
}

std::size_t total_bytes(std::vector<document> const& documents) {
  std::size_t n = 0;
  for (auto const& d : documents) n += d.text.size();
  return n;
}

}  // namespace lm
