// Attention backward on the CPU: a task holds 64 keys of one key head and takes every query that sees them past it.
// Scores are recomputed from the saved logsumexp; five products a tile, memory O(N). dk and dv are summed in the task;
// dq is passed on from key block to key block in order, so the result does not depend on the number of threads, and one
// head is enough to keep all of them busy.
#pragma once

#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <thread>

#include <cog/attention/arguments.hpp>
#include <cog/backend/cpu/attention_tile.hpp>

namespace cog::cpu_detail {

inline constexpr index_t query_block = 64;

/// A run of queries of one head.
template <class C>
struct query_rows {
  index_t batch, head, first, count;
  rows_of<C> q{};                // times the scale
  rows_of<C> gradient{};         // of out
  C const* logsumexp = nullptr;
  C const* mean = nullptr;       // <gradient, out>
  C* dq = nullptr;               // [count, padded D]
};

/// (scores, gradients of the weights) -> (weights, gradients of the scores), [count, 64] each, in the lanes [from, to).
template <class Rule, bool Masked>
struct differentiate_scores {
  template <class S, class C>
  static COG_INLINE void run(query_rows<C> const& x, index_t from, index_t to, C* scores, C* gradients,
                             C const* visible) {
    for (index_t i = 0; i < x.count; ++i) {
      S const logsumexp = x.logsumexp[i], mean = x.mean[i];
      for (index_t c = from; c < to; c += S::size) {
        C* const weight = scores + i * tile_width + c;
        C* const gradient = gradients + i * tile_width + c;
        S const s = S::load_aligned(weight);
        S const p = exp_decay(fast_min(Rule::exponent(s) - logsumexp, S(C(0))));  // a rounded logsumexp may be too small
        S w = Rule::weight(s, p);
        S ds = Rule::gradient(s, p, S::load_aligned(gradient), mean);
        if constexpr (Masked) {
          auto const sees = S::load_aligned(visible + i * tile_width + c) > S(C(0));
          w = where(sees, w, S(C(0)));
          ds = where(sees, ds, S(C(0)));
        }
        w.store_aligned(weight);
        ds.store_aligned(gradient);
      }
    }
  }
};

/// Up to 64 keys, their values, and the sums of their gradients.
template <attention_rule Rule, class C>
class backward_tile {
  using S = simd<C>;

 public:
  backward_tile(cpu_context const& ctx, index_t width, index_t value_width)
      : width_(width),
        padded_width_(round_up(width, lane_multiple<C>)),
        value_width_(value_width),
        memory_(ctx, tile_width * (2 * width + padded_width_ + 2 * value_width + 3 * query_block)) {
    key_ = memory_.get();                              // [D, 64]
    value_ = key_ + width * tile_width;                // [E, 64]
    key_rows_ = value_ + value_width * tile_width;     // [64, padded D]
    dk_ = key_rows_ + padded_width_ * tile_width;      // [D, 64]
    dv_ = dk_ + width * tile_width;                    // [E, 64]
    weights_ = dv_ + value_width * tile_width;         // [64 queries, 64]: scores, then weights
    gradients_ = weights_ + query_block * tile_width;  // [64 queries, 64]: of the weights, then of the scores
    visible_ = gradients_ + query_block * tile_width;  // [64 queries, 64]
  }

  /// Starts keys [first, first + n), n <= 64.
  void start(index_t first, index_t n, rows_of<C> k, rows_of<C> v) {
    first_ = first, count_ = n, columns_ = round_up(n, lane_multiple<C>);
    if (n < columns_) {
      std::fill_n(key_, width_ * tile_width, C(0));
      std::fill_n(value_, value_width_ * tile_width, C(0));
    }
    transpose(k.data, k.stride, n, width_, key_, tile_width);
    transpose(v.data, v.stride, n, value_width_, value_, tile_width);
    for (index_t j = 0; j < n; ++j) {
      std::copy_n(k.data + j * k.stride, width_, key_rows_ + j * padded_width_);
      std::fill(key_rows_ + j * padded_width_ + width_, key_rows_ + (j + 1) * padded_width_, C(0));
    }
    std::fill_n(dk_, width_ * tile_width, C(0));
    std::fill_n(dv_, value_width_ * tile_width, C(0));
  }

  /// Adds what up to 64 queries give to dk and dv; `pass_dq` is called around the addition to their dq.
  template <lowered_mask Mask, class Pass>
  void absorb(Mask const& mask, query_rows<C> const& x, bool masked, Pass&& pass_dq) {
    from_ = 0, to_ = columns_;
    if (masked && !mark(mask, x)) return pass_dq([] {});
    index_t const rows = x.count, columns = to_ - from_;
    multiply(by_row(x.q), rows, {key_ + from_, tile_width}, width_, weights_ + from_, tile_width, columns, false);
    multiply(by_row(x.gradient), rows, {value_ + from_, tile_width}, value_width_, gradients_ + from_, tile_width,
             columns, false);
    if (masked) differentiate<true>(x);
    else differentiate<false>(x);
    accumulate(x.gradient, value_width_, weights_, rows, dv_, masked);
    accumulate(x.q, width_, gradients_, rows, dk_, masked);
    pass_dq([&] {
      index_t const last = std::min(to_, count_);
      rows_of<C> const keys{key_rows_, padded_width_};
      if (masked && !all_finite(keys, count_, width_)) {
        for (index_t i = 0; i < rows; ++i)
          for (index_t j = from_; j < last; ++j)
            if (visible_[i * tile_width + j] != C(0))
              for (index_t c = 0; c < width_; ++c)
                x.dq[i * padded_width_ + c] += gradients_[i * tile_width + j] * key_rows_[j * padded_width_ + c];
      } else {
        multiply<C>({gradients_ + from_, tile_width, 1}, rows, {keys.data + from_ * keys.stride, keys.stride},
                    last - from_, x.dq, padded_width_, padded_width_, true);
      }
    });
  }

