#include "dataset.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

#include <cog/io/file.hpp>

#include "shapes.hpp"

namespace image {

namespace fs = std::filesystem;
using cog::index_t;

void dataset::add(picture const& given, std::int64_t label) {
  auto const p = square(given, size);
  for (index_t c = 0; c < channels; ++c)
    for (index_t i = 0; i < size * size; ++i) {
      auto const* rgb = &p.rgb[static_cast<std::size_t>(3 * i)];
      pixels.push_back(channels == 3
                           ? rgb[c]
                           : static_cast<std::uint8_t>((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] + 500) / 1000));
    }
  labels.push_back(label);
}

std::vector<float> dataset::values(std::span<index_t const> which, std::vector<bool> const& mirrored) const {
  std::vector<float> out;
  out.reserve(which.size() * static_cast<std::size_t>(picture_bytes()));
  for (std::size_t n = 0; n < which.size(); ++n) {
    auto const* from = &pixels[static_cast<std::size_t>(which[n] * picture_bytes())];
    bool const mirror = n < mirrored.size() && mirrored[n];
    for (index_t row = 0; row < channels * size; ++row)
      for (index_t x = 0; x < size; ++x)
        out.push_back(static_cast<float>(from[row * size + (mirror ? size - 1 - x : x)]) / 127.5f - 1);
  }
  return out;
}

std::vector<std::int64_t> dataset::labels_of(std::span<index_t const> which) const {
  std::vector<std::int64_t> out;
  for (index_t i : which) out.push_back(labels[static_cast<std::size_t>(i)]);
  return out;
}

std::vector<picture> to_pictures(std::vector<float> const& values, cog::extents<4> const& shape) {
  index_t const channels = shape[1], size = shape[2] * shape[3];
  std::vector<picture> out;
  for (index_t n = 0; n < shape[0]; ++n) {
    picture p(shape[3], shape[2]);
    for (index_t i = 0; i < size; ++i)
      for (index_t c = 0; c < 3; ++c) {
        float const v = values[static_cast<std::size_t>((n * channels + std::min(c, channels - 1)) * size + i)];
        // What is no number becomes black.
        float const share = std::min(1.0f, std::max(0.0f, 0.5f * (v + 1)));
        p.rgb[static_cast<std::size_t>(3 * i + c)] = static_cast<std::uint8_t>(std::floor(share * 255 + 0.5f));
      }
    out.push_back(std::move(p));
  }
  return out;
}

