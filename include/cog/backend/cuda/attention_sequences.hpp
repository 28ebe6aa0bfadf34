// Sequences of different lengths: one after the other in tensors of batch 1, or each in its own entry with fewer keys than there is room
// for, or in pages. The forward kernels for Hopper take them as they are; for all others, of contiguous keys, a query's sequence is an
// interval of the keys of its tensor, so that nothing else need know of them.
#pragma once

#include <cog/backend/cuda/attention_tile.hpp>

namespace cog::cuda_detail {

/// Where the queries and keys of an entry of the batch lie in their tensors.
struct sequence_place {
  int queries, keys;          // how many
  int query_batch, query_at;  // the first of them
  int key_batch, key_at;
};

/// Null where that is not so.
struct sequence_table {
  std::int32_t const* query_begin = nullptr;  // [B + 1]
  std::int32_t const* key_begin = nullptr;    // [B + 1]
  std::int32_t const* key_count = nullptr;    // [B]
  std::int32_t const* pages = nullptr;        // [B, page_step]: the entry of k and v that holds keys n * page_size ...
  int page_step = 0, page_size = 0;

  bool any() const { return query_begin || key_begin || key_count; }
  __device__ sequence_place place(int batch, int queries, int keys) const {
    sequence_place p{queries, keys, batch, 0, batch, 0};
    if (query_begin) p.query_batch = 0, p.query_at = query_begin[batch], p.queries = query_begin[batch + 1] - p.query_at;
    if (key_begin) p.key_batch = 0, p.key_at = key_begin[batch], p.keys = key_begin[batch + 1] - p.key_at;
    if (key_count) p.keys = key_count[batch];
    return p;
  }
  /// Entry and position of key j.
  __device__ int2 key(sequence_place const& p, int batch, int j) const {
    return pages ? int2{pages[static_cast<index_t>(batch) * page_step + j / page_size], j % page_size} : int2{p.key_batch, p.key_at + j};
  }
};

/// The mask of one sequence, aligned at its end; `mask` is that of so many queries and keys.
__device__ COG_INLINE interval_mask mask_of_sequence(interval_mask mask, sequence_place const& p, int queries, int keys) {
  mask.offset += (p.keys - p.queries) - (keys - queries);
  mask.keys = p.keys;
  return mask;
}

/// start and stop of query i of entry b of q: a thread each. The mask is that of all queries and keys of an entry.
template <class = void>
__global__ void __launch_bounds__(256) sequence_spans_kernel(sequence_table sequences, int entries, int count, interval_mask mask, int queries, int keys, std::int32_t* start,
                                                             std::int32_t* stop) {
  int const at = blockIdx.x * 256 + threadIdx.x;
  if (at >= count) return;
  int batch = at / queries, i = at % queries;
  if (sequences.query_begin) {
    batch = 0;
    for (int end = entries; end - batch > 1;) {  // the last sequence that begins at i or before
      int const middle = (batch + end) / 2;
      if (sequences.query_begin[middle] <= i) batch = middle;
      else end = middle;
    }
  }
  sequence_place const p = sequences.place(batch, queries, keys);
  bool const there = i >= p.query_at && i - p.query_at < p.queries;
  key_range const span = mask_of_sequence(mask, p, queries, keys).range(batch, 0, i - p.query_at);
  start[at] = p.key_at + static_cast<int>(span.begin);
  stop[at] = there && span.begin < span.end ? p.key_at + static_cast<int>(span.end) : start[at];
}

/// Masks of tensors in which there may be sequences.
class sequence_spans {
 public:
  /// The mask is that of `entries` with so many queries each, or with those of q, where they are one after the other, and so many keys.
  sequence_spans(cuda_context const& ctx, sequence_table const& sequences, index_t entries, std::array<index_t, 2> const& queries, interval_mask const& mask, index_t keys)
      : memory_(ctx, sequences.any() ? 2 * queries[0] * queries[1] : 0), mask_(mask) {
    if (!memory_.get()) return;
    index_t const count = queries[0] * queries[1];
    auto const spans = [&](index_t first) { return view<std::int32_t const, 2>{memory_.get() + first, queries, {queries[1], 1}}; };
    mask_.start = spans(0), mask_.stop = spans(count);
    ctx.launch("attention", {along_x("attention", blocks_of(count, 256)), dim3(256)}, sequence_spans_kernel<>, sequences, static_cast<int>(entries), static_cast<int>(count), mask,
               static_cast<int>(queries[1]), static_cast<int>(keys), memory_.get(), memory_.get() + count);
  }
  /// Of tensors of so many keys.
  interval_mask mask(index_t keys) const {
    interval_mask out = mask_;
    out.keys = keys;
    return out;
  }

 private:
  scratch<std::int32_t> memory_;
  interval_mask mask_;
};

}  // namespace cog::cuda_detail
