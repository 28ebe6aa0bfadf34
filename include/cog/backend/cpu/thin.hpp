// Products that read a matrix once, row by row where it lies, at the rate of the memory: a vector times many rows
// (scores of one query, logits) and a weighted sum of many rows (its values, a layer of one token). Elements of any
// floating type, sums in C, compiled for every set of instructions (dispatch).
#pragma once

#include <cog/backend/cpu/attention_tile.hpp>

namespace cog::cpu_detail {

/// Memory is asked for this many rows before their turn, into the second-level cache: about 8 KB, what is on its way at
/// full bandwidth.
template <class T>
constexpr index_t rows_ahead(index_t width) {
  return 8192 / (std::max<index_t>(width, 1) * index_t(sizeof(T))) + 1;
}

/// Rows of so few bytes that a group of them stays in the first-level cache.
template <class T>
constexpr bool is_short(index_t width) {
  return width * index_t(sizeof(T)) <= 1024;
}

/// out(j) = <x, row_j> for j < n. Short rows go four at a time, whose lanes are added up together.
struct row_dots {
  template <class S, int Rows, int Chains, class C, class T>
  static COG_INLINE void group(C const* x, T const* row, index_t stride, index_t width, C* out) {
    constexpr index_t size = S::size;
    index_t const ahead = rows_ahead<T>(width) * stride;
    S sum[Rows][Chains];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int u = 0; u < Chains; ++u) sum[r][u] = S(C(0));
    index_t c = 0;
    for (; c + Chains * size <= width; c += Chains * size)
#pragma GCC unroll 4
      for (int u = 0; u < Chains; ++u) {
        S const element = S::load(x + c + u * size);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          T const* const at = row + r * stride + c + u * size;
          __builtin_prefetch(at + ahead, 0, 2);
          sum[r][u] = fma(element, S::load(at), sum[r][u]);
        }
      }
    for (; c + size <= width; c += size)
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) sum[r][0] = fma(S::load(x + c), S::load(row + r * stride + c), sum[r][0]);
    S total[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      total[r] = sum[r][0] + sum[r][1];
      if constexpr (Chains == 4) total[r] = total[r] + (sum[r][2] + sum[r][3]);
    }
    reduce_add(total, out);
    for (; c < width; ++c)
      for (int r = 0; r < Rows; ++r) out[r] += x[c] * static_cast<C>(row[r * stride + c]);
  }
  template <class S, class C, class T>
  static COG_INLINE void run(C const* x, rows_of<T> const& rows, index_t width, index_t n, C* out) {
    index_t j = 0;
    if (is_short<T>(width)) {
      for (; j + 4 <= n; j += 4) group<S, 4, 2>(x, rows.data + j * rows.stride, rows.stride, width, out + j);
      for (; j < n; ++j) group<S, 1, 2>(x, rows.data + j * rows.stride, rows.stride, width, out + j);
    }
    for (; j < n; ++j) group<S, 1, 4>(x, rows.data + j * rows.stride, rows.stride, width, out + j);
  }
};

/// out(c) += sum_{j < n} weight(j) row_{at(j)}(c), row after row; at(j) = j where `at` is null.
struct row_sums {
  /// Of Rows rows, some registers of columns from c on.
  template <class S, int Rows, int Registers, class C, class T>
  static COG_INLINE void add(C const* weight, T const* const (&row)[Rows], index_t ahead, index_t c, C* out) {
    S sum[Registers];
#pragma GCC unroll 8
    for (int u = 0; u < Registers; ++u) sum[u] = S::load(out + c + u * S::size);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      S const share = S::repeat(weight + r);
#pragma GCC unroll 8
      for (int u = 0; u < Registers; ++u) {
        __builtin_prefetch(row[r] + ahead + c + u * S::size, 0, 2);
        sum[u] = fma(share, S::load(row[r] + c + u * S::size), sum[u]);
      }
    }
#pragma GCC unroll 8
    for (int u = 0; u < Registers; ++u) sum[u].store(out + c + u * S::size);
  }
  template <class S, int Rows, class C, class T>
  static COG_INLINE void group(C const* weight, rows_of<T> const& rows, index_t const* at, index_t first, index_t width,
                               C* out) {
    constexpr index_t size = S::size;
    constexpr int registers = std::min<int>(8, 256 / (S::size * int(sizeof(T))));
    index_t const ahead = std::max<index_t>(Rows, rows_ahead<T>(width)) * rows.stride;
    T const* row[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) row[r] = rows.data + (at ? at[first + r] : first + r) * rows.stride;
    weight += first;
    index_t c = 0;
    if (rows.stride == width && is_short<T>(width))  // as memory has them; others are read beside each other
      for (; c + registers * size <= width; c += registers * size) add<S, Rows, registers>(weight, row, ahead, c, out);
    for (; c + size <= width; c += size) add<S, Rows, 1>(weight, row, ahead, c, out);
    for (; c < width; ++c)
      for (int r = 0; r < Rows; ++r) out[c] += weight[r] * static_cast<C>(row[r][c]);
  }
  template <class S, class C, class T>
  static COG_INLINE void run(C const* weight, rows_of<T> const& rows, index_t const* at, index_t n, index_t width,
                             C* out) {
    index_t j = 0;
    for (; j + 8 <= n; j += 8) group<S, 8>(weight, rows, at, j, width, out);
    for (; j < n; ++j) group<S, 1>(weight, rows, at, j, width, out);
  }
};

}  // namespace cog::cpu_detail
