#include "frechet.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <zip.h>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>

#include <cog/backend/cpu/cpu.hpp>
#include <cog/io/npy.hpp>

namespace image {

using cog::index_t;

moments moments_of(std::span<float const> rows, index_t width) {
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  auto const n = static_cast<index_t>(rows.size()) / width;
  if (n < 2) throw cog::error("the moments of ", n, " pictures; at least 2 are needed");
  Eigen::MatrixXd x = Eigen::Map<matrix const>(rows.data(), n, width).cast<double>();
  moments out{std::vector<double>(static_cast<std::size_t>(width)),
              std::vector<double>(static_cast<std::size_t>(width * width))};
  Eigen::Map<Eigen::VectorXd> mean(out.mean.data(), width);
  mean = x.colwise().mean();
  x.rowwise() -= mean.transpose();
  Eigen::Map<Eigen::MatrixXd>(out.covariance.data(), width, width) = x.transpose() * x / static_cast<double>(n - 1);
  return out;
}

double frechet_distance(moments const& a, moments const& b) {
  if (a.mean.size() != b.mean.size())
    throw cog::error("features of widths ", a.mean.size(), " and ", b.mean.size(), " do not compare");
  auto const n = static_cast<index_t>(a.mean.size());
  using vector = Eigen::Map<Eigen::VectorXd const>;
  using matrix = Eigen::Map<Eigen::MatrixXd const>;
  vector const mean_a(a.mean.data(), n), mean_b(b.mean.data(), n);
  matrix const cov_a(a.covariance.data(), n, n), cov_b(b.covariance.data(), n, n);
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> const of_a(cov_a);
  auto const check = [](Eigen::VectorXd const& eigenvalues) {  // of rounding, they may be a little below 0
    if (eigenvalues.minCoeff() < -1e-6 * eigenvalues.cwiseAbs().maxCoeff()) throw cog::error("no Frechet distance: a matrix given as covariance has negative variances");
  };
  check(of_a.eigenvalues());
  Eigen::MatrixXd const root =
      of_a.eigenvectors() * of_a.eigenvalues().cwiseMax(0).cwiseSqrt().asDiagonal() * of_a.eigenvectors().transpose();
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> const of_both(root * cov_b * root, Eigen::EigenvaluesOnly);
  check(of_both.eigenvalues());
  double const cross = of_both.eigenvalues().cwiseMax(0).cwiseSqrt().sum();
  double const out = (mean_a - mean_b).squaredNorm() + cov_a.trace() + cov_b.trace() - 2 * cross;
  if (!std::isfinite(out)) throw cog::error("the Frechet distance is ", out, ": the features are not finite");
  return std::max(out, 0.0);
}

namespace {

/// One array of a zip file, as doubles.
std::vector<double> read_array(std::filesystem::path const& file, zip_t* archive, char const* name,
                               std::vector<index_t>& shape) {
  zip_stat_t stat;
  if (zip_stat(archive, name, 0, &stat) != 0) throw cog::error(file.string(), ": holds no ", name);
  std::vector<std::byte> bytes(stat.size);
  std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> const entry(zip_fopen(archive, name, 0), zip_fclose);
  std::byte more{};  // the checksum is compared at the end
  if (!entry || zip_fread(entry.get(), bytes.data(), bytes.size()) != static_cast<zip_int64_t>(bytes.size()) ||
      zip_fread(entry.get(), &more, 1) != 0)
    throw cog::error(file.string(), ": ", name, " cannot be read: ", zip_strerror(archive));
  try {
    auto const info = cog::detail::read_npy_header(bytes);
    shape = info.shape;
    index_t count = 1;
    for (index_t e : shape) count *= e;
    std::size_t const width = info.dtype == "<f8" ? 8 : info.dtype == "<f4" ? 4 : 0;
    if (width == 0 || bytes.size() - info.data_begin != static_cast<std::size_t>(count) * width)
      throw cog::error(info.dtype, " in ", bytes.size() - info.data_begin, " bytes; expected <f8 or <f4");
    std::vector<double> out;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      auto const* at = bytes.data() + info.data_begin + i * width;
      float narrow = 0;
      double wide = 0;
      if (width == 4) std::memcpy(&narrow, at, 4);
      else std::memcpy(&wide, at, 8);
      out.push_back(width == 4 ? static_cast<double>(narrow) : wide);
    }
    return out;
  } catch (cog::error const& e) {
    throw cog::error(file.string(), ", ", name, ": ", e.what());
  }
}

}  // namespace

moments read_moments(std::filesystem::path const& npz) {
  int code = 0;
  std::unique_ptr<zip_t, int (*)(zip_t*)> const archive(zip_open(npz.c_str(), ZIP_RDONLY, &code), zip_close);
  if (!archive) throw cog::error(npz.string(), ": not an .npz file that can be read (libzip's error ", code, ")");
  std::vector<index_t> of_mean, of_covariance;
  auto const mu = read_array(npz, archive.get(), "mu.npy", of_mean),
             sigma = read_array(npz, archive.get(), "sigma.npy", of_covariance);
  if (of_mean.size() != 1 || of_covariance != std::vector{of_mean[0], of_mean[0]})
    throw cog::error(npz.string(), ": mu is of ", mu.size(), " numbers, sigma of ", sigma.size(), "; they do not fit");
  return {mu, sigma};
}

}  // namespace image
