// The keys and values of the positions seen so far, for prefill, chunked prefill and decoding: new queries are the last
// positions, so `causal` (or `document` with the starts of document_counter) says what they see, whatever was cached.
// Capacity is fixed until `reserve`; an append writes only the new positions. Copies share memory; see `copy`.
// counted_cache is the same memory with a length that the backend counts, for steps that are captured once and replayed.
#pragma once

#include <utility>

#include <cog/attention/mask.hpp>
#include <cog/expr/evaluate.hpp>

namespace cog {

/// One layer's cache: keys [B, Hkv, capacity, D], values [B, Hkv, capacity, E]. Rotary embedding comes before `append`,
/// with positions from length() on.
template <floating T, backend B>
class kv_cache {
 public:
  using context_type = typename B::context;

  kv_cache() = default;
  /// Empty, with room for shape[2] positions: shape is [B, Hkv, capacity, D], value_width is E (D if not given).
  kv_cache(context_type const& ctx, extents<4> const& shape, index_t value_width = -1)
      : keys_(ctx, shape), values_(ctx, {shape[0], shape[1], shape[2], value_width < 0 ? shape[3] : value_width}) {}

  index_t length() const noexcept { return length_; }
  index_t capacity() const noexcept { return keys_.extents()[2]; }
  /// Views of what is cached: [B, Hkv, length, D] and [B, Hkv, length, E].
  tensor<T, 4, B> keys() const { return slice(keys_, 2, 0, length_); }
  tensor<T, 4, B> values() const { return slice(values_, 2, 0, length_); }

  /// Views of the whole capacity.
  tensor<T, 4, B> const& all_keys() const noexcept { return keys_; }
  tensor<T, 4, B> const& all_values() const noexcept { return values_; }

  /// Adds n positions, k: [B, Hkv, n, D] and v: [B, Hkv, n, E]. Either both are added or none.
  /// Errors: other shapes than the cache's; more positions than capacity() (all lengths are named).
  void append(tensor<T, 4, B> const& k, tensor<T, 4, B> const& v) {
    index_t const n = k.extents()[2];
    if (k.extents() != with_length(keys_, n) || v.extents() != with_length(values_, n))
      throw error("kv_cache: cannot append k ", k.extents(), " and v ", v.extents(), " to caches of ", keys_.extents(),
                  " and ", values_.extents());
    if (n > capacity() - length_)
      throw error("kv_cache: cannot append ", n, " positions to ", length_, " with room for ", capacity(),
                  "; reserve() makes more");
    slice(keys_, 2, length_, length_ + n).assign(k);
    slice(values_, 2, length_, length_ + n).assign(v);
    length_ += n;
  }

  /// Room for at least `positions`; copies what is cached if there is less.
  void reserve(index_t positions) {
    if (positions <= capacity()) return;
    kv_cache larger(keys_.context(), with_length(keys_, positions), values_.extents()[3]);
    larger.append(keys(), values());
    *this = std::move(larger);
  }
  /// Forgets all but the first `positions`.
  void truncate(index_t positions) {
    if (positions < 0 || positions > length_)
      throw error("kv_cache: cannot truncate ", length_, " positions to ", positions);
    length_ = positions;
  }
  /// A cache of its own, as for several continuations of one prompt.
  kv_cache copy() const {
    kv_cache out(keys_.context(), keys_.extents(), values_.extents()[3]);
    out.append(keys(), values());
    return out;
  }

