// Attention backward of bf16 and half on Hopper, for widths from 129 to 256: a kernel each for the gradients of queries, keys and values,
// eight products a tile instead of five. The sums of keys and values of such a width (64 KiB each for 64 keys) with those of queries
// would fill the registers of a multiprocessor; one of them leaves room, needs no sums in memory, and has the same bits every time.
// A block holds 128 outer rows, 64 to a consumer, and takes inner rows past them, 64 at a time. Memory is O(N).
#pragma once

#include <cog/backend/cuda/attention_hopper.hpp>

namespace cog::cuda_detail {

/// Tiles for widths up to W. Outer and inner rows (queries and keys, or keys and queries) make scores, their partners (gradients of out and
/// values, or the other way round) gradients of weights.
template <int W>
struct hopper_wide_shape {
  static_assert(row_tile == 64);
  static constexpr int consumers = 2, outer = 64 * consumers, inner = 64, stages = 3, threads = 128 * (1 + consumers);
  static constexpr int producer_registers = 24, consumer_registers = 240;
  using outer_tile_type = swizzled_tile<outer, W>;
  using inner_tile_type = swizzled_tile<inner, W>;
  static constexpr unsigned state_bytes = inner * sizeof(row_state<float>);
  static constexpr unsigned partner_at = outer_tile_type::bytes, inner_at = 2 * outer_tile_type::bytes, state_at = inner_at + stages * inner_tile_type::bytes,
                            barriers_at = state_at + 2 * state_bytes;
  static constexpr unsigned bytes = barriers_at + 128;
};

template <class T>
struct hopper_wide_task {
  CUtensorMap q, k, v, out_gradient, result;  // boxes of 64 rows
  backward_task<T, interval_mask> t;
  tile_order order;  // of tiles of outer rows
  int* wild;         // set where there are NaNs or infinities: another kernel sees to what is hidden of them
  int positions;     // of 64 rows of queries
  float factor;      // of the exponents, towards powers of 2
  bool boxed, in_chunks;
};

template <gradient Of, int W, class Rule, class T>
struct hopper_wide_backward {
  using shape = hopper_wide_shape<W>;
  using rule = device_rule<Rule>;
  using task = hopper_wide_task<T>;
  using outer_tile_type = typename shape::outer_tile_type;
  using inner_tile_type = typename shape::inner_tile_type;
  static constexpr int M = shape::inner;
  static constexpr bool by_query = Of == gradient::of_queries;  // outer rows are queries
  static constexpr bool of_values = Of == gradient::of_values;  // sums are of weights times inner partners, and not of gradients of scores times inner rows

  struct shared {
    unsigned at;
    unsigned char* memory;
    __device__ shared() : at(shared_address(dynamic_shared_tiles())), memory(static_cast<unsigned char*>(dynamic_shared_tiles())) {}
    __device__ outer_tile_type rows() const { return {at}; }
    __device__ outer_tile_type partners() const { return {at + shape::partner_at}; }
    __device__ inner_tile_type passing(unsigned stage) const { return {at + shape::inner_at + stage * inner_tile_type::bytes}; }
    __device__ unsigned states_at(unsigned n) const { return at + shape::state_at + n * shape::state_bytes; }
    __device__ row_state<float> const* states(unsigned n) const { return reinterpret_cast<row_state<float> const*>(memory + shape::state_at + n * shape::state_bytes); }
    __device__ ring_barriers outer() const { return {at + shape::barriers_at}; }
    __device__ ring_barriers ring() const { return {at + shape::barriers_at + 16}; }
    /// By the whole block: places of queries that are not in use.
    __device__ void clear(int used) const {
      if constexpr (by_query)
        for (int c = 0; c < shape::consumers; ++c)
          clear_rows(rows(), 64 * c + used, 64 * (c + 1)), clear_rows(partners(), 64 * c + used, 64 * (c + 1));
      else
        for (int i = 0; i < shape::stages; ++i) clear_rows(passing(i), used, row_tile);
    }
    __device__ void init() const {
      outer().init(1, 1);
      ring().init(shape::stages, 4 * shape::consumers);
      publish_barriers();
    }
  };

