// Labelled pictures of one size, kept as bytes: from a folder, CIFAR-10's binary files, MNIST's IDX files, or drawn by
// the program.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <cog/core/create.hpp>

#include "picture.hpp"

namespace image {

struct dataset {
  std::string description;
  cog::index_t size = 0, channels = 3;  // of a picture: [channels, size, size]
  std::vector<std::string> classes;     // none: no labels
  std::vector<std::uint8_t> pixels;     // picture after picture, channel after channel
  std::vector<std::int64_t> labels;     // of classes, one for each picture

  cog::index_t count() const { return pixels.empty() ? 0 : static_cast<cog::index_t>(pixels.size()) / picture_bytes(); }
  cog::index_t picture_bytes() const { return channels * size * size; }
  /// Adds a picture; channels decides whether its colours or its lightness count.
  void add(picture const& p, std::int64_t label);
  /// These pictures in [-1, 1], mirrored where `mirrored` says so: [n, channels, size, size].
  template <cog::context C>
  auto batch(C const& ctx, std::span<cog::index_t const> which, std::vector<bool> const& mirrored = {}) const {
    return cog::from(ctx, values(which, mirrored), {static_cast<cog::index_t>(which.size()), channels, size, size});
  }
  std::vector<std::int64_t> labels_of(std::span<cog::index_t const> which) const;

 private:
  std::vector<float> values(std::span<cog::index_t const> which, std::vector<bool> const& mirrored) const;
};

/// `where` is "shapes" (drawn, `count` of them from `seed`), a folder of pictures or of one sub-folder a class, a
/// folder of data_batch_*.bin or a file of that kind (CIFAR-10), or a folder of train-images-idx3-ubyte and
/// train-labels-idx1-ubyte (MNIST). size 0: that of the data, or of its first picture. `channels` is 3, or 1 for
/// lightness alone, which MNIST has in any case. Throws, naming the file, when something is not what it should be, such
/// as a class without pictures.
dataset load_dataset(std::string const& where, cog::index_t size, cog::index_t count = 6000, std::uint64_t seed = 1,
                     cog::index_t channels = 3);

/// Numbers of shape [n, channels, rows, columns] in [-1, 1], cut there, as pictures: floor(255 (x + 1) / 2 + 1/2).
std::vector<picture> to_pictures(std::vector<float> const& values, cog::extents<4> const& shape);
template <class B>
std::vector<picture> to_pictures(cog::tensor<float, 4, B> const& x) {
  return to_pictures(x.to_vector(), x.extents());
}

}  // namespace image
