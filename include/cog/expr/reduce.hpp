// Reductions over any axes. The input is any expression and is fused in: one pass, nothing is materialised.
// sum(x), sum(x, axis), sum(x, axes<0, 2>{}); with `keep` the reduced axes stay as extents of 1. They run at once.
// Sums are taken in compute_t in a fixed order that does not depend on the number of threads.
#pragma once

#include <limits>

#include <cog/core/unpack.hpp>
#include <cog/expr/evaluate.hpp>

namespace cog {

/// A reduction: state<S> per lane, `push` adds an element, `merge` joins two states, `finish` gives the result.
/// S is float or double, or a SIMD value of them; the state of SIMD lanes is merged at the end.
namespace reduction {

/// Sums of integers and bools are int64, and so are products.
struct sum {
  static constexpr char const* name = "sum";
  template <class T> using result = std::conditional_t<floating<T>, T, std::int64_t>;
  template <class S> struct state { S value = S(0); };
  template <class S> COG_HD COG_INLINE static void push(state<S>& s, S x) { s.value = s.value + x; }
  template <class S> COG_HD COG_INLINE static void merge(state<S>& a, state<S> const& b) { a.value = a.value + b.value; }
  template <class S> COG_HD static S finish(state<S> const& s, index_t) { return s.value; }
  template <class S, class F> static state<S> lanes(auto const& s, F lane) { return {lane(s.value)}; }
};
struct mean : sum {
  static constexpr char const* name = "mean";
  static constexpr bool real_only = true;
  template <class S> COG_HD static S finish(state<S> const& s, index_t n) { return s.value / S(n); }
};
struct product {
  static constexpr char const* name = "product";
  template <class T> using result = sum::result<T>;
  template <class S> struct state { S value = S(1); };
  template <class S> COG_HD COG_INLINE static void push(state<S>& s, S x) { s.value = s.value * x; }
  template <class S> COG_HD COG_INLINE static void merge(state<S>& a, state<S> const& b) { a.value = a.value * b.value; }
  template <class S> COG_HD static S finish(state<S> const& s, index_t) { return s.value; }
  template <class S, class F> static state<S> lanes(auto const& s, F lane) { return {lane(s.value)}; }
};
/// A NaN is the result when there is one. Throws on no elements.
struct max {
  static constexpr char const* name = "max";
  static constexpr bool needs_elements = true;
  template <class T> using result = T;
  template <class S> struct lowest { COG_HD static S value() { return -math::infinity<S>; } };
  template <class S>
    requires requires { typename S::value_type; }
  struct lowest<S> { COG_HD static S value() { return S(lowest<typename S::value_type>::value()); } };
  template <std::integral S> struct lowest<S> { COG_HD static S value() { return math::lowest<S>; } };
  template <class S> struct state { S value = lowest<S>::value(); };
  template <class S> COG_HD COG_INLINE static void push(state<S>& s, S x) { using math::max; s.value = max(s.value, x); }
  template <class S> COG_HD COG_INLINE static void merge(state<S>& a, state<S> const& b) { using math::max; a.value = max(a.value, b.value); }
  template <class S> COG_HD static S finish(state<S> const& s, index_t) { return s.value; }
  template <class S, class F> static state<S> lanes(auto const& s, F lane) { return {lane(s.value)}; }
};
struct min {
  static constexpr char const* name = "min";
  static constexpr bool needs_elements = true;
  template <class T> using result = T;
  template <class S> struct highest { COG_HD static S value() { return math::infinity<S>; } };
  template <class S>
    requires requires { typename S::value_type; }
  struct highest<S> { COG_HD static S value() { return S(highest<typename S::value_type>::value()); } };
  template <std::integral S> struct highest<S> { COG_HD static S value() { return math::highest<S>; } };
  template <class S> struct state { S value = highest<S>::value(); };
  template <class S> COG_HD COG_INLINE static void push(state<S>& s, S x) { using math::min; s.value = min(s.value, x); }
  template <class S> COG_HD COG_INLINE static void merge(state<S>& a, state<S> const& b) { using math::min; a.value = min(a.value, b.value); }
  template <class S> COG_HD static S finish(state<S> const& s, index_t) { return s.value; }
  template <class S, class F> static state<S> lanes(auto const& s, F lane) { return {lane(s.value)}; }
};
/// log sum exp(x), by a running maximum: exact for any magnitude. -inf over no elements.
struct logsumexp {
  static constexpr char const* name = "logsumexp";
  static constexpr bool real_only = true;
  template <class T> using result = T;
  template <class S> struct state { S maximum = max::lowest<S>::value(); S sum = S(0); };
  template <class S> COG_HD COG_INLINE static void push(state<S>& s, S x) { merge(s, state<S>{x, S(1)}); }
  template <class S> COG_HD COG_INLINE static void merge(state<S>& a, state<S> const& b) {
    using math::max;
    S const m = max(a.maximum, b.maximum);
    a.sum = a.sum * scale(a.maximum, m) + b.sum * scale(b.maximum, m);
    a.maximum = m;
  }
  /// e^(x - m), 1 where x = m (also when both are infinite).
  template <class S> COG_HD COG_INLINE static S scale(S x, S m) {
    using math::exp; using math::where;
    return where(x == m, S(1), exp(x - m));
  }
  template <class S> COG_HD static S finish(state<S> const& s, index_t) { using math::log; return s.maximum + log(s.sum); }
  template <class S, class F> static state<S> lanes(auto const& s, F lane) { return {lane(s.maximum), lane(s.sum)}; }
};
/// The mean of (x - mean)^2 (Welford, Chan). Correction 0: the population variance.
struct variance {
  static constexpr char const* name = "variance";
  static constexpr bool real_only = true;
  template <class T> using result = T;
  template <class S> struct state { S count = S(0); S mean = S(0); S squares = S(0); };
  template <class S> COG_HD COG_INLINE static void push(state<S>& s, S x) {
    s.count = s.count + S(1);
    S const d = x - s.mean;
    s.mean = s.mean + d / s.count;
    s.squares = s.squares + d * (x - s.mean);
  }
  template <class S> COG_HD COG_INLINE static void merge(state<S>& a, state<S> const& b) {
    using math::max;
    S const n = a.count + b.count;
    S const d = b.mean - a.mean;
    S const share = b.count / max(n, S(1));
    a.mean = a.mean + d * share;
    a.squares = a.squares + b.squares + d * d * a.count * share;
    a.count = n;
  }
  template <class S> COG_HD static S finish(state<S> const& s, index_t n) { return s.squares / S(n); }
  template <class S, class F> static state<S> lanes(auto const& s, F lane) { return {lane(s.count), lane(s.mean), lane(s.squares)}; }
};
/// The position of the first largest element (the first NaN, if any), counted over the reduced axes in row-major order.
/// `push` is told the position, so elements may come, and states may merge, in any order.
template <bool Largest>
struct extreme_position {
  static constexpr char const* name = Largest ? "argmax" : "argmin";
  static constexpr bool needs_elements = true;
  static constexpr bool positional = true;
  template <class> using result = std::int64_t;
  template <class S> struct state { S value{}; std::int64_t at = -1; };
  template <class S> COG_HD static bool better(S x, S than) { return Largest ? x > than || (x != x && than == than) : x < than || (x != x && than == than); }
  template <class S> COG_HD static void push(state<S>& s, S x, std::int64_t at) { merge(s, state<S>{x, at}); }
  template <class S> COG_HD static void merge(state<S>& a, state<S> const& b) {
    if (b.at < 0) return;
    if (a.at < 0 || better(b.value, a.value) || (b.at < a.at && !better(a.value, b.value))) a = b;
  }
  template <class S> COG_HD static std::int64_t finish(state<S> const& s, index_t) { return s.at; }
};
using argmax = extreme_position<true>;
using argmin = extreme_position<false>;

}  // namespace reduction

/// Axes named at compile time: sum(x, axes<0, 2>{}). Negative ones count from the end.
template <int... A>
struct axes {};

namespace detail {

/// The axes in the order kept..., reduced...; how many are kept.
template <int Rank>
struct axis_order {
  std::array<int, static_cast<std::size_t>(Rank)> from{};
  int kept = 0;
};
template <int Rank, std::size_t N>
axis_order<Rank> order_axes(char const* operation, std::array<int, N> const& reduced) {
  std::array<bool, static_cast<std::size_t>(Rank)> drop{};
  for (int a : reduced) {
    auto const axis = static_cast<std::size_t>(normal_axis(operation, a, Rank));
    if (drop[axis]) throw error(operation, ": axis ", a, " is named twice");
    drop[axis] = true;
  }
  axis_order<Rank> out;
  std::size_t at = 0;
  for (bool pass : {false, true})
    for (int a = 0; a < Rank; ++a)
      if (drop[static_cast<std::size_t>(a)] == pass) out.from[at++] = a;
  out.kept = Rank - static_cast<int>(N);
  return out;
}

/// Reduces f(leaves) of `shape` over all but the first `order.kept` axes of `order` into a row-major tensor of T, `out_shape`.
template <class R, class B, class T, class F, class... Leaf, std::size_t Rank, std::size_t N>
tensor<T, static_cast<int>(N), B> reduce_leaves(F const& f, std::tuple<Leaf...> const& ls, std::array<index_t, Rank> const& shape,
                                                axis_order<static_cast<int>(Rank)> const& order, std::array<index_t, N> const& out_shape) {
  std::array<index_t, Rank> ordered{};
  for (std::size_t i = 0; i != Rank; ++i) ordered[i] = shape[static_cast<std::size_t>(order.from[i])];
  if constexpr (requires { R::needs_elements; }) {
    if (size_of(shape) == 0 && size_of(out_shape) != 0) throw error(R::name, ": no elements in shape ", shape);
  }
  auto const permute = [&](auto lowered) {
    if constexpr (requires { lowered.strides; }) {
      auto const before = lowered;
      for (std::size_t i = 0; i != Rank; ++i) lowered.strides[i] = before.strides[order.from[i]];
    }
    return lowered;
  };
  return detail::unpack(
      [&](auto const&... leaf) {
        auto const& ctx = context_of(leaf...);
        tensor<T, static_cast<int>(N), B> out(ctx, out_shape);
        B::template reduce<R>(ctx, f, ordered, order.kept, make_pack(permute(lower(leaf, shape))...), out.data());
        return out;
      },
      ls);
}

template <class R, plain_expression E, std::size_t N>
auto reduce_ordered(E const& e, axis_order<E::rank> const& order, std::array<index_t, N> const& out_shape) {
  using T = typename R::template result<typename E::value_type>;
  static_assert(!requires { R::real_only; } || floating<typename E::value_type>,
                "cog: this reduction needs floating elements; write cast<float>(x) first");
  return reduce_leaves<R, typename E::backend_type, T>(forward<typename tree_of<E, 0>::type>{}, leaves_of(e), e.extents(), order,
                                                       out_shape);
}

template <class R, std::size_t N, plain_expression E>
auto reduce(E const& e, std::array<int, N> const& wanted) {
  static_assert(static_cast<int>(N) <= E::rank);
  auto const order = order_axes<E::rank>(R::name, wanted);
  extents<E::rank - static_cast<int>(N)> kept{};
  auto const shape = e.extents();
  for (std::size_t i = 0; i != kept.size(); ++i) kept[i] = shape[static_cast<std::size_t>(order.from[i])];
  return reduce_ordered<R>(e, order, kept);
}

template <int Rank>
std::array<int, static_cast<std::size_t>(Rank)> all_axes() {
  std::array<int, static_cast<std::size_t>(Rank)> out{};
  for (int i = 0; i < Rank; ++i) out[static_cast<std::size_t>(i)] = i;
  return out;
}

/// The shape of x with the named axes at 1.
template <class E, std::size_t N>
auto kept_shape(E const& e, std::array<int, N> const& wanted) {
  auto shape = e.extents();
  for (int a : wanted) shape[static_cast<std::size_t>(normal_axis("reduce", a, E::rank))] = 1;
  return shape;
}

}  // namespace detail

/// Reduced axes stay as extents of 1.
struct keep_axes {};
inline constexpr keep_axes keep{};

// name(x): all elements, rank 0. name(x, axis[, keep]), name(x, axes<...>{}[, keep]).
#define COG_REDUCTION(name)                                                                                   \
  template <plain_expression E>                                                                               \
  auto name(E const& x) {                                                                                     \
    return detail::reduce<reduction::name>(x, detail::all_axes<E::rank>());                                   \
  }                                                                                                           \
  template <plain_expression E>                                                                               \
  auto name(E const& x, int axis) {                                                                           \
    return detail::reduce<reduction::name>(x, std::array<int, 1>{axis});                                      \
  }                                                                                                           \
  template <plain_expression E, int... A>                                                                     \
  auto name(E const& x, axes<A...>) {                                                                         \
    return detail::reduce<reduction::name>(x, std::array<int, sizeof...(A)>{A...});                           \
  }                                                                                                           \
  template <plain_expression E>                                                                               \
  auto name(E const& x, int axis, keep_axes) {                                                                \
    return reshape(name(x, axis), detail::kept_shape(x, std::array<int, 1>{axis}));                           \
  }                                                                                                           \
  template <plain_expression E, int... A>                                                                     \
  auto name(E const& x, axes<A...> a, keep_axes) {                                                            \
    return reshape(name(x, a), detail::kept_shape(x, std::array<int, sizeof...(A)>{A...}));                   \
  }                                                                                                           \
  template <expression E, std::floating_point A>                                                              \
  auto name(E const& x, A) {                                                                                  \
    static_assert(sizeof(A) == 0, "cog: an axis is a whole number; maximum and minimum compare elements");    \
    return x;                                                                                                 \
  }
COG_REDUCTION(sum)
COG_REDUCTION(mean)
COG_REDUCTION(product)
COG_REDUCTION(max)
COG_REDUCTION(min)
COG_REDUCTION(logsumexp)
COG_REDUCTION(variance)
COG_REDUCTION(argmax)
COG_REDUCTION(argmin)
#undef COG_REDUCTION

namespace detail {

/// The axes along which a tensor of shape `to` was stretched to `shape`, last: summing over them is the gradient of broadcasting.
template <std::size_t Rank, std::size_t N>
axis_order<static_cast<int>(Rank)> stretched_last(std::array<index_t, Rank> const& shape, std::array<index_t, N> const& to) {
  static_assert(N <= Rank);
  axis_order<static_cast<int>(Rank)> order;
  std::size_t at = 0;
  for (bool pass : {false, true}) {
    for (std::size_t i = 0; i != Rank; ++i) {
      bool const stretched = Rank - i > N || (to[i - (Rank - N)] == 1 && shape[i] != 1);
      if (stretched == pass) order.from[at++] = static_cast<int>(i);
    }
    if (!pass) order.kept = static_cast<int>(at);
  }
  return order;
}

/// e summed to the shape it was stretched from.
template <std::size_t N, plain_expression E>
auto sum_to(E const& e, std::array<index_t, N> const& to) {
  return reduce_ordered<reduction::sum>(e, stretched_last(e.extents(), to), to);
}

}  // namespace detail

}  // namespace cog
