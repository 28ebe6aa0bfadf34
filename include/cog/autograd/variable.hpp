// variable<T, Rank, B>: a tensor recorded on a tape, and an expression like a tensor is. Expressions of variables are lazy;
// evaluating one runs one forward kernel and records one step, whose derivative is one kernel too (the reverse sweep of the
// whole expression at compile time; see expr/lower.hpp), and a sum for each leaf that was broadcast. Summands take the gradient of
// their sum as it is.
#pragma once

#include <functional>
#include <memory>
#include <numeric>

#include <cog/autograd/tape.hpp>
#include <cog/core/unpack.hpp>
#include <cog/expr/contract.hpp>
#include <cog/expr/reduce.hpp>

namespace cog {

/// A tensor with its place on a tape. Copying it is cheap: the value is shared. See the head of this file.
template <element T, int Rank, backend B>
class variable {
 public:
  using value_type = T;
  using backend_type = B;
  using tensor_type = tensor<T, Rank, B>;
  static constexpr int rank = Rank;
  static constexpr bool is_recorded = true;

  variable(tensor_type value, std::shared_ptr<cog::tape> tape, tape::slot slot = cog::tape::none)
      : value_(std::move(value)), tape_(std::move(tape)), slot_(slot) {}
  /// Evaluates and records.
  template <recorded_expression E>
    requires(!std::same_as<E, variable> && std::same_as<typename E::value_type, T> && E::rank == Rank)
  variable(E const& e) : variable(evaluate(e)) {}

  variable(variable const&) = default;
  variable(variable&&) = default;
  ~variable() = default;
  variable& operator=(variable const&) & = default;
  variable& operator=(variable&&) & = default;
  template <class E> void operator=(E&&) && { detail::refuse_temporary<E>(); }

  tensor_type const& value() const noexcept { return value_; }
  cog::extents<Rank> const& extents() const noexcept { return value_.extents(); }
  index_t extent(int axis) const { return value_.extent(axis); }
  index_t size() const noexcept { return value_.size(); }
  auto const& context() const { return value_.context(); }
  std::shared_ptr<cog::tape> const& recorder() const noexcept { return tape_; }
  tape::slot slot() const noexcept { return slot_; }
  bool needs_gradient() const noexcept { return slot_ != cog::tape::none; }

  template <class E> variable& operator+=(E const& e) & { return *this = variable(detail::of_shape(extents(), *this + e)); }
  template <class E> variable& operator-=(E const& e) & { return *this = variable(detail::of_shape(extents(), *this - e)); }
  template <class E> variable& operator*=(E const& e) & { return *this = variable(detail::of_shape(extents(), *this * e)); }

