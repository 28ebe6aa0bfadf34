// What the attention kernels for Hopper share: warpgroups with roles, tiles of queries and keys, the order in which blocks take them. A producer warp asks the copy engine for tiles; consumer warpgroups hold 64 rows each, multiply
// by wgmma and do the rest in registers. Rows are (position, head of a group) in turn, so that grouped heads share what they read.
#pragma once

#include <cog/backend/cuda/attention_sequences.hpp>
#include <cog/backend/cuda/hopper.hpp>
#include <cog/backend/cuda/mma.hpp>
#include <cog/backend/cuda/tensor_map.hpp>

namespace cog::cuda_detail {

// ---- Tiles

/// The rows of a warpgroup: row r is head r % group of position r / group; 64 rows, or fewer where the group does not divide 64.
struct grouped_rows {
  int group, positions;
  explicit grouped_rows(int g) : group(g), positions(64 / g) {}
  grouped_rows() = default;
  /// Position and head of row r of the warpgroup whose first position is `at`. head < 0: nowhere.
  __device__ row_place place(int key_head, int at, int queries, int r) const {
    int const i = r / group;
    return i < positions && at + i < queries ? row_place{at + i, key_head * group + r % group} : row_place{0, -1};
  }
};

/// Of all lanes of a warp.
__device__ COG_INLINE tile_span merged(tile_span span) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) tile_span{}(span, from_lane_xor(span, step));
  return span;
}

/// The order in which blocks take tiles. The longest first, where later queries see more keys; key heads by as many as the L2 cache holds.
struct tile_order {
  int splits, tiles, heads, together;  // heads: of all entries of the batch
  struct place {
    int split, tile, head;
  };
  COG_HD int count() const { return splits * tiles * heads; }
  COG_HD place at(int n) const {
    int const split = n % splits, whole = n / splits, section = whole / (together * tiles), rest = whole % (together * tiles);
    int const here = heads - section * together < together ? heads - section * together : together;
    return {split, tiles - 1 - rest / here, section * together + rest % here};
  }
};

/// Deals tiles out to the blocks: in turn, or, where `counter` is not null (and 0 at first), whoever is ready.
struct tile_dealer {
  int* counter;
  int at;
  __device__ explicit tile_dealer(int* c) : counter(c), at(blockIdx.x) {}
  /// By a whole warp.
  __device__ void next() {
    if (!counter) {
      at += gridDim.x;
      return;
    }
    int n = 0;
    if (threadIdx.x % 32 == 0) n = atomicAdd(counter, 1) + gridDim.x;
    at = __shfl_sync(all_lanes, n, 0);
  }
};

/// Consumers come to the tensor cores one after the other, where they take turns at all: while one computes, the products of the next are on
/// their way. Barriers 1 to Consumers.
template <int Consumers, bool InTurn = true>
struct consumer_turns {
  int consumer;
  static constexpr int first_id = 1;
  __device__ explicit consumer_turns(int c) : consumer(c) {
    if (InTurn && c == 0) arrive_at(first_id, 256);
  }
  __device__ void wait() const {
    if (InTurn) meet_at(first_id + consumer, 256);
  }
  __device__ void pass() const {
    if (InTurn) arrive_at(first_id + (consumer + 1) % Consumers, 256);
  }
};

/// A place in a ring of buffers, and the parity of the barrier that it waits for.
template <int Stages>
struct ring_place {
  unsigned stage = 0, parity = 0;
  /// Of the n-th tile.
  __device__ static ring_place of(unsigned n) { return {n % Stages, n / Stages & 1}; }
  __device__ void next() {
    if (++stage == Stages) stage = 0, parity ^= 1;
  }
};

/// A full and an empty barrier for every stage, in shared memory from `at` on.
struct ring_barriers {
  unsigned at;
  __device__ unsigned full(unsigned stage) const { return at + 16 * stage; }
  __device__ unsigned empty(unsigned stage) const { return at + 16 * stage + 8; }
  __device__ void init(int stages, unsigned readers) const {
    for (int i = 0; i < stages; ++i) {
      init_barrier(full(i), 1);
      init_barrier(empty(i), readers);
    }
  }
};

/// Starts the copies of a tile; p.at[0] is the first column.
template <int Rows, int W>
__device__ COG_INLINE void load_boxes(swizzled_tile<Rows, W> const& tile, CUtensorMap const& map, box_place p, unsigned barrier) {
#pragma unroll
  for (int i = 0; i < tile.panels; ++i) {
    p.at[0] = i * tile.columns;
    load_box(tile.panel(i), map, p, barrier);
  }
}

/// What a thread holds of 64 x 2 R numbers: d[4 i + 2 h + e] is row 8 h + lane / 4 of its warp, column 8 i + 2 (lane % 4) + e.
/// As fragments of 16 columns for the next product.
template <class T, std::size_t R, std::size_t K>
__device__ COG_INLINE void as_fragments(unsigned (&f)[K][4], float const (&d)[R]) {
  static_assert(R == 8 * K);
#pragma unroll
  for (std::size_t i = 0; i < 4 * K; ++i) f[i / 4][i % 4] = packed<T>(d[2 * i], d[2 * i + 1]);
}

/// Makes rows 0 that no box brings; by the whole block, before a barrier of it.
template <int Rows, int W>
__device__ COG_INLINE void clear_rows(swizzled_tile<Rows, W> const& tile, int first, int end) {
  constexpr int chunks = W / 8;
  for (int i = threadIdx.x; i < (end - first) * chunks; i += blockDim.x) store_shared(tile.chunk(first + i / chunks, i % chunks), uint4{});
  publish_shared();
}

/// By a warpgroup: 64 rows of a result in the order of as_fragments, times `scale`, to global memory by way of rows `first` ... of a tile which
/// nobody else needs. Boxed: as a box at p; else row by row, row(r) being where row r of the tile belongs, or null. The caller waits for
/// stores. `meeting`: a barrier of the warpgroup. False if there are NaNs or infinities in them.
template <class T, int Rows, int W, class Row>
__device__ COG_INLINE bool store_results(float (&x)[W / 2], float scale, swizzled_tile<Rows, W> const& tile, int first, int meeting, CUtensorMap const& map, bool boxed, box_place p,
                                         bool in_chunks, int columns, index_t step, Row const& row) {
  int const thread = not_kept(threadIdx.x) % 128, warp = thread / 32, lane = thread % 32;
  bool tame = true;
#pragma unroll
  for (int i = 0; i < W / 2; ++i) {
    x[i] *= scale;
    tame = tame && fabsf(x[i]) < math::infinity<float>;
  }
#pragma unroll
  for (int k = 0; k < W / 16; ++k) {
    unsigned f[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) f[i] = packed<T>(x[8 * k + 2 * i], x[8 * k + 2 * i + 1]);
    store_matrices(tile.chunk(first + 16 * warp + lane % 16, 2 * k + lane / 16), f);
  }
  if (boxed) {
    publish_shared();
    meet_at(meeting, 128);
    if (thread == 0) {
#pragma unroll
      for (int i = 0; i < tile.panels; ++i) {
        p.at[0] = i * tile.columns;
        store_box(map, p, tile.panel(i) + first * tile.span);
      }
      end_stores();
    }
  } else {
    __syncwarp();
    store_rows<16, W / 8>(tile, first + 16 * warp, in_chunks, columns, step, row);
  }
  return tame;
}

}  // namespace cog::cuda_detail
