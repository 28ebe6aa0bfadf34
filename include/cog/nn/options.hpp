// What a layer is called with beside its input, in any order: a mask, an observer, a kv_cache. Each is known by its type:
//   model(tokens)    model(tokens, document{starts})    model(tokens, cache)    model(tokens, causal, hooks)
#pragma once

#include <cog/attention/kv_cache.hpp>
#include <cog/nn/observer.hpp>

namespace cog::nn {

/// In place of a cache: attend to the given positions alone.
struct no_cache {};

namespace detail {

template <class C>
inline constexpr bool is_cache = std::same_as<C, no_cache>;
template <class T, class B>
inline constexpr bool is_cache<kv_cache<T, B>> = true;
template <class T, class B>
inline constexpr bool is_cache<counted_cache<T, B>> = true;
/// A cache of several layers.
template <class C>
  requires requires(C& c) { c.layer(index_t{}); }
inline constexpr bool is_cache<C> = true;

struct mask_option {
  template <class X>
  static constexpr bool is = attention_mask<X>;
};
struct observer_option {
  template <class X>
  static constexpr bool is = observer<X>;
};
struct cache_option {
  template <class X>
  static constexpr bool is = is_cache<X>;
};

/// The first option of a kind, or the fallback.
template <class Kind, class Fallback>
Fallback& option(Fallback& fallback) {
  return fallback;
}
template <class Kind, class Fallback, class First, class... Rest>
auto& option(Fallback& fallback, First& first, Rest&... rest) {
  if constexpr (Kind::template is<std::remove_const_t<First>>) return first;
  else return option<Kind>(fallback, rest...);
}

template <class X>
inline constexpr bool is_option = mask_option::is<X> || observer_option::is<X> || cache_option::is<X>;

}  // namespace detail

/// A type that may follow the input of a layer.
template <class X>
concept layer_option = detail::is_option<std::remove_cvref_t<X>>;

template <class Mask, layer_option... Options>
auto const& mask_among(Mask const& otherwise, Options&... options) {
  return detail::option<detail::mask_option>(otherwise, options...);
}
template <layer_option... Options>
auto& observer_among(Options&... options) {
  static no_observer nobody;
  return detail::option<detail::observer_option>(nobody, options...);
}
template <layer_option... Options>
auto& cache_among(Options&... options) {
  static no_cache none;
  return detail::option<detail::cache_option>(none, options...);
}

}  // namespace cog::nn
