// What attention kernels share: rows and the keys that they see, rules in device arithmetic, results in one piece or in parts.
// The queries of a key head are rows: row r is query r / group of the r % group-th head of its group, so that grouped heads read
// each key once and a tile of rows is full even where queries are few.
#pragma once

#include <cog/attention/arguments.hpp>
#include <cog/backend/cuda/block.hpp>
#include <cog/backend/cuda/context.hpp>
#include <cog/backend/cuda/intrinsics.hpp>

namespace cog::cuda_detail {

template <class C> inline constexpr C log2_e = C(1.44269504088896340736);
template <class C> inline constexpr C ln_2 = C(0.693147180559945309417);

// ---- Masks and rules

/// Every mask of the library that asks nothing key by key, so that kernels are compiled once for all of them.
struct interval_mask {
  static constexpr bool by_key = false;
  view<std::int32_t const, 2> start;        // [B, Nq], or null
  index_t offset = 0, width = 0, keys = 0;  // query i sees at most keys (i + offset - width, i + offset]
  std::int64_t const* before = nullptr;     // or (i + *before - width, i + *before]
  view<std::int32_t const, 2> stop;         // [B, Nq]: or [start, stop)
  COG_HD key_range range(index_t b, index_t, index_t i) const {
    index_t const end = stop.data ? stop(b, i) : i + (before ? *before : offset) + 1, begin = start.data ? start(b, i) : end - width;
    return {begin < 0 ? 0 : begin, end < 0 ? 0 : end < keys ? end : keys};
  }
  COG_HD bool visible(index_t, index_t, index_t, index_t) const { return true; }
};

template <lowered_mask M>
M device_mask(M const& mask, index_t) { return mask; }
inline interval_mask device_mask(lowered::everything const& mask, index_t) { return {{}, mask.keys, index_t{1} << 62, mask.keys, nullptr, {}}; }
inline interval_mask device_mask(lowered::window const& mask, index_t keys) { return {{}, mask.offset, mask.width, keys, nullptr, {}}; }
inline interval_mask device_mask(lowered::document const& mask, index_t keys) { return {mask.start, mask.offset, 0, keys, nullptr, {}}; }
inline interval_mask device_mask(lowered::counted const& mask, index_t keys) { return {{}, 0, index_t{1} << 62, keys, mask.before, {}}; }

/// A rule as kernels call it. `homogeneous`: u(c s) = c u(s) and sign(c s) = sign(s) for c > 0, so that the scale of the scores may be
/// a factor of the exponent.
template <class Rule>
struct device_rule : Rule {
  static constexpr bool homogeneous = false;
};
template <>
struct device_rule<softmax_rule> : softmax_rule {
  static constexpr bool homogeneous = true;
  /// gradient() from the weight alone; where a rule has it, scores need not be kept.
  static __device__ COG_INLINE float weight_gradient(float w, float g, float mean) { return gradient(w, w, g, mean); }
};
/// In float: |s| is a modifier of the instruction that reads it, and sign(s) p one minimum. Of |s| < 2^-127 p less than p is left; of |s| < p,
/// where weight_of_small spares a multiplication.
template <>
struct device_rule<cog_rule> : cog_rule {
  static constexpr bool homogeneous = true;
  using cog_rule::exponent, cog_rule::weight, cog_rule::gradient;
  static __device__ COG_INLINE float exponent(float s) { return fabsf(s); }
  static __device__ COG_INLINE float weight(float s, float p) { return signed_min(p, s * 0x1p127f); }
  static __device__ COG_INLINE float weight_of_small(float s, float p) { return signed_min(p, s); }
  static __device__ COG_INLINE float gradient(float s, float p, float g, float mean) { return weight_gradient(weight(s, p), g, mean); }
  static __device__ COG_INLINE float weight_gradient(float w, float g, float mean) { return fabsf(w) * g - w * mean; }
};

// ---- Rows and keys

/// Where a row stands. head < 0: nowhere, the row is 0.
struct row_place {
  int position, head;
};

/// Keys [begin, end) as kernels count them.
struct key_span {
  int begin, end;
  __device__ bool holds(int key) const { return key >= begin && key < end; }
};

/// Keys that some row of a tile sees, and keys that every one of its rows sees.
struct tile_span {
  key_span some{0x7fffffff, 0}, all{0, 0x7fffffff};
  __device__ void add(key_span const& row) {
    if (row.begin < row.end) widen(row);
    narrow(row);
  }
  __device__ void operator()(tile_span& into, tile_span const& other) const {  // merges, as merge_lanes wants it
    into.widen(other.some);
    into.narrow(other.all);
  }
  /// Does a tile of keys need to be asked about?
  __device__ bool whole(int first, int end) const { return first >= all.begin && end <= all.end; }

