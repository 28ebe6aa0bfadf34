// Observers: what a block is shown of its named intermediate values ("blocks.3.attn.hook_z"), and may replace.
// An observer is any struct with `wants(point)` and `on(point, value)`; `hooks` is a ready one. A layer names its own points,
// whoever holds the layer adds the name of the part. Without an observer nothing is compiled in; only wanted points cost.
#pragma once

#include <any>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cog/autograd/variable.hpp>

namespace cog {

/// Sees nothing.
struct no_observer {};

/// `on(point, value)` is called with the value at a wanted point, a tensor& or a variable& of any rank. What it assigns to `value`
/// is what the model goes on with. Names and shapes of the points: each layer's header.
template <class O>
concept observer = std::same_as<std::remove_cvref_t<O>, no_observer> || requires(std::remove_cvref_t<O>& o, std::string_view point) {
  { o.wants(point) } -> std::convertible_to<bool>;
};

/// Another observer as seen from a part of the model: the part's name is put before every point.
template <class O>
struct scoped_observer {
  O* outer;
  std::string prefix;
  bool wants(std::string_view point) const { return outer->wants(prefix + std::string(point)); }
  void on(std::string_view point, auto& value) const { outer->on(prefix + std::string(point), value); }
};

namespace detail {
template <class O>
inline constexpr bool is_scoped = false;
template <class O>
inline constexpr bool is_scoped<scoped_observer<O>> = true;
}  // namespace detail

/// What a part of a model hands its own part.
template <observer O>
auto scope(O& o, std::string_view part) {
  if constexpr (std::same_as<std::remove_const_t<O>, no_observer>) return no_observer{};
  else if constexpr (detail::is_scoped<std::remove_const_t<O>>) return O{o.outer, o.prefix + std::string(part) + "."};
  else return scoped_observer<O>{&o, std::string(part) + "."};
}

/// Part i of several.
template <observer O>
auto scope(O& o, std::string_view part, std::size_t i) {
  if constexpr (std::same_as<std::remove_const_t<O>, no_observer>) return no_observer{};
  else return scope(o, std::string(part) + "." + std::to_string(i));
}

/// Is any of these points wanted?
template <observer O, class... Point>
bool wants_any(O& o, Point const&... points) {
  if constexpr (std::same_as<std::remove_const_t<O>, no_observer>) return false;
  else return (o.wants(points) || ...);
}

/// The value of x as it goes on from a point.
template <observer O, expression X>
auto observe(O& o, std::string_view point, X const& x) {
  auto value = eval(x);
  if constexpr (!std::same_as<std::remove_const_t<O>, no_observer>) {
    if (o.wants(point)) o.on(point, value);
  }
  return value;
}

/// Functions by point, and a cache. Several functions of a point run in the order they were added:
///   hooks.write<4>("blocks.1.attn.hook_z", [](auto& z) { z = z * 0; });      // replaces
///   hooks.cache("blocks.1.attn.hook_attn");                                  // keeps a copy of every run's last value
///   model(tokens, hooks);
///   auto weights = hooks.cached<4>("blocks.1.attn.hook_attn");
/// Functions get tensors; where gradients are recorded they get the value, and what `write` puts there is a constant.
template <floating T, backend B>
class hooks {
 public:
  /// Calls f(tensor<T, Rank, B> const&) with the value at a point.
  template <int Rank, class F>
  void read(std::string point, F f) {
    add(std::move(point), {Rank, false, [f = std::move(f)](std::any& value) { f(std::any_cast<tensor<T, Rank, B> const&>(value)); }});
  }
  /// Calls f(tensor<T, Rank, B>&) with a copy of the value, which then takes its place; its shape must stay.
  template <int Rank, class F>
  void write(std::string point, F f) {
    add(std::move(point), {Rank, true, [f = std::move(f)](std::any& value) { f(std::any_cast<tensor<T, Rank, B>&>(value)); }});
  }
  /// Keeps a copy of the value as it is when this function's turn comes.
  void cache(std::string point) { add(std::move(point), {any_rank, false, nullptr}); }

  bool has_cached(std::string_view point) const { return cache_.find(point) != cache_.end(); }
  /// The last value kept at a point. Throws if there is none, or if it has another rank.
  template <int Rank>
  tensor<T, Rank, B> const& cached(std::string_view point) const {
    auto const at = cache_.find(point);
    if (at == cache_.end()) throw error("hooks: nothing is cached at ", point);
    if (auto const* x = std::any_cast<tensor<T, Rank, B>>(&at->second)) return *x;
    throw error("hooks: what is cached at ", point, " is not of rank ", Rank);
  }

  /// The points with functions that no run has come by: there is no such point, or its name is mistyped.
  std::vector<std::string> unreached() const {
    std::vector<std::string> out;
    for (auto const& [point, at] : points_)
      if (!at.reached) out.push_back(point);
    return out;
  }

  /// Forgets the functions and the cache.
  void reset() {
    points_.clear();
    cache_.clear();
  }

  bool wants(std::string_view point) const { return points_.find(point) != points_.end(); }

  template <int Rank>
  void on(std::string_view point, tensor<T, Rank, B>& value) {
    run(point, value);
  }
  template <int Rank>
  void on(std::string_view point, variable<T, Rank, B>& value) {
    auto x = value.value();
    if (run(point, x)) value = variable<T, Rank, B>(x, value.recorder());
  }

 private:
  static constexpr int any_rank = -1;
  struct entry {
    int rank;
    bool writes;
    std::function<void(std::any&)> call;  // with a tensor<T, rank, B>; none: cache
  };
  struct functions {
    std::vector<entry> calls;
    bool reached = false;
  };

  void add(std::string point, entry e) { points_[std::move(point)].calls.push_back(std::move(e)); }

  /// Runs the functions of a point; true if one of them may have replaced the value.
  template <int Rank>
  bool run(std::string_view point, tensor<T, Rank, B>& value) {
    auto const at = points_.find(point);
    if (at == points_.end()) return false;
    at->second.reached = true;
    pause_recording const paused;
    bool written = false;
    for (auto const& e : at->second.calls) {
      if (!e.call) {
        cache_.insert_or_assign(std::string(point), value.copy());
        continue;
      }
      if (e.rank != Rank)
        throw error("hooks: a function of rank ", e.rank, " for ", point, ", whose value has shape ", value.extents());
      std::any held = e.writes ? value.copy() : value;
      e.call(held);
      if (!e.writes) continue;
      auto const& now = std::any_cast<tensor<T, Rank, B>&>(held);
      if (now.extents() != value.extents())
        throw error("hooks: the value at ", point, " has shape ", value.extents(), "; it was replaced by one of shape ", now.extents());
      value = now;
      written = true;
    }
    return written;
  }

  std::map<std::string, functions, std::less<>> points_;
  std::map<std::string, std::any, std::less<>> cache_;
};

}  // namespace cog
