// Products. matmul is a lazy node: assignment recognises matmul(a, b), + row, alpha *, + beta c, and an activation around
// them by type, and makes one GEMM with that epilogue. Anywhere else in an expression the product is evaluated first.
#pragma once

#include <cog/expr/evaluate.hpp>

namespace cog {

/// A B over the last two axes; the leading axes broadcast. A and B are tensors or variables.
template <class A, class B>
struct contract {
  static_assert(A::rank >= 2 && B::rank >= 2, "cog: matmul needs operands of rank 2 or more");
  static_assert(floating<typename A::value_type>, "cog: matmul needs floating elements");
  static_assert(std::same_as<typename A::value_type, typename B::value_type>,
                "cog: matmul of two dtypes; write cast<> on one operand");
  using value_type = typename A::value_type;
  using backend_type = typename detail::common_backend<A, B>::type;
  static constexpr int rank = std::max(A::rank, B::rank);
  static constexpr bool is_recorded = A::is_recorded || B::is_recorded;

  A a;
  B b;

  contract(A left, B right) : a(std::move(left)), b(std::move(right)) { (void)extents(); }

  cog::extents<rank> extents() const {
    auto const& x = a.extents();
    auto const& y = b.extents();
    if (x[A::rank - 1] != y[B::rank - 2]) throw error("matmul: inner extents differ: ", x, " and ", y);
    extents_of<A::rank - 2> lead_a{};
    extents_of<B::rank - 2> lead_b{};
    std::copy_n(x.begin(), A::rank - 2, lead_a.begin());
    std::copy_n(y.begin(), B::rank - 2, lead_b.begin());
    auto const lead = [&] {
      try {
        return broadcast("matmul", lead_a, lead_b);
      } catch (error const&) {
        throw error("matmul: leading axes do not broadcast: ", x, " and ", y);
      }
    }();
    cog::extents<rank> out{};
    std::copy(lead.begin(), lead.end(), out.begin());
    out[rank - 2] = x[A::rank - 2];
    out[rank - 1] = y[B::rank - 1];
    return out;
  }
  /// The value, as the only element of a tensor. Throws unless it is one number.
  value_type item() const { return detail::item_of(*this); }

