// The arithmetic under attention on the CPU: tiles of `tile_width` columns, one multiply-accumulate kernel, transposed packing.
// A tile is row-major with a row stride of tile_width; its columns (queries forward, keys backward) are SIMD lanes and never
// mix. The other operand is read one element at a time wherever it lies, so keys and values are used in place.
// Compute type C is float or double. Pointers of tiles are 64-byte aligned.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <utility>

#include <cog/backend/cpu/simd.hpp>
#include <cog/core/view.hpp>

namespace cog::cpu_detail {

inline constexpr index_t tile_width = 64;

/// f(0), ..., f(N - 1) with constant arguments.
template <int N, class F>
COG_INLINE void unroll(F&& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) { (f(std::integral_constant<int, I>{}), ...); }
  (std::make_integer_sequence<int, N>{});
}

/// Uninitialised, 64-byte aligned.
template <class C>
class scratch {
 public:
  explicit scratch(index_t n) : data_(static_cast<C*>(::operator new(static_cast<std::size_t>(n) * sizeof(C), alignment))) {}
  C* get() const { return data_.get(); }

 private:
  static constexpr std::align_val_t alignment{64};
  struct release {
    void operator()(C* p) const { ::operator delete(p, alignment); }
  };
  std::unique_ptr<C, release> data_;
};

/// A matrix read one element at a time: (i, k) at data[i * row + k * column].
template <class C>
struct operand {
  C const* data;
  index_t row, column;
};

/// Rows x Packets accumulators in registers: out(i, :) (+)= sum_k a(i, k) b(k, :).
template <int Rows, int Packets, class C>
COG_INLINE void multiply_block(operand<C> a, C const* b, index_t b_stride, index_t n, C* out, index_t out_stride, bool add) {
  using S = simd<C>;
  S sum[Rows][Packets];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int p = 0; p < Packets; ++p) sum[r][p] = add ? S::load_aligned(out + r * out_stride + p * S::size) : S(C(0));
  for (index_t k = 0; k < n; ++k) {
    S column[Packets];
#pragma GCC unroll 8
    for (int p = 0; p < Packets; ++p) column[p] = S::load_aligned(b + k * b_stride + p * S::size);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      S const element = a.data[r * a.row + k * a.column];
#pragma GCC unroll 8
      for (int p = 0; p < Packets; ++p) sum[r][p] = fma(element, column[p], sum[r][p]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int p = 0; p < Packets; ++p) sum[r][p].store_aligned(out + r * out_stride + p * S::size);
}

/// out(i, :) (+)= sum_{k < n} a(i, k) b(k, :) for i < rows, over `columns` columns, a multiple of the register width.
/// The sum runs over k in order, in one accumulator: the same products give the same bits whichever operand is which.
template <class C>
void multiply(operand<C> a, index_t rows, C const* b, index_t b_stride, index_t n, C* out, index_t out_stride, index_t columns,
              bool add) {
  constexpr int most_rows = 6;
  constexpr int most_packets = vector_registers >= 32 ? 4 : 2;
  auto const panel = [&]<int Packets>(std::integral_constant<int, Packets>, index_t c) {
    index_t i = 0;
    auto const block = [&]<int Rows>(std::integral_constant<int, Rows>) {
      multiply_block<Rows, Packets>(operand<C>{a.data + i * a.row, a.row, a.column}, b + c, b_stride, n,
                                    out + i * out_stride + c, out_stride, add);
      i += Rows;
    };
    while (i + most_rows <= rows) block(std::integral_constant<int, most_rows>{});
    unroll<most_rows - 1>([&](auto r) {
      if (rows - i == most_rows - 1 - r) block(std::integral_constant<int, most_rows - 1 - r>{});
    });
  };
  index_t c = 0;
  constexpr index_t width = most_packets * simd<C>::size;
  for (; c + width <= columns; c += width) panel(std::integral_constant<int, most_packets>{}, c);
  unroll<most_packets - 1>([&](auto p) {
    constexpr int packets = most_packets - 1 - p;
    if (c + packets * simd<C>::size <= columns) {
      panel(std::integral_constant<int, packets>{}, c);
      c += packets * simd<C>::size;
    }
  });
}

}
