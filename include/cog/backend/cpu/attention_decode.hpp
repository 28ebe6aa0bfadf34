// Attention of a few queries (decoding): each key is one dot product and one scaled addition, straight from memory.
// Lanes are the width here, not the queries, so that a single query uses whole registers; the rate is that of the
// memory. The same interface as forward_tile.
#pragma once

#include <array>
#include <cmath>
#include <limits>

#include <cog/attention/arguments.hpp>
#include <cog/backend/cpu/attention_tile.hpp>

namespace cog::cpu_detail {

template <attention_rule Rule, class C>
class forward_rows {
  using S = simd<C>;

 public:
  static constexpr index_t most = 3;  // queries; from 4 on, lanes of queries are faster
  static constexpr index_t key_block = 128;
  std::array<query_lane, most> lanes;

  forward_rows(cpu_context const& ctx, index_t width, index_t value_width)
      : width_(width),
        padded_width_(round_up(width, S::size)),
        value_width_(value_width),
        padded_value_width_(round_up(value_width, S::size)),
        memory_(ctx, most * (width + padded_width_ + padded_value_width_ + value_width) + 2 * key_block) {
    query_ = memory_.get();                       // [most, padded D]
    out_ = query_ + most * padded_width_;         // [most, padded E]
    scores_ = out_ + most * padded_value_width_;  // [128]
    shares_ = scores_ + key_block;                // [128]
    rows_ = shares_ + key_block;                  // [most, D or E]
  }

  C* row(index_t i, index_t row_width) { return rows_ + i * row_width; }

