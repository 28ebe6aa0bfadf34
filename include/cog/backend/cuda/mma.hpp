// Tiles of 16-bit rows in shared memory, and products of them by a warp on tensor cores. A tile is W elements wide (a multiple of 32),
// in chunks of 16 bytes, permuted within a row so that the eight rows which ldmatrix reads at once lie in different banks.
#pragma once

#include <cog/backend/cuda/context.hpp>
#include <cog/backend/cuda/intrinsics.hpp>
#include <cog/core/view.hpp>

namespace cog::cuda_detail {

/// May the rows of x move in chunks of 16 bytes?
template <class T>
bool moves_in_chunks(view<T, 4> const& x) {
  constexpr index_t chunk = 16 / sizeof(T);
  bool all = reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.extents[3] % chunk == 0 && (x.strides[3] == 1 || x.extents[3] == 0);
  for (std::size_t a = 0; a < 3; ++a) all = all && (x.extents[a] <= 1 || x.strides[a] % chunk == 0);
  return all;
}

/// to [rows, chunks of 8] = the rows of `from`, zeros after their end.
template <class T>
__global__ void __launch_bounds__(256) pack_rows_kernel(view<T const, 4> from, uint4* to, int chunks, index_t count) {
  index_t const at = static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x;
  if (at >= count) return;
  index_t row = at / chunks, c = at % chunks * 8;
  index_t const n = row % from.extent(2);
  row /= from.extent(2);
  T const* const x = &from(row / from.extent(1), row % from.extent(1), n, 0);
  unsigned pairs[4] = {};
#pragma unroll
  for (int e = 0; e < 8; ++e)
    if (c + e < from.extent(3)) pairs[e / 2] |= static_cast<unsigned>(x[(c + e) * from.stride(3)].bits) << (16 * (e % 2));
  to[at] = uint4{pairs[0], pairs[1], pairs[2], pairs[3]};
}

/// An operand whose rows move in chunks: x itself, or a copy with rows filled up with zeros.
template <class T>
class rows_in_chunks {
 public:
  rows_in_chunks(cuda_context const& ctx, char const* operation, view<T const, 4> const& x)
      : view_(x), copy_(ctx, moves_in_chunks(x) ? 0 : x.extents[0] * x.extents[1] * x.extents[2] * blocks_of(x.extents[3], 8)) {
    if (!copy_.get()) return;
    index_t const chunks = blocks_of(x.extents[3], 8), count = x.extents[0] * x.extents[1] * x.extents[2] * chunks;
    ctx.launch(operation, {along_x(operation, blocks_of(count, 256)), dim3(256)}, pack_rows_kernel<T>, x, copy_.get(), static_cast<int>(chunks), count);
    view_.extents[3] = 8 * chunks;
    view_.data = reinterpret_cast<T const*>(copy_.get());
    view_.strides = row_major(view_.extents);
  }
  view<T const, 4> const& get() const { return view_; }

 private:
  view<T const, 4> view_;
  scratch<uint4> copy_;
};

/// x, as if it had just been read: what a loop computes from it is computed there and not kept in registers from before.
__device__ COG_INLINE int not_kept(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

/// A lane's place in the matrices that ldmatrix reads; (row, chunk) is that of the first, rows by multiples of 8, chunks of 2.
template <int W>
struct lane_rows {
  static constexpr int pitch = 2 * W, low = W % 64 == 0 ? 7 : 3;  // chunks are permuted in groups of 8 or 4
  unsigned at;
  __device__ unsigned operator()(int row, int chunk) const { return (at ^ (chunk & low) << 4) + ((chunk & ~low) << 4) + row * pitch; }
  __device__ lane_rows from_row(int row) const { return {at + row * pitch}; }  // a multiple of 8
};

/// Writes rows `first` to first + Rows - 1 of a tile to where row(r) points, if anywhere; by one warp, which has written them there.
template <int Rows, int Chunks, class Tile, class Row>
__device__ COG_INLINE void store_rows(Tile const& tile, int first, bool in_chunks, int columns, index_t step, Row const& row) {
#pragma unroll 1
  for (int i = threadIdx.x % 32; i < Rows * Chunks; i += 32) {
    int const r = first + i / Chunks, c = i % Chunks;
    auto* const to = row(r);
    if (!to || 8 * c >= columns) continue;
    uint4 const x = load_shared(tile.chunk(r, c));
    if (in_chunks) {
      *reinterpret_cast<uint4*>(to + 8 * c) = x;
      continue;
    }
    unsigned const pairs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int e = 0; e < 8; ++e)
      if (8 * c + e < columns) to[(8 * c + e) * step].bits = static_cast<std::uint16_t>(pairs[e / 2] >> (16 * (e % 2)));
  }
}

template <int W>
struct narrow_tile {
  static_assert(W % 32 == 0);
  static constexpr int pitch = 2 * W, chunks = W / 8;
  static constexpr unsigned bytes(int rows) { return rows * pitch; }
  unsigned memory, at = 0;  // it begins at memory + at, a multiple of 128

