// Attention backward on the CPU: a task holds 64 keys of one key head and takes every query that sees them past it.
// Scores are recomputed from the saved logsumexp; five products a tile, memory O(N). dk and dv are summed in the task;
// dq is passed on from key block to key block in order, so the result does not depend on the number of threads, and one
// head is enough to keep all of them busy. bf16 goes through a pair_unit where the machine has one: weights and gradients
// of scores are rounded to bf16 for the products that they enter.
#pragma once

#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <thread>

#include <cog/attention/arguments.hpp>
#include <cog/backend/cpu/attention_tile.hpp>
#include <cog/backend/cpu/pairs.hpp>

namespace cog::cpu_detail {

inline constexpr index_t query_block = 64;

/// A run of queries of one head. Stored: what rows hold, C or, to be multiplied in pairs, bf16.
template <class C, class Stored>
struct query_rows {
  index_t batch, head, first, count;
  rows_of<Stored> q{};                         // C: times the scale
  rows_of<Stored> gradient{};                  // of out
  rows_of<Stored> q_turned{}, gradient_turned{};  // pairs: [D, count] and [E, count], zeros up to an even number
  C const* logsumexp = nullptr;
  C const* mean = nullptr;  // <gradient, out>
  C* dq = nullptr;          // [count, padded D]
};

/// Scores and gradients of the weights, [count, 64] each, in the lanes [from, to): they become weights and gradients of
/// the scores. Pairs: those of rows 2p and 2p + 1 go to row p as bf16, and gradients to rows of bf16 too.
template <class C>
struct score_block {
  index_t count, from, to;
  C const *logsumexp, *mean, *visible;
  C factor;  // pairs: a score is so much times what is there
  C *scores, *gradients;
  bf16* gradient_rows;  // [count, 64]
};

template <class Rule, bool Masked, bool Pairs>
struct differentiate_scores {
  /// What does not change along row i.
  template <class S>
  struct row {
    S logsumexp, mean, factor;

    template <class C>
    COG_INLINE row(score_block<C> const& x, index_t i) : logsumexp(x.logsumexp[i]), mean(x.mean[i]), factor(x.factor) {}

    template <class C>
    COG_INLINE void differentiate(score_block<C> const& x, index_t at, S& weight, S& gradient) const {
      S s = S::load_aligned(x.scores + at);
      if constexpr (Pairs) s = s * factor;
      S const p = exp_decay<Pairs ? 3 : 5>(fast_min(Rule::exponent(s) - logsumexp, S(C(0))));  // a rounded logsumexp may be too small
      weight = Rule::weight(s, p);
      gradient = Rule::gradient(s, p, S::load_aligned(x.gradients + at), mean);
      if constexpr (Masked) {
        auto const sees = S::load_aligned(x.visible + at) > S(C(0));
        weight = where(sees, weight, S(C(0)));
        gradient = where(sees, gradient, S(C(0)));
      }
    }
  };
  template <class S, class C>
  static COG_INLINE void run(score_block<C> const& arguments) {
    score_block<C> const x = arguments;  // a copy, which what is stored cannot change, stays in registers
    for (index_t i = 0; i < x.count; i += Pairs ? 2 : 1) {
      bool const two = Pairs && i + 1 < x.count;
      row<S> const first(x, i), second(x, two ? i + 1 : i);
      for (index_t c = x.from; c < x.to; c += S::size) {
        S weight, gradient;
        first.differentiate(x, i * tile_width + c, weight, gradient);
        if constexpr (Pairs) {
          S second_weight = C(0), second_gradient = C(0);
          if (two) second.differentiate(x, (i + 1) * tile_width + c, second_weight, second_gradient);
          weight = bf16_pairs(weight, second_weight);
          gradient = bf16_pairs(gradient, second_gradient);
          bf16* const at = x.gradient_rows + i * tile_width + c;
          split_pairs(gradient, at, at + tile_width);
        }
        index_t const to = (Pairs ? i / 2 : i) * tile_width + c;
        weight.store_aligned(x.scores + to);
        gradient.store_aligned(x.gradients + to);
      }
    }
  }
};

/// Up to 64 keys, their values, and the sums of their gradients.
template <attention_rule Rule, class C, class Stored = C>
class backward_tile {
  using S = simd<C>;

