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
#include <cog/backend/cpu/dispatch.hpp>
#include <cog/backend/cpu/transpose.hpp>
#include <cog/core/view.hpp>

namespace cog::cpu_detail {

inline constexpr index_t tile_width = 64;

constexpr index_t blocks_of(index_t n, index_t size) { return (n + size - 1) / size; }
constexpr index_t round_up(index_t n, index_t size) { return blocks_of(n, size) * size; }

/// So few multiply-adds that waking the threads would take longer.
constexpr bool is_little(index_t multiply_adds) { return multiply_adds < 64 * 64 * 64; }

/// f(task) for every task, in line where all of them are little work.
template <class F>
void run_tasks(cpu_context const& ctx, index_t tasks, bool little, F const& f) {
  if (!little) return ctx.run(tasks, f);
  for (index_t i = 0; i < tasks; ++i) f(i);
}

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

  compute_t<C> operator()(index_t row, index_t i) const { return data[row * stride + i]; }
};

/// A matrix read one element at a time: (i, k) at data[i * row + k * column].
template <class C>
struct operand {
  C const* data;
  index_t row, column;

  C operator()(index_t i, index_t k) const { return data[i * row + k * column]; }
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

/// How many rows are multiplied next of those left: 6, if what is left then is not better cut otherwise, for blocks of 1 or 2 rows wait for
/// their own sums.
constexpr index_t rows_at_once(index_t left) {
  if (left >= 6 && left != 7 && left != 8) return 6;
  return left >= 4 ? 4 : left == 3 ? 3 : 1;
}

/// out(i, :) (+)= sum_k a(i, k) b(k, :)
struct multiply_kernel {
  /// Rows x Packets accumulators in registers.
  template <class S, int Rows, int Packets, class C>
  static COG_INLINE void block(operand<C> const& a, rows_of<C> const& b, index_t n, C* out, index_t stride, bool add) {
    S sum[Rows][Packets];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int p = 0; p < Packets; ++p) sum[r][p] = add ? S::load(out + r * stride + p * S::size) : S(C(0));
#pragma GCC unroll 2  // as measured on a Zen 3: docs/architecture.md
    for (index_t k = 0; k < n; ++k) {
      S column[Packets];
#pragma GCC unroll 8
      for (int p = 0; p < Packets; ++p) column[p] = S::load(b.data + k * b.stride + p * S::size);
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
      for (int p = 0; p < Packets; ++p) sum[r][p].store(out + r * stride + p * S::size);
  }