  /// [D, 64] and [E, 64], the gradients of the keys and values.
  C* dk() const { return dk_; }
  C* dv() const { return dv_; }

 private:
  /// visible(i, j) = 1 where query i sees key j; [from, to) holds the keys that any sees. False if none is seen.
  template <lowered_mask Mask>
  bool mark(Mask const& mask, query_rows<C> const& x) {
    std::array<key_range, query_block> seen;
    from_ = columns_, to_ = 0;
    for (index_t i = 0; i < x.count; ++i) {
      key_range const keys = mask.range(x.batch, x.head, x.first + i);
      key_range& here = seen[static_cast<std::size_t>(i)];
      here = {std::clamp<index_t>(keys.begin - first_, 0, count_), std::clamp<index_t>(keys.end - first_, 0, count_)};
      if (here.begin < here.end) from_ = std::min(from_, here.begin), to_ = std::max(to_, here.end);
    }
    if (to_ == 0) return false;
    from_ = from_ / lane_multiple<C> * lane_multiple<C>;
    to_ = round_up(to_, lane_multiple<C>);
    bool some = !Mask::by_key;
    for (index_t i = 0; i < x.count; ++i) {
      key_range const here = seen[static_cast<std::size_t>(i)];
      C* row = visible_ + i * tile_width;
      std::fill(row + from_, row + to_, C(0));
      for (index_t j = here.begin; j < here.end; ++j) {
        bool const sees = mask.visible(x.batch, x.head, x.first + i, first_ + j);
        row[j] = sees ? C(1) : C(0);
        some = some || sees;
      }
    }
    return some;
  }

  /// (scores, gradients of the weights) -> (weights, gradients of the scores)
  template <bool Masked>
  void differentiate(query_rows<C> const& x) {
    dispatch<differentiate_scores<Rule, Masked>, C>(x, from_, to_, weights_, gradients_,
                                                    static_cast<C const*>(visible_));
  }

  /// out(c, j) += sum_i rows(i, c) tile(i, j)
  void accumulate(rows_of<C> rows, index_t width, C const* tile, index_t n, C* out, bool masked) {
    rows_of<C> const columns{tile + from_, tile_width};
    if (masked && !all_finite(rows, n, width))
      multiply_visible(by_column(rows), width, columns, visible_ + from_, n, out + from_, to_ - from_);
    else multiply(by_column(rows), width, columns, n, out + from_, tile_width, to_ - from_, true);
  }

