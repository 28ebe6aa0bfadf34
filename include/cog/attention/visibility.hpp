// Masks as kernels see them: trivially copyable, no tensors. A query sees an interval of keys, less those a `boolean`
// hides. Positions are aligned at the end: query i of Nq stands at key i + Nk - Nq, in training as in decoding.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include <cog/core/view.hpp>

namespace cog {

/// Keys [begin, end); none when end <= begin.
struct key_range {
  index_t begin, end;
};

/// What an attention kernel asks: which keys query (b, h, i) sees. If `by_key`, each key of the range is asked for.
template <class M>
concept lowered_mask = std::is_trivially_copyable_v<M> &&
                       requires(M const& m, index_t b, index_t h, index_t i, index_t j) {
  { M::by_key } -> std::convertible_to<bool>;
  { m.range(b, h, i) } -> std::same_as<key_range>;  // 0 <= begin, end <= Nk
  { m.visible(b, h, i, j) } -> std::same_as<bool>;  // for j in the range
};

namespace lowered {

/// Every query sees every key.
struct everything {
  static constexpr bool by_key = false;
  index_t keys = 0;
  COG_HD key_range range(index_t, index_t, index_t) const { return {0, keys}; }
  COG_HD bool visible(index_t, index_t, index_t, index_t) const { return true; }
};

/// The last `width` keys up to the query's own position. Causal is a window as wide as all keys.
struct window {
  static constexpr bool by_key = false;
  index_t offset = 0, width = 0;  // offset = Nk - Nq
  COG_HD key_range range(index_t, index_t, index_t i) const {
    index_t const end = i + offset + 1, begin = end - width;
    return {begin < 0 ? 0 : begin, end < 0 ? 0 : end};
  }
  COG_HD bool visible(index_t, index_t, index_t, index_t) const { return true; }
};

/// Up to the query's own position, which is counted from a number in the backend's memory.
struct counted {
  static constexpr bool by_key = false;
  std::int64_t const* before = nullptr;  // how many keys stand before the first query
  index_t keys = 0;
  COG_HD key_range range(index_t, index_t, index_t i) const {
    index_t const end = *before + i + 1;
    return {0, end < keys ? end : keys};
  }
  COG_HD bool visible(index_t, index_t, index_t, index_t) const { return true; }
};

/// From the first key of the query's document up to the query's own position.
struct document {
  static constexpr bool by_key = false;
  view<std::int32_t const, 2> start;  // [B, Nq]
  index_t offset = 0;
  COG_HD key_range range(index_t b, index_t, index_t i) const {
    index_t const begin = start(b, i), end = i + offset + 1;
    return {begin < 0 ? 0 : begin, end < 0 ? 0 : end};
  }
  COG_HD bool visible(index_t, index_t, index_t, index_t) const { return true; }
};

/// Keys whose entry is not 0.
template <class T>
struct boolean {
  static constexpr bool by_key = true;
  view<T const, 4> entries;  // [B, H, Nq, Nk], stride 0 along broadcast axes
  COG_HD key_range range(index_t, index_t, index_t) const { return {0, entries.extent(3)}; }
  COG_HD bool visible(index_t b, index_t h, index_t i, index_t j) const { return entries(b, h, i, j) != T(0); }
};

}  // namespace lowered

}  // namespace cog
