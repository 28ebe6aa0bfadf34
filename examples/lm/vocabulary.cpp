#include "vocabulary.hpp"

#include <charconv>

namespace lm {

namespace fs = std::filesystem;

namespace {

constexpr char const* boundary = "<|endoftext|>";

vocabulary of(cog::tokenizer tokenizer, std::string description) {
  vocabulary out{std::move(tokenizer), std::move(description)};
  if (auto const id = out.tokenizer.id_of(boundary)) {
    out.document_start = *id;
    out.ends = {*id};
  }
  return out;
}

vocabulary from_file(fs::path const& file) {
  auto tokenizer = cog::tokenizer::load(file);
  bool const bytes = tokenizer.as<cog::byte_tokenizer>() != nullptr;
  return of(std::move(tokenizer), bytes ? "bytes" : "byte-level BPE");
}

}  // namespace

std::vector<std::int32_t> vocabulary::encode(std::string_view text) const {
  auto ids = tokenizer.encode_ordinary(text);
  if (document_start) ids.insert(ids.begin(), static_cast<std::int32_t>(*document_start));
  return ids;
}

std::vector<std::int32_t> vocabulary::byte_counts() const {
  std::vector<std::int32_t> out(static_cast<std::size_t>(size()));
  for (std::size_t id = 0; id < out.size(); ++id) {
    auto const token = static_cast<std::int32_t>(id);
    if (!tokenizer.is_special(token)) out[id] = static_cast<std::int32_t>(tokenizer.bytes_of(token).size());
  }
  return out;
}

void vocabulary::save(fs::path const& folder) const {
  if (!sentencepiece.empty()) cog::write_file(folder / "tokenizer.model", sentencepiece);
  else tokenizer.save(folder / "tokenizer.json");
}

vocabulary make_vocabulary(std::string const& wanted, std::vector<document> const& training) {
  if (wanted == "bytes") return of(cog::byte_tokenizer({boundary}), "bytes");
  if (wanted == "bpe" || wanted.starts_with("bpe:")) {
    cog::bpe_options options{.special_tokens = {boundary}};
    if (wanted != "bpe") {
      auto const* end = wanted.data() + wanted.size();
      auto const [at, code] = std::from_chars(wanted.data() + 4, end, options.vocab_size);
      if (code != std::errc{} || at != end)
        throw cog::error("--tokenizer ", wanted, ": '", wanted.substr(4), "' is no size");
    }
    cog::bpe_trainer trainer(options);
    for (auto const& d : training) trainer.add(d.text);
    return of(trainer.train(), "byte-level BPE");
  }
  fs::path const file(wanted);
  if (file.extension() == ".json") return from_file(file);
  if (file.extension() == ".model") return sentencepiece_vocabulary(file);
  throw cog::error("--tokenizer ", wanted, ": neither bytes, bpe, bpe:SIZE, nor a file *.json or *.model");
}

vocabulary load_vocabulary(fs::path const& folder) {
  if (fs::exists(folder / "tokenizer.json")) return from_file(folder / "tokenizer.json");
  if (fs::exists(folder / "tokenizer.model")) return sentencepiece_vocabulary(folder / "tokenizer.model");
  throw cog::error("no tokenizer in ", folder.string(), ": neither tokenizer.json nor tokenizer.model");
}

}  // namespace lm
