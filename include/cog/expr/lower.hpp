// From lazy nodes to kernels. An expression becomes a pure type (its tree) and a pack of leaves; the pack and the tree's
// functor are trivially copyable, own nothing, and are all that a backend sees.
//   tree       arg<I, T> | branch<Op, Trees...>
//   functor    forward<Tree>: leaf values -> value;  reverse<Tree>: leaf values and g -> the gradient of each leaf
// The reverse sweep keeps every forward value in registers.
#pragma once

#include <utility>

#include <cog/expr/node.hpp>
#include <cog/expr/ops.hpp>

namespace cog {

/// A trivially copyable tuple. No member may overlap another (no_unique_address): nvcc 13.0 lays
/// such a struct out differently for the device, and tables of them as arguments would be read at wrong places.
template <class... T>
struct pack {};
template <class Head>
struct pack<Head> {
  Head head;
};
template <class Head, class Next, class... Tail>
struct pack<Head, Next, Tail...> {
  Head head;
  pack<Next, Tail...> tail;
};
template <int I, class Head, class... Tail>
COG_HD COG_INLINE auto const& get(pack<Head, Tail...> const& p) {
  if constexpr (I == 0) return p.head;
  else return get<I - 1>(p.tail);
}
template <int I, class Head, class... Tail>
COG_HD COG_INLINE auto& get(pack<Head, Tail...>& p) {
  if constexpr (I == 0) return p.head;
  else return get<I - 1>(p.tail);
}
COG_HD inline pack<> make_pack() { return {}; }
template <class Head, class... Tail>
COG_HD COG_INLINE pack<Head, Tail...> make_pack(Head head, Tail... tail) {
  if constexpr (sizeof...(Tail) == 0) return {head};
  else return {head, make_pack(tail...)};
}

// ---- leaves as kernels see them: strides are those of the output's shape, 0 along stretched axes

template <class T, int Rank>
struct array_leaf {
  using value_type = T;
  T const* data;
  index_t strides[Rank == 0 ? 1 : Rank];
};
template <class T>
struct constant_leaf {
  using value_type = T;
  compute_t<T> value;
};
/// An array whose element at offset i is i.
template <int Rank>
struct position_leaf {
  using value_type = std::int64_t;
  index_t strides[Rank];
};

// ---- trees

template <int I, class T>
struct arg {
  using value_type = T;
};
template <class Op, class... Trees>
struct branch {
  using value_type = typename Op::template result<typename Trees::value_type...>;
};

namespace detail {

/// How often leaf I stands in a tree.
template <int I, class Tree>
inline constexpr int occurrences = 0;
template <int I, class T>
inline constexpr int occurrences<I, arg<I, T>> = 1;
template <int I, class Op, class... Trees>
inline constexpr int occurrences<I, branch<Op, Trees...>> = (occurrences<I, Trees> + ... + 0);

/// Is leaf I, of type T, added to what else there is in the tree?
template <int I, class T, class Tree>
inline constexpr bool is_added = false;
template <int I, class T>
inline constexpr bool is_added<I, T, arg<I, T>> = true;
template <int I, class T, class A, class B>
inline constexpr bool is_added<I, T, branch<op::add, A, B>> = is_added<I, T, A> || is_added<I, T, B>;
template <int I, class T, class A, class B>
inline constexpr bool is_added<I, T, branch<op::subtract, A, B>> = is_added<I, T, A>;

/// The tree is leaf I plus something else, so that its gradient is that of the leaf.
template <int I, class Tree>
inline constexpr bool is_summand = occurrences<I, Tree> == 1 && is_added<I, typename Tree::value_type, Tree>;

/// The type an op computes in on scalars: the common compute type of its arguments.
template <class Op, class... T>
struct compute_type {
  using type = compute_t<typename Op::template result<T...>>;
};
template <class Op, class A, class B>
  requires std::derived_from<Op, op::comparison>
struct compute_type<Op, A, B> {
  using type = compute_t<promote_t<A, B>>;
};

template <class To, class S>
COG_HD COG_INLINE auto convert(S const& s) {
  if constexpr (std::is_arithmetic_v<S>) return static_cast<To>(s);
  else return s;  // SIMD values have their type already
}

/// A forward value with those of its children: what the reverse sweep reads.
template <class Value, class... Children>
struct evaluated {
  Value value;
  pack<Children...> children;
};

template <class Tree>
struct sweep;

template <int I, class T>
struct sweep<arg<I, T>> {
  template <class Values>
  COG_HD COG_INLINE static auto forward(Values const& values) {
    using S = std::remove_cvref_t<decltype(get<I>(values))>;
    return evaluated<S>{get<I>(values), {}};
  }
  template <class E, class S, class Adjoints>
  COG_HD COG_INLINE static void reverse(E const&, S g, Adjoints& adjoints) {
    adjoints.template add<I>(g);
  }
};

template <class Op, class... Trees>
struct sweep<branch<Op, Trees...>> {
  template <class Values>
  COG_HD COG_INLINE static auto forward(Values const& values) {
    return join(sweep<Trees>::forward(values)...);
  }
  template <class... E>
  COG_HD COG_INLINE static auto join(E const&... e) {
    auto const value = apply(e.value...);
    return evaluated<std::remove_cv_t<decltype(value)>, E...>{value, make_pack(e...)};
  }
  template <class... S>
  COG_HD COG_INLINE static auto apply(S const&... s) {
    using C = typename compute_type<Op, typename Trees::value_type...>::type;
    return Op::apply(convert<C>(s)...);
  }
  template <class E, class S, class Adjoints>
  COG_HD COG_INLINE static void reverse(E const& e, S g, Adjoints& adjoints) {
    if constexpr (Op::differentiable) distribute(e, g, adjoints, std::index_sequence_for<Trees...>{});
  }
  template <class E, class S, class Adjoints, std::size_t... I>
  COG_HD COG_INLINE static void distribute(E const& e, S g, Adjoints& adjoints, std::index_sequence<I...>) {
    using C = typename compute_type<Op, typename Trees::value_type...>::type;
    auto const d = Op::vjp(convert<C>(g), e.value, convert<C>(get<static_cast<int>(I)>(e.children).value)...);
    (descend<Trees>(get<static_cast<int>(I)>(e.children), d.at[I], adjoints), ...);
  }
  template <class Tree, class E, class S, class Adjoints>
  COG_HD COG_INLINE static void descend(E const& e, S g, Adjoints& adjoints) {
    using T = typename Tree::value_type;
    if constexpr (floating<T>) sweep<Tree>::reverse(e, convert<compute_t<T>>(g), adjoints);
  }
};

template <class C, class A, class B>
struct sweep<branch<op::where, C, A, B>> {
  template <class Values>
  COG_HD COG_INLINE static auto forward(Values const& values) {
    auto const c = sweep<C>::forward(values);
    auto const a = sweep<A>::forward(values);
    auto const b = sweep<B>::forward(values);
    using T = compute_t<promote_t<typename A::value_type, typename B::value_type>>;
    auto const value = op::where::apply(c.value, convert<T>(a.value), convert<T>(b.value));
    return evaluated<std::remove_cv_t<decltype(value)>, std::remove_cv_t<decltype(c)>, std::remove_cv_t<decltype(a)>,
                     std::remove_cv_t<decltype(b)>>{value, make_pack(c, a, b)};
  }
  template <class E, class S, class Adjoints>
  COG_HD COG_INLINE static void reverse(E const& e, S g, Adjoints& adjoints) {
    using math::where;
    auto const c = get<0>(e.children).value;
    if constexpr (floating<typename A::value_type>)
      sweep<A>::reverse(get<1>(e.children), where(c, g, S(0)), adjoints);
    if constexpr (floating<typename B::value_type>)
      sweep<B>::reverse(get<2>(e.children), where(c, S(0), g), adjoints);
  }
};

template <class To, class A>
struct sweep<branch<op::cast<To>, A>> {
  template <class Values>
  COG_HD COG_INLINE static auto forward(Values const& values) {
    auto const a = sweep<A>::forward(values);
    auto const value = cast_value(a.value);
    return evaluated<std::remove_cv_t<decltype(value)>, std::remove_cv_t<decltype(a)>>{value, make_pack(a)};
  }
  template <class S>
  COG_HD COG_INLINE static auto cast_value(S const& s) {
    using From = typename A::value_type;
    if constexpr (std::is_arithmetic_v<S>) {
      if constexpr (std::same_as<To, bool>) return s != S(0);
      else return static_cast<compute_t<To>>(static_cast<To>(static_cast<compute_t<From>>(s)));
    } else if constexpr (reduced_float<To>) {
      return S::by_lane([](typename S::value_type x) { return typename S::value_type(To(x)); }, s);
    } else if constexpr (std::same_as<From, bool>) {
      return to_number(s);
    } else {
      return s;
    }
  }
  template <class E, class S, class Adjoints>
  COG_HD COG_INLINE static void reverse(E const& e, S g, Adjoints& adjoints) {
    if constexpr (floating<To> && floating<typename A::value_type>) {
      sweep<A>::reverse(get<0>(e.children), convert<compute_t<typename A::value_type>>(g), adjoints);
    }
  }
};

/// Sums of the gradients that reach each leaf.
template <class... S>
struct leaf_gradients {
  pack<S...> sums;
  template <int I, class G>
  COG_HD COG_INLINE void add(G g) {
    auto& sum = get<I>(sums);
    if constexpr (requires { sum = sum + g; }) sum = sum + g;
  }
};

}  // namespace detail

// ---- which trees run on SIMD values of C: every real argument computes in C, bools are masks, integers are cast first

namespace detail {

template <class Tree, class C>
struct simd_able : std::false_type {};
template <int I, class T, class C>
struct simd_able<arg<I, T>, C>
    : std::bool_constant<(floating<T> && std::same_as<compute_t<T>, C>) || std::same_as<T, bool>> {};
template <class Op, class... Trees, class C>
struct simd_able<branch<Op, Trees...>, C>
    : std::bool_constant<(simd_able<Trees, C>::value && ...) &&
                         (requires { Op::of_bools; } || (floating<typename Trees::value_type> && ...))> {};
template <class M, class A, class B, class C>
struct simd_able<branch<op::where, M, A, B>, C>
    : std::bool_constant<simd_able<M, C>::value && simd_able<A, C>::value && simd_able<B, C>::value &&
                         floating<typename A::value_type> && floating<typename B::value_type>> {};
template <class To, class A, class C>
struct simd_able<branch<op::cast<To>, A>, C>
    : std::bool_constant<floating<To> && std::same_as<compute_t<To>, C> && simd_able<A, C>::value> {};
template <class To, int I, class T, class C>
struct simd_able<branch<op::cast<To>, arg<I, T>>, C>
    : std::bool_constant<floating<To> && std::same_as<compute_t<To>, C> &&
                         (!floating<T> || std::same_as<compute_t<T>, C>)> {};

/// The compute type of the first real leaf, or void.
template <class... Trees>
struct first_real {
  using type = void;
};
template <int I, class T, class... Rest>
struct first_real<arg<I, T>, Rest...> : first_real<Rest...> {};
template <int I, floating T, class... Rest>
struct first_real<arg<I, T>, Rest...> {
  using type = compute_t<T>;
};
template <class Op, class... Trees, class... Rest>
struct first_real<branch<Op, Trees...>, Rest...> : first_real<Trees..., Rest...> {};
template <class To, int I, class T, class... Rest>
  requires(!floating<T> && floating<To>)
struct first_real<branch<op::cast<To>, arg<I, T>>, Rest...> {
  using type = compute_t<To>;
};

template <class Tree>
struct lane {
  using real = typename first_real<Tree>::type;
  using type = std::conditional_t<simd_able<Tree, real>::value, real, void>;
};

}  // namespace detail

/// Leaf values -> the value of the tree.
template <class Tree>
struct forward {
  using value_type = typename Tree::value_type;
  using lane = typename detail::lane<Tree>::type;  // float or double: may run on SIMD values of it; void: on scalars
  template <class... S>
  COG_HD COG_INLINE auto operator()(S const&... leaves) const {
    return detail::sweep<Tree>::forward(make_pack(leaves...)).value;
  }
};

/// The upstream gradient and the leaf values -> the gradient of each leaf (a pack; 0 where there is none).
template <class Tree>
struct reverse {
  using lane = typename detail::lane<Tree>::type;
  template <class G, class... S>
  COG_HD COG_INLINE auto operator()(G const& g, S const&... leaves) const {
    auto const e = detail::sweep<Tree>::forward(make_pack(leaves...));
    detail::leaf_gradients<S...> gradients{make_pack(zero(leaves)...)};
    detail::sweep<Tree>::reverse(e, g, gradients);
    return gradients.sums;
  }
  template <class S>
  COG_HD COG_INLINE static S zero(S const& s) {
    if constexpr (std::is_constructible_v<S, int>) return S(0);
    else return s;  // a mask has no gradient
  }
};

}  // namespace cog
