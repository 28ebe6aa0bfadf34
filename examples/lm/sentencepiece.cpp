// SentencePiece through Debian's library, where it was there when this program was built.
#include "vocabulary.hpp"

#ifdef COG_LM_SENTENCEPIECE
#include <memory>

#include <sentencepiece_processor.h>
#endif

namespace lm {

#ifdef COG_LM_SENTENCEPIECE

namespace {

/// As cog::tokenizer wants a model.
class sentencepiece_model {
 public:
  explicit sentencepiece_model(std::shared_ptr<sentencepiece::SentencePieceProcessor const> p)
      : processor_(std::move(p)) {}

  cog::index_t vocab_size() const { return processor_->GetPieceSize(); }
  std::vector<std::int32_t> encode(std::string_view text) const { return encode_ordinary(text); }
  std::vector<std::int32_t> encode_ordinary(std::string_view text) const {
    return processor_->EncodeAsIds({text.data(), text.size()});
  }
  std::string decode(std::span<std::int32_t const> ids) const {
    return processor_->DecodeIds({ids.begin(), ids.end()});
  }
  std::string bytes_of(std::int32_t id) const {
    if (id < 0 || id >= vocab_size()) throw cog::error("token ", id, " is outside a vocabulary of ", vocab_size());
    std::string const piece = processor_->IdToPiece(id);
    if (processor_->IsByte(id)) return std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
    constexpr std::string_view blank = "\u2581";
    std::string text;
    for (std::size_t i = 0; i < piece.size();) {
      bool const is_blank = std::string_view(piece).substr(i).starts_with(blank);
      text += is_blank ? ' ' : piece[i];
      i += is_blank ? blank.size() : 1;
    }
    return text;
  }
  std::optional<std::int32_t> id_of(std::string_view token) const {
    int const id = processor_->PieceToId({token.data(), token.size()});
    if (processor_->IsUnknown(id)) return std::nullopt;
    return id;
  }
  bool is_special(std::int32_t id) const { return processor_->IsControl(id) || processor_->IsUnknown(id); }

 private:
  std::shared_ptr<sentencepiece::SentencePieceProcessor const> processor_;
};

}  // namespace

vocabulary sentencepiece_vocabulary(std::filesystem::path const& file) {
  std::string bytes(cog::mapped_file(file).text());
  auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  if (auto const status = processor->LoadFromSerializedProto({bytes.data(), bytes.size()}); !status.ok())
    throw cog::error("SentencePiece model ", file.string(), ": ", status.ToString());
  vocabulary out{sentencepiece_model(processor), "SentencePiece"};
  if (processor->bos_id() >= 0) out.document_start = processor->bos_id();
  if (processor->eos_id() >= 0) out.ends.push_back(processor->eos_id());
  if (processor->bos_id() >= 0) out.ends.push_back(processor->bos_id());
  out.sentencepiece = std::move(bytes);
  return out;
}

#else

vocabulary sentencepiece_vocabulary(std::filesystem::path const& file) {
  throw cog::error("cannot read ", file.string(),
                   ": this program was built without SentencePiece (libsentencepiece-dev)");
}

#endif

}  // namespace lm
