// Text from a file or a folder, cut into what is learnt and what is held out.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lm {

struct document {
  std::filesystem::path path;
  std::string text;
};

/// A file is one document; a folder gives one for every text file below it, in the order of their paths. Files with a
/// NUL byte are no text; hidden ones are passed over. Throws when nothing is found.
std::vector<document> read_documents(std::filesystem::path const& path);

struct split_text {
  std::size_t documents;  // before they were cut
  std::vector<document> training, held_out;
};
/// Whole documents are held out, evenly spread over their order; where that would be none, the last part of each.
split_text hold_out(std::vector<document> documents, double fraction);

std::size_t total_bytes(std::vector<document> const& documents);

}  // namespace lm