  __device__ static int key(int row) { return W % 64 == 0 ? row & 7 : row >> 1 & 3; }
  __device__ unsigned chunk(int row, int c) const { return memory + at + row * pitch + ((c ^ key(row)) << 4); }
  __device__ narrow_tile from_row(int row) const { return {memory, at + static_cast<unsigned>(row * pitch)}; }  // a multiple of 8
  __device__ narrow_tile not_kept() const { return {static_cast<unsigned>(cuda_detail::not_kept(static_cast<int>(memory))), at}; }

  /// For 16 rows by 16 columns: as `a` of multiply_add, or, transposed, as `b` of two products whose rows these are.
  __device__ lane_rows<W> square() const {
    int const lane = cuda_detail::not_kept(threadIdx.x) % 32;
    return {not_kept().chunk(lane & 15, lane >> 4)};
  }
  /// For 16 rows by 16 columns as `b` of two products whose columns these rows are.
  __device__ lane_rows<W> across() const {
    int const lane = cuda_detail::not_kept(threadIdx.x) % 32;
    return {not_kept().chunk((lane & 7) + (lane >> 4 << 3), lane >> 3 & 1)};
  }

  /// Starts copies of rows by the `Threads` threads of the block: the first `left` of `Rows`, `step` elements apart; the others are zeros.
  template <int Rows, int Threads, class T>
  __device__ COG_INLINE void load(T const* from, index_t step, int left, int columns) const {
    each_chunk<Rows, Threads>([&](int r, int c) { from += r * step + 8 * c; },
                              [&](int r, int c, unsigned to, int rows) {
                                copy_chunk(to, from, r < left && 8 * c < columns ? 16 : 0);
                                from += rows * step;
                              });
  }
  /// The same of rows anywhere: row(r) is where row r begins, null where it is zeros.
  template <int Rows, int Threads, class Row>
  __device__ COG_INLINE void load(Row const& row, int columns) const {
    each_chunk<Rows, Threads>([](int, int) {},
                              [&](int r, int c, unsigned to, int) {
                                auto const* const from = row(r);
                                copy_chunk(to, from + 8 * c, from && 8 * c < columns ? 16 : 0);
                              });
  }

  /// store_rows of this tile.
  template <int Rows, class Row>
  __device__ COG_INLINE void store(int first, bool in_chunks, int columns, index_t step, Row const& row) const {
    store_rows<Rows, chunks>(*this, first, in_chunks, columns, step, row);
  }

 private:
  /// A thread's chunks: start(row, chunk) of the first, then each(row, chunk, address, rows to the next one).
  template <int Rows, int Threads, class Start, class Each>
  __device__ COG_INLINE void each_chunk(Start const& start, Each const& each) const {
    constexpr int together = Threads / chunks;  // rows
    int const thread = cuda_detail::not_kept(threadIdx.x), first = thread / chunks, c = thread % chunks;
    if (Threads % chunks != 0 && thread >= together * chunks) return;
    narrow_tile const tile = not_kept();
    start(first, c);
#pragma unroll
    for (int i = 0; i < (Rows + together - 1) / together; ++i) {
      int const r = i * together + first;
      if (Rows % together == 0 || r < Rows) each(r, c, tile.chunk(r, c), together);
    }
  }
};

// ---- Products of a warp. Rows: 16 MT of them; s[m][n] is the 16 x 8 block of multiply_add.

/// Which of the 2 NT numbers of a row that a lane holds (bit 2 n + e: column 8 n + 2 t + e) have begin <= column < end.
template <int NT>
__device__ COG_INLINE unsigned columns_within(int t, int begin, int end) {
  auto const before = [t](int column) {
    int const c = column - 2 * t, held = c / 8 * 2 + (c % 8 < 2 ? c % 8 : 2);
    return c <= 0 ? 0u : ~0u >> (32 - (held < 2 * NT ? held : 2 * NT));
  };
  return before(end) & ~before(begin);
}

/// s = a b^T over the width: a(k, fragments) gives columns 16 k ... of the rows of a; b has 8 NT rows.
template <class T, int W, int MT, int NT, class A>
__device__ COG_INLINE void multiply_rows(float (&s)[MT][NT][4], A const& a, lane_rows<W> const& b) {
#pragma unroll
  for (int m = 0; m < MT; ++m)
#pragma unroll
    for (int n = 0; n < NT; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[m][n][i] = 0;
#pragma unroll
  for (int k = 0; k < W / 16; ++k) {
    unsigned x[MT][4];
    a(k, x);
#pragma unroll
    for (int n = 0; n < NT; n += 2) {
      unsigned y[4];
      load_matrices(y, b(8 * n, 2 * k));
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        multiply_add<T>(s[m][n], x[m], y[0], y[1]);
        multiply_add<T>(s[m][n + 1], x[m], y[2], y[3]);
      }
    }
  }
}

/// out += w v: w as `a` fragments of 16 KT columns, v the 16 KT rows of a tile.
template <class T, int W, int MT, int KT>
__device__ COG_INLINE void multiply_columns(float (&out)[MT][W / 8][4], unsigned const (&w)[KT][MT][4], lane_rows<W> const& v) {
#pragma unroll
  for (int k = 0; k < KT; ++k)
#pragma unroll
    for (int n = 0; n < W / 8; n += 2) {
      unsigned y[4];
      load_matrices_transposed(y, v(16 * k, n));
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        multiply_add<T>(out[m][n], w[k][m], y[0], y[1]);
        multiply_add<T>(out[m][n + 1], w[k][m], y[2], y[3]);
      }
    }
}

