// Attention backward of bf16 and half on Hopper, for widths up to 128. A block holds 128 keys with their values and takes the rows that see
// them, 64 at a time: five products a tile. Gradients of keys and values stay in registers; those of queries are added up in float in
// global memory, tile after tile of keys (the same bits every time) or as they come. Memory is O(N).
#pragma once

#include <cog/backend/cuda/attention_hopper.hpp>

namespace cog::cuda_detail {

/// Tiles for widths up to W: a producer warpgroup, and two consumers of 64 keys each.
template <int W>
struct hopper_backward_shape {
  static_assert(row_tile == 64);
  static constexpr int consumers = 2, keys = 64 * consumers, stages = 2, threads = 128 * (1 + consumers);
  static constexpr int producer_registers = 24, consumer_registers = 240;
  /// Of a tile's gradients of queries a consumer computes half the columns, or every other tile.
  static constexpr bool by_columns = W == 128;
  static constexpr int columns = by_columns ? W / 2 : W;
  using key_tile_type = swizzled_tile<keys, W>;
  using row_tile_type = swizzled_tile<row_tile, W>;
  using score_tile_type = swizzled_tile<keys, row_tile>;  // gradients of scores, [key, row]
  static constexpr unsigned sums_bytes = row_tile * columns * sizeof(float), state_bytes = row_tile * sizeof(row_state<float>);
  static constexpr unsigned value_at = key_tile_type::bytes, query_at = 2 * key_tile_type::bytes, gradient_at = query_at + stages * row_tile_type::bytes,
                            score_at = gradient_at + stages * row_tile_type::bytes, sums_at = score_at + stages * score_tile_type::bytes,
                            state_at = sums_at + consumers * sums_bytes, barriers_at = state_at + stages * state_bytes;
  static constexpr unsigned bytes = barriers_at + 128;
};

template <class T>
struct hopper_backward_task {
  CUtensorMap q, k, v, out_gradient, dk, dv;
  backward_task<T, interval_mask> t;
  tile_order order;  // of tiles of keys
  float* sums;       // [batch, key head, tile of rows, part, thread's share]: gradients of queries before they are scaled
  int* turns;        // [batch, key head, tile of rows]: how many tiles of keys have added; null: in any order
  int* wild;         // set where there are NaNs or infinities: another kernel sees to what is hidden of them
  int positions;     // of a tile of rows
  float factor;      // of the exponents, towards powers of 2
  bool dk_boxed, dv_boxed, dq_in_chunks, dk_in_chunks, dv_in_chunks;
};

template <int W, class Rule, class T>
struct hopper_backward {
  using shape = hopper_backward_shape<W>;
  using rule = device_rule<Rule>;
  using task = hopper_backward_task<T>;
  using key_tile_type = typename shape::key_tile_type;
  using row_tile_type = typename shape::row_tile_type;
  static constexpr int N = shape::keys, M = row_tile;

  struct shared {
    unsigned at;
    unsigned char* memory;
    __device__ shared() : at(shared_address(dynamic_shared_tiles())), memory(static_cast<unsigned char*>(dynamic_shared_tiles())) {}
    __device__ key_tile_type keys() const { return {at}; }
    __device__ key_tile_type values() const { return {at + shape::value_at}; }
    __device__ row_tile_type queries(unsigned stage) const { return {at + shape::query_at + stage * row_tile_type::bytes}; }
    __device__ row_tile_type gradients(unsigned stage) const { return {at + shape::gradient_at + stage * row_tile_type::bytes}; }
    __device__ typename shape::score_tile_type scores(unsigned n) const { return {at + shape::score_at + n * shape::score_tile_type::bytes}; }
    __device__ unsigned sums(int consumer) const { return at + shape::sums_at + consumer * shape::sums_bytes; }
    __device__ unsigned states_at(unsigned stage) const { return at + shape::state_at + stage * shape::state_bytes; }
    __device__ row_state<float> const* states(unsigned stage) const {
      return reinterpret_cast<row_state<float> const*>(memory + shape::state_at + stage * shape::state_bytes);
    }
    __device__ ring_barriers key_ring() const { return {at + shape::barriers_at}; }
    __device__ ring_barriers query_ring() const { return {at + shape::barriers_at + 16}; }
    __device__ ring_barriers gradient_ring() const { return {at + shape::barriers_at + 16 + 16 * shape::stages}; }
    __device__ void init() const {
      key_ring().init(1, 1);
      query_ring().init(shape::stages, 4 * shape::consumers);
      gradient_ring().init(shape::stages, 4 * shape::consumers);
      publish_barriers();
    }
  };

