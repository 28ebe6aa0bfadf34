// Attention by multiply-adds, for float and double and for whatever the tensor-core kernels do not take: any width, any strides.
// A block of 256 threads holds a tile of 64 rows (queries forward and for dq, keys for dk and dv) against 64 of the other side at a
// time, and up to 128 columns of the result; more columns are more blocks, which compute the scores again. Memory is O(N).
#pragma once

#include <cog/backend/cuda/attention_tile.hpp>

namespace cog::cuda_detail {

/// Rows of an operand of one batch, found through their places: 0 where there is nothing.
template <class T>
struct placed_rows {
  T const* data;
  row_place const* places;  // of a tile
  index_t head, position, column;
  int columns;
  placed_rows(placed_rows const&) = default;
  __device__ placed_rows(view<T const, 4> const& x, int batch, row_place const* at)
      : data(x.data + batch * x.stride(0)), places(at), head(x.stride(1)), position(x.stride(2)), column(x.stride(3)),
        columns(static_cast<int>(x.extent(3))) {}
  __device__ compute_t<T> at(int r, int c) const {
    row_place const row = places[r];
    if (row.head < 0 || c >= columns) return 0;
    return static_cast<compute_t<T>>(data[row.head * head + row.position * position + c * column]);
  }
};

/// The arithmetic of a block, in shared memory. Thread (ty, tx) of 16 x 16 holds scores of outer rows 4 ty + i and inner rows tx + 16 j,
/// and columns 4 tx + c and 64 + 4 tx + c of those outer rows of the result.
template <class C>
struct plain_tile {
  static constexpr int size = row_tile, depth = 16, columns = 128, threads = 256, pad = 16 / sizeof(C);
  struct alignas(16) four {
    C at[4];
  };
  C outer[depth][size + pad], inner[depth][size + pad];  // panels of the operands of the scores
  C weights[size][size + pad];                           // [inner row, outer row]
  C values[depth][columns + pad];                        // a panel of what they multiply
  row_place outer_places[size], inner_places[size];
  row_state<C> states[size];
  tile_span slots[threads / 32];

  /// The block's own, in dynamic shared memory.
  static __device__ plain_tile& own() { return *static_cast<plain_tile*>(dynamic_shared()); }
  static __device__ int tx() { return threadIdx.x % 16; }
  static __device__ int ty() { return threadIdx.x / 16; }
  static __device__ C const* row_of_four(C const* x) { return static_cast<C const*>(__builtin_assume_aligned(x, 16)); }

  template <class T>
  static __device__ void load_panel(C (&to)[depth][size + pad], placed_rows<T> const& rows, int first) {
#pragma unroll
    for (int i = threadIdx.x; i < size * depth; i += threads) to[i % depth][i / depth] = rows.at(i / depth, first + i % depth);
  }

  /// s(i, j) = <outer row i, inner row j>, each sum in order in one accumulator.
  template <class T>
  __device__ void multiply(C (&s)[4][4], placed_rows<T> const& outer_rows, placed_rows<T> const& inner_rows) {
#pragma unroll
    for (auto& row : s)
#pragma unroll
      for (C& x : row) x = 0;
    __syncthreads();  // places have been written, panels and weights have been read
    for (int first = 0; first < outer_rows.columns; first += depth) {
      if (first > 0) __syncthreads();
      load_panel(outer, outer_rows, first);
      load_panel(inner, inner_rows, first);
      __syncthreads();
#pragma unroll
      for (int d = 0; d < depth; ++d) {
        four const a = *reinterpret_cast<four const*>(&outer[d][4 * ty()]);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          C const b = inner[d][tx() + 16 * j];
#pragma unroll
          for (int i = 0; i < 4; ++i) s[i][j] += a.at[i] * b;
        }
      }
    }
  }

  /// out(i, c) += sum_j x(i, j) <column first + c of inner row j>. Where `masked`, and a value is not finite, only the pairs count for
  /// which sees(i, j): what is not seen may hold anything.
  template <class T, class Sees>
  __device__ void accumulate(C (&out)[4][8], C const (&x)[4][4], placed_rows<T> const& rows, int first, bool masked, Sees const& sees) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      four column;
#pragma unroll
      for (int i = 0; i < 4; ++i) column.at[i] = x[i][j];
      *reinterpret_cast<four*>(&weights[tx() + 16 * j][4 * ty()]) = column;
    }
    for (int part = 0; part < size; part += depth) {
      if (part > 0) __syncthreads();
      bool finite = true;
#pragma unroll
      for (int i = threadIdx.x; i < depth * columns; i += threads) {
        C const value = rows.at(part + i / columns, first + i % columns);
        values[i / columns][i % columns] = value;
        finite = finite && value - value == C(0);
      }
      bool careful = false;
      if (masked) careful = __syncthreads_or(!finite);
      else __syncthreads();
#pragma unroll
      for (int j = 0; j < depth; ++j) {
        four const w = *reinterpret_cast<four const*>(&weights[part + j][4 * ty()]);
        four const low = *reinterpret_cast<four const*>(&values[j][4 * tx()]);
        four const high = *reinterpret_cast<four const*>(&values[j][columns / 2 + 4 * tx()]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (careful && !sees(4 * ty() + i, part + j)) continue;
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            out[i][c] += w.at[i] * low.at[c];
            out[i][4 + c] += w.at[i] * high.at[c];
          }
        }
      }
    }
  }
  /// f(i, column, value) for the results of this thread.
  template <class F>
  static __device__ void each_result(C const (&out)[4][8], int first, int columns_in_all, F const& f) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        int const column = first + c / 4 * (columns / 2) + 4 * tx() + c % 4;
        if (column < columns_in_all) f(i, column, out[i][c]);
      }
  }

  COG_HD static constexpr int chunks_of(int width) { return width > columns ? (width + columns - 1) / columns : 1; }
};