namespace {

/// Hidden ones left out.
std::vector<fs::path> sorted(fs::path const& folder, auto const& wanted) {
  std::vector<fs::path> out;
  for (auto const& e : fs::directory_iterator(folder))
    if (!e.path().filename().string().starts_with(".") && wanted(e)) out.push_back(e.path());
  std::ranges::sort(out);
  return out;
}

void read_folder(dataset& d, fs::path const& folder) {
  auto const pictures_in = [](fs::path const& f) {
    return sorted(f, [](auto const& e) { return e.is_regular_file() && is_picture(e.path()); });
  };
  auto const read = [&](fs::path const& f, std::int64_t label) {
    auto const p = read_picture(f);
    if (d.size == 0) d.size = std::min(p.width, p.height);
    d.add(p, label);
  };
  std::vector<fs::path> empty;
  for (auto const& sub : sorted(folder, [](auto const& e) { return e.is_directory(); })) {
    auto const files = pictures_in(sub);
    if (files.empty()) {
      empty.push_back(sub);
      continue;
    }
    for (auto const& f : files) read(f, static_cast<std::int64_t>(d.classes.size()));
    d.classes.push_back(sub.filename().string());
  }
  if (!d.classes.empty() && !empty.empty())
    throw cog::error(empty.front().string(), ": a class without pictures, beside ", d.classes.size(), " that have some");
  auto const loose = pictures_in(folder);
  if (!d.classes.empty() && !loose.empty())
    throw cog::error(folder.string(), " holds classes in folders and ", loose.size(), " pictures beside them, such as ",
                     loose[0].filename().string());
  for (auto const& f : loose) read(f, 0);
}

/// 1 byte of label, then 3 x 32 x 32 bytes: https://www.cs.toronto.edu/~kriz/cifar.html
void read_cifar(dataset& d, std::vector<fs::path> const& files) {
  constexpr std::size_t record = 1 + 3 * 32 * 32;
  d.classes = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  if (d.size == 0) d.size = 32;
  for (auto const& f : files) {
    cog::mapped_file const file(f);
    auto const bytes = file.bytes();
    if (bytes.empty() || bytes.size() % record != 0)
      throw cog::error(f.string(), ": ", bytes.size(), " bytes, not records of ", record);
    for (std::size_t at = 0; at < bytes.size(); at += record) {
      auto const label = std::to_integer<std::int64_t>(bytes[at]);
      if (label > 9)
        throw cog::error(f.string(), ": label ", label, " of picture ", at / record, "; there are 10 classes");
      picture p(32, 32);
      for (std::size_t i = 0; i < 1024; ++i)
        for (std::size_t c = 0; c < 3; ++c)
          p.rgb[3 * i + c] = std::to_integer<std::uint8_t>(bytes[at + 1 + c * 1024 + i]);
      d.add(p, label);
    }
  }
}

/// Two or four big-endian numbers, then bytes: http://yann.lecun.com/exdb/mnist
void read_mnist(dataset& d, fs::path const& images, fs::path const& labels) {
  auto const number = [](std::span<std::byte const> b, std::size_t i) {
    std::uint32_t n = 0;
    for (std::size_t k = 0; k < 4; ++k) n = n << 8 | std::to_integer<std::uint32_t>(b[4 * i + k]);
    return n;
  };
  cog::mapped_file const x(images), y(labels);
  auto const xs = x.bytes(), ys = y.bytes();
  if (xs.size() < 16 || number(xs, 0) != 0x803) throw cog::error(images.string(), ": not IDX of three axes of bytes");
  if (ys.size() < 8 || number(ys, 0) != 0x801) throw cog::error(labels.string(), ": not IDX of one axis of bytes");
  std::size_t const n = number(xs, 1), h = number(xs, 2), w = number(xs, 3);
  std::size_t const pixels = h * w, of_pictures = xs.size() - 16;  // n * pixels may be beyond 2^64
  if (pixels == 0 || of_pictures % pixels != 0 || of_pictures / pixels != n || ys.size() != 8 + n || number(ys, 1) != n)
    throw cog::error(images.string(), ": ", n, " pictures of ", w, " x ", h, " in ", xs.size(), " bytes, with ",
                     ys.size(), " bytes of labels");
  d.channels = 1;
  if (d.size == 0) d.size = static_cast<index_t>(std::min(h, w));
  for (int i = 0; i < 10; ++i) d.classes.push_back(std::to_string(i));
  for (std::size_t k = 0; k < n; ++k) {
    picture p(static_cast<index_t>(w), static_cast<index_t>(h));
    for (std::size_t i = 0; i < pixels; ++i)
      std::fill_n(&p.rgb[3 * i], 3, std::to_integer<std::uint8_t>(xs[16 + k * pixels + i]));
    auto const label = std::to_integer<std::int64_t>(ys[8 + k]);
    if (label > 9) throw cog::error(labels.string(), ": label ", label, " of picture ", k, "; there are 10 classes");
    d.add(p, label);
  }
}

}  // namespace

dataset load_dataset(std::string const& where, index_t size, index_t count, std::uint64_t seed, index_t channels) {
  dataset d;
  d.size = size;
  d.channels = channels;
  fs::path const path = where;
  if (where == "shapes") {
    if (d.size == 0) d.size = 32;
    d.classes = shape_names();
    for (index_t i = 0; i < count; ++i) d.add(draw_shape(seed, i, d.size), i % static_cast<index_t>(d.classes.size()));
    d.description = "shapes, drawn from seed " + std::to_string(seed);
    return d;
  }
  if (!fs::exists(path)) throw cog::error(where, ": no such file or folder, and not 'shapes'");
  if (fs::is_regular_file(path)) {
    read_cifar(d, {path});
    d.description = where + ", CIFAR-10's binary format";
  } else if (auto const batches = sorted(path,
                                         [](auto const& e) {
                                           return e.path().filename().string().starts_with("data_batch") &&
                                                  e.path().extension() == ".bin";
                                         });
             !batches.empty()) {
    read_cifar(d, batches);
    d.description = where + ", CIFAR-10's binary format";
  } else if (fs::exists(path / "train-images-idx3-ubyte")) {
    read_mnist(d, path / "train-images-idx3-ubyte", path / "train-labels-idx1-ubyte");
    d.description = where + ", MNIST's format";
  } else {
    read_folder(d, path);
    d.description = where;
  }
  if (d.count() == 0) throw cog::error(where, ": no pictures there");
  return d;
}

}  // namespace image
