// Attention forward on the CPU: a task takes tiles of 64 queries through all the keys they see, block by block, with a running
// softmax. Memory is O(N) in all; one exponential a score; both products run at the rate of the multiply-add units. The
// queries of a tile share a key head: (position, head of the group) pairs, so grouped heads fill the lanes. bf16 goes
// through a pair_unit where the machine has one. The result does not depend on the number of threads.
#pragma once

#include <array>
#include <limits>
#include <optional>

#include <cog/attention/arguments.hpp>
#include <cog/backend/cpu/attention_decode.hpp>
#include <cog/backend/cpu/attention_tile.hpp>
#include <cog/backend/cpu/pairs.hpp>

namespace cog::cpu_detail {

inline constexpr index_t most_together = 4;  // tiles of one task
inline constexpr index_t key_stretch = 256;  // keys that they share

/// By how much an exponent may outgrow the reference before that moves.
template <class C>
inline constexpr C reference_slack = C(5.5);

/// Products [n, 64] of queries and keys in the lanes [from, to), and what is kept of each lane. A score is factor times
/// one.
template <class C>
struct weights_of {
  index_t from, to, n;
  C factor;
  C *scores, *weights, *visible, *reference, *total, *largest;
};

/// largest(i) = the largest exponent of lane i; says whether one outgrows its reference. Pairs: the factor is not in
/// the queries, which a bf16 could not hold, but still to be applied.
template <class Rule, bool Masked, bool Pairs>
struct find_largest {
  /// Several registers at a time: a maximum waits for the one before it.
  template <int Registers, class S, class C>
  static COG_INLINE bool columns(weights_of<C> const& x, index_t first) {
    S const factor = x.factor;
    S top[Registers];
#pragma GCC unroll 4
    for (int r = 0; r < Registers; ++r) top[r] = std::numeric_limits<C>::lowest();
    for (index_t j = 0; j < x.n; ++j)
#pragma GCC unroll 4
      for (int r = 0; r < Registers; ++r) {
        index_t const at = j * tile_width + first + r * S::size;
        S s = S::load_aligned(x.scores + at);
        if constexpr (Pairs) s = s * factor;
        S u = Rule::exponent(s);
        if constexpr (Masked) u = where(S::load_aligned(x.visible + at) > S(C(0)), u, top[r]);
        top[r] = fast_max(top[r], u);
      }
    bool some = false;
#pragma GCC unroll 4
    for (int r = 0; r < Registers; ++r) {
      index_t const at = first + r * S::size;
      top[r].store_aligned(x.largest + at);
      some = some || any(top[r] > S::load_aligned(x.reference + at) + S(reference_slack<C>));
    }
    return some;
  }
  template <class S, class C>
  static COG_INLINE void run(weights_of<C> const& x, bool* outgrown) {
    bool some = false;
    index_t c = x.from;
    for (; c + 4 * S::size <= x.to; c += 4 * S::size) some = columns<4, S>(x, c) || some;
    for (; c < x.to; c += S::size) some = columns<1, S>(x, c) || some;
    *outgrown = some;
  }
};

/// scores -> weights relative to e^reference; adds to the totals. The difference of exponents is rounded, not they
/// themselves: scores may be of any size. Weights may take the place of scores. Pairs: n is even, and weights 2p and
/// 2p + 1 go to row p as bf16. Search: largest(i) becomes no less than the largest exponent of lane i above its reference.
template <class Rule, bool Masked, bool Pairs, bool Search = false>
struct weigh_scores {
  template <class S, class C>
  static COG_INLINE S weight(weights_of<C> const& x, index_t at, S const& factor, S const& reference, S& total, S& top) {
    S s = S::load_aligned(x.scores + at);
    if constexpr (Pairs) s = s * factor;
    S const above = Rule::exponent(s) - reference;
    if constexpr (Search) top = fast_max(top, above);
    S p = exp_decay<Pairs ? 3 : 5>(above);
    S w = Rule::weight(s, p);
    if constexpr (Masked) {
      auto const sees = S::load_aligned(x.visible + at) > S(C(0));
      p = where(sees, p, S(C(0)));
      w = where(sees, w, S(C(0)));
    }
    total += p;
    return w;
  }
  template <class S, class C>
  static COG_INLINE void run(weights_of<C> const& arguments) {
    weights_of<C> const x = arguments;  // a copy, which what is stored cannot change, stays in registers
    S const factor = x.factor;
    for (index_t c = x.from; c < x.to; c += S::size) {
      S const reference = S::load_aligned(x.reference + c);
      S total = S::load_aligned(x.total + c), top = S(C(0));
      if constexpr (Search) top = S::load_aligned(x.largest + c);
      if constexpr (Pairs) {
        for (index_t j = 0; j < x.n; j += 2) {
          S const even = weight(x, j * tile_width + c, factor, reference, total, top);
          S const odd = weight(x, (j + 1) * tile_width + c, factor, reference, total, top);
          bf16_pairs(even, odd).store_aligned(x.weights + j / 2 * tile_width + c);
        }
      } else {
#pragma GCC unroll 4
        for (index_t j = 0; j < x.n; ++j)
          weight(x, j * tile_width + c, factor, reference, total, top).store_aligned(x.weights + j * tile_width + c);
      }
      total.store_aligned(x.total + c);
      if constexpr (Search) top.store_aligned(x.largest + c);
    }
  }
};

/// Up to 64 queries and their running state: out(c, i) = sum_j weight_ij v_jc and total(i) = sum_j p_ij, both in units
/// of e^reference(i). The reference follows the largest exponent; it moves only when one outgrows it by more than
/// `reference_slack`. Stored: what rows of keys and values hold; of bf16, queries and weights go in pairs, key blocks
/// start at even keys, and rows of keys are of even length.
template <attention_rule Rule, class C, class Stored = C>
class forward_tile {
  using S = simd<C>;
  static constexpr bool in_pairs = !std::same_as<Stored, C>;
  static constexpr std::size_t stages = in_pairs ? 3 : 1;

