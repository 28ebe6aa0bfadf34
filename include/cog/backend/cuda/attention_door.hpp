// Attention for programs that have no tensors of this library: device pointers, strides, lengths and a stream, compiled by nvcc.
//   cog::door::attention a{.type = cog::door::element::bf16, .rule = cog::door::rule::cog, ...};  cog::door::forward(a);
// Work is queued on the stream of the call; what it needs besides is kept for the next call on that stream. Calls on one stream come from
// one thread at a time. Call once before a stream is captured: then nothing is allocated. Errors are thrown (cog::error).
#pragma once

#include <map>
#include <mutex>
#include <optional>

#include <cog/backend/cuda/attention.hpp>

namespace cog::door {

enum class element { bf16, half };
enum class rule { softmax, cog };

/// A tensor [batch, head, position, column] on the device; strides in elements.
struct tensor {
  void* data = nullptr;
  index_t batch = 0, head = 0, position = 0, column = 1;
};

/// One call. Query head h reads key head h / (heads / key_heads).
struct attention {
  element type = element::bf16;
  door::rule rule = door::rule::softmax;
  index_t batch = 1, heads = 1, key_heads = 1, queries = 0, keys = 0, width = 0, value_width = 0;
  float scale = 1;  // of scores, > 0
  /// A query at the position of key j (the last query is that of the last key) sees keys up to j if `causal`, and of these the last `window`
  /// if that is not 0; or, where `first` [batch, queries] is not null, from first(b, i) to j.
  bool causal = false;
  index_t window = 0;
  std::int32_t const* first = nullptr;

  tensor q{}, k{}, v{}, out{};         // [batch, heads, queries, width], [batch, key_heads, keys, width], [.., keys, value_width], [.., queries, value_width]
  float* logsumexp = nullptr;  // [batch, heads, queries], natural; null: not wanted. The backward pass needs it
  tensor out_gradient{}, dq{}, dk{}, dv{};

  // Sequences of different lengths, on the device. `queries` and `keys` are then those of the longest. Gradients are of those with *_begin.
  std::int32_t const* query_begin = nullptr;  // [batch + 1]: q, out and logsumexp have batch 1 and query_begin[batch] positions
  std::int32_t const* key_begin = nullptr;    // [batch + 1]: so do k and v
  index_t all_queries = 0, all_keys = 0;      // the positions of those
  std::int32_t const* key_count = nullptr;    // [batch]: keys in use of a cache with room for `keys`
  std::int32_t const* pages = nullptr;        // [batch, page_step]: entry pages[b][n] of k and v [page_count, key_heads, page_size, ..] holds keys n page_size ...
  index_t page_step = 0, page_size = 0, page_count = 0;  // with key_count; page_size divides 128 (80 where wider than 128), or is a multiple of it

