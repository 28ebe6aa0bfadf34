// Row-wise forms along the last axis: k statistics of each row, each one pass that may use the ones before it, then a map.
// One kernel a form; inputs are expressions and are fused in. A row op has
//   statistics                      their number
//   kind<K>()                       row_sum or row_max
//   term<K>(stats, x...)            what element x adds to statistic K
//   finish<K>(total, n)             the statistic itself
//   map(stats, x...)                the output at x: one value, or a pack of several
//   map_term(stats, t)              the same from what x added to the last statistic, where that is dear to compute again
//   result(stats)                   instead of map: one value a row
#pragma once

#include <cog/core/unpack.hpp>
#include <cog/expr/reduce.hpp>

namespace cog {

enum class row_kind { sum, max };
/// The kind of statistic K, as a constant: kind() itself need not run on a device.
template <class Op, int K>
inline constexpr row_kind row_kind_of = Op::template kind<K>();

/// One input of a row-wise kernel: a functor over leaves.
template <class F, class Leaves>
struct row_input {
  F f;
  Leaves leaves;
};

namespace rows {

/// The statistics of softmax: the largest, and the sum of e^(x - the largest).
struct exponentials {
  static constexpr int statistics = 2;
  template <int K> static constexpr row_kind kind() { return K == 0 ? row_kind::max : row_kind::sum; }
  template <int K, class S> COG_HD COG_INLINE S term(S const* s, S x) const {
    using math::exp_decay;
    if constexpr (K == 0) return x;
    else return exp_decay(x - s[0]);
  }
};
struct softmax : exponentials {
  template <int K, class C> COG_HD C finish(C total, index_t) const { return K == 0 ? total : C(1) / total; }
  template <class S> COG_HD COG_INLINE S map(S const* s, S x) const { return map_term(s, term<1>(s, x)); }
  template <class S> COG_HD COG_INLINE S map_term(S const* s, S t) const { return t * s[1]; }
};
struct log_softmax : exponentials {
  template <int K, class C> COG_HD C finish(C total, index_t) const { using math::log; return K == 0 ? total : log(total); }
  template <class S> COG_HD COG_INLINE S map(S const* s, S x) const { return x - s[0] - s[1]; }
};
struct logsumexp : exponentials {
  template <int K, class C> COG_HD C finish(C total, index_t) const { using math::log; return K == 0 ? total : log(total); }
  template <class C> COG_HD C result(C const* s) const { return s[0] == -math::infinity<C> ? s[0] : s[0] + s[1]; }
};
/// (y, g) -> y (g - <y, g>).
struct softmax_vjp {
  static constexpr int statistics = 1;
  template <int> static constexpr row_kind kind() { return row_kind::sum; }
  template <int, class S> COG_HD COG_INLINE S term(S const*, S y, S g) const { return y * g; }
  template <int, class C> COG_HD C finish(C total, index_t) const { return total; }
  template <class S> COG_HD COG_INLINE S map(S const* s, S y, S g) const { return y * (g - s[0]); }
};
/// (y, g) -> g - e^y sum g.
struct log_softmax_vjp {
  static constexpr int statistics = 1;
  template <int> static constexpr row_kind kind() { return row_kind::sum; }
  template <int, class S> COG_HD COG_INLINE S term(S const*, S, S g) const { return g; }
  template <int, class C> COG_HD C finish(C total, index_t) const { return total; }
  template <class S> COG_HD COG_INLINE S map(S const* s, S y, S g) const { using math::exp; return g - exp(y) * s[0]; }
};
/// (x, w, b) -> (x - mean) / sqrt(var + eps) w + b.
struct layer_norm {
  double eps;
  static constexpr int statistics = 2;
  template <int> static constexpr row_kind kind() { return row_kind::sum; }
  template <int K, class S> COG_HD COG_INLINE S term(S const* s, S x, S = S(0), S = S(0)) const {
    if constexpr (K == 0) return x;
    else return (x - s[0]) * (x - s[0]);
  }
  template <int K, class C> COG_HD C finish(C total, index_t n) const {
    using math::sqrt;
    return K == 0 ? total / C(n) : C(1) / sqrt(total / C(n) + C(eps));
  }
  template <class S> COG_HD COG_INLINE S map(S const* s, S x, S w, S b) const { return (x - s[0]) * s[1] * w + b; }
};
/// (x, w, g) -> the gradient of x, and g (x - mean) / sqrt(var + eps), whose column sums are the gradient of w.
struct layer_norm_vjp {
  double eps;
  static constexpr int statistics = 4;
  template <int> static constexpr row_kind kind() { return row_kind::sum; }
  template <int K, class S> COG_HD COG_INLINE S term(S const* s, S x, S w, S g) const {
    if constexpr (K == 0) return x;
    else if constexpr (K == 1) return (x - s[0]) * (x - s[0]);
    else if constexpr (K == 2) return g * w;
    else return g * w * (x - s[0]) * s[1];
  }
  template <int K, class C> COG_HD C finish(C total, index_t n) const {
    using math::sqrt;
    return K == 1 ? C(1) / sqrt(total / C(n) + C(eps)) : total / C(n);
  }
  template <class S> COG_HD COG_INLINE auto map(S const* s, S x, S w, S g) const {
    S const normal = (x - s[0]) * s[1];
    return make_pack(s[1] * (g * w - s[2] - normal * s[3]), g * normal);
  }
};
/// (x, w) -> x / sqrt(mean x^2 + eps) w.
struct rms_norm {
  double eps;
  static constexpr int statistics = 1;
  template <int> static constexpr row_kind kind() { return row_kind::sum; }
  template <int, class S> COG_HD COG_INLINE S term(S const*, S x, S = S(0)) const { return x * x; }
  template <int, class C> COG_HD C finish(C total, index_t n) const { using math::sqrt; return C(1) / sqrt(total / C(n) + C(eps)); }
  template <class S> COG_HD COG_INLINE S map(S const* s, S x, S w) const { return x * s[0] * w; }
};
/// (x, w, g) -> the gradient of x, and g x / sqrt(mean x^2 + eps).
struct rms_norm_vjp {
  double eps;
  static constexpr int statistics = 2;
  template <int> static constexpr row_kind kind() { return row_kind::sum; }
  template <int K, class S> COG_HD COG_INLINE S term(S const* s, S x, S w, S g) const {
    if constexpr (K == 0) return x * x;
    else return g * w * x * s[0];
  }
  template <int K, class C> COG_HD C finish(C total, index_t n) const {
    using math::sqrt;
    return K == 0 ? C(1) / sqrt(total / C(n) + C(eps)) : total / C(n);
  }
  template <class S> COG_HD COG_INLINE auto map(S const* s, S x, S w, S g) const {
    S const normal = x * s[0];
    return make_pack(s[0] * (g * w - normal * s[1]), g * normal);
  }
};

}  // namespace rows

namespace detail {

template <class E, class... L, std::size_t N>
auto lower_row_input(std::tuple<L...> const& ls, std::array<index_t, N> const& shape) {
  using tree = typename tree_of<E, 0>::type;
  auto const leaf_pack = lower_all(ls, shape);
  return row_input<forward<tree>, std::remove_cv_t<decltype(leaf_pack)>>{{}, leaf_pack};
}

/// Runs a row op over x (which has the full shape) and further inputs that broadcast to it. `Outputs` tensors of T come back.
template <int Outputs, element T, class Op, plain_expression X, class... More>
auto rowwise(Op const& op, X const& x, More const&... more) {
  using B = typename X::backend_type;
  constexpr int rank = X::rank;
  static_assert(rank >= 1, "cog: a row-wise form needs a last axis");
  static_assert(floating<typename X::value_type>, "cog: a row-wise form needs floating elements; write cast<float>(x) first");
  auto const shape = x.extents();
  [[maybe_unused]] auto const check = [&](auto const& e) {
    if (broadcast("rowwise", e.extents(), shape) != shape)
      throw error("rowwise: an input of shape ", e.extents(), " does not broadcast to rows of ", shape);
  };
  (check(more), ...);
  auto const held = std::make_tuple(leaves_of(x), leaves_of(more)...);  // products among them live until the kernel has run
  auto const& ctx = detail::unpack([](auto const&... leaf) -> auto const& { return context_of(leaf...); }, std::get<0>(held));
  auto const inputs = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return make_pack(lower_row_input<std::tuple_element_t<I, std::tuple<X, More...>>>(std::get<I>(held), shape)...);
  }(std::index_sequence_for<X, More...>{});
  if constexpr (Outputs == 0) {  // one value a row
    extents<rank - 1> lead{};
    std::copy_n(shape.begin(), rank - 1, lead.begin());
    tensor<T, rank - 1, B> out(ctx, lead);
    B::row_reduce(ctx, op, shape, inputs, out.data());
    return out;
  } else if constexpr (Outputs == 1) {
    tensor<T, rank, B> out(ctx, shape);
    B::rowwise(ctx, op, shape, inputs, make_pack(out.data()));
    return out;
  } else {
    std::array<tensor<T, rank, B>, Outputs> out;
    for (auto& o : out) o = tensor<T, rank, B>(ctx, shape);
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      B::rowwise(ctx, op, shape, inputs, make_pack(out[I].data()...));
    }(std::make_index_sequence<Outputs>{});
    return out;
  }
}

