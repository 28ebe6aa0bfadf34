// The Frechet distance between normals with the moments of two sets of features (Heusel et al. 2017):
//   |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^(1/2) S2 S1^(1/2))^(1/2), in double.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include <cog/core/config.hpp>

namespace image {

struct moments {
  std::vector<double> mean;        // [width]
  std::vector<double> covariance;  // [width, width]; unbiased: divided by n - 1
};

/// Of rows of `width` features. Throws when there are fewer than two rows.
moments moments_of(std::span<float const> rows, cog::index_t width);

/// Throws when the widths differ or a result is not finite.
double frechet_distance(moments const& a, moments const& b);

/// `mu` and `sigma` of an .npz file, as FID programs keep them. Throws, naming the file, when they are not there or do
/// not fit.
moments read_moments(std::filesystem::path const& npz);

}  // namespace image