 private:
  __device__ void widen(key_span const& other) {
    some.begin = other.begin < some.begin ? other.begin : some.begin;
    some.end = other.end > some.end ? other.end : some.end;
  }
  __device__ void narrow(key_span const& other) {
    all.begin = other.begin > all.begin ? other.begin : all.begin;
    all.end = other.end < all.end ? other.end : all.end;
  }
};

/// The rows of key heads: their number, and how many query heads share one.
struct head_rows {
  int count, group, tiles;
  __device__ row_place place(int key_head, int row) const {
    return row < count ? row_place{row / group, key_head * group + row % group} : row_place{0, -1};
  }
};

template <class Mask>
__device__ key_span span_of(Mask const& mask, int batch, row_place const& row) {
  key_range const keys = mask.range(batch, row.head, row.position);
  return {static_cast<int>(keys.begin), static_cast<int>(keys.end)};
}

// ---- Forward

/// What a forward kernel is given.
template <class T, class Mask>
struct forward_task {
  using C = compute_t<T>;
  attention_arguments<T, Mask> a;
  head_rows rows;
  int key_heads, keys, width, value_width;
  int splits;          // parts into which the keys of a tile are cut
  C* partial_out;      // [split, batch, head, query, E], where there are several
  C* partial_logsumexp;