  void start(index_t n, C scale) {
    count_ = n;
    std::fill_n(query_, most * padded_width_, C(0));
    std::fill_n(out_, most * padded_value_width_, C(0));
    some_ = {std::numeric_limits<index_t>::max(), 0};
    for (index_t i = 0; i < n; ++i) {
      for (index_t c = 0; c < width_; ++c) query_[i * padded_width_ + c] = scale * row(i, width_)[c];
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

  template <lowered_mask Mask>
  void absorb(Mask const& mask, index_t batch, index_t first, index_t n, rows_of<C> k, rows_of<C> v) {
    for (index_t i = 0; i < count_; ++i) {
      query_lane const& lane = lanes[static_cast<std::size_t>(i)];
      index_t const begin = std::clamp<index_t>(lane.keys.begin - first, 0, n);
      index_t const end = std::clamp<index_t>(lane.keys.end - first, 0, n);
      if (begin >= end) continue;
      score(query_ + i * padded_width_, k, begin, end);
      index_t seen = 0;  // visible keys, closed up
      std::array<index_t, key_block> at;
      for (index_t j = begin; j < end; ++j)
        if (!Mask::by_key || mask.visible(batch, lane.head, lane.query, first + j)) {
          scores_[seen] = scores_[j];
          at[static_cast<std::size_t>(seen++)] = j;
        }
      weigh(static_cast<std::size_t>(i), seen);
      add_values(out_ + i * padded_value_width_, v, at, seen);
    }
  }

  void finish() {
    for (index_t i = 0; i < count_; ++i) {
      C const total = total_[static_cast<std::size_t>(i)];
      C const factor = total == C(0) ? C(0) : C(1) / total;
      for (index_t c = 0; c < value_width_; ++c) row(i, value_width_)[c] = out_[i * padded_value_width_ + c] * factor;
    }
  }
  C logsumexp(index_t i) const {
    auto const at = static_cast<std::size_t>(i);
    return total_[at] == C(0) ? -std::numeric_limits<C>::infinity() : reference_[at] * ln_2 + std::log(total_[at]);
  }

 private:
  static constexpr C log2_e = C(1.44269504088896340736), ln_2 = C(0.693147180559945309417);

  /// scores(j) = <q, k_j> for begin <= j < end: as many keys at a time as a register has lanes, summed by a
  /// transposition.
  void score(C const* q, rows_of<C> k, index_t begin, index_t end) {
    constexpr index_t size = S::size;
    index_t const whole = width_ / size * size;
    index_t j = begin;
    for (; j + size <= end; j += size) {
      S sums[size];
#pragma GCC unroll 16
      for (index_t r = 0; r < size; ++r) {  // key by key: memory is read in order
        sums[r] = S(C(0));
        for (index_t c = 0; c < whole; c += size) __builtin_prefetch(k.data + (j + r + size) * k.stride + c);
        for (index_t c = 0; c < whole; c += size)
          sums[r] = fma(S::load(q + c), S::load(k.data + (j + r) * k.stride + c), sums[r]);
      }
      transpose(sums);
      S sum = sums[0];
#pragma GCC unroll 16
      for (index_t r = 1; r < size; ++r) sum += sums[r];
      sum.store(scores_ + j);
      for (index_t c = whole; c < width_; ++c)
        for (index_t r = 0; r < size; ++r) scores_[j + r] += q[c] * k.data[(j + r) * k.stride + c];
    }
    for (; j < end; ++j) {
      S sum = C(0);
      for (index_t c = 0; c < whole; c += size) sum = fma(S::load(q + c), S::load(k.data + j * k.stride + c), sum);
      scores_[j] = reduce_add(sum);
      for (index_t c = whole; c < width_; ++c) scores_[j] += q[c] * k.data[j * k.stride + c];
    }
  }

  /// The first n scores -> weights relative to 2^reference.
  void weigh(std::size_t i, index_t n) {
    if (n == 0) return;
    C top = std::numeric_limits<C>::lowest();
    for (index_t j = 0; j < n; ++j) top = std::max(top, Rule::exponent(scores_[j]));
    top *= log2_e;
    if (top > reference_[i]) {
      C const factor = std::exp2(reference_[i] - top);
      reference_[i] = top;
      total_[i] *= factor;
      C* const out = out_ + static_cast<index_t>(i) * padded_value_width_;
      for (index_t c = 0; c < padded_value_width_; c += S::size)
        (S::load_aligned(out + c) * S(factor)).store_aligned(out + c);
    }
    std::fill(scores_ + n, scores_ + round_up(n, S::size), C(0));  // the rest of the last register, not read again
    for (index_t j = 0; j < n; j += S::size) {
      S const s = S::load_aligned(scores_ + j);
      S const p = exp2_decay(fma(Rule::exponent(s), S(log2_e), S(-reference_[i])));
      p.store_aligned(shares_ + j);
      Rule::weight(s, p).store_aligned(scores_ + j);
    }
    for (index_t j = 0; j < n; ++j) total_[i] += shares_[j];
  }

  /// out += sum_j weight_j v_at(j), in two chains.
  void add_values(C* out, rows_of<C> v, std::array<index_t, key_block> const& at, index_t n) {
    constexpr index_t size = S::size, panel = 4 * size;
    auto const value = [&](index_t j) { return v.data + at[static_cast<std::size_t>(j)] * v.stride; };
    index_t c = 0;
    for (; c + panel <= value_width_; c += panel) {
      S even[4], odd[4];
#pragma GCC unroll 4
      for (index_t p = 0; p < 4; ++p) even[p] = S::load_aligned(out + c + p * size), odd[p] = S(C(0));
      index_t j = 0;
      for (; j + 2 <= n; j += 2) {
        S const a = scores_[j], b = scores_[j + 1];
        C const *x = value(j) + c, *y = value(j + 1) + c;
#pragma GCC unroll 4
        for (index_t p = 0; p < 4; ++p)
          __builtin_prefetch(x + 16 * v.stride + p * size), __builtin_prefetch(y + 16 * v.stride + p * size);
#pragma GCC unroll 4
        for (index_t p = 0; p < 4; ++p) even[p] = fma(a, S::load(x + p * size), even[p]);
#pragma GCC unroll 4
        for (index_t p = 0; p < 4; ++p) odd[p] = fma(b, S::load(y + p * size), odd[p]);
      }
      if (j < n) {
        S const a = scores_[j];
#pragma GCC unroll 4
        for (index_t p = 0; p < 4; ++p) even[p] = fma(a, S::load(value(j) + c + p * size), even[p]);
      }
#pragma GCC unroll 4
      for (index_t p = 0; p < 4; ++p) (even[p] + odd[p]).store_aligned(out + c + p * size);
    }
    for (; c + size <= value_width_; c += size) {
      S sum = S::load_aligned(out + c);
      for (index_t j = 0; j < n; ++j) sum = fma(S(scores_[j]), S::load(value(j) + c), sum);
      sum.store_aligned(out + c);
    }
    for (; c < value_width_; ++c)
      for (index_t j = 0; j < n; ++j) out[c] += scores_[j] * value(j)[c];
  }

  index_t width_, padded_width_, value_width_, padded_value_width_, count_ = 0;
  key_range some_{};
  std::array<C, most> reference_{}, total_{};
  scratch<C> memory_;
  C *query_, *out_, *scores_, *shares_, *rows_;
};

}  // namespace cog::cpu_detail
