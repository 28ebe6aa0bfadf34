// Products of bf16 with sums in float, as processors have instructions for them: along the summed axis, elements go in
// pairs. The left operand is rows of neighbours, the right one rows of pairs, each in the 32 bits of a float. One
// layout and one signature for two units, chosen at run time: AMX tiles and AVX512-BF16. A machine where neither beats
// float computes in float instead (`chosen_pair_unit` is null). Tests run AMX by emulated tiles too.
#pragma once

#include <atomic>
#include <cstring>
#include <utility>

#include <cog/backend/cpu/attention_tile.hpp>

namespace cog::cpu_detail {

/// out(i, c) (+)= sum_{p < pairs} a(i, 2p) b(p, c)_0 + a(i, 2p + 1) b(p, c)_1 for i < rows and c < columns, a multiple
/// of 16. The first of a pair is in the low half. Products and sums are of float; what is below 2^-126 counts as 0. Each
/// sum runs over p in order, so that <x, y> and <y, x> are the same to the bit.
struct pair_product {
  rows_of<bf16> a;
  index_t rows;
  rows_of<float> b;
  index_t pairs;
  float* out;
  index_t stride, columns;
  bool add;
};

/// What else there is to do while products are made: calls of piece(of), as many as `pieces`.
class side_work {
 public:
  side_work(void (*piece)(void*), void* of, index_t pieces) : piece_(piece), of_(of), pieces_(pieces) {}

  /// Those due after one more of so many steps, if all are to be spread evenly over them.
  COG_INLINE void step(index_t steps) {
    for (++step_; done_ * steps < step_ * pieces_ && done_ < pieces_; ++done_) piece_(of_);
  }
  /// Those that are left.
  void finish() {
    for (; done_ < pieces_; ++done_) piece_(of_);
  }

 private:
  void (*piece_)(void*);
  void* of_;
  index_t pieces_, step_ = 0, done_ = 0;
};

/// What makes such products.
struct pair_unit {
  /// One product after the other. A unit that works beside_vectors does `beside`, if it is not null, meanwhile.
  void (*multiply)(pair_product const* products, int count, side_work* beside);
  bool beside_vectors;

  void operator()(pair_product const& product) const { multiply(&product, 1, nullptr); }
};

// ---- Tiles of 16 rows of 64 bytes: 16 x 16 sums, 16 rows of 16 pairs, 16 pairs of 16 columns

/// Rows of each of the eight tiles and their bytes: what LDTILECFG reads (Intel's Software Developer's Manual, volume
/// 1, 18.3).
struct alignas(64) tile_shapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};
  std::uint8_t rows[16] = {};
};

/// Sums stay in the tiles I... while the pairs go past: 4 holds those of a, 5 and 6 in turn those of b.
template <class Tiles, int... I, class Step>
void multiply_in_tiles(std::integer_sequence<int, I...>, pair_product const& x, index_t depth, Step const& step) {
  (..., (x.add ? Tiles::template load<I>(x.out + 16 * I, 4 * x.stride) : Tiles::template zero<I>()));
  for (index_t p = 0; p < x.pairs; p += depth) {
    Tiles::template load<4>(x.a.data + 2 * p, 2 * x.a.stride);
    (..., (Tiles::template load<5 + I % 2>(x.b.data + p * x.b.stride + 16 * I, 4 * x.b.stride),
           Tiles::template dot<I, 4, 5 + I % 2>()));
    step();
  }
  (..., Tiles::template store<I>(x.out + 16 * I, 4 * x.stride));
}

