// Masks are types: which keys a query sees. Handles own their tensors; `lower` gives the trivially copyable form of kernels.
// A query sees an interval of keys, less those that a `boolean` mask hides. Kernels skip what no query of a block sees.
// Positions are aligned at the end: query i of Nq stands at key i + Nk - Nq, so one mask serves prefill and decoding.
#pragma once

#include <algorithm>
#include <concepts>
#include <type_traits>
#include <vector>

#include <cog/core/create.hpp>

namespace cog {

/// Keys [begin, end); empty when end <= begin.
struct key_range {
  index_t begin, end;
};

/// The form kernels use. `by_key`: `visible` must be asked for every key of the range.
template <class M>
concept lowered_mask = std::is_trivially_copyable_v<M> && requires(M const& m, index_t b, index_t h, index_t i, index_t j) {
  { M::by_key } -> std::convertible_to<bool>;
  { m.range(b, h, i) } -> std::same_as<key_range>;   // within [0, Nk]
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

/// The last `window` keys up to the query's own position.
struct window {
  static constexpr bool by_key = false;
  index_t keys = 0, offset = 0, window = 0;  // offset = Nk - Nq
  COG_HD key_range range(index_t, index_t, index_t i) const {
    index_t const end = i + offset + 1;
    index_t const begin = end - window;
    return {begin < 0 ? 0 : begin, end < 0 ? 0 : end};
  }
  COG_HD bool visible(index_t, index_t, index_t, index_t) const { return true; }
};

/// From the first key of the query's document up to the query's own position.
struct document {
  static constexpr bool by_key = false;
  view<std::int32_t const, 2> start;  // [B, Nq]
  index_t offset = 0;
  COG_HD key_range range(index_t b, index_t, index_t i) const {
    index_t const begin = start(b, i);
    index_t const end = i + offset + 1;
    return {begin < 0 ? 0 : begin, end < 0 ? 0 : end};
  }
  COG_HD bool visible(index_t, index_t, index_t, index_t) const { return true; }
};

/// Keys whose entry is not 0.
template <class T>
struct boolean {
  static constexpr bool by_key = true;
  view<T const, 4> entries;  // [B, H, Nq, Nk], stride 0 along broadcast axes
  COG_HD key_range range(index_t, index_t, index_t) const { return {0, entries.extents[3]}; }
  COG_HD bool visible(index_t b, index_t h, index_t i, index_t j) const { return entries(b, h, i, j) != T(0); }
};

}  // namespace lowered

/// Every query sees every key.
struct no_mask_type {
  lowered::everything lower(extents<4> const& scores) const { return {scores[3]}; }
};
inline constexpr no_mask_type no_mask{};

/// Key j is visible to query i iff j <= i + Nk - Nq.
struct causal_type {
  lowered::window lower(extents<4> const& scores) const { return {scores[3], scores[3] - scores[2], scores[3] + scores[2]}; }
};
inline constexpr causal_type causal{};

/// The last n keys up to and including the query's own: i + Nk - Nq - n < j <= i + Nk - Nq.
struct sliding_window {
  index_t n;
  lowered::window lower(extents<4> const& scores) const {
    if (n < 1) throw error("sliding_window: a window of ", n, " keys; at least 1 is needed");
    return {scores[3], scores[3] - scores[2], n};
  }
};

/// Causal, and not before the first key of the query's document: start(b, i) <= j <= i + Nk - Nq.
/// start: [B, Nq] or [1, Nq]; see document_starts.
template <backend B>
struct document {
  tensor<std::int32_t, 2, B> start;
  lowered::document lower(extents<4> const& scores) const {
    extents<2> const wanted{scores[0], scores[2]};
    if (start.extents()[1] != wanted[1] || (start.extents()[0] != 1 && start.extents()[0] != wanted[0]))
      throw error("document: starts of shape ", start.extents(), " for queries of shape ", wanted, " [batch, position]");
    return {{start.data(), wanted, broadcast_strides(start.extents(), start.strides(), wanted)}, scores[3] - scores[2]};
  }
};
template <backend B>
document(tensor<std::int32_t, 2, B>) -> document<B>;

/// Keys whose entry is true (or not 0). Broadcasts to [B, H, Nq, Nk].
template <class T, int Rank, backend B>
  requires((std::same_as<T, bool> || std::same_as<T, std::uint8_t>) && Rank <= 4)
struct boolean {
  tensor<T, Rank, B> entries;
  lowered::boolean<T> lower(extents<4> const& scores) const {
    bool fits = true;
    for (std::size_t i = 0; i < Rank; ++i) {
      index_t const n = entries.extents()[i];
      fits = fits && (n == 1 || n == scores[i + 4 - Rank]);
    }
    if (!fits) throw error("boolean mask: shape ", entries.extents(), " does not broadcast to the scores ", scores);
    return {{entries.data(), scores, broadcast_strides(entries.extents(), entries.strides(), scores)}};
  }
};
template <class T, int Rank, backend B>
boolean(tensor<T, Rank, B>) -> boolean<T, Rank, B>;

/// What the attention functions take. scores = [B, Hq, Nq, Nk].
template <class M>
concept attention_mask = requires(M const& m, extents<4> scores) {
  { m.lower(scores) } -> lowered_mask;
};

/// The first position of the document each token is in, [B, N], where `first` marks the tokens that open one.
/// Tokens before the first mark form a document of their own. Built on the host.
template <backend B>
tensor<std::int32_t, 2, B> document_starts(tensor<bool, 2, B> const& first) {
  auto const [batch, length] = first.extents();
  tensor<bool, 2, B> const row_major = first.contiguous();
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(first.size()));
  if (first.size() > 0) B::copy_to_host(first.context(), marks.data(), row_major.data(), marks.size());
  std::vector<std::int32_t> starts(marks.size());
  for (index_t b = 0, at = 0; b < batch; ++b) {
    std::int32_t start = 0;
    for (index_t i = 0; i < length; ++i, ++at) {
      if (marks[static_cast<std::size_t>(at)]) start = static_cast<std::int32_t>(i);
      starts[static_cast<std::size_t>(at)] = start;
    }
  }
  return from(first.context(), std::span<std::int32_t const>(starts), first.extents());
}

/// The same from token ids: a document opens at every `bos`.
template <class T, backend B>
  requires(std::same_as<T, std::int32_t> || std::same_as<T, std::int64_t>)
tensor<std::int32_t, 2, B> document_starts(tensor<T, 2, B> const& tokens, std::type_identity_t<T> bos) {
  std::vector<T> const ids = tokens.to_vector();
  std::vector<std::uint8_t> marks(ids.size());
  std::transform(ids.begin(), ids.end(), marks.begin(), [&](T id) { return id == bos; });
  tensor<bool, 2, B> first(tokens.context(), tokens.extents());
  if (!marks.empty()) B::copy_from_host(tokens.context(), first.data(), marks.data(), marks.size());
  return document_starts(first);
}

}  // namespace cog
