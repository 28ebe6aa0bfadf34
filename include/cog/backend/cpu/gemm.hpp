// Products on the CPU. The right operand is packed once into panels of 64 columns, in the order the kernel reads them; a
// task passes a block of rows of the left one, packed by itself where they do not lie right, along a group of panels. The sums
// are made by the kernel of attention (multiply) in the result where that can hold them, else in a tile that stays in the
// cache. bf16 goes through a pair_unit where the machine has one. In which pieces a sum is made depends on the shape and the
// kernel alone, so that bits do not depend on the number of threads. Products of a few vectors read their matrix once, where
// it lies.
#pragma once

#include <cstring>

#include <cog/backend/cpu/attention_tile.hpp>
#include <cog/backend/cpu/blas.hpp>
#include <cog/backend/cpu/elementwise.hpp>
#include <cog/backend/cpu/onednn.hpp>
#include <cog/backend/cpu/pairs.hpp>
#include <cog/backend/cpu/thin.hpp>
#include <cog/expr/contract.hpp>

namespace cog::cpu_detail {

/// out[0, n) = activation(alpha sums + beta out + bias); `sums` may be read up to the next multiple of the register
/// width.
template <class Activation, class T, class C>
void finish_row(C const* sums, gemm_arguments<T> const& g, T const* bias, T* out, index_t n) {
  using S = simd<C>;
  S const alpha = static_cast<C>(g.alpha), beta = static_cast<C>(g.beta);
  auto const finish = [&](S x, auto const& load) {
    x = alpha * x;
    if (g.beta != 0) x = fma(beta, load(static_cast<T const*>(out)), x);
    if (bias) x += load(bias);
    return Activation::apply(x);
  };
  index_t i = 0;
  for (; i + S::size <= n; i += S::size)
    finish(S::load(sums + i), [i](T const* p) { return S::load(p + i); }).store(out + i);
  if (i < n)
    finish(S::load(sums + i), [=](T const* p) { return S::load_partial(p + i, n - i); }).store_partial(out + i, n - i);
}

/// The same without an activation, for rows of sums at `stride`.
struct finish_rows {
  template <class S, class C, class T>
  static COG_INLINE void run(C const* sums, index_t stride, index_t rows, gemm_arguments<T> const& g, T const* bias, T* out,
                             index_t n, index_t pitch) {
    auto const a = static_cast<C>(g.alpha), b = static_cast<C>(g.beta);
    S const alpha = S::repeat(&a), beta = S::repeat(&b);
    for (index_t r = 0; r < rows; ++r, sums += stride, out += pitch) {
      index_t i = 0;
      for (; i + S::size <= n; i += S::size) {
        S x = alpha * S::load(sums + i);
        if (b != 0) x = fma(beta, S::load(static_cast<T const*>(out + i)), x);
        if (bias) x += S::load(bias + i);
        x.store(out + i);
      }
      for (; i < n; ++i) {
        C x = a * sums[i];
        if (b != 0) x += b * static_cast<C>(out[i]);
        if (bias) x += static_cast<C>(bias[i]);
        out[i] = static_cast<T>(x);
      }
    }
  }
};

#if defined(COG_BLAS)
/// Bias and activation of products that are there.
template <class Activation, class T>
void finish_in_place(cpu_context const& ctx, gemm_arguments<T> g) {
  if (std::same_as<Activation, identity> && !g.bias) return;
  g.alpha = 1, g.beta = 0;
  index_t const m = g.c.extents[2], n = g.c.extents[3], inner = g.c.extents[1], rows = g.c.extents[0] * inner * m;
  index_t const chunk = std::max<index_t>(1, 16384 / n);
  run_tasks(ctx, blocks_of(rows, chunk), false, [&](index_t task) {
    for (index_t r = task * chunk; r < std::min(rows, (task + 1) * chunk); ++r) {
      T* const row = g.c.data + r / m / inner * g.c.strides[0] + r / m % inner * g.c.strides[1] + r % m * n;
      index_t const whole = n / lane_multiple<T> * lane_multiple<T>, rest = n - whole;
      finish_row<Activation>(static_cast<T const*>(row), g, g.bias, row, whole);
      T last[lane_multiple<T>] = {};
      std::copy_n(row + whole, rest, last);
      finish_row<Activation>(static_cast<T const*>(last), g, g.bias ? g.bias + whole : nullptr, row + whole, rest);
    }
  });
}
#endif

template <class T>
view<T const, 2> matrix_of(view<T const, 4> const& x, index_t b0, index_t b1) {
  return {x.data + b0 * x.strides[0] + b1 * x.strides[1], {x.extents[2], x.extents[3]}, {x.strides[2], x.strides[3]}};
}

/// c = a b where one of them has few rows or columns: the other is read once, where it lies.
template <class Activation, class T>
void thin_product(cpu_context const& ctx, gemm_arguments<T> const& g, view<T const, 2> const& a,
                  view<T const, 2> const& b, T* c, bool little) {
  using C = compute_t<T>;
  auto const turned = [](view<T const, 2> const& x) {
    return view<T const, 2>{x.data, {x.extents[1], x.extents[0]}, {x.strides[1], x.strides[0]}};
  };
  bool const wide = b.extents[1] >= a.extents[0];
  view<T const, 2> const few = wide ? a : turned(b);  // [m, k]
  view<T const, 2> many = wide ? b : turned(a);       // [k, n]
  index_t const m = few.extents[0], k = few.extents[1], n = many.extents[1];

  scratch<C> const vectors(ctx, m * k);
  for (index_t r = 0; r < m; ++r) copy_row(&few(r, 0), few.strides[1], vectors.get() + r * k, 1, k);
  scratch<T> copy;
  bool const along_n = many.strides[1] == 1 || n == 1;
  if (!along_n && many.strides[0] != 1 && k > 1) {
    copy = scratch<T>(ctx, k * n);
    for (index_t i = 0; i < n; ++i)
      copy_row(many.data + i * many.strides[1], many.strides[0], copy.get() + i * k, 1, k);
    many = {copy.get(), {k, n}, {1, k}};
  }

  index_t const block = std::clamp<index_t>(round_up(blocks_of(n, 16), 64), 64, 1024);
  run_tasks(ctx, blocks_of(n, block), little, [&](index_t task) {
    index_t const first = task * block, count = std::min(block, n - first), pitch = round_up(count, lane_multiple<C>);
    scratch<C> const sums(ctx, m * pitch);
    std::fill_n(sums.get(), m * pitch, C(0));
    // What all vectors read is a part that stays in the cache.
    index_t const total = along_n ? k : count,
                  part = std::max<index_t>(8, 16384 / (along_n ? count : std::max<index_t>(k, 1)) / 8 * 8);
    for (index_t at = 0; at < total; at += part) {
      index_t const rows = std::min(part, total - at);
      if (along_n)
        sums_of_rows(rows_of<C>{vectors.get() + at, k}, m,
                     rows_of<T>{many.data + at * many.strides[0] + first * many.strides[1], many.strides[0]}, nullptr, rows,
                     count, sums.get(), pitch);
      else
        dots_of_rows(rows_of<C>{vectors.get(), k}, m, rows_of<T>{many.data + (first + at) * many.strides[1], many.strides[1]}, k,
                     rows, sums.get() + at, pitch);
    }
    if (wide) {
      for (index_t r = 0; r < m; ++r)
        finish_row<Activation>(sums.get() + r * pitch, g, g.bias ? g.bias + first : nullptr, c + r * n + first, count);
    } else {
      for (index_t i = 0; i < count; ++i) {
        alignas(64) C row[16] = {};  // up to 3, and the rest of a register
        for (index_t r = 0; r < m; ++r) row[r] = sums.get()[r * pitch + i];
        finish_row<Activation>(row, g, g.bias, c + (first + i) * m, m);
      }
    }
  });
}

/// Columns [first, first + columns) of a task's rows of a.
template <class C>
struct left_part {
  operand<C> a;
  index_t first, columns;
};

/// Up to tile_width columns of b. Of those from `first` on, a multiple of what the kernel takes at a time, row k is at data + first * column + k * row.
template <class C>
struct right_panel {
  C const* data;
  index_t column, row;
};

/// How the loops of a product see their operands: a as rows or strips of `left`, b as panels of C with `panel_rows` rows. This
/// one: element by element. A strip is the elements of 6 rows (rows_at_once), column after column: how the kernel reads them.
template <class T>
struct element_form {
  using C = compute_t<T>;
  using left = C;
  static constexpr index_t strip = 6;
  static constexpr index_t block = 32;  // so many rows or columns at a time are packed: their lines stay in the cache for the parts that take them