/// As pair_unit::multiply. Whole tiles first, then what is left of pairs and of rows, in tiles of that shape.
template <class Tiles>
void multiply_in_tiles(pair_product const* products, int count, side_work* beside) {
  index_t steps = 0;
  for (int i = 0; i < count; ++i) {
    pair_product const& x = products[i];
    steps += blocks_of(x.rows, 16) * (x.columns / 64 + x.columns % 64 / 16) * blocks_of(x.pairs, 16);
  }
  auto const step = [&] {
    if (beside) beside->step(steps);
  };
  index_t configured_height = 0, configured_depth = 0;
  auto const configure = [&](index_t height, index_t depth) {
    if (height == configured_height && depth == configured_depth) return;
    configured_height = height, configured_depth = depth;
    tile_shapes shapes;
    for (int t = 0; t < 7; ++t) {
      shapes.rows[t] = static_cast<std::uint8_t>(t < 5 ? height : depth);
      shapes.bytes[t] = static_cast<std::uint16_t>(t == 4 ? 4 * depth : 64);
    }
    Tiles::configure(shapes);
  };
  auto const part = [](index_t at, index_t n) { return at + 16 <= n ? (n - at) / 16 * 16 : n - at; };
  for (int i = 0; i < count; ++i) {
    pair_product const& x = products[i];
    for (index_t p = 0, some; p < x.pairs || (p == 0 && !x.add); p += some) {
      some = std::max<index_t>(part(p, x.pairs), 1);
      index_t const depth = std::min<index_t>(some, 16);
      for (index_t r = 0, height; r < x.rows; r += height) {
        height = std::min<index_t>(16, x.rows - r);
        configure(height, depth);
        auto const block = [&](auto tiles, index_t c) {
          multiply_in_tiles<Tiles>(tiles,
                                   {{x.a.data + r * x.a.stride + 2 * p, x.a.stride},
                                    height,
                                    {x.b.data + p * x.b.stride + c, x.b.stride},
                                    std::min(some, x.pairs - p),
                                    x.out + r * x.stride + c,
                                    x.stride,
                                    0,
                                    x.add || p > 0},
                                   depth, step);
        };
        index_t c = 0;
        for (; c + 64 <= x.columns; c += 64) block(std::integer_sequence<int, 0, 1, 2, 3>{}, c);
        for (; c < x.columns; c += 16) block(std::integer_sequence<int, 0>{}, c);
      }
    }
  }
  Tiles::release();
}

#if defined(__x86_64__) && defined(__GNUC__)

/// The processor's tiles. Assembly, which needs no flag and is inlined anywhere.
struct amx_tiles {
  static COG_INLINE void configure(tile_shapes const& s) { __asm__ volatile("ldtilecfg %0" : : "m"(s)); }
  static COG_INLINE void release() { __asm__ volatile("tilerelease"); }
  template <int Tile>
  static COG_INLINE void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(Tile));
  }
  template <int Tile>
  static COG_INLINE void load(void const* p, index_t pitch) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(pitch), "i"(Tile) : "memory");
  }
  template <int Tile>
  static COG_INLINE void store(void* p, index_t pitch) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(pitch), "i"(Tile) : "memory");
  }
  template <int Sum, int A, int B>
  static COG_INLINE void dot() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sum), "i"(A), "i"(B));
  }

  /// The processor has them, the system keeps them, and this process may use them: Linux wants to be asked.
  static bool usable() {
#if defined(__linux__)
    auto const cpuid = [](unsigned leaf, unsigned* r) {
      __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
    };
    unsigned r[4], low, high;
    cpuid(0, r);
    if (r[0] < 7) return false;
    cpuid(1, r);
    if (!(r[2] >> 27 & 1)) return false;  // OSXSAVE: xgetbv may be asked
    cpuid(7, r);
    if (!(r[3] >> 22 & 1) || !(r[3] >> 24 & 1)) return false;  // AMX-BF16, AMX-TILE
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low >> 17 & 3) != 3) return false;  // tile shapes and tile data
    long answer = 158;                       // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    __asm__ volatile("syscall" : "+a"(answer) : "D"(0x1023L), "S"(18L) : "rcx", "r11", "memory");
    return answer == 0;
#else
    return false;
#endif
  }
};

#define COG_AVX512_BF16 __attribute__((target("avx512f,avx512bf16")))

/// A register of 16 floats, or of as many pairs. <immintrin.h> would cost half as much as Eigen to include.
using float_x16 = float __attribute__((vector_size(64)));
using int_x16 = int __attribute__((vector_size(64)));

