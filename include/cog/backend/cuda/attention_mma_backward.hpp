// Attention backward of bf16 and half on tensor cores, for widths up to 256. Scores are computed again from what the forward pass left:
// once for dq, by blocks that hold rows of queries and take the keys past them, once for dk and dv, by blocks that hold keys and take
// the rows of all their query heads past them. Every sum is one block's, in order: results are the same on every run. Memory is O(N).
#pragma once

#include <cog/backend/cuda/attention_tile.hpp>
#include <cog/backend/cuda/mma.hpp>

namespace cog::cuda_detail {

/// Tiles of a backward kernel for widths up to W. Outer rows stay with the block, inner rows pass; both have a row that makes scores with
/// one of the other side (q, k) and a partner that makes gradients of weights (the gradient of out, v).
template <int W>
struct mma_backward_shape {
  static constexpr int warps = 4, threads = 32 * warps;
  static constexpr int blocks = W <= 64 ? 2 : 1;  // of 16 rows, to a warp
  static constexpr int outer = 16 * blocks * warps, inner = 32;
  static constexpr bool keys_and_values = W <= 128;  // dk and dv by one kernel; both do not fit into the registers where they are wider

  // Shared memory: outer rows and partners (at the end the results), inner ones twice, and the states of rows.
  static constexpr unsigned outer_bytes = narrow_tile<W>::bytes(outer), inner_bytes = narrow_tile<W>::bytes(inner);
  static constexpr unsigned partners = outer_bytes, passing = 2 * outer_bytes, known = passing + 4 * inner_bytes;
  struct block_knowledge {
    row_state<float> outer_states[outer], inner_states[2][inner];
  };
  static constexpr unsigned bytes = known + sizeof(block_knowledge);
};

/// Operands move in chunks (rows_in_chunks); results need not.
template <class T, class Mask>
struct mma_backward_task : backward_task<T, Mask> {
  float factor;  // of the exponents, towards powers of 2
  bool dq_in_chunks, dk_in_chunks, dv_in_chunks;
};

/// Blocks: [batch, key head, tile of outer rows (of queries: the last first)].
template <gradient Of, int W, class Rule, class T, class Mask>
__global__ void __launch_bounds__(mma_backward_shape<W>::threads, 2) mma_gradient_kernel(mma_backward_task<T, Mask> t) {
  using shape = mma_backward_shape<W>;
  using rule = device_rule<Rule>;
  constexpr bool by_query = Of == gradient::of_queries;  // outer rows are queries, inner ones keys; otherwise the other way round
  constexpr bool rows_wanted = Of != gradient::of_values, partners_wanted = Of == gradient::of_values || Of == gradient::of_keys_and_values;
  constexpr int MT = shape::blocks, NT = shape::inner / 8;
  int const outer_tiles = ((by_query ? t.rows.count : t.keys) + shape::outer - 1) / shape::outer;
  int const outer_first = (by_query ? outer_tiles - 1 - blockIdx.x % outer_tiles : blockIdx.x % outer_tiles) * shape::outer;
  int const bh = blockIdx.x / outer_tiles, key_head = bh % t.key_heads, batch = bh / t.key_heads;
  int const warp = __shfl_sync(all_lanes, threadIdx.x / 32, 0), lane = threadIdx.x % 32, warp_row = warp * 16 * MT;
  row_state<float> const* const states = t.states + static_cast<index_t>(bh) * t.rows.tiles * row_tile;
  tile_span const* const spans = t.spans + static_cast<index_t>(bh) * t.rows.tiles;

  unsigned char* const memory = static_cast<unsigned char*>(dynamic_shared());
  auto& known = *reinterpret_cast<typename shape::block_knowledge*>(memory + shape::known);
  narrow_tile<W> const outer_rows{shared_address(memory)}, outer_partners{outer_rows.memory, shape::partners};
  auto const inner_rows = [&](int turn) { return narrow_tile<W>{outer_rows.memory, shape::passing + turn * shape::inner_bytes}; };
  auto const inner_partners = [&](int turn) { return narrow_tile<W>{outer_rows.memory, shape::passing + (2 + turn) * shape::inner_bytes}; };

  // Where rows are: (x, first, r) -> row r of a tile that begins at `first`, null past the end.
  auto const query_at = [&](view<T const, 4> const& x, int first, int r) -> T const* {
    row_place const row = t.rows.place(key_head, first + r);
    return row.head < 0 ? nullptr : &x(batch, row.head, row.position, 0);
  };
  auto const key_at = [&](view<T const, 4> const& x, int first, int r) -> T const* {
    return first + r < t.keys ? &x(batch, key_head, first + r, 0) : nullptr;
  };
  auto const load_queries = [&]<int Rows>(std::integral_constant<int, Rows>, narrow_tile<W> const& to, view<T const, 4> const& x, int first) {
    to.template load<Rows, shape::threads>([&](int r) { return query_at(x, first, r); }, static_cast<int>(x.extent(3)));
  };
  auto const load_keys = [&]<int Rows>(std::integral_constant<int, Rows>, narrow_tile<W> const& to, view<T const, 4> const& x, int first) {
    T const* const from = x.data + batch * x.stride(0) + key_head * x.stride(1) + first * x.stride(2);
    to.template load<Rows, shape::threads>(from, x.stride(2), t.keys - first, static_cast<int>(x.extent(3)));
  };
  auto const load_states = [&](row_state<float>* to, int first, int count) {
    static_assert(sizeof(row_state<float>) == 16);
    if (static_cast<int>(threadIdx.x) < count) copy_chunk(shared_address(to + threadIdx.x), states + first + threadIdx.x, first + static_cast<int>(threadIdx.x) < t.rows.tiles * row_tile ? 16 : 0);
  };
  auto const load_inner = [&](int inner_tile, int turn) {
    std::integral_constant<int, shape::inner> const count;
    int const first = inner_tile * shape::inner;
    if constexpr (by_query) {
      load_keys(count, inner_rows(turn), t.a.k, first);
      load_keys(count, inner_partners(turn), t.a.v, first);
    } else {
      load_queries(count, inner_rows(turn), t.a.q, first);
      load_queries(count, inner_partners(turn), t.a.out_gradient, first);
      load_states(known.inner_states[turn], first, shape::inner);
    }
    end_copies();
  };

  // What the block sees, or is seen by: inner tiles follow one another as next() says.
  tile_span seen_by_block;
  if constexpr (by_query)
    for (int tile = outer_first / row_tile; tile < t.rows.tiles && tile * row_tile < outer_first + shape::outer; ++tile)
      tile_span{}(seen_by_block, spans[tile]);
  int const inner_tiles = by_query ? (seen_by_block.some.end + shape::inner - 1) / shape::inner : t.rows.tiles * (row_tile / shape::inner);
  auto const span_of_tile = [&](int inner_tile) { return by_query ? seen_by_block : spans[inner_tile * shape::inner / row_tile]; };
  auto const next = [&](int inner_tile) -> int {
    if constexpr (by_query) {
      return inner_tile;
    } else {
      for (; inner_tile < inner_tiles; inner_tile += 32) {
        bool meets = false;
        if (inner_tile + lane < inner_tiles) {
          key_span const some = span_of_tile(inner_tile + lane).some;
          meets = some.begin < outer_first + shape::outer && some.end > outer_first;
        }
        if (unsigned const found = __ballot_sync(all_lanes, meets)) return inner_tile + __ffs(static_cast<int>(found)) - 1;
      }
      return inner_tiles;
    }
  };

  float by_rows[rows_wanted ? MT : 1][W / 8][4] = {}, by_partners[partners_wanted ? MT : 1][W / 8][4] = {};
  int tile = by_query && seen_by_block.some.end > 0 ? seen_by_block.some.begin / shape::inner : next(0);
  if (tile < inner_tiles) {
    std::integral_constant<int, shape::outer> const count;
    if constexpr (by_query) {
      load_queries(count, outer_rows, t.a.q, outer_first);
      load_queries(count, outer_partners, t.a.out_gradient, outer_first);
      load_states(known.outer_states, outer_first, shape::outer);
    } else {
      load_keys(count, outer_rows, t.a.k, outer_first);
      load_keys(count, outer_partners, t.a.v, outer_first);
    }
    load_inner(tile, 0);
  }
  for (int turn = 0, following; tile < inner_tiles; tile = following, turn ^= 1) {
    following = next(tile + 1);
    wait_copies<0>();
    __syncthreads();  // this tile is there, and the last one has been read
    if (following < inner_tiles) load_inner(following, turn ^ 1);

    float s[MT][NT][4], g[MT][NT][4];
    auto const fragments = [&](narrow_tile<W> const& from) {
      return [rows = from.from_row(warp_row).square()](int k, unsigned(&x)[shape::blocks][4]) {
#pragma unroll
        for (int m = 0; m < shape::blocks; ++m) load_matrices(x[m], rows(16 * m, 2 * k));
      };
    };
    multiply_rows<T, W>(s, fragments(outer_rows), inner_rows(turn).across());
    if constexpr (rows_wanted) multiply_rows<T, W>(g, fragments(outer_partners), inner_partners(turn).across());

    int const inner_first = tile * shape::inner, key_first = by_query ? inner_first : outer_first;
    bool const edge = Mask::by_key || !span_of_tile(tile).whole(key_first, key_first + (by_query ? shape::inner : shape::outer));
    bool wild_rows = false, wild_partners = false;
    if (edge) {
      __syncthreads();
      if constexpr (rows_wanted) wild_rows = take_out_wild<T, shape::inner, shape::threads>(inner_rows(turn));
      if constexpr (partners_wanted) wild_partners = take_out_wild<T, shape::inner, shape::threads>(inner_partners(turn));
    }

    // (outer row r, inner row j) of the tiles: the state of its query, and whether that sees its key.
    auto const state_of = [&](int r, int j) -> row_state<float> const& { return by_query ? known.outer_states[r] : known.inner_states[turn][j]; };
    auto const sees = [&](int r, int j) {
      int const query = by_query ? outer_first + r : inner_first + j, key = by_query ? inner_first + j : outer_first + r;
      if (!state_of(r, j).keys.holds(key)) return false;
      if constexpr (Mask::by_key) {
        row_place const row = t.rows.place(key_head, query);
        return t.a.mask.visible(batch, row.head, row.position, key);
      }
      return true;
    };
    unsigned ds[rows_wanted ? NT / 2 : 1][MT][4], weights[partners_wanted ? NT / 2 : 1][MT][4];
    auto const differentiate = [&]<bool Masked>(std::bool_constant<Masked>) {
      int const own = not_kept(threadIdx.x) % 32;
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int n = 0; n < NT; ++n)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            [[maybe_unused]] float d[2] = {}, w[2] = {};
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              int const r = warp_row + 16 * m + 8 * h + own / 4, j = 8 * n + 2 * (own % 4) + e;
              auto const& state = state_of(r, j);
              float const x = rule::homogeneous ? s[m][n][2 * h + e] : s[m][n][2 * h + e] * t.a.scale;
              float const p = exp2_approx(rule::exponent(x) * t.factor - state.reference);
              bool const live = !Masked || sees(r, j);
              if constexpr (rows_wanted) d[e] = live ? rule::gradient(x, p, g[m][n][2 * h + e], state.mean) : 0.0f;
              if constexpr (partners_wanted) w[e] = live ? rule::weight(x, p) : 0.0f;
            }
            if constexpr (rows_wanted) ds[n / 2][m][2 * (n % 2) + h] = packed<T>(d[0], d[1]);
            if constexpr (partners_wanted) weights[n / 2][m][2 * (n % 2) + h] = packed<T>(w[0], w[1]);
          }
    };
    if (edge) differentiate(std::true_type{});
    else differentiate(std::false_type{});

    auto const add_what_is_seen = [&](auto& out, auto const& w, view<T const, 4> const& x) {
      add_wild<T, W>(out, w, static_cast<int>(x.extent(3)), [&](int j) { return by_query ? key_at(x, inner_first, j) : query_at(x, inner_first, j); },
                     [&](int m, int half, int j) { return sees(warp_row + 16 * m + 8 * half + lane / 4, j); });
    };
    if constexpr (rows_wanted) {
      if (wild_rows) add_what_is_seen(by_rows, ds, by_query ? t.a.k : t.a.q);
      multiply_columns<T>(by_rows, ds, inner_rows(turn).square());
    }
    if constexpr (partners_wanted) {
      if (wild_partners) add_what_is_seen(by_partners, weights, t.a.out_gradient);
      multiply_columns<T>(by_partners, weights, inner_partners(turn).square());
    }
  }

  // Results, by way of the outer rows.
  auto const write = [&](auto const& sums, float scale, narrow_tile<W> const& by, view<T, 4> const& to, bool in_chunks, int columns) {
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int n = 0; n < W / 8; ++n)
          store_shared(by.chunk(warp_row + 16 * m + 8 * h + lane / 4, n) + 4 * (lane % 4), packed<T>(sums[m][n][2 * h] * scale, sums[m][n][2 * h + 1] * scale));
    __syncwarp();
    by.template store<16 * MT>(warp_row, in_chunks, columns, to.stride(3), [&](int r) -> T* {
      row_place const row = by_query ? t.rows.place(key_head, outer_first + r) : row_place{outer_first + r, outer_first + r < t.keys ? key_head : -1};
      return row.head < 0 ? nullptr : &to(batch, row.head, row.position, 0);
    });
  };
  if constexpr (rows_wanted) write(by_rows, t.a.scale, outer_rows, by_query ? t.a.dq : t.a.dk, by_query ? t.dq_in_chunks : t.dk_in_chunks, t.width);
  if constexpr (partners_wanted) write(by_partners, 1.0f, outer_partners, t.a.dv, t.dv_in_chunks, t.value_width);
}

}  // namespace cog::cuda_detail
