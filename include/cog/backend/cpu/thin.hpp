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

/// Of so many sums for one vector, how many there are registers for where several vectors take a row that is loaded once.
template <class S, int Vectors>
constexpr int sums_for_each(int sums) {
  return S::registers >= 32 ? sums : sums / Vectors;
}

/// A load that so many instructions take from a register: g++ would give each of them a load of its own.
template <class S, int Uses, class T>
COG_INLINE S load_for(T const* p) {
  S x = S::load(p);
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  if constexpr (Uses > 1) __asm__("" : "+v"(x.v));
#endif
  return x;
}

/// out(i, j) = <x_i, row_j> for i < Vectors, j < n. Short rows go some at a time, whose lanes are added up together.
template <int Vectors>
struct row_dots {
  template <class S, int Rows, int Chains, class C, class T>
  static COG_INLINE void group(rows_of<C> x, T const* row, index_t stride, index_t width, C* out, index_t out_stride) {
    constexpr index_t size = S::size;
    index_t const ahead = rows_ahead<T>(width) * stride;
    S sum[Vectors][Rows][Chains];
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; ++i)
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int u = 0; u < Chains; ++u) sum[i][r][u] = S(C(0));
    index_t c = 0;
    for (; c + Chains * size <= width; c += Chains * size)
#pragma GCC unroll 4
      for (int u = 0; u < Chains; ++u) {
        S element[Vectors];
#pragma GCC unroll 4
        for (int i = 0; i < Vectors; ++i) element[i] = load_for<S, Vectors>(x.data + i * x.stride + c + u * size);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          T const* const at = row + r * stride + c + u * size;
          __builtin_prefetch(at + ahead, 0, 2);
          S const other = load_for<S, Vectors>(at);
#pragma GCC unroll 4
          for (int i = 0; i < Vectors; ++i) sum[i][r][u] = fma(element[i], other, sum[i][r][u]);
        }
      }
    for (; c + size <= width; c += size)
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int i = 0; i < Vectors; ++i)
          sum[i][r][0] = fma(S::load(x.data + i * x.stride + c), S::load(row + r * stride + c), sum[i][r][0]);
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; ++i) {
      S total[Rows];
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        total[r] = sum[i][r][0] + sum[i][r][1];
        if constexpr (Chains == 4) total[r] = total[r] + (sum[i][r][2] + sum[i][r][3]);
      }
      reduce_add(total, out + i * out_stride);
    }
    for (; c < width; ++c)
      for (int i = 0; i < Vectors; ++i)
        for (int r = 0; r < Rows; ++r) out[i * out_stride + r] += x(i, c) * static_cast<C>(row[r * stride + c]);
  }
  template <class S, class C, class T>
  static COG_INLINE void run(rows_of<C> x, rows_of<T> rows, index_t width, index_t n, C* out, index_t out_stride) {
    constexpr int some = sums_for_each<S, Vectors>(4);
    index_t j = 0;
    if (is_short<T>(width)) {
      for (; j + some <= n; j += some) group<S, some, 2>(x, rows.data + j * rows.stride, rows.stride, width, out + j, out_stride);
      for (; j < n; ++j) group<S, 1, 2>(x, rows.data + j * rows.stride, rows.stride, width, out + j, out_stride);
    }
    for (; j < n; ++j) group<S, 1, 4>(x, rows.data + j * rows.stride, rows.stride, width, out + j, out_stride);
  }
};
/// The same for any number of vectors.
template <class C, class T>
void dots_of_rows(rows_of<C> x, index_t vectors, rows_of<T> rows, index_t width, index_t n, C* out, index_t out_stride) {
  for (; vectors >= 2; vectors -= 2, x.data += 2 * x.stride, out += 2 * out_stride)
    dispatch<row_dots<2>, C>(x, rows, width, n, out, out_stride);
  if (vectors > 0) dispatch<row_dots<1>, C>(x, rows, width, n, out, out_stride);
}