  int device = 0;
  cudaStream_t stream = nullptr;
  bool any_order = false;  // gradients of queries may be added up as they come: faster, but not the same bits every time
};

namespace detail {

/// The context of a stream.
inline cuda_context const& context_of(attention const& a) {
  static std::mutex mutex;
  static auto& all = *new std::map<std::tuple<int, cudaStream_t, bool>, cuda_context>;  // the runtime may be gone before static objects are
  std::lock_guard lock(mutex);
  auto const key = std::tuple(a.device, a.stream, a.any_order);
  auto const found = all.find(key);
  if (found != all.end()) return found->second;
  return all.try_emplace(key, cuda_options{.device = a.device, .stream = a.stream, .any_order = a.any_order}).first->second;
}

template <class T>
view<T, 4> viewed(tensor const& x, std::array<index_t, 4> const& shape) {
  return {static_cast<T*>(x.data), shape, {x.batch, x.head, x.position, x.column}};
}

template <class T>
view<T, 3> rows_of(T* x, std::array<index_t, 4> const& q) {
  return {x, {q[0], q[1], q[2]}, {q[1] * q[2], q[2], 1}};
}

/// The shapes of a call's tensors.
struct shapes {
  std::array<index_t, 4> q, k, v, out;
  explicit shapes(attention const& a) {
    index_t const kb = a.pages ? a.page_count : a.key_begin ? 1 : a.batch, kn = a.pages ? a.page_size : a.key_begin ? a.all_keys : a.keys;
    index_t const qb = a.query_begin ? 1 : a.batch, qn = a.query_begin ? a.all_queries : a.queries;
    q = {qb, a.heads, qn, a.width}, out = {qb, a.heads, qn, a.value_width};
    k = {kb, a.key_heads, kn, a.width}, v = {kb, a.key_heads, kn, a.value_width};
  }
};

inline void check(attention const& a, bool backward) {
  auto const demand = [](bool good, char const* what) {
    if (!good) throw error("attention: ", what);
  };
  demand(a.batch >= 0 && a.queries >= 0 && a.keys >= 0 && a.width >= 0 && a.value_width >= 0, "a size is negative");
  demand(a.key_heads > 0 && a.heads % a.key_heads == 0, "heads are no multiple of key_heads");
  demand(a.scale > 0, "scale must be positive");
  demand(!a.first || (!a.query_begin && !a.key_begin && !a.key_count), "`first` is for sequences of one length");
  demand(!a.query_begin == !a.key_begin || a.key_count, "query_begin needs key_begin or key_count");
  demand(!a.pages || (a.key_count && !a.key_begin && a.page_size > 0), "pages need key_count and page_size");
  if (a.pages) {
    index_t const tile = std::max(a.width, a.value_width) <= 128 ? 128 : 80;
    demand(tile % a.page_size == 0 ? a.page_size % 8 == 0 : a.page_size % tile == 0, "page_size must be a multiple of 8 that divides the keys of a tile, or a multiple of these");
  }
  if (backward) {
    demand(!a.key_count && !a.query_begin == !a.key_begin, "gradients are of sequences with query_begin and key_begin, or of one length");
    demand(a.logsumexp, "gradients need the logsumexp of the forward pass");
  }
}

/// f(type, rule) of a call.
template <class F>
void dispatch(attention const& a, F const& f) {
  auto const with_rule = [&]<class T>(T const* type) {
    if (a.rule == door::rule::cog) f(type, static_cast<cog_rule const*>(nullptr));
    else f(type, static_cast<softmax_rule const*>(nullptr));
  };
  if (a.type == element::bf16) with_rule(static_cast<bf16 const*>(nullptr));
  else with_rule(static_cast<cog::half const*>(nullptr));
}

/// Every mask of a call is an interval.
inline cuda_detail::interval_mask mask_of(attention const& a, index_t query_positions) {
  index_t const aligned = a.keys - query_positions;
  if (a.first) return {{a.first, {a.batch, a.queries}, {a.queries, 1}}, aligned, 0, a.keys, nullptr, {}};
  if (a.causal) return {{}, aligned, a.window > 0 ? a.window : index_t{1} << 62, a.keys, nullptr, {}};
  return {{}, a.keys, index_t{1} << 62, a.keys, nullptr, {}};
}

inline cuda_detail::sequence_table table_of(attention const& a) {
  return {a.query_begin, a.key_begin, a.key_count, a.pages, static_cast<int>(a.page_step), static_cast<int>(a.page_size)};
}

/// Sequences as intervals of the keys of their tensors.
inline cuda_detail::sequence_spans spans_of(attention const& a, shapes const& s) {
  cuda_detail::checked_positions("attention", s.q[0] * s.q[2]);
  cuda_detail::checked_positions("attention", s.k[2]);
  return {context_of(a), table_of(a), a.batch, {s.q[0], s.q[2]}, mask_of(a, s.q[2]), a.keys};
}

}  // namespace detail

/// out, and logsumexp where it is wanted. Pages, and caches for sequences one after the other, need a device of compute capability 9.0 and
/// code for sm_90a.
inline void forward(attention const& a) {
  detail::check(a, false);
  cuda_context const& ctx = detail::context_of(a);
  detail::shapes const s(a);
  detail::dispatch(a, [&]<class T, class Rule>(T const*, Rule const*) {
    attention_arguments<T, cuda_detail::interval_mask> call{detail::viewed<T const>(a.q, s.q), detail::viewed<T const>(a.k, s.k), detail::viewed<T const>(a.v, s.v),
                                                           detail::viewed<T>(a.out, s.out), detail::rows_of(a.logsumexp, s.q), a.scale, detail::mask_of(a, s.q[2])};
    if (!a.query_begin && !a.key_begin && !a.key_count) return cuda_detail::attention_forward<Rule>(ctx, call);
    if (a.batch * a.heads * s.q[2] == 0) return;
    cuda_detail::forward_task<T, cuda_detail::interval_mask> task{};
    task.a = call;
    task.key_heads = static_cast<int>(a.key_heads);
    task.keys = cuda_detail::checked_positions("attention", a.keys);
    task.width = static_cast<int>(a.width), task.value_width = static_cast<int>(a.value_width);
    if (cuda_detail::runs_hopper_kernels(ctx) && cuda_detail::hopper_forward_pass<Rule, T>(ctx, task, detail::table_of(a), a.batch, a.queries).run()) return;
    if (a.pages || (a.query_begin && a.key_count))
      throw error("attention: pages, and caches for sequences one after the other, need compute capability 9.0, code for sm_90a, and widths from 1 to 256");
    auto const spans = detail::spans_of(a, s);
    call.mask = spans.mask(s.k[2]);
    cuda_detail::attention_forward<Rule>(ctx, call);
  });
}

/// dq, dk and dv from q, k, v, out, logsumexp and out_gradient.
inline void backward(attention const& a) {
  detail::check(a, true);
  cuda_context const& ctx = detail::context_of(a);
  detail::shapes const s(a);
  auto const spans = detail::spans_of(a, s);
  auto const mask = spans.mask(s.k[2]);
  detail::dispatch(a, [&]<class T, class Rule>(T const*, Rule const*) {
    cuda_detail::attention_backward<Rule>(
        ctx, attention_backward_arguments<T, cuda_detail::interval_mask>{
                 detail::viewed<T const>(a.q, s.q), detail::viewed<T const>(a.k, s.k), detail::viewed<T const>(a.v, s.v), detail::viewed<T const>(a.out, s.out),
                 detail::rows_of<float const>(a.logsumexp, s.q), detail::viewed<T const>(a.out_gradient, s.out), detail::viewed<T>(a.dq, s.q),
                 detail::viewed<T>(a.dk, s.k), detail::viewed<T>(a.dv, s.v), a.scale, mask});
  });
}

/// Decoding: `queries` new positions of each sequence against a cache, contiguous or in pages; forward under another name. Few queries of
/// many keys are split over the device, and the query heads of a key head share what they read.
inline void decode(attention const& a) { forward(a); }

}  // namespace cog::door
