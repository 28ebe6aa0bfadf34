// Products on the CPU by Eigen, in blocks whose size depends on the shape alone (so that bits do not depend on the number of
// threads), with bias and activation applied while a block is in the cache. bf16 and half go through float copies.
#pragma once

#include <Eigen/Core>

#include <cog/backend/cpu/elementwise.hpp>
#include <cog/expr/contract.hpp>

namespace cog::cpu_detail {

template <class T>
using row_matrix = Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>, 0, Eigen::OuterStride<>>;
template <class T>
using row_matrix_in = Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> const, 0, Eigen::OuterStride<>>;
template <class T>
using column_matrix_in = Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor> const, 0, Eigen::OuterStride<>>;

/// One matrix operand: rows x columns with one unit stride.
template <class T>
struct matrix {
  T const* data;
  index_t rows, columns;
  index_t pitch;      // stride of the other axis
  bool column_major;

  /// Calls f with the Eigen map of the block at (r, c).
  template <class F>
  void block(index_t r, index_t c, index_t m, index_t n, F const& f) const {
    Eigen::OuterStride<> const outer(pitch);
    if (column_major) f(column_matrix_in<T>(data + c * pitch + r, m, n, outer));
    else f(row_matrix_in<T>(data + r * pitch + c, m, n, outer));
  }
};

/// Reads the matrix as it is where one stride is 1; otherwise (and for storage types) through `copy`.
template <class T, class C>
matrix<C> as_matrix(T const* data, index_t rows, index_t columns, index_t row_stride, index_t column_stride, std::vector<C>& copy) {
  if constexpr (std::same_as<T, C>) {
    if (column_stride == 1 || columns == 1) return {data, rows, columns, std::max(row_stride, columns), false};
    if (row_stride == 1 || rows == 1) return {data, rows, columns, std::max(column_stride, rows), true};
  }
  copy.resize(static_cast<std::size_t>(rows * columns));
  for (index_t r = 0; r < rows; ++r)
    for (index_t c = 0; c < columns; ++c)
      copy[static_cast<std::size_t>(r * columns + c)] = static_cast<C>(data[r * row_stride + c * column_stride]);
  return {copy.data(), rows, columns, columns, false};
}

/// out[0, n) = activation(row + bias), from a row of C to a row of T.
template <class Activation, class T, class C>
void finish_row(C const* row, T const* bias, T* out, index_t n) {
  using S = simd<C>;
  index_t i = 0;
  for (; i + S::size <= n; i += S::size) {
    S x = S::load(row + i);
    if (bias) x += S::load(bias + i);
    Activation::apply(x).store(out + i);
  }
  if (i < n) {
    S x = S::load_partial(row + i, n - i);
    if (bias) x += S::load_partial(bias + i, n - i);
    Activation::apply(x).store_partial(out + i, n - i);
  }
}

template <class Activation, class T>
void gemm(cpu_context const& ctx, gemm_arguments<T> const& g) {
  using C = compute_t<T>;
  index_t const m = g.c.extents[2], n = g.c.extents[3], k = g.a.extents[3];
  index_t const batches = g.c.extents[0] * g.c.extents[1];
  if (batches * m * n == 0) return;
  constexpr bool finish = !std::same_as<Activation, identity> || !std::same_as<T, C>;

  // Blocks of C: about four along the longer side, none so small that packing an operand costs more than multiplying it.
  auto const block_of = [](index_t length) { return std::clamp<index_t>((length / 4 + 15) / 16 * 16, 64, 256); };
  bool const tiny = m * n * k < 64 * 64 * 64;
  index_t const mb = tiny ? m : m >= n / 4 ? block_of(m) : m;
  index_t const nb = tiny ? n : m >= n / 4 && m > 64 ? std::max<index_t>(n / 2 <= 512 ? n : 512, 1) : block_of(n);
  index_t const row_blocks = (m + mb - 1) / mb, column_blocks = (n + nb - 1) / nb;
  index_t const per_batch = row_blocks * column_blocks;

  auto const one = [&](index_t batch, matrix<C> const& a, matrix<C> const& b, index_t block) {
    index_t const r = block / column_blocks * mb, c = block % column_blocks * nb;
    index_t const rows = std::min(mb, m - r), columns = std::min(nb, n - c);
    T* const to = g.c.data + batch / g.c.extents[1] * g.c.strides[0] + batch % g.c.extents[1] * g.c.strides[1] + r * n + c;
    std::vector<C> scratch;
    C* target;
    index_t pitch;
    if constexpr (std::same_as<T, C>) {
      target = to;
      pitch = n;
    } else {
      scratch.resize(static_cast<std::size_t>(rows * columns));
      target = scratch.data();
      pitch = columns;
      if (g.beta != 0)
        for (index_t i = 0; i < rows; ++i)
          for (index_t j = 0; j < columns; ++j) target[i * pitch + j] = static_cast<C>(to[i * n + j]);
    }
    row_matrix<C> out(target, rows, columns, Eigen::OuterStride<>(pitch));
    C const alpha = static_cast<C>(g.alpha);
    if (g.beta == 0) out.setZero();
    else if (g.beta != 1) out *= static_cast<C>(g.beta);
    if (k > 0) {
      a.block(r, 0, rows, k, [&](auto const& left) {
        b.block(0, c, k, columns, [&](auto const& right) { out.noalias() += alpha * left * right; });
      });
    }
    if (finish || g.bias)
      for (index_t i = 0; i < rows; ++i)
        finish_row<Activation>(target + i * pitch, g.bias ? g.bias + c : nullptr, to + i * n, columns);
  };
  auto const operands = [&](index_t batch, std::vector<C>& copy_a, std::vector<C>& copy_b) {
    index_t const b0 = batch / g.c.extents[1], b1 = batch % g.c.extents[1];
    return std::pair(as_matrix<T, C>(g.a.data + b0 * g.a.strides[0] + b1 * g.a.strides[1], m, k, g.a.strides[2], g.a.strides[3], copy_a),
                     as_matrix<T, C>(g.b.data + b0 * g.b.strides[0] + b1 * g.b.strides[1], k, n, g.b.strides[2], g.b.strides[3], copy_b));
  };
  if (batches > 1) {
    index_t const group = std::max<index_t>(1, 32 * 32 * 32 / std::max<index_t>(1, m * n * k));
    ctx.run((batches + group - 1) / group, [&](index_t task) {
      std::vector<C> copy_a, copy_b;
      for (index_t batch = task * group; batch < std::min(batches, (task + 1) * group); ++batch) {
        auto const [a, b] = operands(batch, copy_a, copy_b);
        for (index_t block = 0; block < per_batch; ++block) one(batch, a, b, block);
      }
    });
  } else {
    std::vector<C> copy_a, copy_b;
    auto const [a, b] = operands(0, copy_a, copy_b);
    auto const& left = a;
    auto const& right = b;
    ctx.run(per_batch, [&](index_t block) { one(0, left, right, block); });
  }
}

}  // namespace cog::cpu_detail