  /// The block's outer rows, and the tiles of inner rows that meet some of them.
  struct work {
    int batch, key_head, outer, tiles;  // the first outer row; tiles of rows of queries
    tile_span const* spans;             // of these
    int begin, count;                   // the first inner row, and how many tiles there are
    __device__ explicit work(task const& t) {
      auto const at = t.order.at(blockIdx.x);
      batch = at.head / t.t.key_heads, key_head = at.head % t.t.key_heads;
      outer = (by_query ? at.tile : t.order.tiles - 1 - at.tile) * shape::outer;  // the longest first
      tiles = t.t.rows.tiles;
      spans = t.t.spans + static_cast<index_t>(at.head) * tiles;
      begin = 0, count = tiles;
      if constexpr (by_query) {
        tile_span seen;
        for (int c = 0; c < shape::consumers; ++c) tile_span{}(seen, span(c, 0));
        begin = seen.some.begin < seen.some.end ? seen.some.begin : 0;
        count = seen.some.begin < seen.some.end ? (seen.some.end - begin + M - 1) / M : 0;
      }
    }
    __device__ int first(int n) const { return begin + M * n; }
    /// Of the queries of a consumer and a tile; what there is not sees nothing.
    __device__ tile_span span(int consumer, int n) const {
      int const tile = by_query ? outer / row_tile + consumer : n;
      return tile < tiles ? spans[tile] : tile_span{};
    }
    __device__ int first_key(int consumer, int n) const { return by_query ? first(n) : outer + 64 * consumer; }
    __device__ bool meets(int consumer, int n) const {
      key_span const some = span(consumer, n).some;
      int const key = first_key(consumer, n);
      return some.begin < some.end && some.begin < key + 64 && some.end > key;
    }
    /// The first tile from n on that one of the consumers needs; `count` where there is none.
    __device__ int next(int n) const {
      while (n < count && !meets(0, n) && !meets(1, n)) ++n;
      return n;
    }
    __device__ index_t row_tile_index(task const& t, int r) const { return static_cast<index_t>(batch * t.t.key_heads + key_head) * tiles + r; }
  };

  // ---- The producer: one thread. Of every tile, what is needed for one product and then what is needed twice.

  /// Of a box of 64 rows, or of as many whole groups of queries as fit.
  static __device__ unsigned bytes_of(task const& t, bool queries) {
    return (queries ? t.t.rows.used : row_tile) * inner_tile_type::span * inner_tile_type::panels;
  }

  static __device__ void produce(task const& t, shared const& m) {
    work const w(t);
    auto const load = [&](inner_tile_type const& tile, bool queries, CUtensorMap const& map, int first, unsigned barrier) {
      load_boxes(tile, map, {{0, 0, queries ? first / row_tile * t.positions : first, w.key_head, w.batch}}, barrier);
    };
    auto const load_outer = [&](outer_tile_type const& tile, CUtensorMap const& map, unsigned barrier) {
      for (int c = 0; c < shape::consumers; ++c)
        for (int i = 0; i < tile.panels; ++i) {
          int const first = w.outer + 64 * c;
          load_box(tile.panel(i) + 64 * c * tile.span, map, {{i * tile.columns, 0, by_query ? first / row_tile * t.positions : first, w.key_head, w.batch}}, barrier);
        }
    };
    unsigned const full = m.outer().full(0);
    arrive_expecting(full, (of_values ? 1 : 2) * shape::consumers * bytes_of(t, by_query));
    load_outer(m.rows(), by_query ? t.q : t.k, full);
    if (!of_values) load_outer(m.partners(), by_query ? t.out_gradient : t.v, full);

    ring_place<shape::stages> place;
    unsigned turn = 0;
    auto const load_inner = [&](bool rows, int n) {
      unsigned const barrier = m.ring().full(place.stage);
      bool const with_states = !by_query && rows;
      wait_barrier(m.ring().empty(place.stage), place.parity ^ 1);
      arrive_expecting(barrier, bytes_of(t, !by_query) + (with_states ? shape::state_bytes : 0));
      load(m.passing(place.stage), !by_query, rows ? (by_query ? t.k : t.q) : (by_query ? t.v : t.out_gradient), w.first(n), barrier);
      if (with_states) load_bulk(m.states_at(turn), t.t.states + w.row_tile_index(t, n) * row_tile, shape::state_bytes, barrier);
      place.next();
    };
    for (int n = w.next(0); n < w.count; n = w.next(n + 1), turn ^= 1) {
      load_inner(of_values, n);
      load_inner(!of_values, n);
    }
  }