 private:
  static extents<4> with_length(tensor<T, 4, B> const& x, index_t n) {
    return {x.extents()[0], x.extents()[1], n, x.extents()[3]};
  }
  tensor<T, 4, B> keys_, values_;
  index_t length_ = 0;
};

namespace detail {

/// Puts one number of new positions at (its place at position 0, its position after *before). Nothing past the capacity.
template <class T>
struct append_position {
  using lane = void;
  T const* x;
  T* to;
  std::int64_t const* before;
  index_t step, capacity;
  COG_HD COG_INLINE bool operator()(index_t from, index_t place, index_t position) const {
    index_t const at = *before + position;
    if (at < capacity) to[place + at * step] = x[from];
    return true;  // to no_output
  }
};

}  // namespace detail

/// A layer's cache whose length is a number in the backend's memory, so that a captured step appends one position further on every
/// replay. Layers of a model share the number: it moves on by itself when all have appended (`advance`). Attention runs over the whole
/// capacity, of which it reads what is seen; for causal attention. Positions past the capacity are dropped: the host counts replays.
template <floating T, backend B>
class counted_cache {
 public:
  counted_cache() = default;
  /// Goes on with the memory of a cache, which counts no further.
  counted_cache(kv_cache<T, B> const& cache, tensor<std::int64_t, 0, B> length)
      : keys_(cache.all_keys()), values_(cache.all_values()), length_(std::move(length)) {}

  tensor<std::int64_t, 0, B> const& length() const noexcept { return length_; }
  index_t capacity() const noexcept { return keys_.extents()[2]; }
  /// Views of the whole capacity.
  tensor<T, 4, B> const& keys() const { return keys_; }
  tensor<T, 4, B> const& values() const { return values_; }
  /// What new queries see, for attention over keys() and values().
  template <class Mask>
  counted_causal<B> mask(Mask const&) const {
    static_assert(std::same_as<Mask, causal_type>, "cog: a counted_cache is for causal attention");
    return {length_};
  }

  /// Writes the positions that follow length(), k: [B, Hkv, n, D] and v: [B, Hkv, n, E]. Errors: other shapes than the cache's.
  void append(tensor<T, 4, B> const& k, tensor<T, 4, B> const& v) const {
    put(k, keys_);
    put(v, values_);
  }
  /// What was appended counts from now on.
  void advance(index_t n) const { length_.assign(length_ + n); }

 private:
  void put(tensor<T, 4, B> const& x, tensor<T, 4, B> const& to) const {
    auto const& n = x.extents();
    if (extents<4>{n[0], n[1], to.extents()[2], n[3]} != to.extents())
      throw error("counted_cache: cannot append ", n, " to a cache of ", to.extents());
    auto const offsets = [](extents<4> const& strides) {  // a leaf whose value is the offset itself
      position_leaf<4> leaf{};
      std::copy(strides.begin(), strides.end(), leaf.strides);
      return leaf;
    };
    auto const& at = to.strides();
    B::for_each(x.context(), n, detail::append_position<T>{x.data(), const_cast<T*>(to.data()), length_.data(), at[2], to.extents()[2]},
                make_pack(offsets(x.strides()), offsets({at[0], at[1], 0, at[3]}), offsets({0, 0, 1, 0})), make_pack(detail::no_output{}));
  }

  tensor<T, 4, B> keys_, values_;
  tensor<std::int64_t, 0, B> length_;
};

/// Follows the documents of a batch across calls: document_starts for one chunk of tokens after another.
class document_counter {
 public:
  /// The starts of the next n positions, [B, n], given the marks of the tokens that open a document.
  template <backend B>
  tensor<std::int32_t, 2, B> next(tensor<bool, 2, B> const& opens) {
    index_t const batch = opens.extents()[0], n = opens.extents()[1];
    if (current_.empty()) current_.assign(static_cast<std::size_t>(batch), 0);
    if (static_cast<index_t>(current_.size()) != batch)
      throw error("document_counter: marks of shape ", opens.extents(), " after a batch of ", current_.size());
    auto const starts = detail::scan_documents(opens, length_, current_);
    length_ += n;
    return from(opens.context(), std::span<std::int32_t const>(starts), opens.extents());
  }
  index_t length() const noexcept { return length_; }

 private:
  std::vector<std::int32_t> current_;  // the start of the open document of each row
  index_t length_ = 0;
};

}  // namespace cog