 private:
  tensor_type value_;
  std::shared_ptr<cog::tape> tape_;
  tape::slot slot_;
};

template <recorded_expression E>
variable(E const&) -> variable<typename E::value_type, E::rank, typename E::backend_type>;

template <class T, int R, class B>
variable<T, R, B> const& evaluate(variable<T, R, B> const& x) { return x; }
template <class T, int R, class B>
std::tuple<variable<T, R, B>> leaves_of(variable<T, R, B> const& x) { return {x}; }

/// The value of a tensor or variable, without its history.
template <class T, int R, class B>
tensor<T, R, B> const& value_of(tensor<T, R, B> const& x) { return x; }
template <class T, int R, class B>
tensor<T, R, B> const& value_of(variable<T, R, B> const& x) { return x.value(); }

/// The same value; no gradient flows through it.
template <class T, int R, class B>
tensor<T, R, B> stop_gradient(tensor<T, R, B> const& x) { return x; }
template <class T, int R, class B>
variable<T, R, B> stop_gradient(variable<T, R, B> const& x) { return {x.value(), x.recorder()}; }

namespace detail {

template <class X>
inline constexpr bool is_variable = false;
template <class T, int R, class B>
inline constexpr bool is_variable<variable<T, R, B>> = true;

/// The tape of the first variable among the arguments.
template <class First, class... Rest>
std::shared_ptr<tape> const& tape_of(First const& first, Rest const&... rest) {
  if constexpr (is_variable<First>) return first.recorder();
  else return tape_of(rest...);
}

/// Records `value` computed from `inputs`; `backward(g)` receives its gradient. Nothing is recorded if no input needs one.
template <class T, int R, class B, class Backward, class... Inputs>
variable<T, R, B> record(tensor<T, R, B> value, std::shared_ptr<tape> const& t, Backward backward, Inputs const&... inputs) {
  if constexpr (!floating<T>) {
    return {std::move(value), t};
  } else {
    if (!(inputs.needs_gradient() || ...)) return {std::move(value), t};
    auto const slot = t->new_slot();
    t->push(slot, std::type_identity<tensor<T, R, B>>{}, std::move(backward));
    return {std::move(value), t, slot};
  }
}

/// Adds e to the gradient of x. Evaluates e only if x needs a gradient.
template <class T, int R, class B, class E>
  requires(std::same_as<typename E::value_type, T> && E::rank == R)
void accumulate(variable<T, R, B> const& x, E const& e) {
  if (x.needs_gradient()) x.recorder()->add(x.slot(), e);
}

/// Calls f with the watched parameter that x is a view of, whatever its rank.
template <class T, class B, int Rank = 0, class X, class F>
auto with_parameter(tape::watched const& w, X const& x, F const& f) {
  if (auto const* p = std::any_cast<tensor<T, Rank, B>>(&w.parameter)) return f(*p);
  if constexpr (Rank < 6) return with_parameter<T, B, Rank + 1>(w, x, f);
  else throw error("a tensor of shape ", x.extents(), " views a parameter of rank above 6, or of another dtype");
}

/// What x is to the parameter, seen of a tensor of the parameter's shape (its gradient). All of them are row-major, so the strides and
/// the offset of x hold for both; x may also be the parameter itself, of any strides.
template <class T, int R, int RP, class B>
tensor<T, R, B> same_view(tensor<T, R, B> const& x, tensor<T, RP, B> const& parameter, tensor<T, RP, B> const& of) {
  if constexpr (R == RP)
    if (x.data() == parameter.data() && x.extents() == parameter.extents() && x.strides() == parameter.strides()) return of;
  if (!parameter.is_contiguous())
    throw error("a view of shape ", x.extents(), " of a parameter that is not row-major itself, ", parameter.extents());
  tensor<T, RP, B> const whole = of.contiguous();
  return {whole.storage_handle(), const_cast<T*>(whole.data()) + (x.data() - parameter.data()), x.extents(), x.strides()};
}

/// The gradient of a view of a parameter goes to the same elements of the parameter's gradient.
template <class T, int R, class B>
variable<T, R, B> lift_view(tensor<T, R, B> const& x, std::shared_ptr<tape> const& t, tape::watched const& w) {
  return with_parameter<T, B>(w, x, [&](auto const& parameter) -> variable<T, R, B> {
    (void)same_view(x, parameter, parameter);  // throws where there is none
    auto const slot = t->new_slot();
    t->push(slot, std::type_identity<tensor<T, R, B>>{}, [t = t.get(), x, parameter, to = w.gradient](tensor<T, R, B> const& g) {
      auto const part = same_view(x, parameter, t->buffer(to, parameter));
      part.assign(part + g);
    });
    return {x, t, slot};
  });
}

/// A plain tensor that meets a variable: a constant, or a watched parameter, or a view of one.
template <class T, int R, class B>
variable<T, R, B> lift(tensor<T, R, B> const& x, std::shared_ptr<tape> const& t) {
  if constexpr (floating<T>) {
    if (auto const* w = t->find_watched(x)) {
      auto const* whole = std::any_cast<tensor<T, R, B>>(&w->parameter);
      if (whole && whole->data() == x.data() && whole->extents() == x.extents() && whole->strides() == x.strides())
        return {x, t, w->gradient};
      if constexpr (R == 2) {
        // transposed(weight) of a linear layer: its gradient, transposed back, is the weight's.
        if (whole && whole->data() == x.data() && transposed(x).extents() == whole->extents() && transposed(x).strides() == whole->strides()) {
          auto const slot = t->new_slot();
          t->push(slot, std::type_identity<tensor<T, R, B>>{},
                  [t = t.get(), to = w->gradient](tensor<T, R, B> const& g) { t->add(to, transposed(g)); });
          return {x, t, slot};
        }
      }
      return lift_view(x, t, *w);
    }
  }
  return {x, t};
}
template <class T, int R, class B>
variable<T, R, B> lift(variable<T, R, B> const& x, std::shared_ptr<tape> const& t) {
  if (x.recorder() != t) throw error("two variables of different tapes meet in one operation");
  return x;
}

// ---- recorded element-wise expressions

template <class Leaf>
auto lift_leaf(Leaf const& leaf, std::shared_ptr<tape> const& t) {
  if constexpr (requires { leaf.context(); }) return lift(leaf, t);
  else return leaf;
}
template <class Leaf>
auto leaf_value(Leaf const& leaf) {
  if constexpr (is_variable<Leaf>) return leaf.value();
  else return leaf;
}

template <class Leaf>
inline constexpr bool may_need_gradient = false;
template <floating T, int R, class B>
inline constexpr bool may_need_gradient<variable<T, R, B>> = true;

/// Adds e to the gradient of x, which was broadcast to its shape: summed over the axes along which x was stretched.
template <class T, int R, class B, class E>
void accumulate_broadcast(variable<T, R, B> const& x, E const& e) {
  if (!x.needs_gradient()) return;
  if constexpr (E::rank == R)
    if (e.extents() == x.extents()) return accumulate(x, e);
  accumulate(x, sum_to(eval(e), x.extents()));
}

/// Where the kernel writes the gradient of one leaf: straight into its slot when the leaf has the output's shape; where it was
/// broadcast, into a temporary that is summed afterwards; nowhere if it needs none, or is handed on what there is.
template <class T, int Rank, class B>
struct gradient_target {
  output<T, Rank> place{nullptr, {}, false};
  tensor<T, Rank, B> temporary{};
};
template <bool Written, class Leaf, std::size_t Rank>
auto target_of(Leaf const& leaf, std::array<index_t, Rank> const& shape) {
  if constexpr (!Written) {
    return no_output{};
  } else {
    using T = typename Leaf::value_type;
    using B = typename Leaf::backend_type;
    constexpr int rank = static_cast<int>(Rank);
    gradient_target<T, rank, B> target;
    if (!leaf.needs_gradient()) return target;
    if constexpr (Leaf::rank == rank) {
      if (leaf.extents() == shape) {
        tape& t = *leaf.recorder();
        bool const add = t.template find<T, rank, B>(leaf.slot()) != nullptr;
        if (!add) t.set(leaf.slot(), tensor<T, rank, B>(leaf.context(), shape));
        auto& buffer = t.buffer(leaf.slot(), leaf.value());
        target.place = output_of(buffer.data(), buffer.strides(), add);
        return target;
      }
    }
    target.temporary = tensor<T, rank, B>(leaf.context(), shape);
    target.place = output_of(target.temporary.data(), target.temporary.strides());
    return target;
  }
}
inline no_output place_of(no_output) { return {}; }
template <class T, int R, class B>
output<T, R> place_of(gradient_target<T, R, B> const& target) { return target.place; }

/// Does the kernel write the gradient of leaf I? A summand's is that of the sum itself.
template <class Tree, class Leaves, std::size_t I>
inline constexpr bool is_written = may_need_gradient<std::tuple_element_t<I, Leaves>> && !is_summand<static_cast<int>(I), Tree>;

template <class Tree, class Leaves, class G>
void run_reverse(Leaves const& leaves, G const& g) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    auto const shape = g.extents();
    // In order (braces): a leaf that occurs twice writes first and adds then.
    auto const targets = std::tuple{target_of<is_written<Tree, Leaves, I>>(std::get<I>(leaves), shape)...};
    if constexpr ((is_written<Tree, Leaves, I> || ...))
      G::backend_type::for_each(g.context(), shape, reverse<Tree>{}, lower_all(std::tuple(g, leaf_value(std::get<I>(leaves))...), shape),
                                make_pack(place_of(std::get<I>(targets))...));
    auto const finish = [&](auto const& leaf, auto const& target) {
      if constexpr (requires { target.temporary; }) {
        if (target.temporary.has_storage()) accumulate_broadcast(leaf, target.temporary);
      } else if constexpr (may_need_gradient<std::remove_cvref_t<decltype(leaf)>>) {
        accumulate_broadcast(leaf, g);
      }
    };
    (finish(std::get<I>(leaves), std::get<I>(targets)), ...);
  }(std::make_index_sequence<std::tuple_size_v<Leaves>>{});
}

}  // namespace detail