  /// The block's keys, and the tiles of rows that see some of them.
  struct work {
    int batch, key_head, tile, first;
    tile_span const* spans;  // of the rows of this head
    int tiles;
    __device__ explicit work(task const& t) {
      auto const at = t.order.at(blockIdx.x);
      batch = at.head / t.t.key_heads, key_head = at.head % t.t.key_heads, tile = t.order.tiles - 1 - at.tile;  // the first first
      first = tile * N, tiles = t.t.rows.tiles;
      spans = t.t.spans + static_cast<index_t>(at.head) * tiles;
    }
    /// The first tile of rows from r on that sees one of these keys; `tiles` where there is none.
    __device__ int next(int r) const {
      while (r < tiles && !(spans[r].some.begin < spans[r].some.end && spans[r].some.begin < first + N && spans[r].some.end > first)) ++r;
      return r;
    }
    __device__ index_t row_tile_index(task const& t, int r) const { return static_cast<index_t>(batch * t.t.key_heads + key_head) * tiles + r; }
  };

  // ---- The producer: one thread

  static __device__ void produce(task const& t, shared const& m) {
    work const w(t);
    ring_place<shape::stages> place;
    unsigned const full = m.key_ring().full(0);
    arrive_expecting(full, 2 * key_tile_type::bytes);
    load_boxes(m.keys(), t.k, {{0, 0, w.first, w.key_head, w.batch}}, full);
    load_boxes(m.values(), t.v, {{0, 0, w.first, w.key_head, w.batch}}, full);
    for (int r = w.next(0); r < w.tiles; r = w.next(r + 1), place.next()) {
      box_place const rows{{0, 0, r * t.positions, w.key_head, w.batch}};
      wait_barrier(m.query_ring().empty(place.stage), place.parity ^ 1);
      unsigned const queries_full = m.query_ring().full(place.stage), gradients_full = m.gradient_ring().full(place.stage);
      unsigned const bytes = t.t.rows.used * row_tile_type::span * row_tile_type::panels;
      arrive_expecting(queries_full, bytes + shape::state_bytes);
      load_boxes(m.queries(place.stage), t.q, rows, queries_full);
      load_bulk(m.states_at(place.stage), t.t.states + w.row_tile_index(t, r) * row_tile, shape::state_bytes, queries_full);
      wait_barrier(m.gradient_ring().empty(place.stage), place.parity ^ 1);
      arrive_expecting(gradients_full, bytes);
      load_boxes(m.gradients(place.stage), t.out_gradient, rows, gradients_full);
    }
  }

  // ---- A consumer

  /// The rule's gradients need no scores: exponentials are taken while products with gradients are on their way.
  static constexpr bool by_weight = requires(float x) { rule::weight_gradient(x, x, x); };