  struct key_part {
    C* scores = nullptr;  // [key_block, 64]; once weighed, half as many rows of pairs of weights
    index_t keys = 0;
    rows_of<Stored> rows{}, values{};
  };

 public:
  template <class T>
  using key_source = row_source<Stored, T, in_pairs ? 2 : 1>;
  template <class T>
  using value_source = std::conditional_t<in_pairs, pair_columns<>, row_source<Stored, T>>;
  using stored = Stored;
  static constexpr bool keeps_keys = in_pairs;  // of a block until the next but one is taken in
  static constexpr index_t most = tile_width;  // queries
  static constexpr index_t key_block = in_pairs ? 128 : 64, edge_block = 32;
  std::array<query_lane, most> lanes;

  forward_tile(cpu_context const& ctx, index_t width, index_t value_width)
      : width_(width),
        value_width_(value_width),
        memory_(ctx, tile_width * (width + 1 + (1 + index_t(stages)) * key_block + value_width + 3 + std::max(width, value_width))) {
    query_ = memory_.get();                        // [D, 64], or [D / 2, 64] pairs
    visible_ = query_ + (width + 1) * tile_width;  // [key_block, 64]
    C* end = visible_ + key_block * tile_width;
    for (key_part& part : parts_) part.scores = std::exchange(end, end + key_block * tile_width);
    out_ = end;                                    // [E, 64]
    reference_ = out_ + value_width * tile_width;  // [64]
    total_ = reference_ + tile_width;              // [64]
    largest_ = total_ + tile_width;                // [64]
    rows_ = largest_ + tile_width;                 // [64, D or E]
    if constexpr (in_pairs) unit_ = *chosen_pair_unit().load(std::memory_order_relaxed);
  }

  /// Row i of the queries before `start`, of the results after `finish`.
  C* row(index_t i, index_t row_width) { return rows_ + i * row_width; }

  /// Starts with n queries, whose lanes and rows are set.
  void start(index_t n, C scale) {
    columns_ = round_up(n, lane_multiple<C>);
    for (index_t i = n; i < columns_; ++i) {
      lanes[static_cast<std::size_t>(i)] = {};
      std::fill_n(row(i, width_), width_, C(0));
    }
    factor_ = scale;
    if constexpr (!in_pairs) scale_row(rows_, columns_ * width_, scale);
    transpose(rows_, width_, columns_, width_, query_, tile_width);
    if constexpr (in_pairs) pair_rows(query_, tile_width, width_, columns_);
    std::fill_n(out_, value_width_ * tile_width, C(0));
    std::fill_n(total_, tile_width, C(0));
    std::fill_n(reference_, tile_width, std::numeric_limits<C>::lowest());
    fresh_ = true;
    some_ = {std::numeric_limits<index_t>::max(), 0};
    all_ = {0, some_.begin};
    for (index_t i = 0; i < n; ++i) {
      key_range const keys = lanes[static_cast<std::size_t>(i)].keys;
      all_ = {std::max(all_.begin, keys.begin), std::min(all_.end, keys.end)};
      if (keys.begin < keys.end) some_ = {std::min(some_.begin, keys.begin), std::max(some_.end, keys.end)};
    }
    some_.begin = std::min(some_.begin, some_.end);
    if constexpr (in_pairs) {
      some_.begin = some_.begin / 2 * 2;
      all_ = {round_up(all_.begin, 2), all_.end / 2 * 2};
    }
  }

