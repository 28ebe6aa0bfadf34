// The producer of attention forward on Hopper: tiles, what a block is told, shared memory, and the warp that decides what is next and asks
// the copy engine for it. The rule is none of its business. Queries are loaded once a tile, keys and values by two rings of buffers.
#pragma once

#include <cog/backend/cuda/attention_hopper.hpp>

namespace cog::cuda_detail {

/// Tiles for widths up to W: a producer warpgroup, and consumers of 64 rows each.
template <int W>
struct hopper_forward_shape {
  static constexpr int consumers = W <= 64 ? 3 : 2, keys = W <= 128 ? 128 : 80, stages = 2;
  static constexpr int threads = 128 * (1 + consumers);
  static constexpr int producer_registers = consumers == 3 ? 32 : 56, consumer_registers = consumers == 3 ? 160 : 224;
  static constexpr bool in_turn = W <= 128;   // consumers take turns at the tensor cores
  static constexpr bool own_out = W <= 128;   // results have a place of their own, otherwise that of the queries
  using row_tile_type = swizzled_tile<64, W>;
  using key_tile_type = swizzled_tile<keys, W>;
  static constexpr unsigned key_at = consumers * row_tile_type::bytes, value_at = key_at + stages * key_tile_type::bytes,
                            out_at = own_out ? value_at + stages * key_tile_type::bytes : 0,
                            known_at = (own_out ? out_at : value_at) + (own_out ? consumers * row_tile_type::bytes : stages * key_tile_type::bytes);
  static constexpr unsigned bytes = known_at + 256;
};

/// What a block works on.
struct hopper_work {
  int split, batch, key_head, first;  // split < 0: nothing more; first: position of the tile's first row
  key_span part, all;                 // keys to take, and those that every row sees
};

template <class T>
struct hopper_forward_task {
  CUtensorMap q, k, v, out;
  forward_task<T, interval_mask> t;
  sequence_table sequences;
  grouped_rows rows;
  tile_order order;
  int* counter;
  float factor;     // of the exponents, towards powers of 2
  bool out_boxed;   // `out` has a map
  bool out_in_chunks;

  __device__ sequence_place place(int batch) const { return sequences.place(batch, static_cast<int>(t.a.q.extent(2)), t.keys); }
  __device__ key_span span(int batch, sequence_place const& p, int position) const {
    return span_of(mask_of_sequence(t.a.mask, p, static_cast<int>(t.a.q.extent(2)), t.keys), batch, {position, 0});
  }
};

template <int W, class T>
struct hopper_producer {
  using shape = hopper_forward_shape<W>;
  using task = hopper_forward_task<T>;
  using row_tile_type = typename shape::row_tile_type;
  using key_tile_type = typename shape::key_tile_type;
  static constexpr int N = shape::keys;

  /// The block's shared memory.
  struct shared {
    unsigned at;
    __device__ shared() : at(shared_address(dynamic_shared_tiles())) {}
    /// 0 and 1 in turn: what the block works on, and what comes next.
    __device__ hopper_work& work(unsigned n) const { return reinterpret_cast<hopper_work*>(static_cast<unsigned char*>(dynamic_shared_tiles()) + shape::known_at + 128)[n]; }
    __device__ row_tile_type queries(int consumer) const { return {at + consumer * row_tile_type::bytes}; }
    __device__ row_tile_type results(int consumer) const { return {at + shape::out_at + consumer * row_tile_type::bytes}; }
    __device__ key_tile_type keys(unsigned stage) const { return {at + shape::key_at + stage * key_tile_type::bytes}; }
    __device__ key_tile_type values(unsigned stage) const { return {at + shape::value_at + stage * key_tile_type::bytes}; }
    __device__ ring_barriers tile() const { return {at + shape::known_at}; }
    __device__ ring_barriers key_ring() const { return {at + shape::known_at + 16}; }
    __device__ ring_barriers value_ring() const { return {at + shape::known_at + 16 + 16 * shape::stages}; }
    __device__ void init() const {
      tile().init(1, 4 * shape::consumers);
      key_ring().init(shape::stages, 4 * shape::consumers);
      value_ring().init(shape::stages, 4 * shape::consumers);
      publish_barriers();
    }
  };

