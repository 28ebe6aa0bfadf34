// A tape: what was computed from what, and how to go back. It knows no shapes and no backends: a step is a closure.
// It watches the parameters of a model: their storages, so that layers hold plain tensors (see variable.hpp, `lift`).
// One tape belongs to one thread; many may exist. Values that a step saved are freed as soon as it has run.
#pragma once

#include <any>
#include <cstddef>
#include <functional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cog/expr/evaluate.hpp>

namespace cog {

namespace detail {

/// The bytes between the first and the last element of a tensor, its strides of either sign.
struct memory_range {
  std::byte const *first, *last;

  template <class T, int R, class B>
  explicit memory_range(tensor<T, R, B> const& x) {
    index_t low = 0, high = x.size() > 0 ? 1 : 0;
    for (std::size_t i = 0; i != R && x.size() > 0; ++i) (x.strides()[i] < 0 ? low : high) += (x.extents()[i] - 1) * x.strides()[i];
    first = reinterpret_cast<std::byte const*>(x.data() + low);
    last = reinterpret_cast<std::byte const*>(x.data() + high);
  }
  bool contains(memory_range const& other) const { return first <= other.first && other.last <= last; }
  bool overlaps(memory_range const& other) const { return first < other.last && other.first < last; }
  bool operator==(memory_range const&) const = default;
};

}  // namespace detail

class tape {
 public:
  /// Identifies the gradient of one recorded value; none: it needs no gradient.
  using slot = int;
  static constexpr slot none = -1;

  tape() = default;
  tape(tape const&) = delete;
  ~tape() { finish(); }

  slot new_slot() {
    gradients_.emplace_back();
    return static_cast<slot>(gradients_.size()) - 1;
  }

  /// Runs when the gradient of slot `of` is complete, if any arrived.
  /// Throws when the recording is over: nobody would run the step.
  template <class T, int R, class B, class Backward>
  void push(slot of, std::type_identity<tensor<T, R, B>>, Backward backward) {
    if (finished_) throw error("a variable is used after the call of value_and_grad that recorded it");
    steps_.push_back(std::function<void()>([this, of, backward = std::move(backward)] {
      std::any& g = gradients_[static_cast<std::size_t>(of)];
      if (!g.has_value()) return;
      auto const gradient = std::any_cast<tensor<T, R, B>>(std::move(g));
      g.reset();
      backward(gradient);
    }));
  }

  /// The gradient collected so far, or nullptr.
  template <class T, int R, class B>
  tensor<T, R, B>* find(slot of) {
    return std::any_cast<tensor<T, R, B>>(&gradients_[static_cast<std::size_t>(of)]);
  }
  template <class T, int R, class B>
  void set(slot of, tensor<T, R, B> gradient) {
    gradients_[static_cast<std::size_t>(of)] = std::move(gradient);
  }
  /// Adds to the gradient of a slot.
  template <plain_expression E>
  void add(slot of, E const& e) {
    using T = typename E::value_type;
    using B = typename E::backend_type;
    if (of == none) return;
    if (auto* have = find<T, E::rank, B>(of)) *have += e;
    else set(of, tensor<T, E::rank, B>(evaluate(e)));
  }
  /// The gradient of a slot as row-major storage of its own, zero where nothing has arrived: for steps that touch a part of it.
  template <class T, int R, class B>
  tensor<T, R, B>& buffer(slot of, tensor<T, R, B> const& like) {
    auto* have = find<T, R, B>(of);
    if (!have) set(of, zeros_like(like));
    else if (!have->is_contiguous() || have->storage_handle().owners() != 1) *have = have->copy();
    return *find<T, R, B>(of);
  }

  /// Collects a gradient for this parameter whenever it, or a view of it, meets a variable of this tape. Parameters may be views of
  /// the same elements (tied weights). Throws where they share only some.
  template <class T, int R, class B>
  void watch(tensor<T, R, B> const& parameter) {
    if (!parameter.has_storage()) return;
    auto& entries = watched_[parameter.storage_handle().id()];
    detail::memory_range const range(parameter);
    for (auto const& entry : entries) {
      if (entry.range == range) return;
      if (entry.range.overlaps(range))
        throw error("a parameter of shape ", parameter.extents(), " shares only some of its elements with another one; copy() parts them");
    }
    parameter.storage_handle().watchers().fetch_add(1, std::memory_order_relaxed);
    entries.push_back({range, new_slot(), parameter,
                       [s = parameter.storage_handle()] { s.watchers().fetch_sub(1, std::memory_order_relaxed); }});
  }
  struct watched {
    detail::memory_range range;
    slot gradient;
    std::any parameter;  // tensor<T, R, B>; keeps the storage alive, so that its identity stays unique
    std::function<void()> release;
  };
  /// The watched parameter that contains the elements of x.
  template <class T, int R, class B>
  watched const* find_watched(tensor<T, R, B> const& x) const {
    if (watched_.empty() || !x.has_storage()) return nullptr;
    auto const it = watched_.find(x.storage_handle().id());
    if (it == watched_.end()) return nullptr;
    for (auto const& entry : it->second)
      if (entry.range.contains(detail::memory_range(x))) return &entry;
    return nullptr;
  }

  /// Runs the steps from the last down to `first`, freeing each.
  void run_back(std::size_t first = 0) {
    while (steps_.size() > first) {
      auto const step = std::move(steps_.back());
      steps_.pop_back();
      step();
    }
  }
  std::size_t length() const noexcept { return steps_.size(); }

  /// The end of the recording, also where an exception ended it: drops the steps that have not run, whose variables hold this tape,
  /// and lets go of the parameters. The gradients stay.
  void finish() {
    if (std::exchange(finished_, true)) return;
    auto const dropped = std::move(steps_);
    for (auto& [id, entries] : watched_)
      for (auto& entry : entries) entry.release();
  }

 private:
  std::vector<std::function<void()>> steps_;
  std::vector<std::any> gradients_;
  std::unordered_map<void const*, std::vector<watched>> watched_;
  bool finished_ = false;
};

}  // namespace cog