  /// Keys that some query may see.
  key_range keys() const { return some_; }

  /// How many keys from `first` on to take in next: up to key_block that all queries see, or a strip at the edge of
  /// what they see, where only the lanes it concerns are computed.
  index_t next_count(index_t first, index_t last) const {
    bool const uniform = all_.begin < all_.end;
    if (uniform && first >= all_.begin && first < all_.end)
      return std::min(key_block, std::min(last, all_.end) - first);
    index_t const edge = uniform && first < all_.begin ? std::min(last, all_.begin) : last;
    return std::min(uniform ? edge_block : key_block, edge - first);
  }

  /// Takes in keys [first, first + n), n <= key_block. Pairs: v is rows of keys' values, one for each of their
  /// channels, and may be read for one key more.
  template <lowered_mask Mask>
  void absorb(Mask const& mask, index_t batch, index_t first, index_t n, rows_of<Stored> k, rows_of<Stored> v) {
    bool const masked = Mask::by_key || first < all_.begin || first + n > all_.end;
    from_ = 0, to_ = columns_;
    if constexpr (in_pairs) {
      if (!masked) return absorb_whole(n, k, v);
      settle();
    }
    index_t const keys = in_pairs ? round_up(n, 2) : n;  // where n is odd, that is one which nobody sees
    if (masked && !mark(mask, batch, first, keys)) return;
    index_t const columns = to_ - from_;
    C* const scores = parts_[0].scores;
    rows_of<C> const query{query_ + from_, tile_width}, weights{scores + from_, tile_width};
    if constexpr (in_pairs) {
      key_part const part{scores, n, k, v};
      unit_(scores_of(part));
      weigh<true>(scores, keys);
      if (!all_finite(v, value_width_, keys)) {
        auto const weight = [&](index_t j, index_t c) { return in_pair(weights, j, c); };
        multiply_visible(v, value_width_, weight, visible_ + from_, keys, out_ + from_, columns);
      } else {
        unit_(sums_of(part));
      }
    } else {
      multiply(by_row(k), n, query, width_, scores + from_, tile_width, columns, false);
      if (masked) weigh<true>(scores, n);
      else weigh<false>(scores, n);
      if (masked && !all_finite(v, n, value_width_))
        multiply_visible(by_column(v), value_width_, weights, visible_ + from_, n, out_ + from_, columns);
      else multiply(by_column(v), value_width_, weights, n, out_ + from_, tile_width, columns, true);
    }
  }

  /// Leaves normalised rows of values, and logsumexp(i). A query that saw nothing has 0 and -inf.
  void finish() {
    if constexpr (in_pairs) settle();
    for (index_t c = 0; c < columns_; c += S::size) {
      S const total = S::load_aligned(total_ + c);
      S const logsumexp = S::load_aligned(reference_ + c) + log(total);
      S const factor = where(total == S(C(0)), S(C(0)), S(C(1)) / total);
      where(total == S(C(0)), S(-std::numeric_limits<C>::infinity()), logsumexp).store_aligned(total_ + c);
      for (index_t i = 0; i < value_width_; ++i)
        (S::load_aligned(out_ + i * tile_width + c) * factor).store_aligned(out_ + i * tile_width + c);
    }
    transpose(out_, tile_width, value_width_, columns_, rows_, value_width_);
  }
  C logsumexp(index_t i) const { return total_[i]; }