  // No lambdas here: they would not be compiled for the instructions of the function they stand in.
  template <class S, int Rows, int Packets, class C>
  static COG_INLINE void blocks(operand<C>& a, index_t& rows, rows_of<C> const& b, index_t n, C*& out, index_t stride,
                                bool add) {
    for (; rows > 0 && rows_at_once(rows) == Rows; rows -= Rows) {
      block<S, Rows, Packets>(a, b, n, out, stride, add);
      a.data += Rows * a.row;
      out += Rows * stride;
    }
  }
  template <class S, int Packets, class C>
  static COG_INLINE void panels(operand<C> const& a, index_t rows, rows_of<C>& b, index_t n, C*& out, index_t stride,
                                index_t& columns, bool add) {
    for (; columns >= Packets * S::size; columns -= Packets * S::size) {
      operand<C> at = a;
      C* to = out;
      index_t left = rows;
      blocks<S, 6, Packets>(at, left, b, n, to, stride, add);
      blocks<S, 4, Packets>(at, left, b, n, to, stride, add);
      blocks<S, 3, Packets>(at, left, b, n, to, stride, add);
      blocks<S, 1, Packets>(at, left, b, n, to, stride, add);
      b.data += Packets * S::size;
      out += Packets * S::size;
    }
  }
  template <class S, class C>
  static COG_INLINE void run(operand<C> const& a, index_t rows, rows_of<C> b, index_t n, C* out, index_t stride,
                             index_t columns, bool add) {
    panels<S, most<S>>(a, rows, b, n, out, stride, columns, add);
    panels<S, 1>(a, rows, b, n, out, stride, columns, add);
  }
  /// 6 x 4 accumulators of 32 registers, or 6 x 2 of 16.
  template <class S>
  static constexpr int most = S::registers >= 32 ? 4 : 2;
};

struct ask_columns {
  template <class S>
  static COG_INLINE void run(index_t* columns) {
    *columns = multiply_kernel::most<S> * S::size;
  }
};
/// How many columns `multiply` takes at a time, at most tile_width.
template <class C>
index_t kernel_columns() {
  index_t columns = 0;
  dispatch<ask_columns, C>(&columns);
  return columns;
}

/// out(i, :) (+)= sum_{k < n} a(i, k) b(k, :) for i < rows, over `columns` columns, a multiple of lane_multiple.
/// Each sum runs over k in order in one accumulator: scores come out the same to the bit whichever of q and k is `a`.
template <class C>
void multiply(operand<C> a, index_t rows, rows_of<C> b, index_t n, C* out, index_t stride, index_t columns, bool add) {
  dispatch<multiply_kernel, C>(a, rows, b, n, out, stride, columns, add);
}

/// out(i, c) += sum of a(i, k) b(k, c) over the pairs with visible(k, c) != 0: what is not visible may hold NaN or
/// infinity, in a or in b. Slow, and only called when one does.
template <class C, class A, class B>
void multiply_visible(A const& a, index_t rows, B const& b, C const* visible, index_t n, C* out, index_t columns) {
  for (index_t k = 0; k < n; ++k)
    for (index_t c = 0; c < columns; ++c)
      if (visible[k * tile_width + c] != C(0))
        for (index_t i = 0; i < rows; ++i) out[i * tile_width + c] += a(i, k) * b(k, c);
}

// ---- Packing

struct copy_contiguous {
  template <class S, class From, class To>
  static COG_INLINE void run(From const* from, index_t from_stride, To* to, index_t to_stride, index_t rows, index_t n) {
    for (; rows > 0; --rows, from += from_stride, to += to_stride) {
      index_t c = 0;
      for (; c + S::size <= n; c += S::size) S::load(from + c).store(to + c);
      for (; c < n; ++c) to[c] = static_cast<To>(static_cast<compute_t<From>>(from[c]));
    }
  }
};
/// Rows of n neighbours, `stride`s apart, converted.
template <class To, class From>
void copy_rows(From const* from, index_t from_stride, To* to, index_t to_stride, index_t rows, index_t n) {
  dispatch<copy_contiguous, compute_t<From>>(from, from_stride, to, to_stride, rows, n);
}
/// to[c * to_step] = from[c * step] for c < n, converted.
template <class To, class From>
void copy_row(From const* from, index_t step, To* to, index_t to_step, index_t n) {
  if (step == 1 && to_step == 1) {
    if constexpr (std::same_as<To, From>) std::copy_n(from, n, to);
    else copy_rows(from, 0, to, 0, 1, n);
    return;
  }
  for (index_t c = 0; c < n; ++c) to[c * to_step] = static_cast<To>(static_cast<compute_t<From>>(from[c * step]));
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

/// A [B, H, N, W] operand seen as rows of contiguous To: in place where it is that. What is not is converted once for
/// all (O(N) memory) if it is `reused` by several tasks, else block by block. Rows are as long as W or, filled up with
/// zeros, the next `multiple`.
template <class To, class T, index_t Multiple = 1>
class row_source {
 public:
  row_source(cpu_context const& ctx, view<T const, 4> const& x, bool reused)
      : view_(x), pitch_(round_up(x.extents[3], Multiple)) {
    in_place_ = std::is_same_v<T, To> && (x.strides[3] == 1 || pitch_ <= 1) && x.extents[3] == pitch_;
    if (in_place_ || !reused) return;
    index_t const heads = x.extents[1], length = x.extents[2];
    copy_ = scratch<To>(ctx, x.extents[0] * heads * length * pitch_);
    index_t const chunk = 256, chunks = blocks_of(length, chunk);
    ctx.run(x.extents[0] * heads * chunks, [&](index_t task) {
      index_t const bh = task / chunks, first = task % chunks * chunk;
      convert(bh / heads, bh % heads, first, std::min(chunk, length - first),
              copy_.get() + (bh * length + first) * pitch_);
    });
  }

  /// Rows [first, first + n) of head (b, h); `buffer` has room for them.
  rows_of<To> at(index_t b, index_t h, index_t first, index_t n, To* buffer) const {
    index_t const heads = view_.extents[1], length = view_.extents[2];
    if (copy_.get()) return {copy_.get() + ((b * heads + h) * length + first) * pitch_, pitch_};
    if constexpr (std::is_same_v<T, To>)
      if (in_place_) return {&view_(b, h, first, 0), view_.strides[2]};
    convert(b, h, first, n, buffer);
    return {buffer, pitch_};
  }
  index_t buffer_size(index_t n) const { return in_place_ || copy_.get() ? 0 : round_up(n * pitch_, 32); }

 private:
  void convert(index_t b, index_t h, index_t first, index_t n, To* to) const {
    index_t const width = view_.extents[3];
    for (index_t i = 0; i < n; ++i, to += pitch_) {
      copy_row(&view_(b, h, first + i, 0), view_.strides[3], to, 1, width);
      std::fill(to + width, to + pitch_, To(0));
    }
  }

  view<T const, 4> view_;
  index_t pitch_;
  bool in_place_;
  scratch<To> copy_;
};

/// False if any of n rows holds a NaN or an infinity.
template <class T>
bool all_finite(rows_of<T> rows, index_t n, index_t width) {
  using C = compute_t<T>;
  using S = simd<C>;
  S sum = C(0);  // 0 x is 0 unless x is NaN or infinite
  C rest = 0;
  for (index_t i = 0; i < n; ++i) {
    T const* const row = rows.data + i * rows.stride;
    index_t c = 0;
    for (; c + S::size <= width; c += S::size) sum = fma(S::load(row + c), S(C(0)), sum);
    for (; c < width; ++c) rest += C(row[c]) * C(0);
  }
  return reduce_add(sum) + rest == C(0);
}

}  // namespace cog::cpu_detail
