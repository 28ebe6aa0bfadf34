// Masks are types: no_mask, causal, document, sliding_window, boolean. They own what they hold and say it twice:
//   lower(scores)    the trivially copyable form of kernels (visibility.hpp)
//   visible(scores)  a lazy bool expression that broadcasts to [B, Hq, Nq, Nk], for the composed form
// `scores` is that shape. Another struct with these two members is another mask.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include <cog/attention/visibility.hpp>
#include <cog/core/create.hpp>
#include <cog/expr/operators.hpp>

namespace cog {

/// What the attention functions take for a mask.
template <class M>
concept attention_mask = requires(M const& m, extents<4> scores) {
  { m.lower(scores) } -> lowered_mask;
  m.visible(scores);
};

/// Every query sees every key.
struct no_mask_type {
  lowered::everything lower(extents<4> const& scores) const { return {scores[3]}; }
  auto visible(extents<4> const&) const { return constant<bool>{true}; }
};
inline constexpr no_mask_type no_mask{};

/// Query i sees key j iff j <= i + Nk - Nq.
struct causal_type {
  lowered::window lower(extents<4> const& scores) const { return {scores[3] - scores[2], scores[3] + scores[2]}; }
  auto visible(extents<4> const& scores) const { return position<-1>{} <= position<-2>{} + (scores[3] - scores[2]); }
};
inline constexpr causal_type causal{};

/// Causal where it is not the last key that belongs to the last query: query i sees key j iff j <= i + before, a number in the
/// backend's memory. For caches of a fixed size; see counted_cache.
template <backend B>
struct counted_causal {
  tensor<std::int64_t, 0, B> before;

  lowered::counted lower(extents<4> const& scores) const { return {before.data(), scores[3]}; }
  auto visible(extents<4> const&) const { return position<-1>{} <= position<-2>{} + before; }
};
template <backend B>
counted_causal(tensor<std::int64_t, 0, B>) -> counted_causal<B>;

/// The last n keys up to and including the query's own: i + Nk - Nq - n < j <= i + Nk - Nq.
struct sliding_window {
  index_t n;
  lowered::window lower(extents<4> const& scores) const {
    if (n < 1) throw error("sliding_window: a window of ", n, " keys; at least 1 is needed");
    return {scores[3] - scores[2], std::min(n, scores[3] + scores[2])};  // no key lies further back
  }
  auto visible(extents<4> const& scores) const {
    auto const [offset, width] = lower(scores);
    return position<-1>{} <= position<-2>{} + offset && position<-1>{} > position<-2>{} + (offset - width);
  }
};

/// Causal, and not before the first key of the query's document: start(b, i) <= j <= i + Nk - Nq.
/// start: [B, Nq] or [1, Nq], counted in keys; see document_starts.
template <backend B>
struct document {
  tensor<std::int32_t, 2, B> start;

  lowered::document lower(extents<4> const& scores) const {
    extents<2> const wanted{scores[0], scores[2]};
    if (start.extents()[1] != wanted[1] || (start.extents()[0] != 1 && start.extents()[0] != wanted[0]))
      throw error("document: starts of shape ", start.extents(), " for queries of shape ", wanted,
                  " [batch, position]");
    return {{start.data(), wanted, broadcast_strides(start.extents(), start.strides(), wanted)}, scores[3] - scores[2]};
  }
  auto visible(extents<4> const& scores) const {
    index_t const offset = lower(scores).offset;
    return position<-1>{} <= position<-2>{} + offset &&
           position<-1>{} >= cast<std::int64_t>(unsqueeze(unsqueeze(start, 1), -1));  // [B, 1, Nq, 1]
  }
};
template <backend B>
document(tensor<std::int32_t, 2, B>) -> document<B>;

/// Keys whose entry is true (or not 0). Broadcasts to [B, Hq, Nq, Nk].
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
  auto visible(extents<4> const& scores) const {
    (void)lower(scores);
    if constexpr (std::same_as<T, bool>) return entries;
    else return entries != 0;
  }
};
template <class T, int Rank, backend B>
boolean(tensor<T, Rank, B>) -> boolean<T, Rank, B>;
template <lazy_expression E>
boolean(E) -> boolean<typename E::value_type, E::rank, typename E::backend_type>;

namespace detail {

/// Where the document of each token after `length` earlier ones begins; `current` holds, and keeps, that of the last.
template <backend B>
std::vector<std::int32_t> scan_documents(tensor<bool, 2, B> const& opens, index_t length,
                                         std::vector<std::int32_t>& current) {
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(opens.size()));
  if (!marks.empty()) B::copy_to_host(opens.context(), marks.data(), opens.contiguous().data(), marks.size());
  std::vector<std::int32_t> starts;
  for (std::int32_t& start : current)
    for (index_t i = 0; i < opens.extents()[1]; ++i) {
      if (marks[starts.size()] != 0) start = static_cast<std::int32_t>(length + i);
      starts.push_back(start);
    }
  return starts;
}

}  // namespace detail

/// Where the document of each token begins, [B, N], from the marks of the tokens that open one. Tokens before the first
/// mark form a document of their own. Found on the host.
template <backend B>
tensor<std::int32_t, 2, B> document_starts(tensor<bool, 2, B> const& opens) {
  std::vector<std::int32_t> current(static_cast<std::size_t>(opens.extents()[0]), 0);
  auto const starts = detail::scan_documents(opens, 0, current);
  return from(opens.context(), std::span<std::int32_t const>(starts), opens.extents());
}

/// The same from token ids: every `bos` opens a document.
template <class T, backend B>
  requires(std::same_as<T, std::int32_t> || std::same_as<T, std::int64_t>)
tensor<std::int32_t, 2, B> document_starts(tensor<T, 2, B> const& tokens, std::type_identity_t<T> bos) {
  return document_starts(tensor<bool, 2, B>(tokens == bos));
}

}  // namespace cog