 private:
  /// visible(j, i) = 1 where query i sees key first + j; [from, to) holds the queries that see any. False if none does.
  template <lowered_mask Mask>
  bool mark(Mask const& mask, index_t batch, index_t first, index_t n) {
    alignas(64) C begin[tile_width], end[tile_width];
    from_ = columns_, to_ = 0;
    for (index_t i = 0; i < columns_; ++i) {
      key_range const keys = lanes[static_cast<std::size_t>(i)].keys;
      index_t const low = std::clamp<index_t>(keys.begin - first, 0, n),
                    high = std::clamp<index_t>(keys.end - first, 0, n);
      begin[i] = static_cast<C>(low);
      end[i] = static_cast<C>(high);
      if (low < high) from_ = std::min(from_, i), to_ = i + 1;
    }
    if (to_ == 0) return false;
    from_ = from_ / lane_multiple<C> * lane_multiple<C>;
    to_ = round_up(to_, lane_multiple<C>);
    for (index_t j = 0; j < n; ++j)
      for (index_t c = from_; c < to_; c += S::size) {
        S const at = static_cast<C>(j);
        to_number(S::load_aligned(begin + c) <= at && at < S::load_aligned(end + c))
            .store_aligned(visible_ + j * tile_width + c);
      }
    if constexpr (Mask::by_key) {
      bool some = false;
      for (index_t i = from_; i < to_; ++i) {
        query_lane const& l = lanes[static_cast<std::size_t>(i)];
        for (auto j = static_cast<index_t>(begin[i]); j < static_cast<index_t>(end[i]); ++j) {
          bool const sees = mask.visible(batch, l.head, l.query, first + j);
          visible_[j * tile_width + i] = sees ? C(1) : C(0);
          some = some || sees;
        }
      }
      return some;
    }
    return true;
  }

  weights_of<C> weights_in(C* scores, index_t n) const {
    return {from_, to_, n, factor_, scores, scores, visible_, reference_, total_, largest_};
  }
  /// Whether an exponent has outgrown the reference of its lane.
  template <bool Masked>
  bool outgrown(weights_of<C> const& x) const {
    bool some = false;
    dispatch<find_largest<Rule, Masked, in_pairs>, C>(x, &some);
    return some;
  }
  /// scores -> weights relative to e^reference; adds to the totals.
  template <bool Masked>
  void weigh(C* scores, index_t n) {
    weights_of<C> const x = weights_in(scores, n);
    if (outgrown<Masked>(x)) move_reference();
    dispatch<weigh_scores<Rule, Masked, in_pairs>, C>(x);
  }

  // ---- In pairs, keys that all queries see

  pair_product scores_of(key_part const& x) const {
    return {x.rows, x.keys, {query_ + from_, tile_width}, blocks_of(width_, 2), x.scores + from_, tile_width, to_ - from_, false};
  }
  pair_product sums_of(key_part const& x) const {
    return {x.values, value_width_, {x.scores + from_, tile_width}, blocks_of(x.keys, 2), out_ + from_, tile_width, to_ - from_, true};
  }

  /// Weighs them, while products are made. That no exponent has outgrown its reference is seen afterwards: seldom has one, and all is
  /// done again.
  void weigh_beside(key_part const& x, pair_product const* products, int count) {
    weights_of<C> const all = weights_in(x.scores, x.keys);
    if (fresh_ && outgrown<false>(all)) move_reference();
    fresh_ = false;
    alignas(64) C totals[tile_width];
    std::copy_n(total_, tile_width, totals);
    std::fill_n(largest_, tile_width, C(0));
    struct {
      weights_of<C> left;
      index_t piece;
    } keys{all, count > 0 ? 8 : x.keys};  // a few steps of a product take as long as 8
    auto const weigh_some = [](void* of) {
      auto& [left, piece] = *static_cast<decltype(keys)*>(of);
      weights_of<C> some = left;
      some.n = std::min(piece, left.n);
      dispatch<weigh_scores<Rule, false, true, true>, C>(some);
      left.n -= some.n;
      left.scores += piece * tile_width;
      left.weights += piece / 2 * tile_width;
    };
    side_work weighing(weigh_some, &keys, blocks_of(x.keys, keys.piece));
    if (count > 0) unit_.multiply(products, count, &weighing);
    weighing.finish();
    if (*std::max_element(largest_, largest_ + columns_) <= reference_slack<C>) return;
    std::copy_n(totals, tile_width, total_);
    unit_(scores_of(x));
    weigh<false>(x.scores, x.keys);
  }

  void absorb_whole(index_t n, rows_of<Stored> k, rows_of<Stored> v) {
    key_part& next = parts_[0];
    next = {next.scores, n, k, v};
    if (unit_.beside_vectors) return advance();
    unit_(scores_of(next));
    weigh_beside(next, nullptr, 0);
    unit_(sums_of(next));
    next.keys = 0;
  }

