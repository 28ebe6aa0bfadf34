// CPU tensors as Eigen maps and Eigen expressions as tensors. For user code that already speaks Eigen; cog itself does not need it.
#pragma once

#include <Eigen/Core>

#include <cog/backend/cpu/cpu.hpp>

namespace cog {

namespace cpu_detail {
using dynamic_stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
template <class T>
using eigen_matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using eigen_vector = Eigen::Matrix<T, Eigen::Dynamic, 1>;
template <class T>
concept eigen_scalar = std::is_arithmetic_v<T>;  // Eigen's own half types are not cog's
}  // namespace cpu_detail

/// The tensor's memory, with its strides: writing the map is seen by every handle. Valid while the storage lives.
template <cpu_detail::eigen_scalar T>
auto eigen_map(tensor<T, 2, cpu>& x) {
  return Eigen::Map<cpu_detail::eigen_matrix<T>, 0, cpu_detail::dynamic_stride>(
      x.data(), x.extent(0), x.extent(1), cpu_detail::dynamic_stride(x.strides()[0], x.strides()[1]));
}
template <cpu_detail::eigen_scalar T>
auto eigen_map(tensor<T, 2, cpu> const& x) {
  return Eigen::Map<cpu_detail::eigen_matrix<T> const, 0, cpu_detail::dynamic_stride>(
      x.data(), x.extent(0), x.extent(1), cpu_detail::dynamic_stride(x.strides()[0], x.strides()[1]));
}
template <cpu_detail::eigen_scalar T>
auto eigen_map(tensor<T, 1, cpu>& x) {
  return Eigen::Map<cpu_detail::eigen_vector<T>, 0, Eigen::InnerStride<>>(x.data(), x.size(), Eigen::InnerStride<>(x.strides()[0]));
}
template <cpu_detail::eigen_scalar T>
auto eigen_map(tensor<T, 1, cpu> const& x) {
  return Eigen::Map<cpu_detail::eigen_vector<T> const, 0, Eigen::InnerStride<>>(x.data(), x.size(),
                                                                              Eigen::InnerStride<>(x.strides()[0]));
}
template <class T, int R>
void eigen_map(tensor<T, R, cpu>&&) = delete;  // the map would outlive the tensor
template <class T, int R>
void eigen_map(tensor<T, R, cpu> const&&) = delete;

/// The values of an Eigen expression in a tensor of its own: rank 1 for vectors, 2 for matrices and arrays.
template <class Derived>
auto from_eigen(cpu_context const& ctx, Eigen::DenseBase<Derived> const& e) {
  using T = typename Derived::Scalar;
  if constexpr (Derived::IsVectorAtCompileTime) {
    tensor<T, 1, cpu> out(ctx, {e.size()});
    if constexpr (Derived::RowsAtCompileTime == 1) eigen_map(out) = e.derived().matrix().transpose();
    else eigen_map(out) = e.derived().matrix();
    return out;
  } else {
    tensor<T, 2, cpu> out(ctx, {e.rows(), e.cols()});
    eigen_map(out) = e.derived().matrix();
    return out;
  }
}

}  // namespace cog