template <class W, class X>
void check_row_parameter(char const* operation, W const& w, X const& x) {
  if (w.extents()[0] != x.extents().back())
    throw error(operation, ": a parameter of shape ", w.extents(), " for rows of ", x.extents());
}

}  // namespace detail

/// e^x / sum e^x along the last axis.
template <plain_expression E>
auto softmax(E const& x) {
  return detail::rowwise<1, typename E::value_type>(rows::softmax{}, x);
}
/// x - log sum e^x along the last axis.
template <plain_expression E>
auto log_softmax(E const& x) {
  return detail::rowwise<1, typename E::value_type>(rows::log_softmax{}, x);
}
namespace detail {
/// f, which goes along the last axis, along another one. The result is a view of what f gives.
template <class X, class F>
auto along(char const* name, X const& x, int axis, F const& f) {
  std::array<int, X::rank> order{};
  for (int a = 0; a < X::rank; ++a) order[static_cast<std::size_t>(a)] = a;
  std::swap(order[static_cast<std::size_t>(normal_axis(name, axis, X::rank))], order.back());
  return permuted(f(permuted(x, order)), order);
}
}  // namespace detail

/// softmax and log_softmax along any axis, of tensors and variables.
template <expression E>
  requires(E::rank >= 1)
auto softmax(E const& x, int axis) {
  return detail::along("softmax", eval(x), axis, [](auto const& rows) { return softmax(rows); });
}
template <expression E>
  requires(E::rank >= 1)