  /// Three stages: while the scores of the next keys are made, those before them are weighed, and the values before these are added up.
  void advance() {
    from_ = 0, to_ = columns_;
    auto const& [next, scored, weighed] = parts_;
    std::array<pair_product, 2> products;
    int count = 0;
    if (next.keys > 0) products[static_cast<std::size_t>(count++)] = scores_of(next);
    if (weighed.keys > 0) products[static_cast<std::size_t>(count++)] = sums_of(weighed);
    if (scored.keys > 0) weigh_beside(scored, products.data(), count);
    else unit_.multiply(products.data(), count, nullptr);
    parts_[2].keys = 0;
    std::rotate(parts_.begin(), parts_.end() - 1, parts_.end());
  }
  void settle() {
    while (parts_[1].keys > 0 || parts_[2].keys > 0) advance();
  }

  void move_reference() {
    for (index_t c = from_; c < to_; c += S::size) {
      S const before = S::load_aligned(reference_ + c);
      S const after = max(before, S::load_aligned(largest_ + c));
      S const factor = exp_decay(before - after);
      after.store_aligned(reference_ + c);
      (S::load_aligned(total_ + c) * factor).store_aligned(total_ + c);
      for (index_t i = 0; i < value_width_; ++i)
        (S::load_aligned(out_ + i * tile_width + c) * factor).store_aligned(out_ + i * tile_width + c);
    }
  }