/// Blocks: [batch, key head, chunk of columns, tile of rows (the last first: causal, it is the longest), split].
template <class Rule, class T, class Mask>
__global__ void __launch_bounds__(256) plain_attention_kernel(forward_task<T, Mask> t) {
  using C = compute_t<T>;
  using tile_type = plain_tile<C>;
  using rule = device_rule<Rule>;
  tile_type& tile = tile_type::own();
  int const chunks = tile_type::chunks_of(t.value_width);
  int const split = blockIdx.x % t.splits, row_block = t.rows.tiles - 1 - blockIdx.x / t.splits % t.rows.tiles;
  int const rest = blockIdx.x / t.splits / t.rows.tiles, first_column = rest % chunks * tile_type::columns;
  int const key_head = rest / chunks % t.key_heads, batch = rest / chunks / t.key_heads;

  tile_span span;
  if (threadIdx.x < tile_type::size) {
    row_place const row = t.rows.place(key_head, row_block * tile_type::size + threadIdx.x);
    tile.outer_places[threadIdx.x] = row;
    tile.states[threadIdx.x].keys = row.head < 0 ? key_span{0, 0} : span_of(t.a.mask, batch, row);
    if (row.head >= 0) span.add(tile.states[threadIdx.x].keys);
  }
  span = merge_block<tile_type::threads>(span, tile.slots, tile_span{});
  key_span const part = t.part(span.some, split, tile_type::size);

  constexpr C slack = 8;  // the reference follows the largest exponent, and moves only when one outgrows it by more
  C out[4][8] = {}, reference[4], total[4] = {};
#pragma unroll
  for (C& r : reference) r = math::lowest<C>;
  for (int first = part.begin; first < part.end; first += tile_type::size) {
    __syncthreads();
    if (threadIdx.x < tile_type::size) {
      int const key = first + threadIdx.x;
      tile.inner_places[threadIdx.x] = {key, key < part.end ? key_head : -1};
    }
    auto const sees = [&](int i, int j) {
      if (!tile.states[i].keys.holds(first + j) || first + j >= part.end) return false;
      return !Mask::by_key || t.a.mask.visible(batch, tile.outer_places[i].head, tile.outer_places[i].position, first + j);
    };
    bool const masked = Mask::by_key || !span.whole(first, first + tile_type::size) || first + tile_type::size > part.end;
    C s[4][4], w[4][4];
    tile.multiply(s, placed_rows<T>(t.a.q, batch, tile.outer_places), placed_rows<T>(t.a.k, batch, tile.inner_places));
    bool seen[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      C top = math::lowest<C>;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        seen[i][j] = !masked || sees(4 * tile_type::ty() + i, tile_type::tx() + 16 * j);
        s[i][j] *= t.a.scale;
        C const u = rule::exponent(s[i][j]) * log2_e<C>;
        if (seen[i][j] && u > top) top = u;
      }
      top = merge_lanes(top, 16, [](C& a, C b) { a = a > b ? a : b; });
      if (top > reference[i] + slack) {
        C const factor = std::exp2(reference[i] - top);
        reference[i] = top;
        total[i] *= factor;
#pragma unroll
        for (C& o : out[i]) o *= factor;
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        C const p = std::exp2(math::fma(rule::exponent(s[i][j]), log2_e<C>, -reference[i]));
        w[i][j] = seen[i][j] ? rule::weight(s[i][j], p) : C(0);
        if (seen[i][j]) total[i] += p;
      }
    }
    tile.accumulate(out, w, placed_rows<T>(t.a.v, batch, tile.inner_places), first_column, masked, sees);
  }

#pragma unroll
  for (C& x : total) x = merge_lanes(x, 16, [](C& a, C b) { a += b; });
  tile_type::each_result(out, first_column, t.value_width, [&](int i, int column, C value) {
    row_place const row = tile.outer_places[4 * tile_type::ty() + i];
    if (row.head >= 0) t.write(split, batch, row, column, total[i] == C(0) ? C(0) : value / total[i]);
  });
  if (tile_type::tx() != 0 || first_column > 0) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    row_place const row = tile.outer_places[4 * tile_type::ty() + i];
    if (row.head >= 0) t.write_logsumexp(split, batch, row, finished_logsumexp(reference[i], total[i]));
  }
}