/// One forward kernel; one recorded step, whose derivative is one kernel (and one sum for each leaf that was broadcast).
template <class node>
  requires(detail::is_element_wise<node> && node::is_recorded)
auto evaluate(node const& e) {
  using tree = typename detail::tree_of<node, 0>::type;
  using T = typename node::value_type;
  using B = typename node::backend_type;
  auto const raw = leaves_of(e);
  std::shared_ptr<tape> const t = detail::unpack([](auto const&... leaf) { return detail::tape_of(leaf...); }, raw);
  auto const leaves = detail::unpack([&](auto const&... leaf) { return std::tuple(detail::lift_leaf(leaf, t)...); }, raw);
  pause_recording const paused;
  auto const shape = e.extents();
  auto const values = detail::unpack([](auto const&... leaf) { return std::tuple(detail::leaf_value(leaf)...); }, leaves);
  auto const& ctx = detail::unpack([](auto const&... leaf) -> auto const& { return detail::context_of(leaf...); }, values);
  tensor<T, node::rank, B> out(ctx, shape);
  B::for_each(ctx, shape, forward<tree>{}, detail::lower_all(values, shape),
              make_pack(detail::output_of(out.data(), out.strides())));
  if constexpr (!floating<T>) {
    return variable<T, node::rank, B>(out, t);
  } else {
    bool const needed = detail::unpack(
        [](auto const&... leaf) {
          auto const one = [](auto const& l) {
            if constexpr (requires { l.needs_gradient(); }) return l.needs_gradient();
            else return false;
          };
          return (one(leaf) || ...);
        },
        leaves);
    if (!needed) return variable<T, node::rank, B>(out, t);
    auto const slot = t->new_slot();
    t->push(slot, std::type_identity<tensor<T, node::rank, B>>{},
            [leaves](tensor<T, node::rank, B> const& g) { detail::run_reverse<tree>(leaves, g); });
    return variable<T, node::rank, B>(out, t, slot);
  }
}