 public:
  static constexpr bool in_pairs = !std::same_as<Stored, C>;
  using stored = Stored;
  using queries = query_rows<C, Stored>;

  backward_tile(cpu_context const& ctx, index_t width, index_t value_width, C scale)
      : width_(width),
        padded_width_(round_up(width, lane_multiple<C>)),
        value_width_(value_width),
        scale_(scale),
        memory_(ctx, tile_width * (2 * width + padded_width_ + 2 * value_width + 3 * query_block + (in_pairs ? 2 + query_block / 2 : 0))) {
    key_ = memory_.get();                              // [D, 64], or [D / 2, 64] pairs
    value_ = key_ + (width + in_pairs) * tile_width;   // [E, 64], or [E / 2, 64] pairs
    key_rows_ = value_ + (value_width + in_pairs) * tile_width;  // [64, padded D], or [32, padded D] pairs
    dk_ = key_rows_ + padded_width_ * tile_width;      // [D, 64]
    dv_ = dk_ + width * tile_width;                    // [E, 64]
    weights_ = dv_ + value_width * tile_width;         // [64 queries, 64]: scores, then weights
    gradients_ = weights_ + query_block * tile_width;  // [64 queries, 64]: of the weights, then of the scores
    visible_ = gradients_ + query_block * tile_width;  // [64 queries, 64]
    if constexpr (in_pairs) {
      gradient_rows_ = reinterpret_cast<bf16*>(visible_ + query_block * tile_width);  // [64 queries, 64]
      unit_ = *chosen_pair_unit().load(std::memory_order_relaxed);
    }
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
    if constexpr (in_pairs) {
      pair_rows(key_, tile_width, width_, columns_);
      pair_rows(value_, tile_width, value_width_, columns_);
      pair_rows(key_rows_, padded_width_, n, padded_width_);
    }
    std::fill_n(dk_, width_ * tile_width, C(0));
    std::fill_n(dv_, value_width_ * tile_width, C(0));
  }

  /// Adds what up to 64 queries give to dk and dv; `pass_dq` is called around the addition to their dq.
  template <lowered_mask Mask, class Pass>
  void absorb(Mask const& mask, queries const& x, bool masked, Pass&& pass_dq) {
    from_ = 0, to_ = columns_;
    if (masked && !mark(mask, x)) return pass_dq([] {});
    make_scores(x.q, x.count, key_, width_, weights_);
    make_scores(x.gradient, x.count, value_, value_width_, gradients_);
    if (masked) differentiate<true>(x);
    else differentiate<false>(x);
    accumulate(x.gradient, x.gradient_turned, value_width_, weights_, x.count, dv_, masked);
    accumulate(x.q, x.q_turned, width_, gradients_, x.count, dk_, masked);
    pass_dq([&] { add_to_dq(x, masked); });
  }

  /// [D, 64] and [E, 64], the gradients of the keys and values.
  C* dk() const { return dk_; }
  C* dv() const { return dv_; }

