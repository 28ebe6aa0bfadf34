// Latents and texts that were computed beforehand, as U-ViT keeps MS-COCO: train/i.npy the moments of picture i
// [2 z, h, w], train/i_k.npy the states of its caption k [tokens, width], empty_context.npy those of no text.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include <cog/core/create.hpp>

namespace image {

class feature_folder {
 public:
  /// Throws, naming the file, when one is missing or of another shape than the first.
  explicit feature_folder(std::filesystem::path folder);

  cog::index_t count() const { return static_cast<cog::index_t>(captions_.size()); }
  /// Of picture i.
  cog::index_t captions(cog::index_t i) const { return captions_[static_cast<std::size_t>(i)]; }
  cog::extents<3> moments_shape() const { return moments_; }
  cog::extents<2> text_shape() const { return text_; }

  /// [n, 2 z, h, w]
  template <cog::context C>
  auto moments(C const& ctx, std::span<cog::index_t const> which) const {
    return cog::from(ctx, read_moments(which),
                     {static_cast<cog::index_t>(which.size()), moments_[0], moments_[1], moments_[2]});
  }
  /// [n, tokens, width], of a caption of each picture; -1: of no text.
  template <cog::context C>
  auto texts(C const& ctx, std::span<cog::index_t const> which, std::span<cog::index_t const> caption) const {
    return cog::from(ctx, read_texts(which, caption), {static_cast<cog::index_t>(which.size()), text_[0], text_[1]});
  }
  /// Tells one folder from another.
  std::uint32_t crc32() const;

 private:
  std::vector<float> read_moments(std::span<cog::index_t const> which) const;
  std::vector<float> read_texts(std::span<cog::index_t const> which, std::span<cog::index_t const> caption) const;

  std::filesystem::path folder_;
  std::vector<cog::index_t> captions_;
  cog::extents<3> moments_{};
  cog::extents<2> text_{};
  std::vector<float> no_text_;
};

}  // namespace image
