// A tape: what was computed from what, and how to go back. It knows no shapes and no backends: a step is a closure.
// It watches the parameters of a model: their storages, so that layers hold plain tensors (see variable.hpp, `lift`).
// One tape belongs to one thread; many may exist. Values that a step saved are freed as soon as it has run.
#pragma once

#include <any>
#include <functional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <cog/expr/evaluate.hpp>

namespace cog {

class tape {
 public:
  /// Identifies the gradient of one recorded value; none: it needs no gradient.
  using slot = int;
  static constexpr slot none = -1;

  tape() = default;
  tape(tape const&) = delete;
  ~tape() { unwatch(); }

  slot new_slot() {
    gradients_.emplace_back();
    return static_cast<slot>(gradients_.size()) - 1;
  }

  /// Runs when the gradient of slot `of` is complete, if any arrived.
  template <class T, int R, class B, class Backward>
  void push(slot of, std::type_identity<tensor<T, R, B>>, Backward backward) {
    steps_.emplace_back([this, of, backward = std::move(backward)] {
      std::any& g = gradients_[static_cast<std::size_t>(of)];
      if (!g.has_value()) return;
      auto const gradient = std::any_cast<tensor<T, R, B>>(std::move(g));
      g.reset();
      backward(gradient);
    });
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
  template <class T, int R, class B>
  void add(slot of, tensor<T, R, B> gradient) {
    if (of == none) return;
    if (auto* have = find<T, R, B>(of)) *have += gradient;
    else set(of, std::move(gradient));
  }
  /// The gradient of a slot as row-major storage of its own, zero where nothing has arrived: for steps that touch a part of it.
  template <class T, int R, class B>
  tensor<T, R, B>& buffer(slot of, tensor<T, R, B> const& like) {
    auto* have = find<T, R, B>(of);
    if (!have) set(of, zeros_like(like));
    else if (!have->is_contiguous() || have->storage_handle().owners() != 1) *have = have->copy();
    return *find<T, R, B>(of);
  }

  /// Collects a gradient for this parameter whenever it, or a view of it, meets a variable of this tape.
  template <class T, int R, class B>
  void watch(tensor<T, R, B> const& parameter) {
    if (!parameter.has_storage() || find_watched(parameter)) return;
    parameter.storage_handle().watchers().fetch_add(1, std::memory_order_relaxed);
    watched_[parameter.storage_handle().id()].push_back(
        {parameter.data(), parameter.size(), new_slot(), parameter, [s = parameter.storage_handle()] {
           s.watchers().fetch_sub(1, std::memory_order_relaxed);
         }});
  }
  /// A watched parameter that contains the elements of x.
  struct watched {
    void const* data;
    index_t size;
    slot gradient;
    std::any parameter;  // tensor<T, R, B>; keeps the storage alive, so that its identity stays unique
    std::function<void()> release;
  };
  template <class T, int R, class B>
  watched const* find_watched(tensor<T, R, B> const& x) const {
    if (watched_.empty() || !x.has_storage()) return nullptr;
    auto const it = watched_.find(x.storage_handle().id());
    if (it == watched_.end()) return nullptr;
    for (auto const& entry : it->second) {
      auto const* first = static_cast<T const*>(entry.data);
      if (x.data() >= first && x.data() < first + std::max<index_t>(1, entry.size)) return &entry;
    }
    return nullptr;
  }
  void unwatch() {
    for (auto& [id, entries] : watched_)
      for (auto& entry : entries) entry.release();
    watched_.clear();
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

 private:
  std::vector<std::function<void()>> steps_;
  std::vector<std::any> gradients_;
  std::unordered_map<void const*, std::vector<watched>> watched_;
};

}  // namespace cog