  /// each(n, e, h, state of the row): the numbers [key, row] that a thread holds.
  template <class Each>
  static __device__ COG_INLINE void each_score(row_state<float> const* states, Each const& each) {
    int const own = 2 * static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int n = 0; n < M / 8; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        row_state<float> const& row = states[8 * n + own + e];
#pragma unroll
        for (int h = 0; h < 2; ++h) each(4 * n + 2 * h + e, h, row);
      }
  }
  /// Which of its numbers a thread's keys, `key` and key + 8, are seen in: bit i for number i.
  static __device__ COG_INLINE unsigned seen_of(row_state<float> const* states, int key) {
    static_assert(M / 2 == 32);
    unsigned seen = 0;
    each_score(states, [&](int i, int h, row_state<float> const& row) {
      int const begin = row.keys.begin, end = row.keys.end;  // no branches
      seen |= static_cast<unsigned>((key + 8 * h >= begin) & (key + 8 * h < end)) << i;
    });
    return seen;
  }
  /// Scores become weights.
  template <bool Masked>
  static __device__ COG_INLINE void weigh(float (&s)[M / 2], row_state<float> const* states, float factor, float scale, unsigned seen) {
    each_score(states, [&](int i, int, row_state<float> const& row) {
      float x = s[i];
      if constexpr (!rule::homogeneous) x *= scale;
      float const p = exp2_approx(rule::exponent(x) * factor - row.reference);
      s[i] = !Masked || (seen >> i & 1) ? rule::weight(x, p) : 0.0f;
    });
  }
  /// d: gradients of scores from products with gradients, g. s: weights, where the rule asks no more; else scores, which become weights.
  template <bool Masked>
  static __device__ COG_INLINE void differentiate(float (&d)[M / 2], float const (&g)[M / 2], float (&s)[M / 2], row_state<float> const* states, float factor, float scale, unsigned seen) {
    each_score(states, [&](int i, int, row_state<float> const& row) {
      bool const live = !Masked || (seen >> i & 1);
      if constexpr (by_weight) {
        d[i] = live ? rule::weight_gradient(s[i], g[i], row.mean) : 0.0f;
      } else {
        float const x = rule::homogeneous ? s[i] : s[i] * scale, p = exp2_approx(rule::exponent(x) * factor - row.reference);
        d[i] = live ? rule::gradient(x, p, g[i], row.mean) : 0.0f;
        s[i] = live ? rule::weight(x, p) : 0.0f;
      }
    });
  }

  static __device__ void consume(task const& t, shared const& m, int consumer) {
    constexpr int both = 1, alone = 2;  // barriers
    work const w(t);
    ring_place<shape::stages> place;
    int const thread = static_cast<int>(threadIdx.x) % 128, warp = thread / 32, lane = thread % 32;
    auto const release = [&](unsigned barrier) {
      if (lane == 0) arrive(barrier);
    };
    float dk[W / 2] = {}, dv[W / 2] = {};
    key_tile_type const keys = m.keys(), values = m.values();
    wait_barrier(m.key_ring().full(0), 0);
    unsigned turn = 0;  // of tiles
    for (int r = w.next(0); r < w.tiles; r = w.next(r + 1), place.next(), turn ^= 1) {
      float s[M / 2], g[M / 2], d[M / 2];
      row_tile_type const queries = m.queries(place.stage), gradients = m.gradients(place.stage);
      wait_barrier(m.query_ring().full(place.stage), place.parity);
      begin_products();
#pragma unroll
      for (int k = 0; k < W / 16; ++k) multiply_tiles<T, false, false>(s, keys.across(k, 64 * consumer), queries.across(k), k > 0);
      end_products();
      wait_barrier(m.gradient_ring().full(place.stage), place.parity);
      begin_products();
#pragma unroll
      for (int k = 0; k < W / 16; ++k) multiply_tiles<T, false, false>(g, values.across(k, 64 * consumer), gradients.across(k), k > 0);
      end_products();
      row_state<float> const* const states = m.states(place.stage);
      int const key = w.first + 64 * consumer + 16 * warp + lane / 4;
      bool const whole = __all_sync(all_lanes, w.spans[r].whole(w.first, w.first + N));
      unsigned const seen = whole ? ~0u : seen_of(states, key);
      unsigned weights[M / 16][4], score_gradients[M / 16][4];
      auto const multiply_weights = [&] {
        as_fragments<T>(weights, s);
        begin_products();
#pragma unroll
        for (int k = 0; k < M / 16; ++k) multiply_fragment<T, true>(dv, weights[k], gradients.along(k), true);
        end_products();
      };
      auto const differentiate_tile = [&] {
        if (whole) differentiate<false>(d, g, s, states, t.factor, t.t.a.scale, seen);
        else differentiate<true>(d, g, s, states, t.factor, t.t.a.scale, seen);
      };
      if constexpr (by_weight) {
        wait_products<1>(s);
        if (whole) weigh<false>(s, states, t.factor, t.t.a.scale, seen);
        else weigh<true>(s, states, t.factor, t.t.a.scale, seen);
        multiply_weights();
        wait_products<1>(g);
        differentiate_tile();
      } else {
        wait_products<0>(s, g);
        differentiate_tile();
        multiply_weights();
      }
      as_fragments<T>(score_gradients, d);

      auto const scores = m.scores(turn);
      int const own = not_kept(threadIdx.x) % 128, row = 64 * consumer + own / 32 * 16 + own % 16;
#pragma unroll
      for (int k = 0; k < M / 16; ++k) store_matrices(scores.chunk(row, 2 * k + own / 16 % 2), score_gradients[k]);
      publish_shared();
      begin_products();
#pragma unroll
      for (int k = 0; k < M / 16; ++k) multiply_fragment<T, true>(dk, score_gradients[k], queries.along(k), true);
      end_products();
      meet_at(both, 128 * shape::consumers);  // all gradients of these scores are there, and those of the last tile have been read
      bool const mine = shape::by_columns || turn == static_cast<unsigned>(consumer);
      if (mine) {
        float dq[shape::columns / 2];
        constexpr int panels = shape::columns / key_tile_type::columns;
        begin_products();
#pragma unroll
        for (int k = 0; k < N / 16; ++k) multiply_tiles<T, true, true>(dq, scores.along(k), keys.along(k, shape::by_columns ? panels * consumer : 0), k > 0);
        end_products();
        wait_products<0>(dk, dv, dq, weights, score_gradients);
        release(m.query_ring().empty(place.stage));
        release(m.gradient_ring().empty(place.stage));
        give_sums(m, consumer, dq);
      } else {
        wait_products<0>(dk, dv, weights, score_gradients);
        release(m.query_ring().empty(place.stage));
        release(m.gradient_ring().empty(place.stage));
      }
    }
    meet_at(both, 128 * shape::consumers);  // nobody reads keys and values any more: results take their place
    box_place const at{{0, 0, w.first + 64 * consumer, w.key_head, w.batch}};
    auto const row_of = [&](view<T, 4> const& x) {
      return [&](int r) -> T* { return w.first + r < t.t.keys ? &x(w.batch, w.key_head, w.first + r, 0) : nullptr; };
    };
    bool tame = store_results<T>(dk, t.t.a.scale, keys, 64 * consumer, alone + consumer, t.dk, t.dk_boxed, at, t.dk_in_chunks, t.t.width, t.t.a.dk.stride(3), row_of(t.t.a.dk));
    tame = store_results<T>(dv, 1.0f, values, 64 * consumer, alone + consumer, t.dv, t.dv_boxed, at, t.dv_in_chunks, t.t.value_width, t.t.a.dv.stride(3), row_of(t.t.a.dv)) && tame;
    if (!tame) *t.wild = 1;
    if (thread == 0) wait_stores_read<0>();
  }