/// Rows x Packets accumulators in registers.
template <int Rows, int Packets>
COG_AVX512_BF16 inline void avx512_pair_block(bf16 const* a, index_t a_stride, rows_of<float> const& b, index_t pairs,
                                              float* out, index_t stride, bool add) {
  float_x16 sum[Rows][Packets] = {};
  if (add) {  // in the loop's condition, g++ -O0 would warn of its annotation
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < Packets; ++c) std::memcpy(&sum[r][c], out + r * stride + 16 * c, 64);
  }
  for (index_t p = 0; p < pairs; ++p) {
    float_x16 column[Packets];
#pragma GCC unroll 8
    for (int c = 0; c < Packets; ++c) std::memcpy(&column[c], b.data + p * b.stride + 16 * c, 64);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      int pair;
      std::memcpy(&pair, a + r * a_stride + 2 * p, 4);
      int_x16 const element = int_x16{} + pair;
#pragma GCC unroll 8
      for (int c = 0; c < Packets; ++c)
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum[r][c]) : "v"(element), "v"(column[c]));
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < Packets; ++c) std::memcpy(out + r * stride + 16 * c, &sum[r][c], 64);
}
template <int Packets>
COG_AVX512_BF16 inline void avx512_pair_panel(rows_of<bf16> const& a, index_t rows, rows_of<float> const& b,
                                              index_t pairs, float* out, index_t stride, bool add) {
  for (index_t r = 0, height; r < rows; r += height) {
    height = rows_at_once(rows - r);
    auto* const block = height == 6   ? avx512_pair_block<6, Packets>
                        : height == 4 ? avx512_pair_block<4, Packets>
                        : height == 3 ? avx512_pair_block<3, Packets>
                                      : avx512_pair_block<1, Packets>;
    block(a.data + r * a.stride, a.stride, b, pairs, out + r * stride, stride, add);
  }
}
COG_AVX512_BF16 inline void avx512_pair_products(pair_product const* products, int count, side_work*) {
  for (int i = 0; i < count; ++i) {
    pair_product const& x = products[i];
    auto const& [b, b_stride] = x.b;
    index_t c = 0;
    for (; c + 64 <= x.columns; c += 64)
      avx512_pair_panel<4>(x.a, x.rows, {b + c, b_stride}, x.pairs, x.out + c, x.stride, x.add);
    for (; c < x.columns; c += 16)
      avx512_pair_panel<1>(x.a, x.rows, {b + c, b_stride}, x.pairs, x.out + c, x.stride, x.add);
  }
}
#undef COG_AVX512_BF16

inline constexpr pair_unit amx_unit{multiply_in_tiles<amx_tiles>, true};
inline constexpr pair_unit avx512_pair_unit{avx512_pair_products, false};

/// Null: none is faster than float. Intel's processors start VDPBF16PS a quarter as often as a multiply-add of floats:
/// half the rate.
inline pair_unit const* best_pair_unit() {
  if (amx_tiles::usable()) return &amx_unit;
  if (__builtin_cpu_supports("avx512bf16") && !__builtin_cpu_is("intel")) return &avx512_pair_unit;
  return nullptr;
}

#else

inline pair_unit const* best_pair_unit() { return nullptr; }

#endif

/// What products of bf16 use from now on; null: they are made in float. Tests go through all units.
inline std::atomic<pair_unit const*>& chosen_pair_unit() {
  static std::atomic<pair_unit const*> chosen{best_pair_unit()};
  return chosen;
}

// ---- Packing

/// Two neighbours in the bits of a float.
inline float bf16_pair(bf16 low, bf16 high) {
  return bits_as<float>(static_cast<std::uint32_t>(low.bits) | static_cast<std::uint32_t>(high.bits) << 16);
}

