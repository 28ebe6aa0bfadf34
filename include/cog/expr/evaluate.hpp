// Evaluation: collects the leaves of an expression, lowers it, and hands one kernel to the backend.
// Products (and other nodes that are not element-wise) inside an expression are evaluated first and become leaves.
#pragma once

#include <optional>

#include <cog/core/create.hpp>
#include <cog/core/unpack.hpp>
#include <cog/expr/lower.hpp>
#include <cog/expr/operators.hpp>

namespace cog {

/// While a tape is active on this thread, a watched parameter must not slip into an operation that is not recorded.
struct recording_guard {
  static int& depth() {
    static thread_local int active = 0;
    return active;
  }
};
/// In its scope, plain operations on watched parameters are allowed: their gradient is knowingly not recorded.
class pause_recording {
 public:
  pause_recording() : saved_(std::exchange(recording_guard::depth(), 0)) {}
  ~pause_recording() { recording_guard::depth() = saved_; }
  pause_recording(pause_recording const&) = delete;

 private:
  int saved_;
};

namespace detail {

template <class T, int R, class B>
void check_recording(tensor<T, R, B> const& x) {
  if (recording_guard::depth() > 0 && x.has_storage() && x.storage_handle().watchers().load(std::memory_order_relaxed) > 0)
    throw error("a parameter of shape ", x.extents(), " is used in an operation that is not recorded, so its gradient would be ",
                "lost: call the model as m(x), where it is a part of one, give it a variable, m.record(x), or record the parameter, ",
                "m.record(parameter); pause_recording where it is meant");
}

/// Throws for a view in which an axis repeats one element: it is no place to write to.
template <class T, int R, class B>
void check_distinct(char const* operation, tensor<T, R, B> const& x) {
  if (x.size() == 0) return;
  for (std::size_t a = 0; a != R; ++a)
    if (x.strides()[a] == 0 && x.extents()[a] > 1)
      throw error(operation, ": a view of shape ", x.extents(), " whose axis ", a, " repeats one element (expand) is for reading; take a copy()");
}

}  // namespace detail

// ---- leaves_of(node): what it holds, in order, owned. Other floors add overloads for their nodes (found by argument-dependent
// look-up), so that a product or a variable becomes a leaf.

template <class T, int R, class B>
std::tuple<tensor<T, R, B>> leaves_of(tensor<T, R, B> const& x) {
  return {x};
}
template <class T>
std::tuple<constant<T>> leaves_of(constant<T> const& c) { return {c}; }
template <int A>
std::tuple<position<A>> leaves_of(position<A> const& p) { return {p}; }
template <class Op, class... C>
auto leaves_of(mapped<Op, C...> const& node) {
  return detail::unpack([](auto const&... child) { return std::tuple_cat(leaves_of(child)...); }, node.children);
}

namespace detail {

// ---- trees

template <class E, int First>
struct tree_of {  // whatever is not mapped becomes one leaf
  using type = arg<First, typename E::value_type>;
  static constexpr int next = First + 1;
};
template <class Done, int First, class... Rest>
struct trees_of;
template <class... Done, int First>
struct trees_of<pack<Done...>, First> {
  template <class Op>
  using branch_of = branch<Op, Done...>;
  static constexpr int next = First;
};
template <class... Done, int First, class Head, class... Tail>
struct trees_of<pack<Done...>, First, Head, Tail...>
    : trees_of<pack<Done..., typename tree_of<Head, First>::type>, tree_of<Head, First>::next, Tail...> {};
template <class Op, class... C, int First>
struct tree_of<mapped<Op, C...>, First> {
  using type = typename trees_of<pack<>, First, C...>::template branch_of<Op>;
  static constexpr int next = trees_of<pack<>, First, C...>::next;
};

// ---- leaves as kernels see them, for an output of a given shape

template <class T, int R, class B, std::size_t N>
array_leaf<T, static_cast<int>(N)> lower(tensor<T, R, B> const& x, std::array<index_t, N> const& shape) {
  check_recording(x);
  array_leaf<T, static_cast<int>(N)> leaf{x.data(), {}};
  auto const strides = broadcast_strides(x.extents(), x.strides(), shape);
  for (std::size_t i = 0; i != N; ++i) leaf.strides[i] = strides[i];
  return leaf;
}
template <class T, std::size_t N>
constant_leaf<T> lower(constant<T> const& c, std::array<index_t, N> const&) { return {c.value}; }
template <int A, std::size_t N>
position_leaf<static_cast<int>(N)> lower(position<A> const&, std::array<index_t, N> const&) {
  position_leaf<static_cast<int>(N)> leaf{};
  leaf.strides[static_cast<int>(N) + A] = 1;
  return leaf;
}

template <class... L, std::size_t N>
auto lower_all(std::tuple<L...> const& ls, std::array<index_t, N> const& shape) {
  return detail::unpack([&](auto const&... leaf) { return make_pack(lower(leaf, shape)...); }, ls);
}

/// The context of the first tensor among the leaves.
template <class First, class... Rest>
auto const& context_of(First const& first, Rest const&... rest) {
  if constexpr (requires { first.context(); }) return first.context();
  else return context_of(rest...);
}

/// Where a kernel writes: an element view, and whether it adds to what is there.
template <class T, int Rank>
struct output {
  T* data;
  index_t strides[Rank == 0 ? 1 : Rank];
  bool accumulate = false;
};
template <class T, std::size_t N>
output<T, static_cast<int>(N)> output_of(T* data, std::array<index_t, N> const& strides, bool accumulate = false) {
  output<T, static_cast<int>(N)> out{data, {}, accumulate};
  for (std::size_t i = 0; i != N; ++i) out.strides[i] = strides[i];
  return out;
}

/// In place of an output that nobody wants.
struct no_output {};

/// out[...] = the expression of this tree over these leaves.
template <class Tree, class Leaves, class T, int R, class B>
void run_element_wise(Leaves const& ls, tensor<T, R, B> const& out) {
  B::for_each(out.context(), out.extents(), forward<Tree>{}, lower_all(ls, out.extents()),
              make_pack(output_of(const_cast<T*>(out.data()), out.strides())));
}

/// How many leaves share the storage of `out`, and whether each of them reads exactly the elements of `out` in the same order.
struct sharing {
  long count = 0;
  bool same_elements = true;
};
template <class Out, class... Leaf>
sharing find_sharing(Out const& out, std::tuple<Leaf...> const& ls) {
  sharing found;
  auto const note = [&]<class L>(L const& leaf) {
    if constexpr (requires { leaf.storage_handle(); }) {
      if (!(leaf.storage_handle() == out.storage_handle())) return;
      ++found.count;
      if constexpr (std::same_as<L, Out>)
        found.same_elements = found.same_elements && leaf.data() == out.data() && leaf.extents() == out.extents() &&
                              leaf.strides() == out.strides();
      else
        found.same_elements = false;
    }
  };
  detail::unpack([&](auto const&... leaf) { (note(leaf), ...); }, ls);
  return found;
}

template <class E>
inline constexpr bool is_mapped = false;
template <class Op, class... C>
inline constexpr bool is_mapped<mapped<Op, C...>> = true;
/// Nodes that lower to one element-wise kernel: mapped, fused.
template <class E>
inline constexpr bool is_element_wise = is_mapped<E>;

/// Expressions that are a product with its epilogue (expr/contract.hpp).
template <class E>
struct product_form : std::false_type {};
/// A product plus a tensor of its rank, either way round (expr/contract.hpp).
template <class E>
inline constexpr bool is_added_product = false;

/// A fresh tensor: one kernel.
template <class E, class Leaves>
auto evaluate_leaves(E const& e, Leaves const& ls) {
  auto const& ctx = detail::unpack([](auto const&... leaf) -> auto const& { return context_of(leaf...); }, ls);
  tensor<typename E::value_type, E::rank, typename E::backend_type> out(ctx, e.extents());
  run_element_wise<typename tree_of<E, 0>::type>(ls, out);
  return out;
}
template <class E>
auto evaluate_element_wise(E const& e) {
  return evaluate_leaves(e, leaves_of(e));
}

}  // namespace detail

/// The tensor of a plain element-wise expression: one kernel.
template <class E>
  requires(detail::is_element_wise<E> && !E::is_recorded && !detail::product_form<E>::value)
auto evaluate(E const& e) {
  return detail::evaluate_element_wise(e);
}

/// x itself, so that generic code may evaluate anything.
template <class T, int R, class B>
tensor<T, R, B> const& evaluate(tensor<T, R, B> const& x) {
  return x;
}

/// The value of any expression: a tensor, or a variable where something is recorded.
template <expression E>
decltype(auto) eval(E const& e) {
  return evaluate(e);
}

/// target = e as if into fresh storage. Reuses target's storage when target is its only owner besides leaves of e that read the
/// same elements in the same order, and e will not be `evaluated_again`: then nobody can tell.
template <class T, int R, class B, class E>
void evaluate_into(tensor<T, R, B>& target, E const& e, bool evaluated_again) {
  if constexpr (detail::is_element_wise<E> && !detail::product_form<E>::value && !detail::is_added_product<E>) {
    auto const ls = leaves_of(e);
    if (target.has_storage() && target.is_contiguous() && target.extents() == e.extents()) {
      auto const found = detail::find_sharing(target, ls);
      if (found.same_elements && !(evaluated_again && found.count > 0) &&
          target.storage_handle().owners() == 1 + 2 * found.count) {  // in e, and in ls
        detail::run_element_wise<typename detail::tree_of<E, 0>::type>(ls, target);
        return;
      }
    }
    target = detail::evaluate_leaves(e, ls);
  } else {
    target = evaluate(e);
  }
}

/// target[...] = e in place, broadcasting e; as if e had been evaluated before the first write.
template <class T, int R, class B, class E>
void write_through(tensor<T, R, B> const& target, E const& e) {
  if constexpr (number<E>) {
    if constexpr (std::same_as<T, bool>) write_through(target, constant<bool>{static_cast<bool>(e)});
    else write_through(target, detail::constant_beside<T>(e));
  } else {
    static_assert(std::same_as<typename E::value_type, T>, "cog: assign of another dtype; write cast<>");
    static_assert(E::rank <= R, "cog: assign of a higher rank");
    if (broadcast("assign", e.extents(), target.extents()) != target.extents())
      throw error("assign: ", e.extents(), " does not broadcast to ", target.extents());
    detail::check_distinct("assign", target);
    auto const ls = [&] {
      if constexpr (detail::is_element_wise<E> || detail::is_tensor<E> || !expression<E>) return leaves_of(e);
      else return std::tuple(evaluate(e));
    }();
    using tree = std::conditional_t<detail::is_element_wise<E>, typename detail::tree_of<E, 0>::type, arg<0, T>>;
    auto const found = detail::find_sharing(target, ls);
    if (found.count == 0 || found.same_elements) {
      detail::run_element_wise<tree>(ls, target);
    } else {  // overlapping views of one storage: through a temporary
      tensor<T, E::rank, B> const whole(target.context(), e.extents());
      detail::run_element_wise<tree>(ls, whole);
      detail::run_element_wise<arg<0, T>>(std::tuple(whole), target);
    }
  }
}

}  // namespace cog