// ---- NaNs and infinities in rows that not everybody sees: 0 times them is not 0. They are taken out of the tile, and those that are
// seen are added by themselves.

/// The upper bit of each half that is a NaN or infinite.
template <class T>
__device__ COG_INLINE unsigned not_finite(unsigned pair) {
  constexpr unsigned carry = std::same_as<T, bf16> ? 0x00800080u : 0x04000400u;
  return ((pair & (std::same_as<T, bf16> ? 0x7f807f80u : 0x7c007c00u)) + carry) & 0x80008000u;
}

/// Makes them 0 in the first `Rows` rows of a tile; by the `Threads` threads of the block, all of which get whether there were any.
/// It is a barrier.
template <class T, int Rows, int Threads, int W>
__device__ COG_INLINE bool take_out_wild(narrow_tile<W> const& tile) {
  unsigned any = 0;
#pragma unroll 2
  for (int i = threadIdx.x; i < Rows * W / 8; i += Threads) {
    unsigned const at = tile.memory + tile.at + 16 * i;
    uint4 x = load_shared(at);
    auto const tame = [](unsigned& pair) {
      unsigned const bad = not_finite<T>(pair);
      pair &= ~((bad >> 15) * 0xffffu);
      return bad;
    };
    unsigned const found = tame(x.x) | tame(x.y) | tame(x.z) | tame(x.w);
    if (found) store_shared(at, x);
    any |= found;
  }
  return __syncthreads_or(any != 0);
}

/// out += w v over what has been taken out: row(j) is row j of v in global memory, or null; sees(m, half, j) is whether row g (half 0) or
/// g + 8 (1) of block m sees it.
template <class T, int W, int MT, int KT, class Row, class Sees>
__device__ COG_INLINE void add_wild(float (&out)[MT][W / 8][4], unsigned const (&w)[KT][MT][4], int columns, Row const& row, Sees const& sees) {
  int const lane = threadIdx.x % 32;
#pragma unroll 1
  for (int j = 0; j < 16 * KT; ++j) {
    float weight[MT][2];
    bool seen[MT][2];
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        unsigned pair = 0;  // by masks: a choice among registers would become one among addresses
#pragma unroll
        for (int i = 0; i < 2 * KT; ++i) pair |= (j / 8 == i ? ~0u : 0u) & w[i / 2][m][2 * (i % 2) + h];
        pair = __shfl_sync(0xffffffffu, pair, (lane & ~3) + j % 8 / 2);
        weight[m][h] = static_cast<float>(bits_as<T>(static_cast<std::uint16_t>(pair >> (16 * (j % 2)))));
        seen[m][h] = sees(m, h, j);
      }
    T const* const from = row(j);
#pragma unroll 1
    for (int i = 0; from && i < W / 4; ++i) {  // this lane's columns
      int const column = 8 * (i / 2) + 2 * (lane % 4) + i % 2;
      if (column >= columns || !not_finite<T>(from[column].bits)) continue;
      float const x = static_cast<float>(from[column]);
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float const add = seen[m][h] ? weight[m][h] * x : 0.0f;
#pragma unroll
          for (int n = 0; n < W / 4; ++n) out[m][n / 2][2 * h + n % 2] += n == i ? add : 0.0f;
        }
    }
  }
}

}  // namespace cog::cuda_detail