/// (k, c) of rows of pairs, the pairs of rows 2p and 2p + 1.
inline float in_pair(rows_of<float> const& pairs, index_t k, index_t c) {
  auto const pair = bits_as<std::uint32_t>(pairs(k / 2, c));
  return bits_as<float>(k % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
}

/// Rows of floats that bf16 holds become rows of pairs, in their place: rows 2p and 2p + 1 become row p. After the last come
/// zeros, for which there is room. `columns` is a multiple of lane_multiple.
inline void pair_rows(float* x, index_t stride, index_t rows, index_t columns) {
  using S = simd<float>;
  if (rows % 2 == 1) std::fill_n(x + rows * stride, columns, 0.0f);
  for (index_t p = 0; p < blocks_of(rows, 2); ++p)
    for (index_t c = 0; c < columns; c += S::size)
      bf16_pairs(S::load_aligned(x + 2 * p * stride + c), S::load_aligned(x + (2 * p + 1) * stride + c))
          .store_aligned(x + p * stride + c);
}

struct pair_kernel {
  template <class S>
  static COG_INLINE void run(bf16 const* from, index_t from_stride, index_t pairs, index_t columns, float* to,
                             index_t to_stride) {
    for (index_t p = 0; p < pairs; ++p, from += 2 * from_stride, to += to_stride)
      for (index_t c = 0; c + S::size <= columns; c += S::size)
        bf16_pairs(S::load(from + c), S::load(from + from_stride + c)).store(to + c);
  }
};

/// to(p, c) = (from(2p, c), from(2p + 1, c)); after the last row come zeros.
inline void pack_pairs(bf16 const* from, index_t from_stride, index_t rows, index_t columns, float* to,
                       index_t to_stride) {
  constexpr index_t width = lane_multiple<float>;
  index_t const whole = columns / width * width;
  dispatch<pair_kernel, float>(from, from_stride, rows / 2, whole, to, to_stride);
  for (index_t r = 0; r < rows; r += 2, from += 2 * from_stride, to += to_stride)
    for (index_t c = r + 1 < rows ? whole : 0; c < columns; ++c)
      to[c] = bf16_pair(from[c], r + 1 < rows ? from[from_stride + c] : bf16());
}

/// to(c, r) = from(r, c) as rows of neighbours, with zeros up to an even number of them. `pitch` is even.
inline void transpose_pairs(bf16 const* from, index_t from_stride, index_t rows, index_t columns, bf16* to,
                            index_t pitch) {
  constexpr index_t strip = 32, width = 64;  // [32, 64] at a time
  alignas(64) float pairs[strip / 2 * width], turned[strip / 2 * width];
  for (index_t r = 0; r < rows; r += strip)
    for (index_t c = 0; c < columns; c += width) {
      index_t const height = std::min(strip, rows - r), n = std::min(width, columns - c),
                    half_height = blocks_of(height, 2);
      pack_pairs(from + r * from_stride + c, from_stride, height, n, pairs, width);
      transpose(static_cast<float const*>(pairs), width, half_height, n, turned, strip / 2);
      for (index_t i = 0; i < n; ++i)
        std::memcpy(static_cast<void*>(to + (c + i) * pitch + r), turned + i * strip / 2,
                    static_cast<std::size_t>(4 * half_height));
    }
}

/// The rows of a [B, H, N, W] operand turned once for all: at(b, h, first, ...) is W rows of neighbours from row
/// `first` on, an even one. After the last come zeros up to an even number. Block: so many rows lie together, and at() is asked
/// for rows of one block; 0: for any.
template <index_t Block = 0>
class pair_columns {
 public:
  pair_columns(cpu_context const& ctx, view<bf16 const, 4> const& x, bool = true)
      : heads_(x.extents[1]),
        width_(x.extents[3]),
        pitch_(Block > 0 ? Block : round_up(x.extents[2], 32) + 32),  // no power of 2
        head_size_(width_ * (Block > 0 ? round_up(x.extents[2], Block) : pitch_)) {
    constexpr index_t chunk = Block > 0 ? Block : 256;
    index_t const length = x.extents[2], chunks = blocks_of(length, chunk);
    row_source<bf16, bf16> const rows(ctx, x, false);
    turned_ = scratch<bf16>(ctx, x.extents[0] * heads_ * head_size_);
    ctx.run(x.extents[0] * heads_ * chunks, [&](index_t task) {
      index_t const bh = task / chunks, b = bh / heads_, h = bh % heads_, first = task % chunks * chunk, n = std::min(chunk, length - first);
      scratch<bf16> const buffer(ctx, rows.buffer_size(n));
      auto const from = rows.at(b, h, first, n, buffer.get());
      transpose_pairs(from.data, from.stride, n, width_, turned_.get() + place(b, h, first), pitch_);
    });
  }
  rows_of<bf16> at(index_t b, index_t h, index_t first, index_t, bf16*) const {
    return {turned_.get() + place(b, h, first), pitch_};
  }
  index_t buffer_size(index_t) const { return 0; }

 private:
  index_t place(index_t b, index_t h, index_t first) const {
    index_t const within = Block > 0 ? first / pitch_ * pitch_ * width_ + first % pitch_ : first;
    return (b * heads_ + h) * head_size_ + within;
  }

  index_t heads_, width_, pitch_, head_size_;
  scratch<bf16> turned_;
};

}  // namespace cog::cpu_detail
