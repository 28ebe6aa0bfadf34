// Products that read a matrix once, row by row where it lies, at the rate of the memory: a vector times many rows
// (scores of one query, logits) and a weighted sum of many rows (its values, a layer of one token). Elements of any
// floating type, sums in C, compiled for every set of instructions (dispatch).
#pragma once

#include <cog/backend/cpu/attention_tile.hpp>

namespace cog::cpu_detail {

/// Memory is asked for this many rows before their turn: about 8 KB, what is on its way at full bandwidth.
template <class T>
constexpr index_t rows_ahead(index_t width) {
  return 8192 / (std::max<index_t>(width, 1) * index_t(sizeof(T))) + 1;
}

/// out(j) = <x, row_j> for j < n.
struct row_dots {
  template <class S, class C, class T>
  static COG_INLINE void run(C const* x, rows_of<T> const& rows, index_t width, index_t n, C* out) {
    constexpr index_t size = S::size;
    index_t const ahead = rows_ahead<T>(width) * rows.stride;
    for (index_t j = 0; j < n; ++j) {
      T const* const row = rows.data + j * rows.stride;
      S sum[4];
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) sum[u] = C(0);
      index_t c = 0;
      for (; c + 4 * size <= width; c += 4 * size)
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) {
          __builtin_prefetch(row + ahead + c + u * size);
          sum[u] = fma(S::load(x + c + u * size), S::load(row + c + u * size), sum[u]);
        }
      for (; c + size <= width; c += size) sum[0] = fma(S::load(x + c), S::load(row + c), sum[0]);
      C total = reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3]));
      for (; c < width; ++c) total += x[c] * static_cast<C>(row[c]);
      out[j] = total;
    }
  }
};

/// out(c) += sum_{j < n} weight(j) row_{at(j)}(c), at(j) = j where `at` is null.
struct row_sums {
  template <class S, int Rows, class C, class T>
  static COG_INLINE void group(C const* weight, rows_of<T> const& rows, index_t const* at, index_t first, index_t width,
                               C* out) {
    constexpr index_t size = S::size;
    index_t const ahead = std::max<index_t>(Rows, rows_ahead<T>(width)) * rows.stride;
    T const* row[Rows];
    S share[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      row[r] = rows.data + (at ? at[first + r] : first + r) * rows.stride;
      share[r] = S::repeat(weight + first + r);
    }
    index_t c = 0;
    for (; c + size <= width; c += size) {
      S even = S::load(out + c), odd = S(C(0));
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        __builtin_prefetch(row[r] + ahead + c);
        S& sum = r % 2 == 0 ? even : odd;
        sum = fma(share[r], S::load(row[r] + c), sum);
      }
      (even + odd).store(out + c);
    }
    for (; c < width; ++c)
      for (int r = 0; r < Rows; ++r) out[c] += weight[first + r] * static_cast<C>(row[r][c]);
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
