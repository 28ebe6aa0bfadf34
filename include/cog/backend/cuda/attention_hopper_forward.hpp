// Attention forward of bf16 and half on Hopper, for widths up to 256. Blocks stay and take tiles of queries. While the scores of one tile
// of keys are weighed, the values of the one before are multiplied; warpgroups take turns at the tensor cores. One exponential a score.
// Hidden keys have weight 0, and rows in which 0 times a hidden NaN would show are computed anew by themselves. Memory is O(N).
#pragma once

#include <cog/backend/cuda/attention_hopper_producer.hpp>

namespace cog::cuda_detail {

template <int W, class Rule, class T>
struct hopper_forward {
  using shape = hopper_forward_shape<W>;
  using rule = device_rule<Rule>;
  using task = hopper_forward_task<T>;
  using row_tile_type = typename shape::row_tile_type;
  using key_tile_type = typename shape::key_tile_type;
  static constexpr int N = shape::keys;

  using shared = typename hopper_producer<W, T>::shared;

  // ---- A consumer

  /// What a thread knows of its two rows.
  struct row_pair {
    float reference[2] = {math::lowest<float>, math::lowest<float>}, total[2] = {0, 0};
    key_span keys[2];
  };

  /// References lie so far above the largest exponent that weights are smaller than the scores they belong to, which gives them their sign
  /// (weight_of_small). They are at most 2^-above; a score closer to 0 than that weighs no more than it is. Rows of which no
  /// score is larger than 2^-17 take the exact way. bf16 has float's exponents, so that nothing less than 2^-46 of the largest weight is lost.
  static constexpr bool small_weights = std::same_as<T, bf16> && requires(float x) { rule::weight_of_small(x, x); };
  static constexpr float above = small_weights ? 80 : 0;
  template <bool Small>
  static __device__ COG_INLINE float weight_of(float score, float p) {
    if constexpr (Small) return rule::weight_of_small(score, p);
    else return rule::weight(score, p);
  }

  /// Scores become weights. References are the largest exponents so far (plus `above`): the largest weight is then a power of two, which bf16
  /// and half hold exactly. One that may lag behind saves multiplications, and makes the error of the result 0.8 % larger. If they move,
  /// moved(shrink) multiplies results so far.
  template <bool Masked, class Moved>
  static __device__ COG_INLINE void weigh(float (&s)[N / 2], row_pair& rows, float factor, float scale, int first, Moved const& moved) {
    [[maybe_unused]] unsigned seen[2];  // of the scores of a row
    float top[2];
    bool outgrown = false;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if constexpr (Masked) seen[h] = columns_within<N / 8>(static_cast<int>(threadIdx.x % 4), rows.keys[h].begin - first, rows.keys[h].end - first);
      float largest = math::lowest<float>;
#pragma unroll
      for (int i = 0; i < N / 4; ++i) {
        float& x = s[4 * (i / 2) + 2 * h + i % 2];
        if constexpr (!rule::homogeneous) x *= scale;
        float const u = rule::exponent(x);
        if (!Masked || (seen[h] >> i & 1)) largest = fmaxf(largest, u);
      }
      if constexpr (Masked) seen[h] = static_cast<unsigned>(not_kept(static_cast<int>(seen[h])));  // not every one of these conditions is to be kept
      top[h] = largest * factor + above;
      outgrown = outgrown || top[h] > rows.reference[h];
    }
    if (__any_sync(all_lanes, outgrown)) {
      float shrink[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float const row_top = merge_lanes(top[h], 4, [](float& a, float b) { a = fmaxf(a, b); });
        float const before = rows.reference[h], after = row_top > before ? row_top : before;
        shrink[h] = exp2_approx(before - after);
        rows.reference[h] = after;
        rows.total[h] *= shrink[h];
      }
      moved(shrink);
    }
    auto const each = [&]<bool Small>(std::bool_constant<Small>) {
#pragma unroll
      for (int i = 0; i < N / 2; ++i) {
        int const h = i / 2 % 2;
        float const x = s[i], p = exp2_approx(rule::exponent(x) * factor - rows.reference[h]);
        bool const live = !Masked || (seen[h] >> (i / 4 * 2 + i % 2) & 1);
        s[i] = live ? weight_of<Small>(x, p) : 0.0f;
        rows.total[h] += live ? p : 0.0f;
      }
    };
    if constexpr (small_weights && !Masked) {
      if (__all_sync(all_lanes, rows.reference[0] > above && rows.reference[1] > above)) each(std::true_type{});
      else each(std::false_type{});
    } else {
      each(std::false_type{});
    }
  }