// ---- recorded products

namespace detail {

/// From the gradient of A B: dA = G B^T, dB = A^T G, which is made as (G^T A)^T where B lies transposed, as its gradient then should.
template <class T, int RA, int RB, class K, class G>
void product_vjp(variable<T, RA, K> const& a, variable<T, RB, K> const& b, G const& g) {
  if (a.needs_gradient()) accumulate_broadcast(a, matmul(g, transposed(b.value())));
  if (!b.needs_gradient()) return;
  auto const give = [&](auto const& left, auto const& right) {
    bool const lies_transposed = b.value().strides()[RB - 2] == 1 && b.value().strides()[RB - 1] != 1;
    if (lies_transposed) accumulate_broadcast(b, transposed(eval(matmul(transposed(right), left))));
    else accumulate_broadcast(b, matmul(transposed(left), right));
  };
  if constexpr (RA > 2 && RB == 2) {
    // All rows at once: one product instead of one for each batch and a sum.
    index_t const n = std::accumulate(g.extents().begin(), g.extents().end() - 1, index_t{1}, std::multiplies<>());
    auto const rows = [n](auto const& x) { return reshape(x, std::array<index_t, 2>{n, x.extent(-1)}); };
    give(rows(a.value()), rows(g));
  } else {
    give(a.value(), g);
  }
}

template <class E>
inline constexpr bool is_row = false;
template <class T, class B>
inline constexpr bool is_row<tensor<T, 1, B>> = true;
template <class T, class B>
inline constexpr bool is_row<variable<T, 1, B>> = true;

/// A product plus a row, recorded: one leaf, as a bare product is.
template <class A, class B, class Row>
concept recorded_affine = is_row<Row> && std::same_as<typename Row::value_type, typename A::value_type> &&
                          (contract<A, B>::is_recorded || Row::is_recorded);
template <class A, class B, class Row, int First>
  requires recorded_affine<A, B, Row>
struct tree_of<mapped<op::add, contract<A, B>, Row>, First> {
  using type = arg<First, typename A::value_type>;
  static constexpr int next = First + 1;
};

}  // namespace detail

template <class A, class B>
  requires(contract<A, B>::is_recorded)
auto evaluate(contract<A, B> const& e) {
  std::shared_ptr<tape> const t = detail::tape_of(e.a, e.b);
  auto const a = detail::lift(e.a, t);
  auto const b = detail::lift(e.b, t);
  pause_recording const paused;
  auto out = evaluate(matmul(a.value(), b.value()));
  using G = decltype(out);
  return detail::record(out, t, [a, b](G const& g) { detail::product_vjp(a, b, g); }, a, b);
}
template <class A, class B>
  requires(contract<A, B>::is_recorded)
auto leaves_of(contract<A, B> const& e) {
  return std::tuple(evaluate(e));
}

/// A B + row: one product forward, and back those of the product and the sums of columns.
template <class A, class B, class Row>
  requires detail::recorded_affine<A, B, Row>
auto evaluate(mapped<op::add, contract<A, B>, Row> const& e) {
  auto const& [product, raw_row] = e.children;
  std::shared_ptr<tape> const t = detail::tape_of(product.a, product.b, raw_row);
  auto const a = detail::lift(product.a, t);
  auto const b = detail::lift(product.b, t);
  auto const row = detail::lift(raw_row, t);
  pause_recording const paused;
  auto out = evaluate(matmul(a.value(), b.value()) + row.value());
  using G = decltype(out);
  return detail::record(
      out, t,
      [a, b, row, shape = product.extents()](G const& g) {
        detail::accumulate_broadcast(row, g);
        if (g.extents() == shape) detail::product_vjp(a, b, g);
        else detail::product_vjp(a, b, detail::sum_to(g, shape));  // the row stretched the product
      },
      a, b, row);
}
template <class A, class B, class Row>
  requires detail::recorded_affine<A, B, Row>
auto leaves_of(mapped<op::add, contract<A, B>, Row> const& e) {
  return std::tuple(evaluate(e));
}

}  // namespace cog
