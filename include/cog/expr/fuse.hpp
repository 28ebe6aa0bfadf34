// fuse([](auto x, auto z) { return tanh(x * z) * x + x * z; }, X, Z): an element-wise expression that names its inputs, so that
// each is loaded once however often it occurs, and the derivative stores each gradient once. The lambda runs on the host, with
// placeholders; only the type of what it returns reaches the kernel.
#pragma once

#include <cog/core/unpack.hpp>
#include <cog/expr/evaluate.hpp>

namespace cog {

/// Input I of a fused expression.
template <int I, class Input>
struct placeholder {
  using value_type = typename Input::value_type;
  using backend_type = typename Input::backend_type;
  static constexpr int rank = Input::rank;
  static constexpr bool is_recorded = Input::is_recorded;
  cog::extents<rank> shape;
  cog::extents<rank> const& extents() const { return shape; }
};

/// What fuse returns: lazy, like any element-wise node. E holds placeholders where it uses the inputs.
template <class E, class... Inputs>
struct fused {
  using value_type = typename E::value_type;
  using backend_type = typename detail::common_backend<Inputs...>::type;
  static constexpr int rank = E::rank;
  static constexpr bool is_recorded = (Inputs::is_recorded || ...);

  E expression;
  std::tuple<Inputs...> inputs;
  auto extents() const { return expression.extents(); }
};

/// f applied to placeholders of x...; see the head of this file. f must return an element-wise expression of its arguments.
template <class F, expression... X>
auto fuse(F const& f, X const&... x) {
  auto const inputs = std::tuple<std::remove_cvref_t<decltype(eval(x))>...>(eval(x)...);
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    using tuple = std::remove_cv_t<decltype(inputs)>;
    auto e = f(placeholder<static_cast<int>(I), std::tuple_element_t<I, tuple>>{std::get<I>(inputs).extents()}...);
    static_assert(detail::is_mapped<decltype(e)>, "cog: fuse needs an element-wise expression of its arguments");
    auto const check = [&](auto const& shape) {  // an input that the lambda does not use is loaded all the same
      if (broadcast("fuse", shape, e.extents()) != e.extents())
        throw error("fuse: an input of shape ", shape, " for a result of shape ", e.extents());
    };
    (check(std::get<I>(inputs).extents()), ...);
    return fused<decltype(e), std::tuple_element_t<I, tuple>...>{e, inputs};
  }(std::index_sequence_for<X...>{});
}

namespace detail {

template <class E, class... Inputs>
inline constexpr bool is_element_wise<fused<E, Inputs...>> = true;

/// Leaves of the expression that are no placeholders: numbers, positions.
template <int I, class Input>
std::tuple<> inner_leaves(placeholder<I, Input> const&) { return {}; }
template <class Leaf>
auto inner_leaves(Leaf const& leaf) { return leaves_of(leaf); }
template <class Op, class... C>
auto inner_leaves(mapped<Op, C...> const& node) {
  return detail::unpack([](auto const&... child) { return std::tuple_cat(inner_leaves(child)...); }, node.children);
}

/// The tree of a fused expression: placeholder I is argument First + I, the other leaves follow from Next on.
template <class E, int First, int Next>
struct inner_tree {
  using type = arg<Next, typename E::value_type>;
  static constexpr int next = Next + 1;
};
template <int I, class Input, int First, int Next>
struct inner_tree<placeholder<I, Input>, First, Next> {
  using type = arg<First + I, typename Input::value_type>;
  static constexpr int next = Next;
};
template <class Done, int First, int Next, class... Rest>
struct inner_trees;
template <class... Done, int First, int Next>
struct inner_trees<pack<Done...>, First, Next> {
  template <class Op>
  using branch_of = branch<Op, Done...>;
  static constexpr int next = Next;
};
template <class... Done, int First, int Next, class Head, class... Tail>
struct inner_trees<pack<Done...>, First, Next, Head, Tail...>
    : inner_trees<pack<Done..., typename inner_tree<Head, First, Next>::type>, First, inner_tree<Head, First, Next>::next, Tail...> {};
template <class Op, class... C, int First, int Next>
struct inner_tree<mapped<Op, C...>, First, Next> {
  using type = typename inner_trees<pack<>, First, Next, C...>::template branch_of<Op>;
  static constexpr int next = inner_trees<pack<>, First, Next, C...>::next;
};
template <class E, class... Inputs, int First>
struct tree_of<fused<E, Inputs...>, First> : inner_tree<E, First, First + static_cast<int>(sizeof...(Inputs))> {};

}  // namespace detail

template <class E, class... Inputs>
auto leaves_of(fused<E, Inputs...> const& node) {
  return std::tuple_cat(node.inputs, detail::inner_leaves(node.expression));
}

}  // namespace cog