  /// By a whole warp: what the rows of tile n see.
  static __device__ tile_span span_of_rows(task const& t, int n) {
    auto const at = t.order.at(n);
    int const batch = at.head / t.t.key_heads, tile = shape::consumers * t.rows.positions;
    sequence_place const p = t.place(batch);
    tile_span span;
    int const first = at.tile * tile, end = first + tile < p.queries ? first + tile : p.queries;
#pragma unroll 1
    for (int i = first + static_cast<int>(threadIdx.x % 32); i < end; i += 32) span.add(t.span(batch, p, i));
    return merged(span);
  }
  /// By a whole warp: what is to be done of tile n, split < 0 where that is nothing.
  static __device__ hopper_work work_of(task const& t, int n) {
    tile_span span = span_of_rows(t, n);
    if (t.sequences.pages) span.some.begin -= span.some.begin < span.some.end ? span.some.begin % N : 0;  // pages are loaded as they lie
    auto const at = t.order.at(not_kept(n));
    int const batch = at.head / t.t.key_heads, first = at.tile * shape::consumers * t.rows.positions;
    bool const any = first < t.place(batch).queries;
    return {any ? at.split : -1, batch, at.head % t.t.key_heads, first, t.t.part(span.some, at.split, N), span.all};
  }

  static __device__ COG_INLINE void load_keys(task const& t, CUtensorMap const& map, key_tile_type const& tile, hopper_work const& w, sequence_place const& p, int first,
                                              unsigned barrier) {
    arrive_expecting(barrier, key_tile_type::bytes);
    if (!t.sequences.pages) return load_boxes(tile, map, {{0, 0, p.key_at + first, w.key_head, p.key_batch}}, barrier);
    int const size = t.sequences.page_size, rows = size < N ? size : N;
    for (int r = 0; r < N; r += rows) {
      int const j = first + r;
      bool const there = j < p.keys;
      int const page = there ? t.sequences.key(p, w.batch, j).x : 0;
      for (int i = 0; i < tile.panels; ++i)  // what is not there reads as 0
        load_box(tile.panel(i) + r * tile.span, map, {{i * tile.columns, 0, there ? j % size : size, w.key_head, page}}, barrier);
    }
  }

  static __device__ void produce(task const& t, shared const& m) {
    unsigned count = 0;  // of tiles of keys
    tile_dealer dealer(t.counter);
    bool const leader = threadIdx.x % 32 == 0;
    for (unsigned turn = 0;; turn ^= 1) {
      hopper_work w{-1, 0, 0, 0, {}, {}};
      for (; dealer.at < t.order.count(); dealer.next()) {
        w = work_of(t, dealer.at);
        if (w.split >= 0) break;
      }
      dealer.next();
      if (leader) {
        wait_barrier(m.tile().empty(0), turn ^ 1);
        m.work(turn) = w;
        bool const any = w.split >= 0 && w.part.begin < w.part.end;
        sequence_place const p = any ? t.place(w.batch) : sequence_place{};
        unsigned const full = m.tile().full(0);
        if (!any) {
          arrive(full);
        } else {
          int const rows = t.rows.positions * t.rows.group;
          arrive_expecting(full, static_cast<unsigned>(shape::consumers * rows * row_tile_type::span * row_tile_type::panels));
          for (int c = 0; c < shape::consumers; ++c)
            load_boxes(m.queries(c), t.q, {{0, 0, p.query_at + w.first + c * t.rows.positions, w.key_head, p.query_batch}}, full);
          auto const load = [&](CUtensorMap const& map, ring_barriers const& ring, unsigned base, unsigned n, int first) {
            auto const place = ring_place<shape::stages>::of(n);
            wait_barrier(ring.empty(place.stage), place.parity ^ 1);
            load_keys(t, map, {base + place.stage * key_tile_type::bytes}, m.work(turn), p, first, ring.full(place.stage));
          };
#pragma unroll 1
          for (int first = m.work(turn).part.begin; first < m.work(turn).part.end + N; first += N) {  // keys are wanted a tile before their values
            bool const more = first < m.work(turn).part.end;
            if (more) load(t.k, m.key_ring(), m.keys(0).memory, count, first);
            if (first > m.work(turn).part.begin) load(t.v, m.value_ring(), m.values(0).memory, count - 1, first - N);
            count += more;
          }
        }
      }
      __syncwarp();
      if (w.split < 0) return;
    }
  }
};

}  // namespace cog::cuda_detail