  // ---- Gradients of queries go to global memory by a warp for each consumer, so that consumers do not wait for memory, nor for other blocks.

  static constexpr int given = 4, taken = 6, both_sides = 128 + 32;  // barriers of consumers and their warps

  /// In the order in which the threads hold them.
  static __device__ COG_INLINE void give_sums(shared const& m, int consumer, float const (&dq)[shape::columns / 2]) {
    int const thread = static_cast<int>(threadIdx.x) % 128;
    unsigned const to = m.sums(consumer);
    meet_at(taken + consumer, both_sides);
#pragma unroll
    for (int i = 0; i < shape::columns / 8; ++i)
      store_shared(to + 16 * (i * 128 + thread),
                   uint4{__float_as_uint(dq[4 * i]), __float_as_uint(dq[4 * i + 1]), __float_as_uint(dq[4 * i + 2]), __float_as_uint(dq[4 * i + 3])});
    publish_shared();
    arrive_at(given + consumer, both_sides);
  }

  /// By a warp.
  static __device__ void add_sums(task const& t, shared const& m, int consumer) {
    work const w(t);
    constexpr int parts = shape::by_columns ? 2 : 1;
    unsigned of_tile = 0;
    arrive_at(taken + consumer, both_sides);
    for (int r = w.next(0); r < w.tiles; r = w.next(r + 1), of_tile ^= 1) {
      if (!shape::by_columns && of_tile != static_cast<unsigned>(consumer)) continue;
      meet_at(given + consumer, both_sides);
      if (threadIdx.x % 32 == 0) {
        index_t const part = w.row_tile_index(t, r) * parts + (shape::by_columns ? consumer : 0);
        int const turn = w.tile - w.spans[r].some.begin / N;  // of those that see this tile of rows
        if (t.turns) wait_turn(t.turns + part, turn);
        add_bulk(t.sums + part * (shape::sums_bytes / 4), m.sums(consumer), shape::sums_bytes);
        end_stores();
        if (t.turns) {
          wait_stores<0>();
          pass_turn(t.turns + part, turn + 1);
        } else {
          wait_stores_read<0>();
        }
      }
      __syncwarp();
      arrive_at(taken + consumer, both_sides);
    }
  }
};