  index_t width_, value_width_, columns_ = 0;
  C factor_ = 1;
  index_t from_ = 0, to_ = 0;  // the lanes of the block at hand
  key_range some_{}, all_{};   // keys that some query sees; that every query sees
  scratch<C> memory_;
  C *query_, *visible_, *out_, *reference_, *total_, *largest_, *rows_;
  std::array<key_part, stages> parts_;
  pair_unit unit_{};
  bool fresh_ = true;
};

/// The forward pass in tiles of Tile::most queries; see attention_forward.
template <class Tile, class T, lowered_mask Mask>
void forward_in_tiles(cpu_context const& ctx, attention_arguments<T, Mask> const& a) {
  using C = compute_t<T>;
  index_t const batch = a.q.extents[0], heads = a.q.extents[1], queries = a.q.extents[2], width = a.q.extents[3];
  index_t const key_heads = a.k.extents[1], keys = a.k.extents[2], value_width = a.v.extents[3];
  index_t const group = heads / key_heads;
  index_t const rows = queries * group;  // of one key head
  index_t const tiles = blocks_of(rows, Tile::most);
  bool const little = is_little(batch * heads * queries * keys * (width + value_width));

  // Few tiles: the keys are split too. The number depends on shapes alone, so results do not depend on the machine.
  index_t const whole = batch * key_heads * tiles;
  index_t const splits = std::max<index_t>(1, std::min(32 / whole, blocks_of(keys, 512)));
  scratch<C> partial;  // [split, batch, head, query, value + 1]: normalised values, then logsumexp
  index_t const partial_width = value_width + 1;
  if (splits > 1) partial = scratch<C>(ctx, splits * batch * heads * queries * partial_width);

  // Tiles of a task take in each stretch of keys in turn, while it is in the second-level cache; and tasks that follow each other
  // share a key head. Stretches end at fixed keys, so that results do not depend on how many tiles there are to a task.
  index_t const together = splits > 1 ? 1 : std::clamp<index_t>(whole / (16 * ctx.threads()), 1, most_together);
  index_t const bundles = blocks_of(tiles, together);

  using stored = typename Tile::stored;
  typename Tile::template key_source<T> const k(ctx, a.k, Tile::keeps_keys || tiles > 2);
  typename Tile::template value_source<T> const v(ctx, a.v, tiles > 2);
  run_tasks(ctx, batch * key_heads * bundles * splits, little, [&](index_t task) {
    index_t const split = task % splits, bh = task / splits / bundles, b = bh / key_heads, key_head = bh % key_heads;
    index_t const bundle = bundles - 1 - task / splits % bundles;  // causal: the longest first
    index_t const begin = bundle * together, end = std::min(tiles, begin + together);
    scratch<stored> const buffer(ctx, k.buffer_size(Tile::key_block) + v.buffer_size(Tile::key_block));
    struct at_work {
      Tile tile;
      index_t n;       // queries
      key_range keys;  // still to take in
    };
    std::array<std::optional<at_work>, most_together> bundled;
    auto const each = [&](auto const& f) {
      for (index_t t = begin; t < end; ++t) f(*bundled[static_cast<std::size_t>(t - begin)]);
    };
    key_range seen{keys, 0};
    for (index_t t = begin; t < end; ++t) {
      index_t const first = t * Tile::most, n = std::min(Tile::most, rows - first);
      auto& [tile, count, left] =
          bundled[static_cast<std::size_t>(t - begin)].emplace(at_work{Tile(ctx, width, value_width), n, {0, 0}});
      for (index_t i = 0; i < n; ++i) {
        index_t const query = (first + i) / group, head = key_head * group + (first + i) % group;
        tile.lanes[static_cast<std::size_t>(i)] = {head, query, a.mask.range(b, head, query)};
        copy_row(&a.q(b, head, query, 0), a.q.strides[3], tile.row(i, width), 1, width);
      }
      tile.start(n, a.scale);
      left = tile.keys();
      if (splits > 1) {
        index_t const share = round_up(blocks_of(left.end - left.begin, splits), Tile::key_block);
        left.begin = std::min(left.begin + split * share, left.end);
        left.end = std::min(left.begin + share, left.end);
      }
      if (left.begin < left.end) seen = {std::min(seen.begin, left.begin), std::max(seen.end, left.end)};
    }
    for (index_t stretch = seen.begin; stretch < seen.end;) {
      stretch = (stretch / key_stretch + 1) * key_stretch;
      each([&](at_work& w) {
        for (index_t const last = std::min(stretch, w.keys.end); w.keys.begin < last;) {
          index_t const j = w.keys.begin, count = w.tile.next_count(j, last);
          auto const key_rows = k.at(b, key_head, j, count, buffer.get());
          auto const value_rows = v.at(b, key_head, j, count, buffer.get() + k.buffer_size(Tile::key_block));
          w.tile.absorb(a.mask, b, j, count, key_rows, value_rows);
          w.keys.begin += count;
        }
      });
    }
    each([&](at_work& w) {
      w.tile.finish();
      for (index_t i = 0; i < w.n; ++i) {
        auto const& [head, query, range] = w.tile.lanes[static_cast<std::size_t>(i)];
        if (splits > 1) {
          C* to = partial.get() + (((split * batch + b) * heads + head) * queries + query) * partial_width;
          std::copy_n(w.tile.row(i, value_width), value_width, to);
          to[value_width] = w.tile.logsumexp(i);
        } else {
          copy_row(w.tile.row(i, value_width), 1, &a.out(b, head, query, 0), a.out.strides[3], value_width);
          if (a.logsumexp.data) a.logsumexp(b, head, query) = w.tile.logsumexp(i);
        }
      }
    });
  });
  if (splits == 1) return;

  run_tasks(ctx, batch * heads, little, [&](index_t bh) {
    index_t const step = batch * heads * queries * partial_width;
    for (index_t i = 0; i < queries; ++i) {
      C* into = partial.get() + (bh * queries + i) * partial_width;
      for (index_t s = 1; s < splits; ++s) {
        C const* other = into + s * step;
        merge_shares<C> const share(into[value_width], other[value_width]);
        for (index_t c = 0; c < value_width; ++c) into[c] = share.first * into[c] + share.second * other[c];
        into[value_width] = share.logsumexp;
      }
      copy_row(static_cast<C const*>(into), 1, &a.out(bh / heads, bh % heads, i, 0), a.out.strides[3], value_width);
      if (a.logsumexp.data) a.logsumexp(bh / heads, bh % heads, i) = into[value_width];
    }
  });
}

/// out and logsumexp of the arguments. Shapes have been checked.
template <attention_rule Rule, class T, lowered_mask Mask>
void attention_forward(cpu_context const& ctx, attention_arguments<T, Mask> const& a) {
  if (a.q.extents[0] * a.q.extents[1] * a.q.extents[2] == 0) return;
  index_t const rows = a.q.extents[2] * (a.q.extents[1] / a.k.extents[1]);  // queries of one key head
  if (rows <= forward_rows<Rule, T>::most) return forward_in_tiles<forward_rows<Rule, T>>(ctx, a);
  if constexpr (std::same_as<T, bf16>)
    if (chosen_pair_unit()) return forward_in_tiles<forward_tile<Rule, float, bf16>>(ctx, a);
  forward_in_tiles<forward_tile<Rule, compute_t<T>>>(ctx, a);
}

}  // namespace cog::cpu_detail