 private:
  template <int R>
  using extents_of = cog::extents<R>;
};

/// No activation.
struct identity {
  template <class S>
  COG_HD COG_INLINE static S apply(S x) { return x; }
};

/// C = activation(alpha A B + beta C + bias): what Backend::gemm receives. Batches over the first two axes; C is row-major.
template <class T>
struct gemm_arguments {
  view<T const, 4> a;  // [b0, b1, M, K]
  view<T const, 4> b;  // [b0, b1, K, N]
  view<T, 4> c;        // [b0, b1, M, N]
  double alpha = 1;
  double beta = 0;
  T const* bias = nullptr;  // [N], contiguous
};

/// The matrix product over the last two axes, [..., M, K] x [..., K, N] -> [..., M, N]. Leading axes broadcast. Lazy.
/// Errors: inner extents that differ, leading axes that do not broadcast.
template <expression A, expression B>
auto matmul(A const& a, B const& b) {
  using left = std::remove_cvref_t<decltype(eval(a))>;
  using right = std::remove_cvref_t<decltype(eval(b))>;
  return contract<left, right>(eval(a), eval(b));
}

namespace detail {

/// Rank 4 without a copy where strides allow it: surplus leading axes are joined.
template <class T, int R, class B>
tensor<T, 4, B> as_rank4(tensor<T, R, B> const& x) {
  if constexpr (R < 4) return as_rank4(unsqueeze(x, 0));
  else if constexpr (R == 4) return x;
  else {
    extents<R - 1> shape{};
    std::copy(x.extents().begin() + 1, x.extents().end(), shape.begin());
    shape[0] *= x.extents()[0];
    return as_rank4(reshape(x, shape));
  }
}

/// x with its leading axes stretched to `lead`, for a product of rank R.
template <int R, class T, int S, class B>
tensor<T, R, B> stretch_lead(tensor<T, S, B> const& x, extents<R> const& product) {
  auto shape = product;
  shape[R - 1] = x.extents()[S - 1];
  shape[R - 2] = x.extents()[S - 2];
  return expand(x, shape);
}

template <class Activation, class T, int RA, int RB, class B, int R>
void run_gemm(tensor<T, RA, B> const& a, tensor<T, RB, B> const& b, tensor<T, R, B>& c, double alpha, double beta, T const* bias) {
  check_recording(a);
  check_recording(b);
  gemm_arguments<T> args;
  args.alpha = alpha;
  args.beta = beta;
  args.bias = bias;
  extents<2> rows{};
  extents<2> strides{};
  if constexpr (RA > 2 && RB == 2) {
    // One matrix on the right: all rows on the left are one matrix, if strides allow it.
    std::array<index_t, 2> const shape{size_of(a.extents()) / std::max<index_t>(1, a.extent(-1)), a.extent(-1)};
    if (a.size() > 0 && reshape_strides(a.extents(), a.strides(), shape, strides)) {
      rows = shape;
      args.a = {a.data(), {1, 1, rows[0], rows[1]}, {0, 0, strides[0], strides[1]}};
      args.b = as_rank4(b).view();
      args.c = {c.data(), {1, 1, rows[0], b.extent(1)}, {0, 0, b.extent(1), 1}};
      B::template gemm<Activation>(c.context(), args);
      return;
    }
  }
  auto const a4 = as_rank4(stretch_lead<R>(a, c.extents()));
  auto const b4 = as_rank4(stretch_lead<R>(b, c.extents()));
  auto c4 = as_rank4(c);
  args.a = a4.view();
  args.b = b4.view();
  args.c = c4.view();
  B::template gemm<Activation>(c.context(), args);
}

// A product with what stands around it: activation(alpha A B + row).
template <class A, class B>
struct product_form<contract<A, B>> : std::true_type {
  static auto const& product(contract<A, B> const& e) { return e; }
  static double alpha(contract<A, B> const&) { return 1; }
  static std::nullptr_t row(contract<A, B> const&) { return nullptr; }
  using activation = identity;
  static constexpr bool scaled = false, shifted = false, activated = false;
};
template <class T, class P>
  requires(product_form<P>::value && !product_form<P>::scaled && !product_form<P>::shifted && !product_form<P>::activated)
struct product_form<mapped<op::multiply, P, constant<T>>> : product_form<P> {
  using node = mapped<op::multiply, P, constant<T>>;
  static auto const& product(node const& e) { return std::get<0>(e.children); }
  static double alpha(node const& e) { return static_cast<double>(std::get<1>(e.children).value); }
  static std::nullptr_t row(node const&) { return nullptr; }
  static constexpr bool scaled = true;
};
template <class T, class P>
  requires(product_form<P>::value && !product_form<P>::scaled && !product_form<P>::shifted && !product_form<P>::activated)
struct product_form<mapped<op::multiply, constant<T>, P>> : product_form<P> {
  using node = mapped<op::multiply, constant<T>, P>;
  static auto const& product(node const& e) { return std::get<1>(e.children); }
  static double alpha(node const& e) { return static_cast<double>(std::get<0>(e.children).value); }
  static std::nullptr_t row(node const&) { return nullptr; }
  static constexpr bool scaled = true;
};
template <class P, class T, class B>
  requires(product_form<P>::value && !product_form<P>::shifted && !product_form<P>::activated && std::same_as<typename P::value_type, T>)
struct product_form<mapped<op::add, P, tensor<T, 1, B>>> : product_form<P> {
  using node = mapped<op::add, P, tensor<T, 1, B>>;
  static auto const& product(node const& e) { return product_form<P>::product(std::get<0>(e.children)); }
  static double alpha(node const& e) { return product_form<P>::alpha(std::get<0>(e.children)); }
  static tensor<T, 1, B> const* row(node const& e) { return &std::get<1>(e.children); }
  static constexpr bool shifted = true;
};
template <class Op, class P>
  requires(product_form<P>::value && !product_form<P>::activated && std::derived_from<Op, op::arithmetic>)
struct product_form<mapped<Op, P>> : product_form<P> {
  using node = mapped<Op, P>;
  static auto const& product(node const& e) { return product_form<P>::product(std::get<0>(e.children)); }
  static double alpha(node const& e) { return product_form<P>::alpha(std::get<0>(e.children)); }
  static auto row(node const& e) { return product_form<P>::row(std::get<0>(e.children)); }
  using activation = Op;
  static constexpr bool activated = true;
};

}  // namespace detail

/// A product, or a product with an epilogue: one GEMM.
template <class E>
  requires(detail::product_form<E>::value && !E::is_recorded)
auto evaluate(E const& e) {
  using form = detail::product_form<E>;
  auto const& p = form::product(e);
  auto const row = form::row(e);
  if constexpr (form::shifted) {
    if (e.extents() != p.extents()) return detail::evaluate_element_wise(e);  // the row stretches the product
  }
  tensor<typename E::value_type, E::rank, typename E::backend_type> out(p.a.context(), p.extents());
  typename E::value_type const* bias = nullptr;
  tensor<typename E::value_type, 1, typename E::backend_type> row_copy;
  if constexpr (form::shifted) {
    detail::check_recording(*row);
    // A row of extent 1 stretches.
    row_copy = expand(*row, std::array<index_t, 1>{out.extent(-1)}).contiguous();
    bias = row_copy.data();
  }
  detail::run_gemm<typename form::activation>(p.a, p.b, out, form::alpha(e), 0, bias);
  return out;
}

/// Inside a larger expression a product is one leaf: its value.
template <class A, class B>
  requires(!contract<A, B>::is_recorded)
auto leaves_of(contract<A, B> const& e) {
  return std::tuple(evaluate(e));
}

namespace detail {
template <class A, class B, class T, int R, class K>
inline constexpr bool is_added_product<mapped<op::add, contract<A, B>, tensor<T, R, K>>> = R == contract<A, B>::rank && R >= 2;
template <class A, class B, class T, int R, class K>
inline constexpr bool is_added_product<mapped<op::add, tensor<T, R, K>, contract<A, B>>> = R == contract<A, B>::rank && R >= 2;
}  // namespace detail

/// product + c, with c of the product's shape: one GEMM that adds to a copy of c.
template <class A, class B, class T, int R, class K>
  requires(!contract<A, B>::is_recorded && R == contract<A, B>::rank && R >= 2)
auto evaluate(mapped<op::add, contract<A, B>, tensor<T, R, K>> const& e) {
  auto const& [p, c] = e.children;
  if (p.extents() != c.extents()) return tensor<T, R, K>(evaluate(p) + c);
  auto out = c.copy();
  detail::run_gemm<identity>(p.a, p.b, out, 1, 1, static_cast<T const*>(nullptr));
  return out;
}
template <class A, class B, class T, int R, class K>
  requires(!contract<A, B>::is_recorded && R == contract<A, B>::rank && R >= 2)
auto evaluate(mapped<op::add, tensor<T, R, K>, contract<A, B>> const& e) {
  auto const& [c, p] = e.children;
  return evaluate(p + c);
}
/// c += product: in place where nobody else sees c.
template <class T, int R, class K, class A, class B>
  requires(detail::is_added_product<mapped<op::add, tensor<T, R, K>, contract<A, B>>> && !contract<A, B>::is_recorded)
void evaluate_into(tensor<T, R, K>& target, mapped<op::add, tensor<T, R, K>, contract<A, B>> const& e, bool evaluated_again) {
  auto const& [c, p] = e.children;
  auto const found = detail::find_sharing(target, std::tie(c));
  bool const alone = target.has_storage() && found.count == 1 && found.same_elements && target.storage_handle().owners() == 2;
  if (alone && !evaluated_again && target.is_contiguous() && p.extents() == c.extents())
    detail::run_gemm<identity>(p.a, p.b, target, 1, 1, static_cast<T const*>(nullptr));
  else target = evaluate(e);
}

}  // namespace cog
