// Transposed copies: register by register inside a block, and block by block through a buffer, so that memory is read
// and written in pieces of whole cache lines. The next block is asked for while one is turned.
#pragma once

#include <algorithm>

#include <cog/backend/cpu/simd.hpp>

namespace cog::cpu_detail {

/// to(c, r) = from(r, c) for r < rows, c < columns.
template <class T>
void transpose(T const* from, index_t from_stride, index_t rows, index_t columns, T* to, index_t to_stride) {
  index_t whole_rows = 0, whole_columns = 0;
  if constexpr (std::floating_point<T>) {
    constexpr index_t size = simd<T>::size;
    whole_rows = rows / size * size, whole_columns = columns / size * size;
    for (index_t r = 0; r < whole_rows; r += size)
      for (index_t c = 0; c < whole_columns; c += size) {
        simd<T> block[size];
        for (index_t i = 0; i < size; ++i) block[i] = simd<T>::load(from + (r + i) * from_stride + c);
        transpose(block);
        for (index_t i = 0; i < size; ++i) block[i].store(to + (c + i) * to_stride + r);
      }
  }
  for (index_t r = 0; r < rows; ++r)
    for (index_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      to[c * to_stride + r] = from[r * from_stride + c];
}

/// to = from, past the caches where `to` lies right for that.
template <class T>
void copy_past_caches(T const* from, index_t n, T* to) {
  index_t i = 0;
  if constexpr (stores_past_caches && std::floating_point<T>)
    if (reinterpret_cast<std::uintptr_t>(to) % 64 == 0)
      for (; i + simd<T>::size <= n; i += simd<T>::size) store_past_caches(to + i, simd<T>::load(from + i).v);
  std::copy_n(from + i, n - i, to + i);
}

/// The same for up to turn_rows rows and any number of columns, of which memory is the bound: past the caches if nobody could find the
/// result there.
inline constexpr index_t turn_rows = 128, turn_columns = 64;
template <class T>
void transpose_strip(T const* from, index_t from_stride, index_t rows, index_t columns, T* to, index_t to_stride, bool past_caches) {
  constexpr index_t pitch = turn_rows + 16, line = 64 / sizeof(T), few = 16;
  alignas(64) T turned[turn_columns * pitch];
  for (index_t c = 0; c < columns; c += turn_columns) {
    index_t const n = std::min(turn_columns, columns - c), next = std::min(turn_columns, columns - c - n);
    for (index_t r = 0; r < rows; r += few) {
      index_t const m = std::min(few, rows - r);
      T const* const at = from + r * from_stride + c;
      for (index_t i = 0; i < m; ++i)
        for (index_t l = 0; l < next; l += line) __builtin_prefetch(at + i * from_stride + n + l, 0, 2);  // into the second-level cache
      transpose(at, from_stride, m, n, turned + r, pitch);
    }
    for (index_t i = 0; i < n; ++i) {
      T const* const row = turned + i * pitch;
      if (past_caches) copy_past_caches(row, rows, to + (c + i) * to_stride);
      else std::copy_n(row, rows, to + (c + i) * to_stride);
    }
  }
  if (past_caches) stores_done();
}

}  // namespace cog::cpu_detail
