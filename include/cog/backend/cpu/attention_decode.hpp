// Attention of a few queries (decoding): each key is one dot product and one scaled addition, straight from memory.
// Lanes are the width here, not the queries, so that a single query uses whole registers; the rate is that of the
// memory. The same interface as forward_tile.
#pragma once

#include <array>
#include <cmath>
#include <limits>

#include <cog/attention/arguments.hpp>
#include <cog/backend/cpu/attention_tile.hpp>
#include <cog/backend/cpu/thin.hpp>

namespace cog::cpu_detail {

/// The first n scores of one query -> weights relative to e^reference, which follows the largest exponent; `factor` is
/// what it makes of what was relative to the old one. Up to the end of the last register, scores repeat the last.
template <class Rule>
struct weigh_row {
  template <class S, class C>
  static COG_INLINE void run(C* scores, index_t n, C* reference, C* total, C* factor) {
    constexpr index_t size = S::size;
    alignas(64) C lanes[size];
    S top = Rule::exponent(S::load_aligned(scores));
    for (index_t j = size; j < n; j += size) top = fast_max(Rule::exponent(S::load_aligned(scores + j)), top);
    top.store_aligned(lanes);
    C const before = *reference;
    C after = before;
    for (index_t i = 0; i < size; ++i) after = lanes[i] > after ? lanes[i] : after;
    *factor = after > before ? std::exp(before - after) : C(1);
    *reference = after;

    S sum = C(0);
    S const r = after;
    C rest = 0;
    for (index_t j = 0; j < n; j += size) {
      S const s = S::load_aligned(scores + j);
      S const p = exp_decay(Rule::exponent(s) - r);
      Rule::weight(s, p).store_aligned(scores + j);
      if (j + size <= n) {
        sum += p;
      } else {
        p.store_aligned(lanes);
        for (index_t i = 0; i < n - j; ++i) rest += lanes[i];
      }
    }
    *total = *total * *factor + (reduce_add(sum) + rest);
  }
};

template <attention_rule Rule, class T>
class forward_rows {
  using C = compute_t<T>;
  using S = simd<C>;

 public:
  template <class U>
  using key_source = row_source<T, U>;
  template <class U>
  using value_source = row_source<T, U>;
  using stored = T;                   // what rows of keys and values hold
  static constexpr bool keeps_keys = false;
  static constexpr index_t most = 8;  // queries; with more, lanes of queries are faster
  static constexpr index_t key_block = 128;
  std::array<query_lane, most> lanes;

  forward_rows(cpu_context const& ctx, index_t width, index_t value_width)
      : width_(width),
        value_width_(value_width),
        memory_(ctx, most * (key_block + width + value_width + std::max(width, value_width))) {
    scores_ = memory_.get();                   // [most, 128]
    query_ = scores_ + most * key_block;       // [most, D]
    out_ = query_ + most * width;              // [most, E]
    rows_ = out_ + most * value_width;         // [most, D or E]
  }

  C* row(index_t i, index_t row_width) { return rows_ + i * row_width; }

  void start(index_t n, C scale) {
    count_ = n;
    std::fill_n(out_, most * value_width_, C(0));
    some_ = {std::numeric_limits<index_t>::max(), 0};
    for (index_t i = 0; i < n; ++i) {
      for (index_t c = 0; c < width_; ++c) query_[i * width_ + c] = scale * row(i, width_)[c];
      auto const at = static_cast<std::size_t>(i);
      reference_[at] = std::numeric_limits<C>::lowest();
      total_[at] = 0;
      key_range const keys = lanes[at].keys;
      if (keys.begin < keys.end) some_ = {std::min(some_.begin, keys.begin), std::max(some_.end, keys.end)};
    }
    some_.begin = std::min(some_.begin, some_.end);
  }

  key_range keys() const { return some_; }
  index_t next_count(index_t first, index_t last) const { return std::min(key_block, last - first); }

