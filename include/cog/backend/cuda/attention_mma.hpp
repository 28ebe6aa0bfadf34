// Attention forward of bf16 and half on tensor cores, for widths up to 256. A block of four warps holds 128 rows (64 where they are wider
// than 128) and takes 64 keys at a time past them: while scores of one tile are computed its values are on their way, while they are
// weighed the next keys are. Scores, weights and results stay in registers; one exponential a score. Memory is O(N).
#pragma once

#include <cog/backend/cuda/attention_tile.hpp>
#include <cog/backend/cuda/mma.hpp>

namespace cog::cuda_detail {

/// Tiles of the forward kernel for widths up to W.
template <int W>
struct mma_forward_shape {
  static constexpr int warps = 4, threads = 32 * warps;
  static constexpr int blocks = W <= 128 ? 2 : 1;  // of 16 rows, to a warp
  static constexpr int rows = 16 * blocks * warps, keys = 64;
  static constexpr bool hold_queries = W <= 64;  // in registers

  // Shared memory: the queries (at the end the results), the keys, the values, and what is known of the rows.
  static constexpr unsigned key_tile = narrow_tile<W>::bytes(rows), value_tile = key_tile + narrow_tile<W>::bytes(keys);
  static constexpr unsigned known = value_tile + narrow_tile<W>::bytes(keys);
  struct block_knowledge {  // what is not to be kept in registers
    int split, batch, key_head;
    key_span part;
    void const *all_keys, *all_values;
    row_place places[rows];
    key_span keys[rows];
    tile_span spans[warps], block;
    struct alignas(8 * blocks) rows_of_thread {
      float at[blocks][2];  // rows g and g + 8 of each block
    } reference[threads], total[threads];
  };
  static constexpr unsigned bytes = known + sizeof(block_knowledge);
};

/// Operands move in chunks (rows_in_chunks); `out` need not.
template <class T, class Mask>
struct mma_forward_task : forward_task<T, Mask> {
  float factor;  // of the exponents, towards powers of 2
  bool out_in_chunks;
};

/// Blocks: [batch, key head, tile of rows (the last first: causal, it is the longest), split].
template <int W, class Rule, class T, class Mask>
__global__ void __launch_bounds__(mma_forward_shape<W>::threads, 2) mma_attention_kernel(mma_forward_task<T, Mask> t) {
  using shape = mma_forward_shape<W>;
  using rule = device_rule<Rule>;
  constexpr int MT = shape::blocks, NT = shape::keys / 8;
  int const split = blockIdx.x % t.splits, row_block = t.rows.tiles - 1 - blockIdx.x / t.splits % t.rows.tiles;
  int const bh = blockIdx.x / t.splits / t.rows.tiles, key_head = bh % t.key_heads, batch = bh / t.key_heads;
  int const warp = __shfl_sync(all_lanes, threadIdx.x / 32, 0), lane = threadIdx.x % 32, warp_row = warp * 16 * MT;

  unsigned char* const memory = static_cast<unsigned char*>(dynamic_shared());
  auto& known = *reinterpret_cast<typename shape::block_knowledge*>(memory + shape::known);
  narrow_tile<W> const query_tile{shared_address(memory)}, key_tile{query_tile.memory, shape::key_tile}, value_tile{query_tile.memory, shape::value_tile};

  // What the rows see: every one, those of a warp, those of the block.
  tile_span mine;
  if (lane < 16 * MT) {
    int const r = warp_row + lane;
    row_place const row = t.rows.place(key_head, row_block * shape::rows + r);
    known.places[r] = row;
    known.keys[r] = row.head < 0 ? key_span{0, 0} : span_of(t.a.mask, batch, row);
    if (row.head >= 0) mine.add(known.keys[r]);
  }
  mine = merge_lanes(mine, 32, tile_span{});
  if (lane == 0) known.spans[warp] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    known.block = known.spans[0];
    for (int w = 1; w < shape::warps; ++w) tile_span{}(known.block, known.spans[w]);
    known.split = split, known.batch = batch, known.key_head = key_head;
    known.part = t.part(known.block.some, split, shape::keys);
    known.all_keys = t.a.k.data + batch * t.a.k.stride(0) + key_head * t.a.k.stride(1);
    known.all_values = t.a.v.data + batch * t.a.v.stride(0) + key_head * t.a.v.stride(1);
  }
  __syncthreads();
  key_span const part = known.part;