/// out(i, c) += sum_{j < n} weight(i, j) row_{at(j)}(c) for i < Vectors, row after row; at(j) = j where `at` is null.
template <int Vectors>
struct row_sums {
  /// Of Rows rows, some registers of columns from c on.
  template <class S, int Rows, int Registers, class C, class T>
  static COG_INLINE void add(rows_of<C> weight, T const* const (&row)[Rows], index_t ahead, index_t c, C* out,
                             index_t out_stride) {
    S sum[Vectors][Registers];
#pragma GCC unroll 8
    for (int i = 0; i < Vectors; ++i)
#pragma GCC unroll 8
      for (int u = 0; u < Registers; ++u) sum[i][u] = S::load(out + i * out_stride + c + u * S::size);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      S share[Vectors];
#pragma GCC unroll 8
      for (int i = 0; i < Vectors; ++i) share[i] = S::repeat(weight.data + i * weight.stride + r);
#pragma GCC unroll 8
      for (int u = 0; u < Registers; ++u) {
        __builtin_prefetch(row[r] + ahead + c + u * S::size, 0, 2);
        S const element = load_for<S, Vectors>(row[r] + c + u * S::size);
#pragma GCC unroll 8
        for (int i = 0; i < Vectors; ++i) sum[i][u] = fma(share[i], element, sum[i][u]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < Vectors; ++i)
#pragma GCC unroll 8
      for (int u = 0; u < Registers; ++u) sum[i][u].store(out + i * out_stride + c + u * S::size);
  }
  template <class S, int Rows, class C, class T>
  static COG_INLINE void group(rows_of<C> weights, rows_of<T> rows, index_t const* at, index_t first, index_t width,
                               C* out, index_t out_stride) {
    constexpr index_t size = S::size;
    constexpr int registers = sums_for_each<S, Vectors>(std::min<int>(8, 256 / (S::size * int(sizeof(T)))));
    index_t const ahead = std::max<index_t>(Rows, rows_ahead<T>(width)) * rows.stride;
    T const* row[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) row[r] = rows.data + (at ? at[first + r] : first + r) * rows.stride;
    rows_of<C> const weight{weights.data + first, weights.stride};
    index_t c = 0;
    if (rows.stride == width && is_short<T>(width))  // as memory has them; others are read beside each other
      for (; c + registers * size <= width; c += registers * size) add<S, Rows, registers>(weight, row, ahead, c, out, out_stride);
    for (; c + size <= width; c += size) add<S, Rows, 1>(weight, row, ahead, c, out, out_stride);
    for (; c < width; ++c)
      for (int i = 0; i < Vectors; ++i)
        for (int r = 0; r < Rows; ++r) out[i * out_stride + c] += weight(i, r) * static_cast<C>(row[r][c]);
  }
  template <class S, class C, class T>
  static COG_INLINE void run(rows_of<C> weights, rows_of<T> rows, index_t const* at, index_t n, index_t width, C* out,
                             index_t out_stride) {
    index_t j = 0;
    for (; j + 8 <= n; j += 8) group<S, 8>(weights, rows, at, j, width, out, out_stride);
    for (; j < n; ++j) group<S, 1>(weights, rows, at, j, width, out, out_stride);
  }
};
/// The same for any number of vectors.
template <class C, class T>
void sums_of_rows(rows_of<C> weights, index_t vectors, rows_of<T> rows, index_t const* at, index_t n, index_t width, C* out,
                  index_t out_stride) {
  for (; vectors >= 2; vectors -= 2, weights.data += 2 * weights.stride, out += 2 * out_stride)
    dispatch<row_sums<2>, C>(weights, rows, at, n, width, out, out_stride);
  if (vectors > 0) dispatch<row_sums<1>, C>(weights, rows, at, n, width, out, out_stride);
}

}  // namespace cog::cpu_detail