  /// All queries take the keys, then all of them the values: either block stays in the first-level cache for them.
  template <lowered_mask Mask>
  void absorb(Mask const& mask, index_t batch, index_t first, index_t n, rows_of<T> k, rows_of<T> v) {
    auto const seen_by = [&](index_t i) -> key_range {
      key_range const keys = lanes[static_cast<std::size_t>(i)].keys;
      return {std::clamp<index_t>(keys.begin - first, 0, n), std::clamp<index_t>(keys.end - first, 0, n)};
    };
    if (!Mask::by_key && sees_alike()) {  // as the heads of a group do
      if (key_range const keys = seen_by(0); keys.begin < keys.end) {
        make_scores(0, count_, keys, k);
        for (index_t i = 0; i < count_; ++i) weigh(i, keys.end - keys.begin);
        add_values(0, count_, from(v, keys.begin), nullptr, keys.end - keys.begin);
      }
      return;
    }
    for (index_t i = 0; i < count_; ++i)
      if (key_range const keys = seen_by(i); keys.begin < keys.end) make_scores(i, 1, keys, k);
    for (index_t i = 0; i < count_; ++i) {
      key_range const keys = seen_by(i);
      if (keys.begin >= keys.end) continue;
      C* const scores = scores_ + i * key_block;
      index_t seen = keys.end - keys.begin;
      std::array<index_t, key_block> at;
      if constexpr (Mask::by_key) {  // those that are seen, closed up
        query_lane const& lane = lanes[static_cast<std::size_t>(i)];
        seen = 0;
        for (index_t j = keys.begin; j < keys.end; ++j)
          if (mask.visible(batch, lane.head, lane.query, first + j)) {
            scores[seen] = scores[j - keys.begin];
            at[static_cast<std::size_t>(seen++)] = j - keys.begin;
          }
      }
      weigh(i, seen);
      add_values(i, 1, from(v, keys.begin), Mask::by_key ? at.data() : nullptr, seen);
    }
  }

  void finish() {
    for (index_t i = 0; i < count_; ++i) {
      C const total = total_[static_cast<std::size_t>(i)];
      C const factor = total == C(0) ? C(0) : C(1) / total;
      for (index_t c = 0; c < value_width_; ++c) row(i, value_width_)[c] = out_[i * value_width_ + c] * factor;
    }
  }
  C logsumexp(index_t i) const {
    auto const at = static_cast<std::size_t>(i);
    return total_[at] == C(0) ? -std::numeric_limits<C>::infinity() : reference_[at] + std::log(total_[at]);
  }

 private:
  static rows_of<T> from(rows_of<T> rows, index_t first) { return {rows.data + first * rows.stride, rows.stride}; }

  bool sees_alike() const {
    for (index_t i = 1; i < count_; ++i) {
      key_range const first = lanes[0].keys, keys = lanes[static_cast<std::size_t>(i)].keys;
      if (keys.begin != first.begin || keys.end != first.end) return false;
    }
    return true;
  }
  /// Of n queries from i on.
  void make_scores(index_t i, index_t n, key_range keys, rows_of<T> k) {
    dots_of_rows(rows_of<C>{query_ + i * width_, width_}, n, from(k, keys.begin), width_, keys.end - keys.begin,
                 scores_ + i * key_block, key_block);
  }
  void add_values(index_t i, index_t n, rows_of<T> v, index_t const* at, index_t keys) {
    sums_of_rows(rows_of<C>{scores_ + i * key_block, key_block}, n, v, at, keys, value_width_, out_ + i * value_width_,
                 value_width_);
  }
  /// The first n scores of query i -> weights relative to e^reference.
  void weigh(index_t i, index_t n) {
    if (n == 0) return;
    C* const scores = scores_ + i * key_block;
    auto const at = static_cast<std::size_t>(i);
    std::fill(scores + n, scores + round_up(n, lane_multiple<C>), scores[n - 1]);
    C factor;
    dispatch<weigh_row<Rule>, C>(scores, n, &reference_[at], &total_[at], &factor);
    if (factor != C(1)) scale_row(out_ + i * value_width_, value_width_, factor);
  }

  index_t width_, value_width_, count_ = 0;
  key_range some_{};
  std::array<C, most> reference_{}, total_{};
  scratch<C> memory_;
  C *query_, *out_, *scores_, *rows_;
};

}  // namespace cog::cpu_detail