/// Blocks: tiles of keys, by t.order.
template <int W, class Rule, class T>
__global__ void __launch_bounds__(hopper_backward_shape<W>::threads, 1) hopper_gradient_kernel([[maybe_unused]] hopper_backward_task<T> const __grid_constant__ t) {
#if COG_HOPPER
  using backward = hopper_backward<W, Rule, T>;
  using shape = hopper_backward_shape<W>;
  typename backward::shared const m;
  if (threadIdx.x == 0) {
    m.init();
    prefetch_map(t.q), prefetch_map(t.k), prefetch_map(t.v), prefetch_map(t.out_gradient);
  }
  for (int i = 0; i < shape::stages; ++i) clear_rows(m.queries(i), t.t.rows.used, row_tile), clear_rows(m.gradients(i), t.t.rows.used, row_tile);
  __syncthreads();
  int const warpgroup = __shfl_sync(all_lanes, static_cast<int>(threadIdx.x) / 128, 0);
  if (warpgroup == 0) {
    keep_registers<shape::producer_registers>();
    int const warp = __shfl_sync(all_lanes, static_cast<int>(threadIdx.x) / 32, 0);
    if (threadIdx.x == 0) backward::produce(t, m);
    else if (warp == 1 || warp == 2) backward::add_sums(t, m, warp - 1);
  } else {
    take_registers<shape::consumer_registers>();
    backward::consume(t, m, warpgroup - 1);
  }
#endif
}

/// dq from the sums: a block to a tile of rows and part.
template <int W, class T>
__global__ void __launch_bounds__(128) finish_gradient_kernel(hopper_backward_task<T> t) {
  using shape = hopper_backward_shape<W>;
  constexpr int parts = shape::by_columns ? 2 : 1;
  int const part = blockIdx.x % parts, tile = blockIdx.x / parts % t.t.rows.tiles, head = blockIdx.x / parts / t.t.rows.tiles;
  int const warp = threadIdx.x / 32, lane = threadIdx.x % 32, batch = head / t.t.key_heads, key_head = head % t.t.key_heads;
  float4 const* const sums = reinterpret_cast<float4 const*>(t.sums + static_cast<index_t>(blockIdx.x) * (shape::sums_bytes / 4));
  bool tame = true;
#pragma unroll
  for (int i = 0; i < shape::columns / 8; ++i) {
    float4 const x = sums[i * 128 + threadIdx.x];
    float const both[2][2] = {{x.x, x.y}, {x.z, x.w}};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      row_place const row = t.t.rows.place(key_head, tile * row_tile + 16 * warp + 8 * h + lane / 4);
      int const column = part * shape::columns + 8 * i + 2 * (lane % 4), left = row.head < 0 ? 0 : t.t.width - column;
      float const low = both[h][0] * t.t.a.scale, high = both[h][1] * t.t.a.scale;
      if (left > 0) tame = tame && fabsf(low) < math::infinity<float>;
      if (left > 1) tame = tame && fabsf(high) < math::infinity<float>;
      if (left > 1 && t.dq_in_chunks) {
        *reinterpret_cast<unsigned*>(&t.t.a.dq(batch, row.head, row.position, column)) = packed<T>(low, high);
      } else {
        if (left > 0) t.t.a.dq(batch, row.head, row.position, column) = T(low);
        if (left > 1) t.t.a.dq(batch, row.head, row.position, column + 1) = T(high);
      }
    }
  }
  if (!tame) *t.wild = 1;
}

}  // namespace cog::cuda_detail
