// The tokens that a model reads and writes, and where they are kept: tokenizer.json, or tokenizer.model of
// SentencePiece.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <cog/io/tokenizer.hpp>

#include "text.hpp"

namespace lm {

struct vocabulary {
  cog::tokenizer tokenizer;
  std::string description;                       // "bytes", "byte-level BPE", "SentencePiece"
  std::optional<std::int64_t> document_start{};  // the token that opens every document, where there are several
  std::vector<std::int64_t> ends{};              // tokens that end a text
  std::string sentencepiece{};                   // the serialised model, when it is one

  cog::index_t size() const { return tokenizer.vocab_size(); }
  /// The ids of a document, after document_start where there is one.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// Bytes of text for every id; 0 for control tokens.
  std::vector<std::int32_t> byte_counts() const;
  void save(std::filesystem::path const& folder) const;
};

/// bytes | bpe[:SIZE] (trained on `training`) | FILE.json | FILE.model. Throws when it is none of these.
vocabulary make_vocabulary(std::string const& wanted, std::vector<document> const& training);
/// What `save` wrote, or tokenizer.json / tokenizer.model of a released model. Throws when the folder has neither.
vocabulary load_vocabulary(std::filesystem::path const& folder);

/// A SentencePiece model. Throws when this program was built without the library.
vocabulary sentencepiece_vocabulary(std::filesystem::path const& file);

}  // namespace lm
