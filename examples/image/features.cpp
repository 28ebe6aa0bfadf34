#include "features.hpp"

#include <string>

#include <cog/backend/cpu/cpu.hpp>
#include <cog/io/checkpoint.hpp>
#include <cog/io/npy.hpp>

namespace image {

namespace fs = std::filesystem;
using cog::index_t;

namespace {

template <std::size_t R>
std::vector<float> read(fs::path const& file, std::array<index_t, R> const& shape) {
  static cog::cpu::context const ctx({.threads = 1});
  auto const x = cog::load_npy<float, static_cast<int>(R)>(ctx, file);
  if (x.extents() != shape) throw cog::error(file.string(), ": of shape ", x.extents(), ", the others of ", shape);
  return x.to_vector();
}
template <int R>
cog::extents<R> shape_of(fs::path const& file) {
  auto const shape = cog::npy_file(file).info().shape;
  cog::extents<R> out{};
  if (shape.size() != R) throw cog::error(file.string(), ": ", shape.size(), " axes, expected ", R);
  std::ranges::copy(shape, out.begin());
  return out;
}

std::string number(index_t i) { return std::to_string(i); }

}  // namespace

feature_folder::feature_folder(fs::path folder) : folder_(std::move(folder)) {
  auto const train = folder_ / "train";
  for (index_t i = 0; fs::exists(train / (number(i) + ".npy")); ++i) {
    index_t k = 0;
    while (fs::exists(train / (number(i) + "_" + number(k) + ".npy"))) ++k;
    if (k == 0) throw cog::error(train.string(), ": ", i, ".npy has no caption ", i, "_0.npy");
    captions_.push_back(k);
  }
  if (captions_.empty()) throw cog::error(train.string(), ": no 0.npy");
  moments_ = shape_of<3>(train / "0.npy");
  text_ = shape_of<2>(folder_ / "empty_context.npy");
  no_text_ = read(folder_ / "empty_context.npy", text_);
  if (moments_[0] % 2 != 0 || moments_[1] != moments_[2] || moments_[0] < 2 || moments_[1] < 1)
    throw cog::error((train / "0.npy").string(), ": of shape ", moments_, ", not means and log variances of a square");
}

std::vector<float> feature_folder::read_moments(std::span<index_t const> which) const {
  std::vector<float> out;
  for (index_t i : which) {
    auto const one = read(folder_ / "train" / (number(i) + ".npy"), moments_);
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

std::vector<float> feature_folder::read_texts(std::span<index_t const> which, std::span<index_t const> caption) const {
  std::vector<float> out;
  for (std::size_t n = 0; n < which.size(); ++n) {
    auto const file = folder_ / "train" / (number(which[n]) + "_" + number(caption[n]) + ".npy");
    auto const one = caption[n] < 0 ? no_text_ : read(file, text_);
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

std::uint32_t feature_folder::crc32() const {
  auto const first = read(folder_ / "train" / "0.npy", moments_);
  return cog::detail::crc32(std::as_bytes(std::span(first))) ^ cog::detail::crc32(std::as_bytes(std::span(captions_)));
}

}  // namespace image