  static index_t panel_rows(index_t k) { return k; }
  /// Is a read where it lies? Down a column it would touch a page for every element of a sum.
  static bool in_place(view<T const, 2> const& a) { return std::same_as<T, C> && a.strides[1] == 1; }
  static index_t left_pitch(index_t k) { return k; }
  /// a at `to`, as strips where its rows are not contiguous.
  static operand<C> pack_left(view<T const, 2> const& a, C* to) {
    auto const [height, k] = a.extents;
    auto const [row, column] = a.strides;
    if (column == 1) {
      for (index_t r = 0; r < height; ++r) copy_row(&a(r, 0), 1, to + r * k, 1, k);
      return {to, k, 1};
    }
    for (index_t begin = 0; begin < k; begin += block) {
      index_t const n = std::min(block, k - begin);
      if (row == 1)  // the next: columns lie too far apart for the processor to guess
        for (index_t c = begin + n; c < std::min(begin + n + block, k); ++c)
          for (index_t r = 0; r < height; r += 64 / static_cast<index_t>(sizeof(T))) __builtin_prefetch(&a(r, c));
      for (index_t r = 0, rows = 0; r < height; r += rows) {
        rows = rows_at_once(height - r);
        T const* from = &a(r, begin);
        C* out = to + r * k + begin * rows;
        if (std::same_as<T, C> && rows == strip && row == 1)
          for (index_t c = 0; c < n; ++c, from += column, out += strip) std::memcpy(out, from, strip * sizeof(C));
        else
          for (index_t c = 0; c < n; ++c, from += column, out += rows)
            for (index_t i = 0; i < rows; ++i) out[i] = static_cast<C>(from[i * row]);
      }
    }
    return {to, 1, strip};
  }
  /// Is b read where it lies, for so many rows of a? Packed, it would be written and read once more, by another core perhaps,
  /// but then read with fewer conflicts in the cache, of which there are more the less of a row is read at a time.
  bool in_place(view<T const, 2> const& b, index_t rows) const {
    return std::same_as<T, C> && b.strides[1] == 1 && rows <= (is_wide() ? 384 : 24);
  }
  /// As many columns of a panel as the kernel takes at a time lie together, row after row.
  index_t width = kernel_columns<C>();
  bool is_wide() const { return width * static_cast<index_t>(sizeof(C)) >= 256; }
  /// Columns of a packed panel of n: all its parts are as wide, and it has as many as are multiplied.
  index_t pitch(index_t n) const { return std::min(tile_width, round_up(n, n > width ? std::max(width, lane_multiple<C>) : lane_multiple<C>)); }
  right_panel<C> packed(C const* panel, index_t k, index_t pitch) const { return {panel, k, std::min(width, pitch)}; }