  // ---- A consumer

  /// Whether a thread's queries see keys: `own` are its outer rows and `states` those of inner ones, as keys or queries; `key`: its first row, or
  /// the first inner row. Bit i for number i of the scores.
  static __device__ COG_INLINE unsigned seen_of(row_state<float> const (&own)[2], row_state<float> const* states, int key) {
    static_assert(M / 2 == 32);
    int const column = 2 * static_cast<int>(threadIdx.x % 4);
    unsigned seen = 0;
    if constexpr (by_query) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        unsigned const row = columns_within<M / 8>(column / 2, own[h].keys.begin - key, own[h].keys.end - key);
#pragma unroll
        for (int n = 0; n < M / 8; ++n) seen |= (row >> (2 * n) & 3) << (4 * n + 2 * h);
      }
    } else {
#pragma unroll
      for (int i = 0; i < M / 2; ++i) {
        key_span const keys = states[8 * (i / 4) + column + i % 2].keys;
        int const j = key + 8 * (i / 2 % 2);
        seen |= static_cast<unsigned>((j >= keys.begin) & (j < keys.end)) << i;  // no branches
      }
    }
    return seen;
  }
  /// Scores become weights, or, with gradients of weights g, gradients of scores.
  template <bool Masked>
  static __device__ COG_INLINE void differentiate(unsigned (&x)[M / 16][4], float const (&s)[M / 2], [[maybe_unused]] float const (&g)[M / 2], row_state<float> const (&own)[2],
                                                  row_state<float> const* states, float factor, float scale, unsigned seen) {
    int const column = 2 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < M / 2; i += 2) {
      float d[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        row_state<float> const& row = by_query ? own[i / 2 % 2] : states[8 * (i / 4) + column + e];
        float const score = rule::homogeneous ? s[i + e] : s[i + e] * scale, p = exp2_approx(rule::exponent(score) * factor - row.reference);
        bool const live = !Masked || (seen >> (i + e) & 1);
        if constexpr (of_values) d[e] = live ? rule::weight(score, p) : 0.0f;
        else d[e] = live ? rule::gradient(score, p, g[i + e], row.mean) : 0.0f;
      }
      x[i / 8][i / 2 % 4] = packed<T>(d[0], d[1]);
    }
  }

  static __device__ void consume(task const& t, shared const& m, int consumer) {
    constexpr int alone = 8;  // barriers of one warpgroup
    work const w(t);
    consumer_turns<shape::consumers> const turn(consumer);
    int const thread = static_cast<int>(threadIdx.x) % 128, warp = thread / 32, lane = thread % 32;
    auto const release = [&](unsigned stage) {
      if (lane == 0) arrive(m.ring().empty(stage));
    };
    auto const multiply_rows = [&](float (&x)[M / 2], outer_tile_type const& outer, inner_tile_type const& inner) {
      begin_products();
#pragma unroll
      for (int k = 0; k < W / 16; ++k) multiply_tiles<T, false, false>(x, outer.across(k, 64 * consumer), inner.across(k), k > 0);
      end_products();
    };
    row_state<float> own[2]{};
    if constexpr (by_query) {
      if (int const r = w.outer / row_tile + consumer; r < w.tiles)
        for (int h = 0; h < 2; ++h) own[h] = t.t.states[w.row_tile_index(t, r) * row_tile + 16 * warp + 8 * h + lane / 4];
    }
    float sums[W / 2] = {};
    wait_barrier(m.outer().full(0), 0);
    ring_place<shape::stages> place;
    unsigned of_states = 0;
    for (int n = w.next(0); n < w.count; n = w.next(n + 1), of_states ^= 1) {
      auto const once = place;
      place.next();
      auto const twice = place;
      place.next();
      wait_barrier(m.ring().full(once.stage), once.parity);
      turn.wait();
      if (!w.meets(consumer, n)) {  // the other consumer's
        turn.pass();
        release(once.stage);
        wait_barrier(m.ring().full(twice.stage), twice.parity);
        __syncwarp();  // a lane that lagged behind could miss a phase
        release(twice.stage);
        continue;
      }
      float s[M / 2], g[M / 2];
      if constexpr (of_values) {
        multiply_rows(s, m.rows(), m.passing(once.stage));
      } else {
        multiply_rows(g, m.partners(), m.passing(once.stage));
        wait_barrier(m.ring().full(twice.stage), twice.parity);
        multiply_rows(s, m.rows(), m.passing(twice.stage));
      }
      turn.pass();
      if constexpr (!of_values) wait_products<1>(g);
      else wait_products<0>(s);
      release(once.stage);
      if constexpr (!of_values) wait_products<0>(s);
      row_state<float> const* const states = m.states(of_states);
      int const first_key = w.first_key(consumer, n);
      unsigned x[M / 16][4];
      if (__all_sync(all_lanes, w.span(consumer, n).whole(first_key, first_key + 64))) {
        differentiate<false>(x, s, g, own, states, t.factor, t.t.a.scale, ~0u);
      } else {
        unsigned const seen = seen_of(own, states, by_query ? first_key : first_key + 16 * warp + lane / 4);
        differentiate<true>(x, s, g, own, states, t.factor, t.t.a.scale, seen);
      }
      if constexpr (of_values) wait_barrier(m.ring().full(twice.stage), twice.parity);
      begin_products();
#pragma unroll
      for (int k = 0; k < M / 16; ++k) multiply_fragment<T, true>(sums, x[k], m.passing(twice.stage).along(k), true);
      end_products();
      wait_products<0>(sums, x);
      release(twice.stage);
    }

    meet_at(alone + consumer, 128);  // this consumer's outer rows are needed no more: results take their place
    int const first = w.outer + 64 * consumer, columns = of_values ? t.t.value_width : t.t.width;
    view<T, 4> const& out = by_query ? t.t.a.dq : of_values ? t.t.a.dv : t.t.a.dk;
    bool const tame = store_results<T>(sums, of_values ? 1.0f : t.t.a.scale, m.rows(), 64 * consumer, alone + consumer, t.result, t.boxed,
                                       {{0, 0, by_query ? first / row_tile * t.positions : first, w.key_head, w.batch}}, t.in_chunks, columns, out.stride(3), [&](int r) -> T* {
                                         row_place const row = by_query                         ? t.t.rows.place(w.key_head, w.outer + r)
                                                               : w.outer + r < t.t.keys ? row_place{w.outer + r, w.key_head}
                                                                                                : row_place{0, -1};
                                         return row.head < 0 ? nullptr : &out(w.batch, row.head, row.position, 0);
                                       });
    if (!tame) *t.wild = 1;
    if (thread == 0) wait_stores_read<0>();
  }
};

/// Blocks: tiles of outer rows, by t.order.
template <gradient Of, int W, class Rule, class T>
__global__ void __launch_bounds__(hopper_wide_shape<W>::threads, 1) hopper_wide_kernel([[maybe_unused]] hopper_wide_task<T> const __grid_constant__ t) {
#if COG_HOPPER
  using backward = hopper_wide_backward<Of, W, Rule, T>;
  using shape = hopper_wide_shape<W>;
  typename backward::shared const m;
  if (threadIdx.x == 0) {
    m.init();
    prefetch_map(t.q), prefetch_map(t.k), prefetch_map(t.v), prefetch_map(t.out_gradient);
  }
  m.clear(t.t.rows.used);
  __syncthreads();
  int const warpgroup = __shfl_sync(all_lanes, static_cast<int>(threadIdx.x) / 128, 0);
  if (warpgroup == 0) {
    keep_registers<shape::producer_registers>();
    if (threadIdx.x == 0) backward::produce(t, m);
  } else {
    take_registers<shape::consumer_registers>();
    backward::consume(t, m, warpgroup - 1);
  }
#endif
}

}  // namespace cog::cuda_detail