 private:
  /// visible(i, j) = 1 where query i sees key j; [from, to) holds the keys that any sees. False if none is seen.
  template <lowered_mask Mask>
  bool mark(Mask const& mask, queries const& x) {
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

  /// out(i, j) = <x_i, y_j>
  void make_scores(rows_of<Stored> x, index_t n, C const* y, index_t width, C* out) {
    rows_of<C> const columns{y + from_, tile_width};
    if constexpr (in_pairs) unit_({x, n, columns, blocks_of(width, 2), out + from_, tile_width, to_ - from_, false});
    else multiply(by_row(x), n, columns, width, out + from_, tile_width, to_ - from_, false);
  }

  template <bool Masked>
  void differentiate(queries const& x) {
    dispatch<differentiate_scores<Rule, Masked, in_pairs>, C>(score_block<C>{x.count, from_, to_, x.logsumexp, x.mean,
                                                              visible_, scale_, weights_, gradients_, gradient_rows_});
  }

  /// out(c, j) += sum_i rows(i, c) tile(i, j)
  void accumulate(rows_of<Stored> rows, rows_of<Stored> turned, index_t width, C const* tile, index_t n, C* out, bool masked) {
    rows_of<C> const columns{tile + from_, tile_width};
    if (masked && !all_finite(rows, n, width)) {
      auto const row = [&](index_t c, index_t i) { return rows(i, c); };
      auto const column = [&](index_t i, index_t j) { return element(columns, i, j); };
      multiply_visible(row, width, column, visible_ + from_, n, out + from_, to_ - from_);
    } else if constexpr (in_pairs) {
      unit_({turned, width, columns, blocks_of(n, 2), out + from_, tile_width, to_ - from_, true});
    } else {
      multiply(by_column(rows), width, columns, n, out + from_, tile_width, to_ - from_, true);
    }
  }

  /// dq(i, c) += sum_j gradients(i, j) keys(j, c)
  void add_to_dq(queries const& x, bool masked) {
    index_t const last = std::min(to_, count_);
    rows_of<C> const keys{key_rows_, padded_width_}, gradients{gradients_, tile_width};
    if (masked && !finite_keys()) {
      for (index_t i = 0; i < x.count; ++i)
        for (index_t j = from_; j < last; ++j)
          if (visible_[i * tile_width + j] != C(0))
            for (index_t c = 0; c < width_; ++c)
              x.dq[i * padded_width_ + c] += element(gradients, i, j) * element(keys, j, c);
    } else if constexpr (in_pairs) {
      unit_({{gradient_rows_ + from_, tile_width}, x.count, {keys.data + from_ / 2 * keys.stride, keys.stride},
             blocks_of(last - from_, 2), x.dq, padded_width_, padded_width_, true});
    } else {
      multiply<C>({gradients_ + from_, tile_width, 1}, x.count, {keys.data + from_ * keys.stride, keys.stride},
                  last - from_, x.dq, padded_width_, padded_width_, true);
    }
  }
  bool finite_keys() const {
    if constexpr (in_pairs)
      return all_finite(rows_of<bf16>{reinterpret_cast<bf16 const*>(key_rows_), 2 * padded_width_}, blocks_of(count_, 2), 2 * width_);
    else return all_finite(rows_of<C>{key_rows_, padded_width_}, count_, width_);
  }
  /// (i, j) of rows, or of rows in pairs.
  static C element(rows_of<C> const& x, index_t i, index_t j) {
    if constexpr (in_pairs) return in_pair(x, i, j);
    else return x(i, j);
  }

  index_t width_, padded_width_, value_width_;
  C scale_;
  index_t first_ = 0, count_ = 0, columns_ = 0;
  index_t from_ = 0, to_ = 0;  // the keys of the tile at hand
  scratch<C> memory_;
  C *key_, *value_, *key_rows_, *dk_, *dv_, *weights_, *gradients_, *visible_;
  bf16* gradient_rows_ = nullptr;
  pair_unit unit_{};
};

/// Where rows are not multiplied in pairs, nothing is turned.
struct unturned {
  unturned(cpu_context const&, auto const&) {}
  template <class C>
  rows_of<C> at(index_t, index_t, index_t, index_t, C*) const { return {}; }
};

/// The backward pass in tiles of 64 keys; see attention_backward.
template <class Tile, class T, lowered_mask Mask>
void backward_in_tiles(cpu_context const& ctx, attention_backward_arguments<T, Mask> const& a) {
  using C = compute_t<T>;
  using stored = typename Tile::stored;
  index_t const batch = a.q.extents[0], heads = a.q.extents[1], queries = a.q.extents[2], width = a.q.extents[3];
  index_t const key_heads = a.k.extents[1], keys = a.k.extents[2], value_width = a.v.extents[3];
  index_t const group = key_heads > 0 ? heads / key_heads : 0;
  index_t const padded_width = round_up(width, lane_multiple<C>);
  index_t const query_blocks = blocks_of(queries, query_block), key_blocks = blocks_of(keys, tile_width);
  index_t const rows = batch * heads * queries;
  bool const little = is_little(rows * keys * (width + value_width));

  // Per query: the scaled q (in pairs, q as it is), <gradient, out>, logsumexp, and a cleared row of dq. Per query block:
  // what it sees, and the key block whose turn it is to add to its dq.
  constexpr bool in_pairs = Tile::in_pairs;
  constexpr index_t multiple = in_pairs ? 2 : 1;
  using turned = std::conditional_t<in_pairs, pair_columns<query_block>, unturned>;
  scratch<C> const scaled(ctx, in_pairs ? 0 : rows * width), mean(ctx, rows), logsumexp(ctx, rows), dq(ctx, rows * padded_width);
  row_source<C, T> const k(ctx, a.k, false), v(ctx, a.v, false);
  auto const queries_of = [&] {
    if constexpr (in_pairs) return a.q;
    else return view<C const, 4>{scaled.get(), a.q.extents, row_major(a.q.extents)};
  }();
  row_source<stored, std::conditional_t<in_pairs, T, C>, multiple> const q(ctx, queries_of, true);
  row_source<stored, T, multiple> const gradient(ctx, a.out_gradient, true);
  turned const q_turned(ctx, a.q), gradient_turned(ctx, a.out_gradient);
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
      if constexpr (!in_pairs) {
        C* const to = scaled.get() + row * width;
        copy_row(&a.q(b, h, i, 0), a.q.strides[3], to, 1, width);
        scale_row(to, width, a.scale);
      }
      mean.get()[row] = dot<C>(&a.out_gradient(b, h, i, 0), a.out_gradient.strides[3], &a.out(b, h, i, 0),
                               a.out.strides[3], value_width);
      C const l = a.logsumexp(b, h, i);
      logsumexp.get()[row] = l == l ? l : std::numeric_limits<C>::quiet_NaN();  // no other NaN: bf16_pairs would round some to 0
    }
    std::fill_n(dq.get() + (bh * queries + first) * padded_width, n * padded_width, C(0));
    here.turn.store(here.some.begin / tile_width, std::memory_order_relaxed);
  });

  // Tasks are numbered as they start, after all that may throw: whose turn one waits for is running or done.
  std::atomic<index_t> started{0};
  index_t const at_once = std::min<index_t>(batch * key_heads, ctx.threads());
  run_tasks(ctx, batch * key_heads * key_blocks, little, [&](index_t) {
    Tile tile(ctx, width, value_width, a.scale);
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
          typename Tile::queries x{.batch = b, .head = h, .first = query, .count = count};
          stored* const in_place = nullptr;
          x.q = q.at(b, h, query, count, in_place);
          x.gradient = gradient.at(b, h, query, count, in_place);
          x.q_turned = q_turned.at(b, h, query, count, in_place);
          x.gradient_turned = gradient_turned.at(b, h, query, count, in_place);
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
    auto const write = [&](C const* sums, index_t columns, view<T, 4> const& to, C factor) {
      transpose(sums, tile_width, columns, n, buffer.get(), columns);
      if (factor != C(1)) scale_row(buffer.get(), n * columns, factor);
      for (index_t r = 0; r < n; ++r)
        copy_row(static_cast<C const*>(buffer.get() + r * columns), 1, &to(b, key_head, first + r, 0), to.strides[3],
                 columns);
    };
    write(tile.dk(), width, a.dk, in_pairs ? a.scale : C(1));  // else it is in the queries
    write(tile.dv(), value_width, a.dv, C(1));
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

/// dq, dk and dv of the arguments. Shapes have been checked.
template <attention_rule Rule, class T, lowered_mask Mask>
void attention_backward(cpu_context const& ctx, attention_backward_arguments<T, Mask> const& a) {
  if constexpr (std::same_as<T, bf16>)
    if (chosen_pair_unit()) return backward_in_tiles<backward_tile<Rule, float, bf16>>(ctx, a);
  backward_in_tiles<backward_tile<Rule, compute_t<T>>>(ctx, a);
}

}  // namespace cog::cpu_detail