  /// Columns [first, first + n) of b, with zeros up to the pitch.
  void pack_panel(view<T const, 2> const& b, index_t first, index_t n, C* to, index_t pitch) const {
    index_t const height = b.extents[0], row = b.strides[0], column = b.strides[1];
    for (index_t begin = 0; begin < height; begin += block) {
      index_t const rows = std::min(block, height - begin);
      for (index_t at = 0; at < pitch; at += width) {
        index_t const step = std::min(width, pitch - at), some = std::clamp<index_t>(n - at, 0, step);
        T const* const from = b.data + begin * row + (first + at) * column;
        C* const out = to + at * height + begin * step;
        if (some < step)
          for (index_t k = 0; k < rows; ++k) std::fill(out + k * step + some, out + (k + 1) * step, C(0));
        if constexpr (std::same_as<T, C>) {
          if (row == 1 && column != 1) {
            transpose(from, column, some, rows, out, step);
            continue;
          }
        }
        if (column == 1) copy_rows(from, row, out, step, rows, some);
        else
          for (index_t k = 0; k < rows; ++k) copy_row(from + k * row, column, out + k * step, 1, some);
      }
    }
  }
  /// How much is summed before another piece of the operands is taken up, and sums are read and written again: a task's rows of a of
  /// that depth stay in a second-level cache, which is larger where registers are wide.
  index_t depth = (is_wide() ? 4096 : 3072) / static_cast<index_t>(sizeof(C));
  /// sums (+)= a b over [at, at + depth) of k, rows of it at `stride`.
  void multiply_panel(left_part<left> const& x, index_t rows, right_panel<C> const& b, index_t k, index_t at, C* sums,
                      index_t stride, index_t columns, bool add) const {
    operand<left> const& a = x.a;
    index_t const n = std::min(depth, k - at), from = at - x.first;
    for (index_t first = 0; first < columns; first += width) {
      index_t const some = std::min(width, columns - first);
      rows_of<C> const part{b.data + first * b.column + at * b.row, b.row};
      if (a.column == 1) {
        multiply(operand<C>{a.data + from, a.row, 1}, rows, part, n, sums + first, stride, some, add);
        continue;
      }
      for (index_t r = 0, height = 0; r < rows; r += height) {
        height = rows_at_once(rows - r);
        multiply(operand<C>{a.data + r * x.columns + from * height, 1, height}, height, part, n, sums + r * stride + first, stride, some, add);
      }
    }
  }
};

/// In pairs, by `unit`.
struct pair_form {
  using C = float;
  using left = bf16;
  pair_unit unit;