  auto const load_keys = [&](int first) {
    index_t const step = t.a.k.stride(2);
    key_tile.template load<shape::keys, shape::threads>(static_cast<T const*>(known.all_keys) + first * step, step, part.end - first, static_cast<int>(t.a.k.extent(3)));
    end_copies();
  };
  auto const load_values = [&](int first) {
    index_t const step = t.a.v.stride(2);
    value_tile.template load<shape::keys, shape::threads>(static_cast<T const*>(known.all_values) + first * step, step, part.end - first, static_cast<int>(t.a.v.extent(3)));
    end_copies();
  };

  float out[MT][W / 8][4] = {};
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      known.reference[threadIdx.x].at[m][h] = math::lowest<float>;
      known.total[threadIdx.x].at[m][h] = 0;
    }

  if (part.begin < part.end) {
    query_tile.template load<shape::rows, shape::threads>([&](int r) -> T const* {
      row_place const row = known.places[r];
      return row.head < 0 ? nullptr : &t.a.q(batch, row.head, row.position, 0);
    }, static_cast<int>(t.a.q.extent(3)));
    load_keys(part.begin);
  }
  unsigned held[shape::hold_queries ? W / 16 : 1][MT][4];
  constexpr float slack = 0x1p-12f;  // the reference follows the largest exponent up to this: its weight rounds to 1, and so is exact

  for (int first = part.begin; first < part.end; first += shape::keys) {
    wait_copies<0>();
    __syncthreads();  // the keys are there, and the values of the last tile have been read
    load_values(first);
    lane_rows<W> const query_rows = query_tile.from_row(warp_row).square(), key_rows = key_tile.across();
    if constexpr (shape::hold_queries) {
      if (first == part.begin)
#pragma unroll
        for (int k = 0; k < W / 16; ++k)
#pragma unroll
          for (int m = 0; m < MT; ++m) load_matrices(held[k][m], query_rows(16 * m, 2 * k));
    }
    float s[MT][NT][4];
    auto const queries = [&](int k, unsigned(&x)[MT][4]) {
#pragma unroll
      for (int m = 0; m < MT; ++m)
        if constexpr (shape::hold_queries) {
#pragma unroll
          for (int i = 0; i < 4; ++i) x[m][i] = held[k][m][i];
        } else {
          load_matrices(x[m], query_rows(16 * m, 2 * k));
        }
    };
    multiply_rows<T, W>(s, queries, key_rows);
    wait_copies<0>();
    __syncthreads();  // the values are there, and the keys have been read
    if (first + shape::keys < part.end) load_keys(first + shape::keys);
    auto const edge = [&](tile_span const& seen) {
      return Mask::by_key || !seen.whole(first, first + shape::keys) || first + shape::keys > part.end;
    };
    bool const wild = edge(known.block) && take_out_wild<T, shape::keys, shape::threads>(value_tile);
    tile_span const span = known.spans[not_kept(threadIdx.x) / 32];
    if (span.some.begin >= first + shape::keys || span.some.end <= first) continue;

    // Takes in columns 8 N0 to 8 (N0 + N) of the scores.
    auto const absorb = [&]<bool Masked, int N0, int N>(std::bool_constant<Masked>, std::integer_sequence<int, N0, N>) {
      int const start = first + 8 * N0, own = Masked ? not_kept(threadIdx.x) % 32 : 0;  // the lane
      auto const row_of = [&](int m, int half) { return warp_row + 16 * m + 8 * half + own / 4; };
      auto const shows = [&](int r, int key) {
        return !Mask::by_key || t.a.mask.visible(known.batch, known.places[r].head, known.places[r].position, key);
      };
      auto reference = known.reference[threadIdx.x], total = known.total[threadIdx.x];
      unsigned seen[MT][2];  // of the scores of a row
      bool outgrown = false;
      float top[MT][2];
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          if constexpr (Masked) {
            int const r = row_of(m, h);
            key_span const keys = known.keys[r];
            seen[m][h] = columns_within<N>(own % 4, keys.begin - start, (keys.end < known.part.end ? keys.end : known.part.end) - start);
            if constexpr (Mask::by_key)
#pragma unroll 4
              for (int i = 0; i < 2 * N; ++i)
                if ((seen[m][h] >> i & 1) && !shows(r, start + 8 * (i / 2) + 2 * (own % 4) + i % 2)) seen[m][h] &= ~(1u << i);
          }
          float largest = math::lowest<float>;
#pragma unroll
          for (int i = 0; i < 2 * N; ++i) {
            float& x = s[m][N0 + i / 2][2 * h + i % 2];
            if constexpr (!rule::homogeneous) x *= t.a.scale;
            float const u = rule::exponent(x);
            if (!Masked || (seen[m][h] >> i & 1)) largest = fmaxf(largest, u);
          }
          if constexpr (Masked) asm volatile("" : "+r"(seen[m][h]));  // not every one of these conditions is to be kept
          top[m][h] = largest * t.factor;
          outgrown = outgrown || top[m][h] > reference.at[m][h] + slack;
        }
      if (__any_sync(all_lanes, outgrown)) {
#pragma unroll
        for (int m = 0; m < MT; ++m)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            float const row_top = merge_lanes(top[m][h], 4, [](float& a, float b) { a = fmaxf(a, b); });
            float const before = reference.at[m][h], after = row_top > before ? row_top : before;
            float const shrink = exp2_approx(before - after);
            reference.at[m][h] = after;
            total.at[m][h] *= shrink;
#pragma unroll
            for (int n = 0; n < W / 8; ++n) {
              out[m][n][2 * h] *= shrink;
              out[m][n][2 * h + 1] *= shrink;
            }
          }
        known.reference[threadIdx.x] = reference;
      }
      unsigned weights[N / 2][MT][4];
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            float w[2];
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              float const x = s[m][N0 + n][2 * h + e];
              float const p = exp2_approx(rule::exponent(x) * t.factor - reference.at[m][h]);
              bool const live = !Masked || (seen[m][h] >> (2 * n + e) & 1);
              w[e] = live ? rule::weight(x, p) : 0.0f;
              total.at[m][h] += live ? p : 0.0f;
            }
            weights[n / 2][m][2 * (n % 2) + h] = packed<T>(w[0], w[1]);
          }
      known.total[threadIdx.x] = total;
      if (Masked && wild)
        add_wild<T, W>(out, weights, t.value_width, [&](int j) { return start + j < known.part.end ? &t.a.v(known.batch, known.key_head, start + j, 0) : nullptr; },
                       [&](int m, int half, int j) {
                         int const r = row_of(m, half), key = start + j;
                         return known.keys[r].holds(key) && key < known.part.end && shows(r, key);
                       });
      multiply_columns<T>(out, weights, value_tile.square().from_row(8 * N0));
    };
    std::integer_sequence<int, 0, NT / 2> const lower;  // halves where registers are short
    std::integer_sequence<int, NT / 2, NT / 2> const upper;
    if (edge(span)) {
      absorb(std::true_type{}, lower);
      absorb(std::true_type{}, upper);
    } else if constexpr (W == 128) {
      absorb(std::false_type{}, lower);
      absorb(std::false_type{}, upper);
    } else {
      absorb(std::false_type{}, std::integer_sequence<int, 0, NT>{});
    }
  }

  // Results: in parts as they are, otherwise by way of the queries' rows.
  auto const reference = known.reference[threadIdx.x], total = known.total[threadIdx.x];
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float const sum = merge_lanes(total.at[m][h], 4, [](float& a, float b) { a += b; }), share = sum == 0 ? 0.0f : __fdividef(1.0f, sum);
      int const r = warp_row + 16 * m + 8 * h + lane / 4;
      row_place const row = known.places[r];
      if (row.head >= 0 && lane % 4 == 0) t.write_logsumexp(known.split, known.batch, row, finished_logsumexp(reference.at[m][h], sum));
      if (t.splits > 1) {
        if (row.head < 0) continue;
        float* const to = t.partial_out + t.partial_index(known.split, known.batch, row) * t.value_width;
#pragma unroll
        for (int i = 0; i < W / 4; ++i) {
          int const column = 8 * (i / 2) + 2 * (lane % 4) + i % 2;
          if (column < t.value_width) to[column] = out[m][i / 2][2 * h + i % 2] * share;
        }
      } else {
#pragma unroll
        for (int n = 0; n < W / 8; ++n) store_shared(query_tile.chunk(r, n) + 4 * (lane % 4), packed<T>(out[m][n][2 * h] * share, out[m][n][2 * h + 1] * share));
      }
    }
  if (t.splits > 1) return;
  __syncwarp();
  query_tile.template store<16 * MT>(warp_row, t.out_in_chunks, t.value_width, t.a.out.stride(3), [&](int r) -> T* {
    row_place const row = known.places[r];
    return row.head < 0 ? nullptr : &t.a.out(known.batch, row.head, row.position, 0);
  });
}

}  // namespace cog::cuda_detail
