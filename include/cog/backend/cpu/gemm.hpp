// Products on the CPU. The right operand is packed once into panels of 64 columns; a task makes a block of rows of one
// panel in a tile that stays in the cache, with the kernel of attention (multiply), and finishes it: alpha, beta, bias,
// activation, storage type. bf16 goes through pair_product where the machine has one. Blocks depend on the shape alone,
// so that bits do not depend on the number of threads. Products of a few vectors read
// their matrix once, where it lies.
#pragma once

#include <cog/backend/cpu/attention_tile.hpp>
#include <cog/backend/cpu/elementwise.hpp>
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

/// The same without an activation, for rows of a tile.
struct finish_rows {
  template <class S, class C, class T>
  static COG_INLINE void run(C const* sums, index_t rows, gemm_arguments<T> const& g, T const* bias, T* out, index_t n,
                             index_t pitch) {
    auto const a = static_cast<C>(g.alpha), b = static_cast<C>(g.beta);
    S const alpha = S::repeat(&a), beta = S::repeat(&b);
    for (index_t r = 0; r < rows; ++r, sums += tile_width, out += pitch) {
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
    for (index_t at = 0; at < total; at += part)
      for (index_t r = 0; r < m; ++r) {
        C const* const x = vectors.get() + r * k;
        C* const out = sums.get() + r * pitch;
        index_t const rows = std::min(part, total - at);
        if (along_n)
          dispatch<row_sums, C>(x + at,
                                rows_of<T>{many.data + at * many.strides[0] + first * many.strides[1], many.strides[0]},
                                static_cast<index_t const*>(nullptr), rows, count, out);
        else
          dispatch<row_dots, C>(x, rows_of<T>{many.data + (first + at) * many.strides[1], many.strides[1]}, k, rows,
                                out + at);
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

/// How the loops of a product see their operands: a as rows or strips of `left`, b as panels of C with `panel_rows` rows. This
/// one: element by element. A strip is the elements of 6 rows, column after column: how the kernel reads them.
template <class T>
struct element_form {
  using C = compute_t<T>;
  using left = C;
  static constexpr index_t strip = 6;

  static index_t panel_rows(index_t k) { return k; }
  /// Is a read where it lies? Down a column it would touch a page for every element of a sum.
  static bool in_place(view<T const, 2> const& a) { return std::same_as<T, C> && a.strides[1] == 1; }
  static index_t left_pitch(index_t k) { return k; }
  /// Rows [first, last) of a at `to`; as strips where its rows are not contiguous.
  static void pack_left(view<T const, 2> const& a, index_t first, index_t last, C* to) {
    index_t const k = a.extents[1], row = a.strides[0], column = a.strides[1];
    if (column == 1) {
      for (index_t r = first; r < last; ++r, to += k) copy_row(&a(r, 0), 1, to, 1, k);
      return;
    }
    auto const pack = [&](index_t rows, T const* from) {
      for (index_t c = 0; c < k; ++c, from += column, to += rows)
        for (index_t i = 0; i < rows; ++i) to[i] = static_cast<C>(from[i * row]);
    };
    for (index_t r = first; r < last; r += strip) {
      T const* from = &a(r, 0);
      if (last - r < strip || row != 1) {
        pack(std::min(strip, last - r), from);
        continue;
      }
      for (index_t c = 0; c < k; ++c, from += column, to += strip)
        for (index_t i = 0; i < strip; ++i) to[i] = static_cast<C>(from[i]);
    }
  }
  /// What pack_left made of such an a.
  static operand<C> packed(view<T const, 2> const& a, C const* rows, index_t pitch) {
    if (a.strides[1] == 1) return {rows, pitch, 1};
    return {rows, 1, strip};
  }
  /// Columns [first, first + n) of b as rows of `pitch`, with zeros up to a multiple of lane_multiple.
  static void pack_panel(view<T const, 2> const& b, index_t first, index_t n, C* to, index_t pitch) {
    index_t const depth = b.extents[0], padded = round_up(n, lane_multiple<C>);
    T const* const from = b.data + first * b.strides[1];
    if (n < padded)
      for (index_t k = 0; k < depth; ++k) std::fill(to + k * pitch + n, to + k * pitch + padded, C(0));
    if constexpr (std::same_as<T, C>) {
      if (b.strides[0] == 1 && b.strides[1] != 1) return transpose(from, b.strides[1], n, depth, to, pitch);
    }
    for (index_t k = 0; k < depth; ++k) copy_row(from + k * b.strides[0], b.strides[1], to + k * pitch, 1, n);
  }
  /// sums = a b, in steps that a second-level cache has room for.
  static void multiply_panel(operand<left> const& a, index_t rows, C const* b, index_t pitch, index_t k, C* sums,
                             index_t columns) {
    constexpr index_t depth = 512;
    for (index_t at = 0; at < std::max<index_t>(k, 1); at += depth) {
      index_t const n = std::min(depth, k - at);
      rows_of<C> const part{b + at * pitch, pitch};
      if (a.column == 1) {
        multiply(operand<C>{a.data + at, a.row, 1}, rows, part, n, sums, tile_width, columns, at > 0);
        continue;
      }
      for (index_t r = 0; r < rows; r += strip) {
        index_t const height = std::min(strip, rows - r);
        multiply(operand<C>{a.data + r * k + at * height, 1, height}, height, part, n, sums + r * tile_width, tile_width, columns,
                 at > 0);
      }
    }
  }
};

/// In pairs, through `product`.
struct pair_form {
  using C = float;
  using left = bf16;
  pair_product* product;

  static index_t panel_rows(index_t k) { return blocks_of(k, 2); }
  static bool in_place(view<bf16 const, 2> const& a) { return a.strides[1] == 1 && a.extents[1] % 2 == 0; }
  static index_t left_pitch(index_t k) { return round_up(k, 2); }
  static operand<bf16> packed(view<bf16 const, 2> const&, bf16 const* rows, index_t pitch) { return {rows, pitch, 1}; }
  static void pack_left(view<bf16 const, 2> const& a, index_t first, index_t last, bf16* to) {
    index_t const k = a.extents[1], pitch = left_pitch(k);
    if (a.strides[0] == 1 && a.strides[1] != 1)
      return transpose_pairs(&a(first, 0), a.strides[1], k, last - first, to, pitch);
    for (index_t r = first; r < last; ++r, to += pitch) {
      copy_row(&a(r, 0), a.strides[1], to, 1, k);
      std::fill(to + k, to + pitch, bf16());
    }
  }
  static void pack_panel(view<bf16 const, 2> const& b, index_t first, index_t n, float* to, index_t pitch) {
    index_t const depth = b.extents[0], padded = round_up(n, lane_multiple<float>);
    if (n < padded)
      for (index_t k = 0; k < blocks_of(depth, 2); ++k) std::fill(to + k * pitch + n, to + k * pitch + padded, 0.0f);
    bf16 const* const from = b.data + first * b.strides[1];
    if (b.strides[1] == 1 || n == 1) return pack_pairs(from, b.strides[0], depth, n, to, pitch);
    for (index_t k = 0; k < depth; k += 2, to += pitch)  // pairs along a column of b
      for (index_t c = 0; c < n; ++c) {
        bf16 const* const low = from + k * b.strides[0] + c * b.strides[1];
        to[c] = bf16_pair(*low, k + 1 < depth ? low[b.strides[0]] : bf16());
      }
  }
  void multiply_panel(operand<left> const& a, index_t rows, float const* b, index_t pitch, index_t k, float* sums,
                      index_t columns) const {
    constexpr index_t depth = 128;
    index_t const pairs = blocks_of(k, 2);
    for (index_t at = 0; at < std::max<index_t>(pairs, 1); at += depth)
      product({a.data + 2 * at, a.row}, rows, {b + at * pitch, pitch}, std::min(depth, pairs - at), sums, tile_width,
              columns, at > 0);
  }
};

/// Panels that stay in a second-level cache, beside rows of a.
inline constexpr index_t group_bytes = 500'000;

/// What a task makes.
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
  index_t const panels = blocks_of(n, tile_width), pitch = std::min(tile_width, round_up(n, lane_multiple<C>));
  index_t const panel_size = form.panel_rows(k) * pitch, left_pitch = form.left_pitch(k);
  index_t const group = std::clamp<index_t>(group_bytes / (panel_size * index_t(sizeof(C)) + 1), 1, panels);
  auto const left_of = [&](index_t batch) { return matrix_of(g.a, batch / inner, batch % inner); };
  auto const right_of = [&](index_t batch) { return matrix_of(g.b, batch / inner, batch % inner); };

  // What several tasks read is made once: panels of b, and a where it does not lie right.
  bool const shared = row_blocks > 1, in_place = form.in_place(left_of(0));
  index_t const b_batches = g.b.strides[0] == 0 && g.b.strides[1] == 0 ? 1 : batches;
  scratch<C> packed;
  if (shared) {
    packed = scratch<C>(ctx, b_batches * panels * panel_size);
    run_tasks(ctx, b_batches * panels, little, [&](index_t task) {
      index_t const first = task % panels * tile_width;
      form.pack_panel(right_of(task / panels), first, std::min(tile_width, n - first), packed.get() + task * panel_size,
                      pitch);
    });
  }
  scratch<left> converted;
  if (!in_place) {
    converted = scratch<left>(ctx, batches * m * left_pitch);
    run_tasks(ctx, batches * row_blocks, little, [&](index_t task) {
      index_t const batch = task / row_blocks, first = task % row_blocks * rows_each;
      form.pack_left(left_of(batch), first, std::min(m, first + rows_each),
                     converted.get() + (batch * m + first) * left_pitch);
    });
  }

  run_tasks(ctx, batches * row_blocks * panels, little, [&](index_t task) {
    // The same few panels for all rows of a, panel after panel past some rows: either stays in the cache.
    index_t const batch = task / (row_blocks * panels), begin = task % (row_blocks * panels) / (row_blocks * group) * group;
    index_t const within = task % (row_blocks * panels) - row_blocks * begin, width = std::min(group, panels - begin);
    index_t const first = (begin + within % width) * tile_width, r = within / width * rows_each;
    index_t const rows = std::min(rows_each, m - r), columns = std::min(tile_width, n - first);
    auto const x = left_of(batch);
    operand<left> a = form.packed(x, converted.get() + (batch * m + r) * left_pitch, left_pitch);
    if constexpr (std::same_as<T, left>)
      if (in_place) a = {&x(r, 0), x.strides[0], x.strides[1]};
    scratch<C> own;
    C* b = packed.get() + ((b_batches == 1 ? 0 : batch) * panels + first / tile_width) * panel_size;
    if (!shared) {
      own = scratch<C>(ctx, panel_size);
      b = own.get();
      form.pack_panel(right_of(batch), first, columns, b, pitch);
    }
    product_tile<C> tile;
    form.multiply_panel(a, rows, b, pitch, k, tile.sums, round_up(columns, lane_multiple<C>));
    T* const to = g.c.data + batch / inner * g.c.strides[0] + batch % inner * g.c.strides[1] + r * n + first;
    T const* const bias = g.bias ? g.bias + first : nullptr;
    if constexpr (std::same_as<Activation, identity>)
      dispatch<finish_rows, C>(static_cast<C const*>(tile.sums), rows, g, bias, to, columns, n);
    else
      for (index_t i = 0; i < rows; ++i)
        finish_row<Activation>(tile.sums + i * tile_width, g, bias, to + i * n, columns);
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
  if constexpr (std::same_as<T, bf16>)
    if (auto* const product = chosen_pair_product().load(std::memory_order_relaxed))
      return product_in_panels<Activation>(ctx, g, pair_form{product}, little);
  product_in_panels<Activation>(ctx, g, element_form<T>{}, little);
}

}  // namespace cog::cpu_detail
