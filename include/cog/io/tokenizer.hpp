// Text to ids and back, whatever the vocabulary: `tokenizer` holds a byte_tokenizer, a byte_bpe or a user's own type.
// It is a value that does not change: copies are cheap, threads share it. decode(encode(x)) == x for the first two.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <cog/core/config.hpp>
#include <cog/io/file.hpp>
#include <cog/io/tokenizer_bpe.hpp>
#include <cog/io/tokenizer_byte.hpp>
#include <cog/io/tokenizer_json.hpp>
#include <cog/io/tokenizer_train.hpp>
#include <cog/io/utf8.hpp>

namespace cog {

/// What `tokenizer` can hold. `bytes_of` is what a token adds in the middle of a text; where a whole text is more than
/// the sum of its tokens, the type also has `decode(std::span<std::int32_t const>) -> std::string`.
template <class M>
concept tokenizer_model = requires(M const& m, std::string_view text, std::int32_t id) {
  { m.vocab_size() } -> std::convertible_to<index_t>;
  { m.encode(text) } -> std::same_as<std::vector<std::int32_t>>;
  { m.encode_ordinary(text) } -> std::same_as<std::vector<std::int32_t>>;
  { m.bytes_of(id) } -> std::convertible_to<std::string>;
  { m.id_of(text) } -> std::same_as<std::optional<std::int32_t>>;
  { m.is_special(id) } -> std::same_as<bool>;
};

/// `cog::tokenizer t = cog::train_byte_bpe(text);` or `auto t = cog::tokenizer::load("tokenizer.json");`
class tokenizer {
 public:
  template <class M>
    requires(tokenizer_model<M> && !std::same_as<M, tokenizer>)
  tokenizer(M model) : model_(std::make_shared<holder<M> const>(std::move(model))) {}

  /// Reads a Hugging Face tokenizer.json of byte-level BPE. Throws, naming the file, when it is anything else.
  static tokenizer load(std::filesystem::path const& path) {
    mapped_file const file(path);
    return std::visit([](auto&& model) { return tokenizer(std::move(model)); },
                      tokenizer_from_json(file.text(), path.string()));
  }
  /// Writes a tokenizer.json, atomically. Throws when the model has no such form (no `to_json(model)`).
  void save(std::filesystem::path const& path) const { write_file(path, model_->json()); }

  /// Number of ids: one more than the largest.
  index_t vocab_size() const { return model_->vocab_size(); }
  /// Ids of a text in which special tokens ("<|endoftext|>") are recognised.
  std::vector<std::int32_t> encode(std::string_view text) const { return model_->encode(text); }
  /// Ids of a text in which nothing is special: what strangers wrote cannot contain control tokens.
  std::vector<std::int32_t> encode_ordinary(std::string_view text) const { return model_->encode_ordinary(text); }
  /// The text of the ids, special tokens included: the very bytes, which need not be valid UTF-8 (see `valid_utf8`).
  std::string decode(std::span<std::int32_t const> ids) const { return model_->decode(ids); }
  /// What one token adds in the middle of a text. Throws when there is no such id.
  std::string bytes_of(std::int32_t id) const { return model_->bytes_of(id); }
  /// The id of a token given by its text: `id_of("<|endoftext|>")`.
  std::optional<std::int32_t> id_of(std::string_view token) const { return model_->id_of(token); }
  /// Control tokens, which a reader of the text does not want to see.
  bool is_special(std::int32_t id) const { return model_->is_special(id); }

  /// The model inside when it is an M, else null.
  template <class M>
  M const* as() const {
    auto const* held = dynamic_cast<holder<M> const*>(model_.get());
    return held ? &held->model : nullptr;
  }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual index_t vocab_size() const = 0;
    virtual std::vector<std::int32_t> encode(std::string_view) const = 0;
    virtual std::vector<std::int32_t> encode_ordinary(std::string_view) const = 0;
    virtual std::string decode(std::span<std::int32_t const>) const = 0;
    virtual std::string bytes_of(std::int32_t) const = 0;
    virtual std::optional<std::int32_t> id_of(std::string_view) const = 0;
    virtual bool is_special(std::int32_t) const = 0;
    virtual std::string json() const = 0;
  };

  template <class M>
  struct holder final : interface {
    explicit holder(M m) : model(std::move(m)) {}
    index_t vocab_size() const override { return model.vocab_size(); }
    std::vector<std::int32_t> encode(std::string_view text) const override { return model.encode(text); }
    std::vector<std::int32_t> encode_ordinary(std::string_view text) const override {
      return model.encode_ordinary(text);
    }
    std::string decode(std::span<std::int32_t const> ids) const override {
      if constexpr (requires { model.decode(ids); }) {
        return model.decode(ids);
      } else {
        std::string text;
        for (std::int32_t id : ids) text += model.bytes_of(id);
        return text;
      }
    }
    std::string bytes_of(std::int32_t id) const override { return model.bytes_of(id); }
    std::optional<std::int32_t> id_of(std::string_view token) const override { return model.id_of(token); }
    bool is_special(std::int32_t id) const override { return model.is_special(id); }
    std::string json() const override {
      if constexpr (requires { to_json(model); }) return to_json(model);
      else throw error("tokenizer: a vocabulary of this type is not written as tokenizer.json");
    }
    M model;
  };

  std::shared_ptr<interface const> model_;
};

/// Shows text while it is generated: valid UTF-8 at every moment, an unfinished character is held back, and what can
/// never become one is U+FFFD. Special tokens are skipped unless asked for.
class text_stream {
 public:
  explicit text_stream(tokenizer t, bool show_special = false)
      : tokenizer_(std::move(t)), show_special_(show_special) {}

  /// The text that is new with this token; often empty.
  std::string push(std::int32_t id) {
    if (!show_special_ && tokenizer_.is_special(id)) return {};
    return stream_.push(tokenizer_.bytes_of(id));
  }
  /// What is left when generation has ended.
  std::string finish() { return stream_.finish(); }

 private:
  tokenizer tokenizer_;
  utf8_stream stream_;
  bool show_special_;
};

}  // namespace cog