  __device__ index_t row_index(int batch, row_place const& row) const {
    return (batch * a.q.extent(1) + row.head) * a.q.extent(2) + row.position;
  }
  __device__ index_t partial_index(int split, int batch, row_place const& row) const {
    return split * (a.q.extent(0) * a.q.extent(1) * a.q.extent(2)) + row_index(batch, row);
  }
  __device__ void write(int split, int batch, row_place const& row, int column, C value) const {
    if (splits > 1) partial_out[partial_index(split, batch, row) * value_width + column] = value;
    else a.out(batch, row.head, row.position, column) = T(value);
  }
  __device__ void write_logsumexp(int split, int batch, row_place const& row, C value) const {
    if (splits > 1) partial_logsumexp[partial_index(split, batch, row)] = value;
    else if (a.logsumexp.data) a.logsumexp(batch, row.head, row.position) = value;
  }
  /// The part of what a tile sees that belongs to this split, in whole tiles of `size` keys.
  __device__ key_span part(key_span some, int split, int size) const {
    if (some.begin >= some.end) return {0, 0};
    int const share = ((some.end - some.begin + splits - 1) / splits + size - 1) / size * size;
    int const begin = some.begin + split * share;
    return {begin, begin + share < some.end ? begin + share : some.end};
  }
};

/// logsumexp from the sum of 2^(u / ln 2 - reference).
template <class C>
__device__ COG_INLINE C finished_logsumexp(C reference, C total) {
  return total == C(0) ? -math::infinity<C> : reference * ln_2<C> + math::log(total);
}

/// The partial results of every row become one: a thread takes a column.
template <class T, class Mask>
__global__ void __launch_bounds__(256) merge_attention_kernel(forward_task<T, Mask> t) {
  using C = compute_t<T>;
  index_t const rows = t.a.q.extent(0) * t.a.q.extent(1) * t.a.q.extent(2);
  int const columns = t.value_width > 0 ? t.value_width : 1;
  index_t const at = static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x, row = at / columns;
  if (row >= rows) return;
  int const column = static_cast<int>(at % columns);
  C out = 0, logsumexp = -math::infinity<C>;
  for (int s = 0; s < t.splits; ++s) {
    merge_shares<C> const share(logsumexp, t.partial_logsumexp[s * rows + row]);
    if (t.value_width > 0) out = share.first * out + share.second * t.partial_out[(s * rows + row) * t.value_width + column];
    logsumexp = share.logsumexp;
  }
  index_t const query = row % t.a.q.extent(2), head = row / t.a.q.extent(2) % t.a.q.extent(1), batch = row / t.a.q.extent(2) / t.a.q.extent(1);
  if (t.value_width > 0) t.a.out(batch, head, query, column) = T(out);
  if (column == 0 && t.a.logsumexp.data) t.a.logsumexp(batch, head, query) = logsumexp;
}

// ---- Backward

/// What a backward kernel computes.
enum class gradient { of_queries, of_keys, of_values, of_keys_and_values };

/// What the backward pass knows of a row.
template <class C>
struct alignas(16) row_state {
  C reference, mean;  // logsumexp / ln 2; <gradient of out, out>
  key_span keys;
};

/// What a backward kernel is given. Tiles of rows are `row_tile` long.
inline constexpr int row_tile = 64;

/// The rows of key heads in tiles; of each, the first `used` places are in use. Fewer than all where boxes of whole groups do not fill a tile.
struct tiled_rows {
  int count, group, tiles, used, rows;  // places, ..., rows
  __device__ row_place place(int key_head, int at) const {
    int const row = at / row_tile * used + at % row_tile;
    return at % row_tile < used && row < rows ? row_place{row / group, key_head * group + row % group} : row_place{0, -1};
  }
};

template <class T, class Mask>
struct backward_task {
  using C = compute_t<T>;
  attention_backward_arguments<T, Mask> a;
  tiled_rows rows;
  int key_heads, keys, width, value_width;
  row_state<C>* states;  // [batch, key head, tile, 64]
  tile_span* spans;      // [batch, key head, tile]
  int const* only_if = nullptr;  // nothing is to be done where this is 0: others have done it
  __device__ bool wanted() const { return !only_if || *only_if != 0; }
};

/// The states of a tile of rows: a warp takes a row at a time. Rows that are nowhere see no key, and are 0.
template <class T, class Mask>
__global__ void __launch_bounds__(256) row_states_kernel(backward_task<T, Mask> t) {
  using C = compute_t<T>;
  int const tile = blockIdx.x % t.rows.tiles, bh = blockIdx.x / t.rows.tiles, batch = bh / t.key_heads, key_head = bh % t.key_heads;
  int const warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  tile_span span;
  for (int r = warp; r < row_tile; r += 8) {
    row_place const row = t.rows.place(key_head, tile * row_tile + r);
    row_state<C> state{};
    if (row.head >= 0) {
      C sum = 0;
      for (int c = lane; c < t.value_width; c += 32)
        sum += static_cast<C>(t.a.out_gradient(batch, row.head, row.position, c)) * static_cast<C>(t.a.out(batch, row.head, row.position, c));
      state.mean = merge_lanes(sum, 32, [](C& a, C b) { a += b; });
      state.reference = t.a.logsumexp(batch, row.head, row.position) * log2_e<C>;
      state.keys = span_of(t.a.mask, batch, row);
      span.add(state.keys);
    }
    if (lane == 0) t.states[static_cast<index_t>(blockIdx.x) * row_tile + r] = state;
  }
  __shared__ room_for<tile_span, 8> slots;
  span = merge_block<256>(span, slots.get(), tile_span{});
  if (threadIdx.x == 0) t.spans[blockIdx.x] = span;
}

}  // namespace cog::cuda_detail
