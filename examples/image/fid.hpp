// cog-diffusion fid: how far made pictures are from real ones.
#pragma once

#include <algorithm>
#include <cstdio>
#include <functional>
#include <numeric>

#include <cog/models/inception_v3.hpp>

#include "../common/device.hpp"
#include "classifier.hpp"
#include "commands.hpp"
#include "frechet.hpp"
#include "model.hpp"

namespace image {

/// Pictures to judge: a folder of them, or what `sample` wrote, which holds them beside its grid.
inline std::filesystem::path pictures_of(std::filesystem::path const& folder) {
  return std::filesystem::is_directory(folder / "pictures") ? folder / "pictures" : folder;
}

inline std::vector<cog::index_t> all_of(dataset const& data) {
  std::vector<cog::index_t> out(static_cast<std::size_t>(data.count()));
  std::iota(out.begin(), out.end(), cog::index_t{0});
  return out;
}

/// What makes features [n, width] of pictures in [-1, 1].
template <class B>
using extractor = std::function<cog::tensor<float, 2, B>(cog::tensor<float, 4, B> const&)>;

template <class B>
moments moments_in(typename B::context const& ctx, dataset const& data, extractor<B> const& features) {
  if (data.count() < 2) throw cog::error(data.description, ": 1 picture; a distance is one between many");
  std::vector<float> rows;
  progress_bar bar("features");
  in_batches(ctx, data, all_of(data), [&](auto const& x, auto const& part) {
    auto const more = features(x).to_vector();
    rows.insert(rows.end(), more.begin(), more.end());
    bar.update(static_cast<double>(part.back() + 1) / static_cast<double>(data.count()), "");
  });
  return moments_of(rows, static_cast<cog::index_t>(rows.size()) / data.count());
}

/// Bilinear, without antialiasing, corners not aligned, as FID resizes: two products with a matrix of shares.
template <class B>
cog::tensor<float, 4, B> resized(cog::tensor<float, 4, B> const& x, cog::index_t size) {
  using cog::index_t;
  auto const shares = [&](index_t from) {
    std::vector<float> out(static_cast<std::size_t>(size * from));
    for (index_t i = 0; i < size; ++i) {
      double const at =
          std::max(0.0, (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(size) - 0.5);
      auto const low = std::min(static_cast<index_t>(at), from - 1), high = std::min(low + 1, from - 1);
      auto const share = static_cast<float>(at - static_cast<double>(low));
      out[static_cast<std::size_t>(i * from + low)] += 1 - share;
      out[static_cast<std::size_t>(i * from + high)] += share;
    }
    return cog::from(x.context(), out, {size, from});
  };
  return matmul(cog::eval(matmul(shares(x.extent(2)), x)), transposed(shares(x.extent(3))));
}

inline void print_distances(fid_settings const& s, char const* what,
                            std::function<std::vector<std::string>(std::string const&)> const& row) {
  std::vector<std::vector<std::string>> rows{{"pictures", "number", what, "taken for their class"}};
  for (auto const& folder : s.samples) rows.push_back(row(folder));
  print_table(rows);
}

/// FID itself: the features of Inception, which the user has.
template <class B>
int inception_distance(typename B::context const& ctx, fid_settings const& s) {
  cog::inception_v3<float, B> inception(ctx);
  load_file(s.inception, [&](auto const& source) { inception.load(source); });
  check_finite(inception, s.inception);
  extractor<B> const features = [&](auto const& x) {
    return inception(resized<B>(x.extent(1) == 3 ? x : cog::concatenate(1, x, x, x), 299));
  };
  bool const kept = std::filesystem::path(s.reference).extension() == ".npz";
  auto const reference =
      kept ? read_moments(s.reference)
           : moments_in<B>(ctx, load_dataset(s.reference, 0, s.pictures, static_cast<std::uint64_t>(s.seed)), features);
  print_distances(s, "FID", [&](std::string const& folder) {
    auto const made = load_dataset(pictures_of(folder), 0);
    return std::vector<std::string>{folder, std::to_string(made.count()),
                                    format("%.4f", frechet_distance(moments_in<B>(ctx, made, features), reference)),
                                    "-"};
  });
  return 0;
}

template <class B>
int fid(fid_settings const& s) {
  namespace fs = std::filesystem;
  auto const ctx = make_context<B>(s.threads);
  interruption const asked;
  // What would only fail after minutes.
  for (auto const& folder : s.samples)
    if (!fs::exists(pictures_of(folder))) throw cog::error("--samples ", folder, ": no such file or folder");
  if (auto const below = fs::path(s.classifier).parent_path(); !below.empty() && !fs::is_directory(below))
    throw cog::error("--classifier ", s.classifier, ": there is no folder ", below.string());
  if (!s.inception.empty()) return inception_distance<B>(ctx, s);
  if (fs::path(s.reference).extension() == ".npz")
    throw cog::error("--reference ", s.reference,
                     ": statistics are of Inception's features; give its weights with --inception");
  // Shapes are drawn in the size of the pictures that are to be judged.
  cog::index_t const size = s.reference == "shapes" ? load_dataset(pictures_of(s.samples.front()), 0).size : 0;
  auto const real = load_dataset(s.reference, size, s.pictures, static_cast<std::uint64_t>(s.seed));
  if (real.classes.size() < 2)
    throw cog::error("--reference ", s.reference, " has no classes to train a classifier on");
  classifier<B> judge(ctx, real.channels, static_cast<cog::index_t>(real.classes.size()));
  if (!s.classifier.empty() && fs::exists(s.classifier)) {
    load_file(s.classifier, [&](auto const& source) { load_parameters(judge, source); });
    check_finite(judge, s.classifier);
    std::printf("classifier  %s: %.1f %% right on %s\n", s.classifier.c_str(), 100 * accuracy_of<B>(ctx, judge, real, all_of(real), real.classes),
                real.description.c_str());
  } else {
    double accuracy = 0;
    judge = train_classifier<B>(ctx, real, static_cast<std::uint64_t>(s.seed), accuracy);
    std::printf("classifier  trained on %s: %.1f %% right on pictures it has not seen\n", real.description.c_str(),
                100 * accuracy);
    if (!s.classifier.empty()) cog::save_parameters(judge, s.classifier);
  }
  extractor<B> const features = [&](auto const& x) { return judge.features(x); };
  auto const reference = moments_in<B>(ctx, real, features);
  print_distances(s, "Frechet distance in classifier features", [&](std::string const& folder) {
    auto const made = load_dataset(pictures_of(folder), real.size, 0, 0, real.channels);
    if (made.size != real.size || made.channels != real.channels)
      throw cog::error(folder, ": pictures of ", made.size, " x ", made.size, " in ", counted(made.channels, "channel"), ", the reference has ",
                       real.size, " x ", real.size, " in ", counted(real.channels, "channel"));
    auto const known = [&](auto const& name) { return std::ranges::find(real.classes, name) != real.classes.end(); };
    bool const judged = !made.classes.empty() && std::ranges::all_of(made.classes, known);
    return std::vector<std::string>{
        folder, std::to_string(made.count()),
        format("%.4f", frechet_distance(moments_in<B>(ctx, made, features), reference)),
        judged ? format("%.1f %%", 100 * accuracy_of<B>(ctx, judge, made, all_of(made), real.classes)) : "-"};
  });
  return 0;
}

}  // namespace image