  static index_t panel_rows(index_t k) { return blocks_of(k, 2); }
  static bool in_place(view<bf16 const, 2> const& a) { return a.strides[1] == 1 && a.extents[1] % 2 == 0; }
  static index_t left_pitch(index_t k) { return round_up(k, 2); }
  static operand<bf16> pack_left(view<bf16 const, 2> const& a, bf16* to) {
    auto const [height, k] = a.extents;
    index_t const pitch = left_pitch(k);
    if (a.strides[0] == 1 && a.strides[1] != 1) {
      transpose_pairs(a.data, a.strides[1], k, height, to, pitch);
    } else {
      for (index_t r = 0; r < height; ++r) {
        copy_row(&a(r, 0), a.strides[1], to + r * pitch, 1, k);
        std::fill(to + r * pitch + k, to + (r + 1) * pitch, bf16());
      }
    }
    return {to, pitch, 1};
  }
  static void pack_panel(view<bf16 const, 2> const& b, index_t first, index_t n, float* to, index_t pitch) {
    index_t const height = b.extents[0], padded = round_up(n, lane_multiple<float>);
    if (n < padded)
      for (index_t k = 0; k < blocks_of(height, 2); ++k) std::fill(to + k * pitch + n, to + k * pitch + padded, 0.0f);
    bf16 const* const from = b.data + first * b.strides[1];
    if (b.strides[1] == 1 || n == 1) return pack_pairs(from, b.strides[0], height, n, to, pitch);
    for (index_t k = 0; k < height; k += 2, to += pitch)  // pairs along a column of b
      for (index_t c = 0; c < n; ++c) {
        bf16 const* const low = from + k * b.strides[0] + c * b.strides[1];
        to[c] = bf16_pair(*low, k + 1 < height ? low[b.strides[0]] : bf16());
      }
  }
  static bool in_place(view<bf16 const, 2> const&, index_t) { return false; }
  static index_t pitch(index_t n) { return std::min(tile_width, round_up(n, lane_multiple<float>)); }
  static right_panel<float> packed(float const* panel, index_t, index_t pitch) { return {panel, 1, pitch}; }
  static constexpr index_t depth = 256;
  void multiply_panel(left_part<left> const& x, index_t rows, right_panel<float> const& b, index_t k, index_t at, float* sums,
                      index_t stride, index_t columns, bool add) const {
    index_t const pairs = blocks_of(std::min(depth, k - at), 2);
    unit({{x.a.data + at - x.first, x.a.row}, rows, {b.data + at / 2 * b.row, b.row}, pairs, sums, stride, columns, add});
  }
};

/// A product is cut into so many tasks at least, where it has so many blocks: several for every thread. Fewer, two a thread, where
/// each packs its rows.
inline constexpr index_t enough_tasks = 32;

/// What a task makes, where the result cannot hold it.
template <class C>
struct alignas(64) product_tile {
  static constexpr index_t most_rows = 96;
  C sums[most_rows * tile_width];
};

template <class Activation, class T, class Form>
void product_in_panels(cpu_context const& ctx, gemm_arguments<T> const& g, Form const& form, bool little) {
  using C = compute_t<T>;
  using left = typename Form::left;
  index_t const m = g.c.extents[2], n = g.c.extents[3], k = g.a.extents[3];
  index_t const inner = g.c.extents[1], batches = g.c.extents[0] * inner;
  index_t const row_blocks = blocks_of(m, product_tile<C>::most_rows),
                rows_each = round_up(blocks_of(m, row_blocks), 6);
  index_t const panels = blocks_of(n, tile_width), pitch = form.pitch(n);
  index_t const panel_size = form.panel_rows(k) * pitch;
  auto const left_of = [&](index_t batch) { return matrix_of(g.a, batch / inner, batch % inner); };
  auto const right_of = [&](index_t batch) { return matrix_of(g.b, batch / inner, batch % inner); };

  // Panels of b that several tasks read are made once; a task makes its part of a itself, where that does not lie right.
  bool const in_place = form.in_place(left_of(0)), b_in_place = form.in_place(right_of(0), m), shared = row_blocks > 1 && !b_in_place;
  auto const pack_panel = [&](index_t batch, index_t p, C* to) {
    form.pack_panel(right_of(batch), p * tile_width, std::min(tile_width, n - p * tile_width), to, pitch);
  };
  // It passes its rows of a, a part that a second-level cache holds, along a group of panels; there are tasks enough for every thread.
  index_t const tasks = in_place ? enough_tasks : std::min<index_t>(enough_tasks, 2 * ctx.threads());
  index_t const groups = std::min(panels, blocks_of(tasks, batches * row_blocks)), group = blocks_of(panels, groups);
  index_t const b_batches = g.b.strides[0] == 0 && g.b.strides[1] == 0 ? 1 : batches;
  scratch<C> packed;
  if (shared) {
    packed = scratch<C>(ctx, b_batches * panels * panel_size);
    run_tasks(ctx, b_batches * panels, little, [&](index_t task) { pack_panel(task / panels, task % panels, packed.get() + task * panel_size); });
  }
  run_tasks(ctx, batches * row_blocks * groups, little, [&](index_t task) {
    index_t const batch = task / (row_blocks * groups), r = task / groups % row_blocks * rows_each, rows = std::min(rows_each, m - r);
    index_t const begin = std::min(panels, task % groups * group), end = std::min(panels, begin + group);
    // Its own panels: those that no other reads, or the last one, where the kernel would read past the end of the rows.
    auto const right = right_of(batch);
    index_t const first_packed = !b_in_place ? begin : n % lane_multiple<C> == 0 ? end : std::clamp(panels - 1, begin, end);
    scratch<C> const own(ctx, shared ? 0 : (end - first_packed) * panel_size);
    if (!shared)
      for (index_t p = first_packed; p < end; ++p) pack_panel(batch, p, own.get() + (p - first_packed) * panel_size);
    auto const panel = [&](index_t p) -> right_panel<C> {
      if constexpr (std::same_as<T, C>)
        if (p < first_packed) return {right.data + p * tile_width, 1, right.strides[0]};
      C const* const from = shared ? packed.get() + ((b_batches == 1 ? 0 : batch) * panels + begin) * panel_size : own.get();
      return form.packed(from + (p - first_packed) * panel_size, k, pitch);
    };
    T* const out = g.c.data + batch / inner * g.c.strides[0] + batch % inner * g.c.strides[1] + r * n;
    auto const multiply = [&](left_part<left> const& a, index_t p, index_t at, C* sums, index_t stride, index_t columns) {
      form.multiply_panel(a, rows, panel(p), k, at, sums, stride, columns, at > 0);
    };
    auto const finish = [&](index_t p, C const* sums, index_t stride, index_t columns) {
      T* const to = out + p * tile_width;
      T const* const bias = g.bias ? g.bias + p * tile_width : nullptr;
      if constexpr (std::same_as<Activation, identity>)
        dispatch<finish_rows, C>(sums, stride, rows, g, bias, to, columns, n);
      else
        for (index_t i = 0; i < rows; ++i) finish_row<Activation>(sums + i * stride, g, bias, to + i * n, columns);
    };
    // Where a result can hold the sums, they are made in it: all panels with one part of a, then the next part.
    index_t const held = std::same_as<T, C> && g.beta == 0 ? std::min(end, n / tile_width + (n % tile_width % lane_multiple<C> == 0)) : begin;
    index_t const span = in_place || held < end ? std::max<index_t>(k, 1) : form.depth;
    scratch<left> part;
    if (!in_place) part = scratch<left>(ctx, rows * form.left_pitch(std::min(span, k)));
    auto const all = left_of(batch);
    for (index_t from = 0; from < std::max<index_t>(k, 1); from += span) {
      view<T const, 2> const here{&all(r, from), {rows, std::min(span, k - from)}, all.strides};
      left_part<left> a{{}, from, here.extents[1]};
      if (!in_place) a.a = form.pack_left(here, part.get());
      else if constexpr (std::same_as<T, left>) a.a = {here.data, here.strides[0], here.strides[1]};
      index_t const last = std::max(from + 1, from + here.extents[1]);
      if constexpr (std::same_as<T, C>)
        for (index_t at = from; at < last; at += form.depth)
          for (index_t p = begin; p < held; ++p) {
            index_t const columns = std::min(tile_width, n - p * tile_width);
            multiply(a, p, at, out + p * tile_width, n, columns);
            if (at + form.depth >= k && (!std::same_as<Activation, identity> || g.alpha != 1 || g.bias)) finish(p, out + p * tile_width, n, columns);
          }
      for (index_t p = std::max(begin, held); p < end; ++p) {
        index_t const columns = std::min(tile_width, n - p * tile_width);
        product_tile<C> tile;
        for (index_t at = from; at < last; at += form.depth) multiply(a, p, at, tile.sums, tile_width, round_up(columns, lane_multiple<C>));
        finish(p, tile.sums, tile_width, columns);
      }
    }
  });
}

template <class Activation, class T>
void gemm(cpu_context const& ctx, gemm_arguments<T> const& g) {
  index_t const m = g.c.extents[2], n = g.c.extents[3], k = g.a.extents[3];
  index_t const inner = g.c.extents[1], batches = g.c.extents[0] * inner;
  if (batches * m * n == 0) return;
  bool const little = is_little(batches * m * n * k);

  if (m < 4 || n < 4) {
    bool const many = batches > 1;
    return run_tasks(ctx, batches, little || !many, [&](index_t batch) {
      index_t const b0 = batch / inner, b1 = batch % inner;
      thin_product<Activation>(ctx, g, matrix_of(g.a, b0, b1), matrix_of(g.b, b0, b1),
                               g.c.data + b0 * g.c.strides[0] + b1 * g.c.strides[1], little || many);
    });
  }
#if defined(COG_BLAS)
  if constexpr (std::same_as<T, float> || std::same_as<T, double>) {
    auto const by_blas = [&](index_t batch) {
      index_t const b0 = batch / inner, b1 = batch % inner;
      return blas_product(matrix_of(g.a, b0, b1), matrix_of(g.b, b0, b1), static_cast<T>(g.alpha), static_cast<T>(g.beta),
                          g.c.data + b0 * g.c.strides[0] + b1 * g.c.strides[1]);
    };
    if (by_blas(0)) {  // the others lie alike
      for (index_t batch = 1; batch < batches; ++batch) by_blas(batch);
      return finish_in_place<Activation>(ctx, g);
    }
  }
#endif
#if defined(COG_ONEDNN)
  if constexpr (std::same_as<T, bf16>) {
    scratch<float> const sums(ctx, m * n + lane_multiple<float>);
    auto const by_onednn = [&](index_t batch) {
      index_t const b0 = batch / inner, b1 = batch % inner;
      if (!onednn::product(matrix_of(g.a, b0, b1), matrix_of(g.b, b0, b1), sums.get())) return false;
      T* const out = g.c.data + b0 * g.c.strides[0] + b1 * g.c.strides[1];
      run_tasks(ctx, m, false, [&](index_t r) { finish_row<Activation>(static_cast<float const*>(sums.get() + r * n), g, g.bias, out + r * n, n); });
      return true;
    };
    if (by_onednn(0)) {  // the others lie alike
      for (index_t batch = 1; batch < batches; ++batch) by_onednn(batch);
      return;
    }
  }
#endif
  if constexpr (std::same_as<T, bf16>)
    if (auto* const unit = chosen_pair_unit().load(std::memory_order_relaxed))
      return product_in_panels<Activation>(ctx, g, pair_form{*unit}, little);
  product_in_panels<Activation>(ctx, g, element_form<T>{}, little);
}

}  // namespace cog::cpu_detail