auto log_softmax(E const& x, int axis) {
  return detail::along("log_softmax", eval(x), axis, [](auto const& rows) { return log_softmax(rows); });
}
/// (x - mean) / sqrt(variance + eps) * weight + bias along the last axis (Ba et al. 2016). weight, bias: [n].
template <plain_expression E, class W, class V>
  requires(plain_expression<W> && plain_expression<V>)
auto layer_norm(E const& x, W const& weight, V const& bias, double eps = 1e-5) {
  detail::check_row_parameter("layer_norm", weight, x);
  detail::check_row_parameter("layer_norm", bias, x);
  return detail::rowwise<1, typename E::value_type>(rows::layer_norm{eps}, x, weight, bias);
}
/// Without weight and bias.
template <plain_expression E>
auto layer_norm(E const& x, double eps = 1e-5) {
  using T = typename E::value_type;
  return detail::rowwise<1, T>(rows::layer_norm{eps}, x, constant<T>{T(1)}, constant<T>{T(0)});
}
/// x / sqrt(mean x^2 + eps) * weight along the last axis (Zhang and Sennrich 2019). weight: [n].
template <plain_expression E, plain_expression W>
auto rms_norm(E const& x, W const& weight, double eps = 1e-6) {
  detail::check_row_parameter("rms_norm", weight, x);
  return detail::rowwise<1, typename E::value_type>(rows::rms_norm{eps}, x, weight);
}
template <plain_expression E>
auto rms_norm(E const& x, double eps = 1e-6) {
  using T = typename E::value_type;
  return detail::rowwise<1, T>(rows::rms_norm{eps}, x, constant<T>{T(1)});
}

/// log sum e^x of each row: two SIMD passes over it.
template <plain_expression E>
auto row_logsumexp(E const& x) {
  return detail::rowwise<0, typename E::value_type>(rows::logsumexp{}, x);
}

}  // namespace cog