  index_t width_, padded_width_, value_width_;
  index_t first_ = 0, count_ = 0, columns_ = 0;
  index_t from_ = 0, to_ = 0;  // the keys of the tile at hand
  scratch<C> memory_;
  C *key_, *value_, *key_rows_, *dk_, *dv_, *weights_, *gradients_, *visible_;
};

/// dq, dk and dv of the arguments. Shapes have been checked.
template <attention_rule Rule, class T, lowered_mask Mask>
void attention_backward(cpu_context const& ctx, attention_backward_arguments<T, Mask> const& a) {
  using C = compute_t<T>;
  index_t const batch = a.q.extents[0], heads = a.q.extents[1], queries = a.q.extents[2], width = a.q.extents[3];
  index_t const key_heads = a.k.extents[1], keys = a.k.extents[2], value_width = a.v.extents[3];
  index_t const group = key_heads > 0 ? heads / key_heads : 0;
  index_t const padded_width = round_up(width, lane_multiple<C>);
  index_t const query_blocks = blocks_of(queries, query_block), key_blocks = blocks_of(keys, tile_width);
  index_t const rows = batch * heads * queries;
  bool const little = is_little(rows * keys * (width + value_width));

  // Per query: the scaled q, <gradient, out>, logsumexp, and a cleared row of dq. Per query block: what it sees,
  // and the key block whose turn it is to add to its dq.
  scratch<C> const q(ctx, rows * width), mean(ctx, rows), logsumexp(ctx, rows), dq(ctx, rows * padded_width);
  row_source<C, T> const k(ctx, a.k, false), v(ctx, a.v, false), gradient(ctx, a.out_gradient, true);
  struct block {
    key_range some, all;
    std::atomic<index_t> turn;
  };
  auto const blocks = std::make_unique<block[]>(static_cast<std::size_t>(batch * heads * query_blocks));
  run_tasks(ctx, batch * heads * query_blocks, little, [&](index_t task) {
    index_t const bh = task / query_blocks, b = bh / heads, h = bh % heads;
    index_t const first = task % query_blocks * query_block, n = std::min(query_block, queries - first);
    block& here = blocks[static_cast<std::size_t>(task)];
    here.some = {keys, 0};
    here.all = {0, keys};
    for (index_t i = first; i < first + n; ++i) {
      key_range const seen = a.mask.range(b, h, i);
      here.all = {std::max(here.all.begin, seen.begin), std::min(here.all.end, seen.end)};
      if (seen.begin < seen.end) here.some = {std::min(here.some.begin, seen.begin), std::max(here.some.end, seen.end)};

      index_t const row = bh * queries + i;
      C* const scaled = q.get() + row * width;
      copy_row(&a.q(b, h, i, 0), a.q.strides[3], scaled, 1, width);
      scale_row(scaled, width, a.scale);
      mean.get()[row] = dot<C>(&a.out_gradient(b, h, i, 0), a.out_gradient.strides[3], &a.out(b, h, i, 0),
                               a.out.strides[3], value_width);
      logsumexp.get()[row] = a.logsumexp(b, h, i);
    }
    std::fill_n(dq.get() + (bh * queries + first) * padded_width, n * padded_width, C(0));
    here.turn.store(here.some.begin / tile_width, std::memory_order_relaxed);
  });

  // Tasks are numbered as they start, after all that may throw: whose turn one waits for is running or done.
  std::atomic<index_t> started{0};
  index_t const at_once = std::min<index_t>(batch * key_heads, ctx.threads());
  run_tasks(ctx, batch * key_heads * key_blocks, little, [&](index_t) {
    backward_tile<Rule, C> tile(ctx, width, value_width);
    scratch<C> const buffer(ctx, tile_width * (width + value_width));
    // As many heads at once as there are threads: none waits for another's turn, and a head's queries stay in a core's cache.
    index_t const task = started.fetch_add(1, std::memory_order_relaxed);
    index_t const set = task / (at_once * key_blocks), within = task % (at_once * key_blocks);
    index_t const set_heads = std::min(at_once, batch * key_heads - set * at_once);
    index_t const bh = set * at_once + within % set_heads, b = bh / key_heads, key_head = bh % key_heads;
    index_t const j = within / set_heads, first = j * tile_width, n = std::min(tile_width, keys - first);
    auto const key_rows = k.at(b, key_head, first, n, buffer.get());
    auto const value_rows = v.at(b, key_head, first, n, buffer.get() + tile_width * width);
    tile.start(first, n, key_rows, value_rows);

    for (index_t h = key_head * group; h < (key_head + 1) * group; ++h)
      for (index_t i = 0; i < query_blocks; ++i) {
        index_t const query_head = b * heads + h;
        block& here = blocks[static_cast<std::size_t>(query_head * query_blocks + i)];
        if (here.some.begin >= first + n || here.some.end <= first) continue;
        bool const masked = Mask::by_key || here.all.begin > first || here.all.end < first + n;
        index_t const whole = std::min(query_block, queries - i * query_block);
        index_t const part = masked && !Mask::by_key ? query_block / 2 : query_block;
        for (index_t at = 0; at < whole; at += part) {
          index_t const query = i * query_block + at, count = std::min(part, whole - at), row = query_head * queries + query;
          auto const gradients = gradient.at(b, h, query, count, nullptr);
          query_rows<C> x{.batch = b, .head = h, .first = query, .count = count};
          x.q = {q.get() + row * width, width};
          x.gradient = {gradients.data, gradients.stride};
          x.logsumexp = logsumexp.get() + row;
          x.mean = mean.get() + row;
          x.dq = dq.get() + row * padded_width;
          tile.absorb(a.mask, x, masked, [&](auto&& add) {
            for (int spins = 0; here.turn.load(std::memory_order_acquire) != j; ++spins) {
              if (spins < 256) relax();
              else std::this_thread::yield();
            }
            add();
            if (at + count == whole) here.turn.store(j + 1, std::memory_order_release);
          });
        }
      }
    auto const write = [&](C const* sums, index_t columns, view<T, 4> const& to) {
      transpose(sums, tile_width, columns, n, buffer.get(), columns);
      for (index_t r = 0; r < n; ++r)
        copy_row(static_cast<C const*>(buffer.get() + r * columns), 1, &to(b, key_head, first + r, 0), to.strides[3],
                 columns);
    };
    write(tile.dk(), width, a.dk);
    write(tile.dv(), value_width, a.dv);
  });

  run_tasks(ctx, batch * heads * query_blocks, little, [&](index_t task) {
    index_t const bh = task / query_blocks, first = task % query_blocks * query_block;
    for (index_t i = first; i < std::min(first + query_block, queries); ++i) {
      C* const row = dq.get() + (bh * queries + i) * padded_width;
      scale_row(row, width, a.scale);
      copy_row(static_cast<C const*>(row), 1, &a.dq(bh / heads, bh % heads, i, 0), a.dq.strides[3], width);
    }
  });
}

}  // namespace cog::cpu_detail
