// Lazy nodes. A node owns its leaves (tensor handles, variables, numbers), so it may be stored, returned and evaluated later.
// An element-wise node is mapped<Op, Children...>; Op is one of expr/ops.hpp.
#pragma once

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>

#include <cog/core/shape.hpp>
#include <cog/core/tensor.hpp>
#include <cog/core/unpack.hpp>

namespace cog {

/// A number in an expression; it has the dtype of what it meets, but is not rounded to it: x * 0.999 with x in bf16 is no x * 1.
template <element T>
struct constant {
  using value_type = T;
  static constexpr int rank = 0;
  static constexpr bool is_recorded = false;
  compute_t<T> value;
  cog::extents<0> extents() const { return {}; }
};

/// The position along one axis, counted from the last: position<-1> is 0, 1, 2, ... along each row. Its extents are 1: it stretches.
template <int FromLast>
struct position {
  static_assert(FromLast < 0);
  using value_type = std::int64_t;
  static constexpr int rank = -FromLast;
  static constexpr bool is_recorded = false;
  cog::extents<rank> extents() const {
    cog::extents<rank> e{};
    e.fill(1);
    return e;
  }
};

namespace detail {

struct no_backend {};

template <class A, class B>
consteval auto join_backends() {
  if constexpr (std::same_as<A, no_backend>) return std::type_identity<B>{};
  else if constexpr (std::same_as<B, no_backend>) return std::type_identity<A>{};
  else {
    static_assert(std::same_as<A, B>, "cog: the operands live on different backends; move one with .to(context)");
    return std::type_identity<A>{};
  }
}

template <class E>
struct leaf_backend {
  using type = no_backend;
};
template <class E>
  requires requires { typename E::backend_type; }
struct leaf_backend<E> {
  using type = typename E::backend_type;
};

template <class... E>
struct common_backend {
  using type = no_backend;
};
template <class First, class... Rest>
struct common_backend<First, Rest...> {
  using type = typename decltype(join_backends<typename leaf_backend<First>::type,
                                               typename common_backend<Rest...>::type>())::type;
};

template <class... E>
auto broadcast_all(char const* operation, E const&... e) {
  if constexpr (sizeof...(E) == 1) return (e, ...);
  else return [&]<class A, class B, class... Rest>(A const& a, B const& b, Rest const&... rest) {
    return broadcast_all(operation, cog::broadcast(operation, a, b), rest...);
  }(e...);
}

/// The number that an expression is.
template <class E>
auto item_of(E const& e) {
  if constexpr (E::is_recorded) return evaluate(e).value().item();
  else return evaluate(e).item();
}

}  // namespace detail

/// Op applied element by element to broadcast children.
template <class Op, class... Children>
struct mapped {
  using op = Op;
  using value_type = typename Op::template result<typename Children::value_type...>;
  using backend_type = typename detail::common_backend<Children...>::type;
  static constexpr int rank = std::max({Children::rank...});
  static constexpr bool is_recorded = (Children::is_recorded || ...);

  static_assert(!requires { Op::real_only; } || (floating<typename Children::value_type> && ...),
                "cog: this operation needs floating elements; write cast<float>(x) first");
  static_assert(!requires { Op::of_bools; } || (std::same_as<typename Children::value_type, bool> && ...),
                "cog: logical operations need bool elements");

  std::tuple<Children...> children;

  explicit mapped(Children... c) : children(std::move(c)...) { (void)extents(); }  // shapes are checked where they meet

  cog::extents<rank> extents() const {
    return detail::unpack([](auto const&... c) { return detail::broadcast_all(Op::name, c.extents()...); }, children);
  }
  /// The value, as the only element of a tensor. Throws unless it is one number.
  value_type item() const { return detail::item_of(*this); }
};

/// What may stand in an expression beside a tensor: any expression, a number.
template <class X>
concept number = std::is_arithmetic_v<std::remove_cvref_t<X>> || reduced_float<std::remove_cvref_t<X>>;
template <class X>
concept node_like = expression<X> || requires { std::remove_cvref_t<X>::rank; typename std::remove_cvref_t<X>::value_type; };
template <class X>
concept operand = node_like<X> || number<X>;

namespace detail {

/// The dtype that a number takes beside an element of type T: T itself, unless that would lose a fraction; its own beside bool.
template <class T, class N>
consteval auto weak_type() {
  if constexpr (std::same_as<T, bool>) {
    if constexpr (element<N>) return std::type_identity<N>{};
    else if constexpr (std::floating_point<N>) return std::type_identity<double>{};
    else return std::type_identity<std::conditional_t<(sizeof(N) < 8), std::int32_t, std::int64_t>>{};
  } else {
    static_assert(floating<T> || !std::is_floating_point_v<N>,
                  "cog: a fractional number meets an integer tensor; write cast<float>(x) first");
    return std::type_identity<T>{};
  }
}

/// A number as it stands beside elements of type Beside. Errors: an integer that they do not hold.
template <class Beside, number N>
auto constant_beside(N x) {
  using T = typename decltype(weak_type<Beside, N>())::type;
  if constexpr (std::integral<N> && std::integral<T> && !std::same_as<T, bool>) {
    if (!std::in_range<T>(+x)) throw error("the number ", +x, " does not fit ", name(dtype_of<T>));
  }
  return constant<T>{static_cast<compute_t<T>>(x)};
}

template <class Beside, class X>
auto as_node(X&& x) {
  using E = std::remove_cvref_t<X>;
  if constexpr (number<E>) {
    return constant_beside<Beside, E>(x);
  } else {
    return E(std::forward<X>(x));
  }
}

/// The element type of the first operand that is not a number.
template <class First, class... Rest>
struct lead_type : lead_type<Rest...> {};
template <node_like First, class... Rest>
struct lead_type<First, Rest...> {
  using type = typename std::remove_cvref_t<First>::value_type;
};

/// Operands that end here are moved in: a temporary that kept its handle would hide that a storage may be reused.
template <class Op, class... X>
auto make_node(X&&... x) {
  using lead = typename lead_type<X...>::type;
  return mapped<Op, decltype(as_node<lead>(std::forward<X>(x)))...>(as_node<lead>(std::forward<X>(x))...);
}

}  // namespace detail

}  // namespace cog