  static __device__ void consume(task const& t, shared const& m, int consumer) {
    ring_place<shape::stages> key, value;
    consumer_turns<shape::consumers, shape::in_turn> const turn(consumer);
    int const warp = static_cast<int>(threadIdx.x) / 32 % 4, lane = static_cast<int>(threadIdx.x) % 32;
    auto const release = [&](unsigned barrier) {
      if (lane == 0) arrive(barrier);
    };
    row_tile_type const queries = m.queries(consumer);
    for (unsigned phase = 0;; phase ^= 1) {
      wait_barrier(m.tile().full(0), phase);
      hopper_work const w = m.work(phase);
      if (w.split < 0) {
        wait_stores_read<0>();
        return;
      }
      sequence_place const p = t.place(w.batch);
      int const at = w.first + consumer * t.rows.positions;
      row_pair rows;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        row_place const row = t.rows.place(w.key_head, at, p.queries, 16 * warp + 8 * h + lane / 4);
        rows.keys[h] = row.head < 0 ? key_span{0, 0} : t.span(w.batch, p, row.position);
        if (rows.keys[h].end > w.part.end) rows.keys[h].end = w.part.end;
        if (rows.keys[h].end < rows.keys[h].begin) rows.keys[h].end = rows.keys[h].begin;
      }

      if (at >= p.queries) {  // nothing of the tile is this warpgroup's; a lane that lagged behind could miss a phase
        for (int first = w.part.begin; first < w.part.end; first += N) {
          wait_barrier(m.key_ring().full(key.stage), key.parity);
          turn.wait();
          turn.pass();
          __syncwarp();
          release(m.key_ring().empty(key.stage));
          key.next();
          wait_barrier(m.value_ring().full(value.stage), value.parity);
          __syncwarp();
          release(m.value_ring().empty(value.stage));
          value.next();
        }
        __syncwarp();
        release(m.tile().empty(0));
        continue;
      }

      float out[W / 2] = {};
      if (w.part.begin < w.part.end) {
        float s[N / 2];
        unsigned weights[N / 16][4];
        auto const multiply_queries = [&] {
          wait_barrier(m.key_ring().full(key.stage), key.parity);
          turn.wait();
          row_tile_type const a = W > 128 ? row_tile_type{static_cast<unsigned>(not_kept(static_cast<int>(queries.memory)))} : queries;  // descriptors are many
          key_tile_type const b = m.keys(key.stage);
          begin_products();
#pragma unroll
          for (int k = 0; k < W / 16; ++k) multiply_tiles<T, false, false>(s, a.across(k), b.across(k), k > 0);
          end_products();
        };
        auto const multiply_values = [&] {
          begin_products();
#pragma unroll
          for (int k = 0; k < N / 16; ++k) multiply_fragment<T, true>(out, weights[k], m.values(value.stage).along(k), true);
          end_products();
        };
        auto const weigh_tile = [&](int first, auto const& moved) {
          hopper_work const& now = m.work(phase);
          bool const whole = first >= now.all.begin && first + N <= now.all.end && first + N <= now.part.end;
          if (whole) weigh<false>(s, rows, t.factor, t.t.a.scale, first, moved);
          else weigh<true>(s, rows, t.factor, t.t.a.scale, first, moved);
        };
        multiply_queries();
        turn.pass();
        wait_products<0>(s);
        release(m.key_ring().empty(key.stage));
        key.next();
        weigh_tile(w.part.begin, [](auto const&) {});
        as_fragments<T>(weights, s);
        for (int first = w.part.begin + N; first < m.work(phase).part.end; first += N) {
          multiply_queries();
          wait_barrier(m.value_ring().full(value.stage), value.parity);
          multiply_values();
          turn.pass();
          wait_products<1>(s);
          release(m.key_ring().empty(key.stage));
          key.next();
          weigh_tile(first, [&](float const (&shrink)[2]) {
            wait_products<0>(out, weights);
#pragma unroll
            for (int i = 0; i < W / 2; ++i) out[i] *= shrink[i / 2 % 2];
          });
          wait_products<0>(out, weights);
          release(m.value_ring().empty(value.stage));
          value.next();
          as_fragments<T>(weights, s);
        }
        if (shape::own_out) release(m.tile().empty(0));
        wait_barrier(m.value_ring().full(value.stage), value.parity);
        multiply_values();
        wait_products<0>(out, weights);
        release(m.value_ring().empty(value.stage));
        value.next();
      } else if (shape::own_out) {
        __syncwarp();
        release(m.tile().empty(0));
      }
      finish(t, m, consumer, m.work(phase), rows, out);
      if (!shape::own_out) release(m.tile().empty(0));
    }
  }

  // ---- Results

  static __device__ void finish(task const& t, shared const& m, int consumer, hopper_work const& w, row_pair& rows, float (&out)[W / 2]) {
    sequence_place const p = t.place(w.batch);
    int const at = w.first + consumer * t.rows.positions;
    int const thread = not_kept(threadIdx.x) % 128, warp = thread / 32, lane = thread % 32;
    row_tile_type const tile = m.results(consumer);
    bool const in_parts = t.order.splits > 1;
    unsigned wild = 0;  // rows of the warp with 0 times a hidden NaN or infinity in them
    float share[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float const sum = merge_lanes(rows.total[h], 4, [](float& a, float b) { a += b; });
      share[h] = sum == 0 ? 0.0f : __fdividef(1.0f, sum);
      bool tame = true;
#pragma unroll
      for (int i = 0; i < W / 4; ++i) {
        float& x = out[4 * (i / 2) + 2 * h + i % 2];
        x *= share[h];
        tame = tame && fabsf(x) < math::infinity<float>;
      }
      row_place const row = placed(t.rows.place(w.key_head, at, p.queries, 16 * warp + 8 * h + lane / 4), p);
      bool const sees_all = rows.keys[h].begin <= w.part.begin && rows.keys[h].end >= (w.part.end + N - 1 - w.part.begin) / N * N + w.part.begin;
      unsigned const found = __ballot_sync(all_lanes, row.head >= 0 && !tame && !sees_all);
      for (int r = 0; r < 8; ++r) wild |= (found >> (4 * r) & 15) != 0 ? 1u << (8 * h + r) : 0u;
      if (row.head >= 0 && lane % 4 == 0) t.t.write_logsumexp(w.split, p.query_batch, row, finished_logsumexp(rows.reference[h] - above, sum * (small_weights ? 0x1p80f : 1.0f)));
      if (in_parts && row.head >= 0) {
        float* const to = t.t.partial_out + t.t.partial_index(w.split, p.query_batch, row) * t.t.value_width;
#pragma unroll
        for (int i = 0; i < W / 4; ++i) {
          int const column = 8 * (i / 2) + 2 * (lane % 4) + i % 2;
          if (column < t.t.value_width) to[column] = out[4 * (i / 2) + 2 * h + i % 2];
        }
      }
    }
    constexpr int meeting = 8;  // barriers of one warpgroup
    bool const boxed = t.out_boxed && !in_parts && (!t.sequences.query_begin || at + t.rows.positions <= p.queries);
    if (!in_parts) {
      if (thread == 0) wait_stores_read<0>();
      meet_at(meeting + consumer, 128);  // what was there has been stored
#pragma unroll
      for (int k = 0; k < W / 16; ++k) {
        unsigned f[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) f[i] = packed<T>(out[8 * k + 2 * i], out[8 * k + 2 * i + 1]);
        store_matrices(tile.chunk(16 * warp + lane % 16, 2 * k + lane / 16), f);
      }
    }
    __syncwarp();
    if (wild) {
      for (int r = 0; r < 16; ++r)
        if (wild >> r & 1) {
          int const from = 4 * (r % 8);
          key_span keys;
          keys.begin = __shfl_sync(all_lanes, r < 8 ? rows.keys[0].begin : rows.keys[1].begin, from);
          keys.end = __shfl_sync(all_lanes, r < 8 ? rows.keys[0].end : rows.keys[1].end, from);
          float const reference = __shfl_sync(all_lanes, r < 8 ? rows.reference[0] : rows.reference[1], from);
          float const part = __shfl_sync(all_lanes, r < 8 ? share[0] : share[1], from);
          if (keys.begin < w.part.begin) keys.begin = w.part.begin;
          single_row(t, w, p, placed(t.rows.place(w.key_head, at, p.queries, 16 * warp + r), p), keys, reference, part, tile, 16 * warp + r);
        }
      __syncwarp();
    }
    if (in_parts) return;
    if (boxed) {
      publish_shared();
      meet_at(meeting + consumer, 128);
      if (thread == 0) {
#pragma unroll
        for (int i = 0; i < tile.panels; ++i) store_box(t.out, {{i * tile.columns, 0, p.query_at + at, w.key_head, p.query_batch}}, tile.panel(i));
        end_stores();
        if (!shape::own_out) wait_stores_read<0>();
      }
      if (!shape::own_out) meet_at(meeting + consumer, 128);
    } else {
      store_rows<16, W / 8>(tile, 16 * warp, t.out_in_chunks, t.t.value_width, t.t.a.out.stride(3), [&](int r) -> T* {
        row_place const row = placed(t.rows.place(w.key_head, at, p.queries, r), p);
        return row.head < 0 ? nullptr : &t.t.a.out(p.query_batch, row.head, row.position, 0);
      });
      if (!shape::own_out) publish_shared();  // queries come here next
    }
  }

  /// A row of a sequence, as its tensor counts.
  static __device__ row_place placed(row_place const& row, sequence_place const& p) { return {row.position + p.query_at, row.head}; }

  /// By a warp: a row's result from the keys that it sees, and nothing of others.
  static __device__ COG_INLINE void single_row(task const& t, hopper_work const& w, sequence_place const& p, row_place const& row, key_span const& keys, float reference,
                                               float share, row_tile_type const& tile, int r) {
    int const lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
    for (int first = 0; first < t.t.value_width; first += 32) {
      int const column = first + lane;
      float sum = 0;
#pragma unroll 1
      for (int j = keys.begin; j < keys.end; ++j) {
        int2 const key = t.sequences.key(p, w.batch, j);
        float s = 0;
        for (int c = lane; c < t.t.width; c += 32)
          s += static_cast<float>(t.t.a.q(p.query_batch, row.head, row.position, c)) * static_cast<float>(t.t.a.k(key.x, w.key_head, key.y, c));
        s = merge_lanes(s, 32, [](float& a, float b) { a += b; });
        if constexpr (!rule::homogeneous) s *= t.t.a.scale;
        float const weight = rule::weight(s, exp2_approx(rule::exponent(s) * t.factor - reference));
        if (column < t.t.value_width) sum += weight * static_cast<float>(t.t.a.v(key.x, w.key_head, key.y, column));
      }
      if (column >= t.t.value_width) continue;
      if (t.order.splits > 1) t.t.partial_out[t.t.partial_index(w.split, p.query_batch, row) * t.t.value_width + column] = sum * share;
      else store_shared(tile.chunk(r, column / 8) + 2 * (column % 8), T(sum * share).bits);
    }
  }
};

/// A block to a multiprocessor.
template <int W, class Rule, class T>
__global__ void __launch_bounds__(hopper_forward_shape<W>::threads, 1) hopper_attention_kernel([[maybe_unused]] hopper_forward_task<T> const __grid_constant__ t) {
#if COG_HOPPER
  using forward = hopper_forward<W, Rule, T>;
  using shape = hopper_forward_shape<W>;
  typename forward::shared const m;
  if (threadIdx.x == 0) {
    m.init();
    prefetch_map(t.q), prefetch_map(t.k), prefetch_map(t.v);
  }
  __syncthreads();
  int const warpgroup = __shfl_sync(all_lanes, static_cast<int>(threadIdx.x) / 128, 0);
  if (warpgroup == 0) {
    keep_registers<shape::producer_registers>();
    if (threadIdx.x < 32) hopper_producer<W, T>::produce(t, m);
  } else {
    take_registers<shape::consumer_registers>();
    forward::consume(t, m, warpgroup - 1);
  }
#endif
}

}  // namespace cog::cuda_detail