/// One of the three gradients. Blocks: [batch, key head, chunk of columns, tile of rows or keys].
template <gradient Of, class Rule, class T, class Mask>
__global__ void __launch_bounds__(256) plain_gradient_kernel(backward_task<T, Mask> t) {
  if (!t.wanted()) return;
  using C = compute_t<T>;
  using tile_type = plain_tile<C>;
  using rule = device_rule<Rule>;
  constexpr bool by_query = Of == gradient::of_queries;  // outer rows are queries, inner rows keys; otherwise the other way round
  tile_type& tile = tile_type::own();
  int const chunks = tile_type::chunks_of(Of == gradient::of_values ? t.value_width : t.width);
  int const key_tiles = (t.keys + row_tile - 1) / row_tile, outer_tiles = by_query ? t.rows.tiles : key_tiles;
  int const outer_tile = by_query ? outer_tiles - 1 - blockIdx.x % outer_tiles : blockIdx.x % outer_tiles;
  int const rest = blockIdx.x / outer_tiles, first_column = rest % chunks * tile_type::columns;
  int const bh = rest / chunks, key_head = bh % t.key_heads, batch = bh / t.key_heads;

  row_place* const query_places = by_query ? tile.outer_places : tile.inner_places;
  row_place* const key_places = by_query ? tile.inner_places : tile.outer_places;
  auto const load_rows = [&](int row_block) {
    if (threadIdx.x >= row_tile) return;
    query_places[threadIdx.x] = t.rows.place(key_head, row_block * row_tile + threadIdx.x);
    tile.states[threadIdx.x] = t.states[(static_cast<index_t>(bh) * t.rows.tiles + row_block) * row_tile + threadIdx.x];
  };
  auto const load_keys = [&](int first) {
    if (threadIdx.x < row_tile) key_places[threadIdx.x] = {first + static_cast<int>(threadIdx.x), first + static_cast<int>(threadIdx.x) < t.keys ? key_head : -1};
  };
  if (by_query) load_rows(outer_tile);
  else load_keys(outer_tile * row_tile);

  C out[4][8] = {};
  placed_rows<T> const queries(t.a.q, batch, query_places), gradients(t.a.out_gradient, batch, query_places);
  placed_rows<T> const keys(t.a.k, batch, key_places), values(t.a.v, batch, key_places);
  for (int inner_tile = 0; inner_tile < (by_query ? key_tiles : t.rows.tiles); ++inner_tile) {
    int const first = (by_query ? inner_tile : outer_tile) * row_tile, row_block = by_query ? outer_tile : inner_tile;
    tile_span const span = t.spans[static_cast<index_t>(bh) * t.rows.tiles + row_block];
    if (span.some.begin >= first + row_tile || span.some.end <= first) continue;
    bool const masked = Mask::by_key || !span.whole(first, first + row_tile);
    __syncthreads();
    if (by_query) load_keys(first);
    else load_rows(row_block);

    C s[4][4], g[4][4], x[4][4];
    if constexpr (by_query) tile.multiply(s, queries, keys);
    else tile.multiply(s, keys, queries);
    if constexpr (Of == gradient::of_queries) tile.multiply(g, gradients, values);
    else if constexpr (Of == gradient::of_keys) tile.multiply(g, values, gradients);
    auto const sees = [&](int outer, int inner) {
      int const i = by_query ? outer : inner, key = first + (by_query ? inner : outer);
      if (!tile.states[i].keys.holds(key)) return false;
      return !Mask::by_key || t.a.mask.visible(batch, query_places[i].head, query_places[i].position, key);
    };
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        int const outer = 4 * tile_type::ty() + i, inner = tile_type::tx() + 16 * j;
        auto const& row = tile.states[by_query ? outer : inner];
        C const score = s[i][j] * t.a.scale;
        C const p = std::exp2(math::fma(rule::exponent(score), log2_e<C>, -row.reference));
        if constexpr (Of == gradient::of_values) x[i][j] = rule::weight(score, p);
        else x[i][j] = rule::gradient(score, p, g[i][j], row.mean);
        if (masked && !sees(outer, inner)) x[i][j] = 0;
      }
    tile.accumulate(out, x, Of == gradient::of_queries ? keys : Of == gradient::of_keys ? queries : gradients, first_column, masked, sees);
  }
  __syncthreads();

  view<T, 4> const to = Of == gradient::of_queries ? t.a.dq : Of == gradient::of_keys ? t.a.dk : t.a.dv;
  C const scale = Of == gradient::of_values ? C(1) : t.a.scale;
  tile_type::each_result(out, first_column, Of == gradient::of_values ? t.value_width : t.width, [&](int i, int column, C value) {
    row_place const row = tile.outer_places[4 * tile_type::ty() + i];
    if (row.head >= 0) to(batch, row.head, row.position, column) = T(value * scale);
  });
}

}  // namespace cog::cuda_detail
