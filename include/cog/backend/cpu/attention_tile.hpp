// The arithmetic under attention on the CPU: tiles of tile_width columns, one multiply-accumulate kernel, transposed
// packing. The columns of a tile (queries forward, keys backward) are SIMD lanes and never mix, so what one query must
// not see cannot reach it. The other operand of a product is read one element at a time where it lies: keys and values
// are not repacked. C is the compute type, float or double. Tiles are row-major, 64-byte aligned, with a row stride of
// tile_width.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include <cog/attention/visibility.hpp>
#include <cog/backend/cpu/context.hpp>
#include <cog/backend/cpu/simd.hpp>
#include <cog/core/view.hpp>

namespace cog::cpu_detail {

inline constexpr index_t tile_width = 64;

constexpr index_t blocks_of(index_t n, index_t size) { return (n + size - 1) / size; }
constexpr index_t round_up(index_t n, index_t size) { return blocks_of(n, size) * size; }

/// n uninitialised elements from the context's pool, 64-byte aligned.
template <class C>
class scratch {
 public:
  scratch() = default;
  scratch(cpu_context const& ctx, index_t n) : memory_(&ctx.memory()), bytes_(static_cast<std::size_t>(n) * sizeof(C)) {
    data_ = static_cast<C*>(memory_->allocate(bytes_));
  }
  scratch(scratch&& other) noexcept { *this = std::move(other); }
  scratch& operator=(scratch&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~scratch() {
    if (memory_) memory_->deallocate(data_, bytes_);
  }
  C* get() const { return data_; }

 private:
  memory_pool* memory_ = nullptr;
  std::size_t bytes_ = 0;
  C* data_ = nullptr;
};

/// One query: where it stands and the keys it may see.
struct query_lane {
  index_t head = 0, query = 0;
  key_range keys{0, 0};
};

// ---- Products

/// Rows of contiguous C.
template <class C>
struct rows_of {
  C const* data = nullptr;
  index_t stride = 0;
};

/// A matrix read one element at a time: (i, k) at data[i * row + k * column].
template <class C>
struct operand {
  C const* data;
  index_t row, column;
};
/// (i, k) is element k of row i.
template <class C>
operand<C> by_row(rows_of<C> x) {
  return {x.data, x.stride, 1};
}
/// (i, k) is element i of row k.
template <class C>
operand<C> by_column(rows_of<C> x) {
  return {x.data, 1, x.stride};
}

/// Rows x Packets accumulators in registers: out(i, :) (+)= sum_k a(i, k) b(k, :).
template <int Rows, int Packets, class C>
COG_INLINE void multiply_block(operand<C> a, rows_of<C> b, index_t n, C* out, index_t stride, bool add) {
  using S = simd<C>;
  S sum[Rows][Packets];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int p = 0; p < Packets; ++p) sum[r][p] = add ? S::load_aligned(out + r * stride + p * S::size) : S(C(0));
  for (index_t k = 0; k < n; ++k) {
    S column[Packets];
#pragma GCC unroll 8
    for (int p = 0; p < Packets; ++p) column[p] = S::load_aligned(b.data + k * b.stride + p * S::size);
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
    for (int p = 0; p < Packets; ++p) sum[r][p].store_aligned(out + r * stride + p * S::size);
}

template <int Packets, class C>
void multiply_panel(operand<C> a, index_t rows, rows_of<C> b, index_t n, C* out, index_t stride, bool add) {
  auto const block = [&]<int Rows>(std::integral_constant<int, Rows>) {
    multiply_block<Rows, Packets>(a, b, n, out, stride, add);
    a.data += Rows * a.row;
    out += Rows * stride;
    rows -= Rows;
  };
  while (rows >= 6) block(std::integral_constant<int, 6>{});
  if (rows == 5) block(std::integral_constant<int, 5>{});
  if (rows == 4) block(std::integral_constant<int, 4>{});
  if (rows == 3) block(std::integral_constant<int, 3>{});
  if (rows == 2) block(std::integral_constant<int, 2>{});
  if (rows == 1) block(std::integral_constant<int, 1>{});
}

/// out(i, :) (+)= sum_{k < n} a(i, k) b(k, :) for i < rows, over `columns` columns, a multiple of the register width.
/// Each sum runs over k in order in one accumulator: scores come out the same to the bit whichever of q and k is `a`.
template <class C>
void multiply(operand<C> a, index_t rows, rows_of<C> b, index_t n, C* out, index_t stride, index_t columns, bool add) {
  constexpr index_t size = simd<C>::size;
  constexpr int most = vector_registers >= 32 ? 4 : 2;  // 6 x 4 accumulators of 32 registers, or 6 x 2 of 16
  auto const panel = [&]<int Packets>(std::integral_constant<int, Packets>) {
    multiply_panel<Packets>(a, rows, b, n, out, stride, add);
    b.data += Packets * size;
    out += Packets * size;
    columns -= Packets * size;
  };
  while (columns >= most * size) panel(std::integral_constant<int, most>{});
  if constexpr (most == 4) {
    if (columns == 3 * size) panel(std::integral_constant<int, 3>{});
    if (columns == 2 * size) panel(std::integral_constant<int, 2>{});
  }
  if (columns == size) panel(std::integral_constant<int, 1>{});
}

/// out(i, c) += sum of a(i, k) b(k, c) over the pairs with visible(k, c) != 0: what is not visible may hold NaN or
/// infinity, in a or in b. Slow, and only called when one does.
template <class C>
void multiply_visible(operand<C> a, index_t rows, rows_of<C> b, C const* visible, index_t n, C* out, index_t columns) {
  for (index_t k = 0; k < n; ++k)
    for (index_t c = 0; c < columns; ++c)
      if (visible[k * tile_width + c] != C(0))
        for (index_t i = 0; i < rows; ++i)
          out[i * tile_width + c] += a.data[i * a.row + k * a.column] * b.data[k * b.stride + c];
}

// ---- Packing

/// to(c, r) = from(r, c) for r < rows, c < columns.
template <class C>
void transpose(C const* from, index_t from_stride, index_t rows, index_t columns, C* to, index_t to_stride) {
  constexpr index_t size = simd<C>::size;
  index_t const whole_rows = rows / size * size, whole_columns = columns / size * size;
  for (index_t r = 0; r < whole_rows; r += size)
    for (index_t c = 0; c < whole_columns; c += size) {
      simd<C> block[size];
      for (index_t i = 0; i < size; ++i) block[i] = simd<C>::load(from + (r + i) * from_stride + c);
      transpose(block);
      for (index_t i = 0; i < size; ++i) block[i].store(to + (c + i) * to_stride + r);
    }
  for (index_t r = 0; r < rows; ++r)
    for (index_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      to[c * to_stride + r] = from[r * from_stride + c];
}

/// to[c] = from[c * step] for c < n, converted.
template <class To, class From>
void copy_row(From const* from, index_t step, To* to, index_t to_step, index_t n) {
  using C = compute_t<From>;
  index_t c = 0;
  if (step == 1 && to_step == 1)
    for (; c + simd<C>::size <= n; c += simd<C>::size) simd<C>::load(from + c).store(to + c);
  for (; c < n; ++c) to[c * to_step] = static_cast<To>(static_cast<C>(from[c * step]));
}

/// row *= factor
template <class C>
void scale_row(C* row, index_t n, C factor) {
  index_t c = 0;
  for (; c + simd<C>::size <= n; c += simd<C>::size) (simd<C>::load(row + c) * simd<C>(factor)).store(row + c);
  for (; c < n; ++c) row[c] *= factor;
}

/// <a, b>, in an order that does not depend on the steps.
template <class C, class T>
C dot(T const* a, index_t a_step, T const* b, index_t b_step, index_t n) {
  using S = simd<C>;
  auto const lanes = [](T const* x, index_t step) { return step == 1 ? S::load(x) : S::gather(x, step); };
  S sums = C(0);
  index_t c = 0;
  for (; c + S::size <= n; c += S::size) sums = fma(lanes(a + c * a_step, a_step), lanes(b + c * b_step, b_step), sums);
  C sum = reduce_add(sums);
  for (; c < n; ++c) sum += static_cast<C>(a[c * a_step]) * static_cast<C>(b[c * b_step]);
  return sum;
}

/// A [B, H, N, W] operand seen as rows of contiguous C: in place where it is that. What is not is converted once for
/// all (O(N) memory) if it is `reused` by several tasks, else block by block.
template <class C, class T>
class row_source {
 public:
  row_source(cpu_context const& ctx, view<T const, 4> const& x, bool reused) : view_(x) {
    in_place_ = std::is_same_v<T, C> && (x.strides[3] == 1 || x.extents[3] <= 1);
    if (in_place_ || !reused) return;
    index_t const heads = x.extents[1], length = x.extents[2], width = x.extents[3];
    copy_ = scratch<C>(ctx, x.size());
    index_t const chunk = 256, chunks = blocks_of(length, chunk);
    ctx.run(x.extents[0] * heads * chunks, [&](index_t task) {
      index_t const bh = task / chunks, first = task % chunks * chunk;
      convert(bh / heads, bh % heads, first, std::min(chunk, length - first),
              copy_.get() + (bh * length + first) * width);
    });
  }

  /// Rows [first, first + n) of head (b, h); `buffer` has room for them.
  rows_of<C> at(index_t b, index_t h, index_t first, index_t n, C* buffer) const {
    index_t const heads = view_.extents[1], length = view_.extents[2], width = view_.extents[3];
    if (copy_.get()) return {copy_.get() + ((b * heads + h) * length + first) * width, width};
    if constexpr (std::is_same_v<T, C>)
      if (in_place_) return {&view_(b, h, first, 0), view_.strides[2]};
    convert(b, h, first, n, buffer);
    return {buffer, width};
  }
  index_t buffer_size(index_t n) const { return in_place_ || copy_.get() ? 0 : round_up(n * view_.extents[3], 16); }

 private:
  void convert(index_t b, index_t h, index_t first, index_t n, C* to) const {
    index_t const width = view_.extents[3];
    for (index_t i = 0; i < n; ++i) copy_row(&view_(b, h, first + i, 0), view_.strides[3], to + i * width, 1, width);
  }

  view<T const, 4> view_;
  bool in_place_;
  scratch<C> copy_;
};

/// False if any of n rows holds a NaN or an infinity.
template <class C>
bool all_finite(rows_of<C> rows, index_t n, index_t width) {
  using S = simd<C>;
  S sum = C(0);  // 0 x is 0 unless x is NaN or infinite
  C rest = 0;
  for (index_t i = 0; i < n; ++i) {
    C const* const row = rows.data + i * rows.stride;
    index_t c = 0;
    for (; c + S::size <= width; c += S::size) sum = fma(S::load(row + c), S(C(0)), sum);
    for (; c < width; ++c) rest += row[c] * C(0);
  }
  return reduce_add(sum) + rest == C(0);
}

}  // namespace cog::cpu_detail
