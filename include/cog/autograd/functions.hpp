// The functions that run at once, for variables: views, reductions, row-wise forms, indexed access. Same names, same results;
// each records one step. Arguments may be lazy; plain tensors among them are constants or watched parameters.
#pragma once

#include <algorithm>
#include <vector>

#include <cog/autograd/variable.hpp>
#include <cog/core/unpack.hpp>
#include <cog/expr/rowwise.hpp>
#include <cog/expr/select.hpp>

namespace cog {

// ---- views

namespace detail {

/// A view and the way back: `back(g)` shows the view's gradient under the shape of the source.
template <class T, int R, class B, int RV, class Back>
variable<T, RV, B> record_view(variable<T, R, B> const& x, tensor<T, RV, B> view, Back back) {
  return record(std::move(view), x.recorder(), [x, back](tensor<T, RV, B> const& g) { accumulate(x, back(g)); }, x);
}
/// A view of a part: its gradient is added to that part of the source's gradient. `part(tensor)` takes the view.
template <class T, int R, class B, class Part>
auto record_part(variable<T, R, B> const& x, Part part) {
  auto view = part(x.value());
  using V = decltype(view);
  return record(
      view, x.recorder(),
      [x, part](V const& g) {
        V const target = part(x.recorder()->buffer(x.slot(), x.value()));
        target.assign(target + g);
      },
      x);
}

}  // namespace detail

template <class T, int R, class B, std::size_t N>
auto reshape(variable<T, R, B> const& x, std::array<index_t, N> const& shape) {
  pause_recording const paused;  // strides may force a copy
  return detail::record_view(x, reshape(x.value(), shape), [from = x.extents()](auto const& g) { return reshape(g, from); });
}
template <class T, int R, class B>
auto flatten(variable<T, R, B> const& x) {
  return reshape(x, std::array<index_t, 1>{x.size()});
}
template <class T, int R, class B>
auto permuted(variable<T, R, B> const& x, std::array<int, static_cast<std::size_t>(R)> const& order) {
  std::array<int, static_cast<std::size_t>(R)> inverse{};
  for (int i = 0; i < R; ++i)
    inverse[static_cast<std::size_t>(normal_axis("permuted", order[static_cast<std::size_t>(i)], R))] = i;
  return detail::record_view(x, permuted(x.value(), order), [inverse](auto const& g) { return permuted(g, inverse); });
}
template <class T, int R, class B>
auto transposed(variable<T, R, B> const& x) {
  return detail::record_view(x, transposed(x.value()), [](auto const& g) { return transposed(g); });
}
template <class T, int R, class B>
auto unsqueeze(variable<T, R, B> const& x, int axis) {
  int const a = normal_axis("unsqueeze", axis, R + 1);
  return detail::record_view(x, unsqueeze(x.value(), a), [a](auto const& g) { return squeeze(g, a); });
}
template <class T, int R, class B>
auto squeeze(variable<T, R, B> const& x, int axis) {
  int const a = normal_axis("squeeze", axis, R);
  return detail::record_view(x, squeeze(x.value(), a), [a](auto const& g) { return unsqueeze(g, a); });
}
template <class T, int R, class B, std::size_t N>
auto expand(variable<T, R, B> const& x, std::array<index_t, N> const& shape) {
  return detail::record_view(x, expand(x.value(), shape), [from = x.extents()](auto const& g) { return detail::sum_to(g, from); });
}
template <class T, int R, class B>
auto slice(variable<T, R, B> const& x, int axis, index_t begin, index_t end, index_t step = 1) {
  return detail::record_part(x, [=](tensor<T, R, B> const& t) { return slice(t, axis, begin, end, step); });
}
template <class T, int R, class B>
auto select(variable<T, R, B> const& x, int axis, index_t i) {
  return detail::record_part(x, [=](tensor<T, R, B> const& t) { return select(t, axis, i); });
}

// ---- reductions

namespace detail {

/// How the gradient g of a reduction (its axes kept at 1) goes back to x, given the result y (likewise).
template <class R>
struct reduction_vjp;
template <> struct reduction_vjp<reduction::sum> {
  static auto apply(auto const& x, auto const&, auto const& g, auto) { return expand(g, x.extents()); }
};
template <> struct reduction_vjp<reduction::mean> {
  static auto apply(auto const& x, auto const&, auto const& g, double n) { return evaluate(expand(g, x.extents()) * (1.0 / n)); }
};
template <> struct reduction_vjp<reduction::logsumexp> {
  static auto apply(auto const& x, auto const& y, auto const& g, auto) { return evaluate(exp(x - y) * g); }
};
template <> struct reduction_vjp<reduction::variance> {
  template <class X>
  static auto apply(X const& x, auto const& y, auto const& g, double n) {
    auto const mean = detail::sum_to(x * (1.0 / n), y.extents());
    return evaluate((x - mean) * g * (2.0 / n));
  }
};
/// Shared equally among equal extremes.
template <class R>
  requires(std::same_as<R, reduction::max> || std::same_as<R, reduction::min>)
struct reduction_vjp<R> {
  template <class X>
  static auto apply(X const& x, auto const& y, auto const& g, auto) {
    auto const hit = cast<typename X::value_type>(x == y);
    auto const count = detail::sum_to(hit, y.extents());
    return evaluate(hit * g / count);
  }
};

template <class R, recorded_expression E, class Forward, std::size_t N>
auto record_reduction(E const& e, Forward forward, std::array<int, N> const& axes) {
  auto const x = variable(evaluate(e));
  auto y = [&] {
    pause_recording const paused;
    return forward(x.value());
  }();
  using Y = decltype(y);
  using X = typename std::remove_cvref_t<decltype(x)>::tensor_type;
  auto const kept = kept_shape(x, axes);
  return record(
      y, x.recorder(),
      [x, y, kept](Y const& g) {
        double const n = static_cast<double>(x.size()) / static_cast<double>(std::max<index_t>(1, y.size()));
        accumulate(x, X(reduction_vjp<R>::apply(x.value(), reshape(y, kept), reshape(g, kept), n)));
      },
      x);
}

}  // namespace detail

#define COG_RECORDED_REDUCTION(name)                                                                                            \
  template <recorded_expression E>                                                                                              \
  auto name(E const& x) {                                                                                                       \
    return detail::record_reduction<reduction::name>(x, [](auto const& v) { return name(v); }, detail::all_axes<E::rank>());    \
  }                                                                                                                             \
  template <recorded_expression E>                                                                                              \
  auto name(E const& x, int axis) {                                                                                             \
    return detail::record_reduction<reduction::name>(x, [=](auto const& v) { return name(v, axis); }, std::array<int, 1>{axis}); \
  }                                                                                                                             \
  template <recorded_expression E, int... A>                                                                                    \
  auto name(E const& x, axes<A...> a) {                                                                                         \
    return detail::record_reduction<reduction::name>(x, [=](auto const& v) { return name(v, a); },                              \
                                                     std::array<int, sizeof...(A)>{A...});                                      \
  }                                                                                                                             \
  template <recorded_expression E>                                                                                              \
  auto name(E const& x, int axis, keep_axes) {                                                                                  \
    return reshape(name(x, axis), detail::kept_shape(x, std::array<int, 1>{axis}));                                             \
  }                                                                                                                             \
  template <recorded_expression E, int... A>                                                                                    \
  auto name(E const& x, axes<A...> a, keep_axes) {                                                                              \
    return reshape(name(x, a), detail::kept_shape(x, std::array<int, sizeof...(A)>{A...}));                                     \
  }
COG_RECORDED_REDUCTION(sum)
COG_RECORDED_REDUCTION(mean)
COG_RECORDED_REDUCTION(max)
COG_RECORDED_REDUCTION(min)
COG_RECORDED_REDUCTION(logsumexp)
COG_RECORDED_REDUCTION(variance)
#undef COG_RECORDED_REDUCTION

/// Positions have no gradient: plain tensors.
template <recorded_expression E, class... Axes>
auto argmax(E const& x, Axes... axes) {
  pause_recording const paused;
  return argmax(evaluate(x).value(), axes...);
}
template <recorded_expression E, class... Axes>
auto argmin(E const& x, Axes... axes) {
  pause_recording const paused;
  return argmin(evaluate(x).value(), axes...);
}

// ---- rows

template <recorded_expression E>
auto softmax(E const& e) {
  auto const x = variable(evaluate(e));
  pause_recording const paused;
  auto const y = softmax(x.value());
  using Y = std::remove_const_t<decltype(y)>;
  return detail::record(y, x.recorder(), [x, y](Y const& g) {
    detail::accumulate(x, detail::rowwise<1, typename Y::value_type>(rows::softmax_vjp{}, y, g));
  }, x);
}
template <recorded_expression E>
auto log_softmax(E const& e) {
  auto const x = variable(evaluate(e));
  pause_recording const paused;
  auto const y = log_softmax(x.value());
  using Y = std::remove_const_t<decltype(y)>;
  return detail::record(y, x.recorder(), [x, y](Y const& g) {
    detail::accumulate(x, detail::rowwise<1, typename Y::value_type>(rows::log_softmax_vjp{}, y, g));
  }, x);
}
template <recorded_expression E>
auto row_logsumexp(E const& e) {
  return detail::record_reduction<reduction::logsumexp>(e, [](auto const& v) { return row_logsumexp(v); }, std::array<int, 1>{-1});
}

/// x, weight or bias may be recorded; the others are constants or watched parameters.
template <expression E, expression W, expression V>
  requires(recorded_expression<E> || recorded_expression<W> || recorded_expression<V>)
auto layer_norm(E const& e, W const& w, V const& b, double eps = 1e-5) {
  auto const& raw_x = evaluate(e);
  auto const& raw_w = evaluate(w);
  auto const& raw_b = evaluate(b);
  std::shared_ptr<tape> const t = detail::tape_of(raw_x, raw_w, raw_b);
  auto const x = detail::lift(raw_x, t);
  auto const weight = detail::lift(raw_w, t);
  auto const bias = detail::lift(raw_b, t);
  pause_recording const paused;
  auto y = layer_norm(x.value(), weight.value(), bias.value(), eps);
  using Y = decltype(y);
  return detail::record(y, t, [x, weight, bias, eps](Y const& g) {
    auto const [dx, normal] = detail::rowwise<2, typename Y::value_type>(rows::layer_norm_vjp{eps}, x.value(), weight.value(), g);
    detail::accumulate(x, dx);
    if (weight.needs_gradient()) detail::accumulate(weight, detail::sum_to(normal, weight.extents()));
    if (bias.needs_gradient()) detail::accumulate(bias, detail::sum_to(g, bias.extents()));
  }, x, weight, bias);
}
template <recorded_expression E>
auto layer_norm(E const& e, double eps = 1e-5) {
  auto const x = variable(evaluate(e));
  pause_recording const paused;
  auto const y = layer_norm(x.value(), eps);
  using Y = std::remove_const_t<decltype(y)>;
  return detail::record(y, x.recorder(), [x, eps](Y const& g) {
    using T = typename Y::value_type;
    detail::accumulate(x, detail::rowwise<2, T>(rows::layer_norm_vjp{eps}, x.value(), constant<T>{T(1)}, g)[0]);
  }, x);
}
template <expression E, expression W>
  requires(recorded_expression<E> || recorded_expression<W>)
auto rms_norm(E const& e, W const& w, double eps = 1e-6) {
  auto const& raw_x = evaluate(e);
  auto const& raw_w = evaluate(w);
  std::shared_ptr<tape> const t = detail::tape_of(raw_x, raw_w);
  auto const x = detail::lift(raw_x, t);
  auto const weight = detail::lift(raw_w, t);
  pause_recording const paused;
  auto y = rms_norm(x.value(), weight.value(), eps);
  using Y = decltype(y);
  return detail::record(y, t, [x, weight, eps](Y const& g) {
    auto const [dx, normal] = detail::rowwise<2, typename Y::value_type>(rows::rms_norm_vjp{eps}, x.value(), weight.value(), g);
    detail::accumulate(x, dx);
    if (weight.needs_gradient()) detail::accumulate(weight, detail::sum_to(normal, weight.extents()));
  }, x, weight);
}
template <recorded_expression E>
auto rms_norm(E const& e, double eps = 1e-6) {
  auto const x = variable(evaluate(e));
  pause_recording const paused;
  auto const y = rms_norm(x.value(), eps);
  using Y = std::remove_const_t<decltype(y)>;
  return detail::record(y, x.recorder(), [x, eps](Y const& g) {
    using T = typename Y::value_type;
    detail::accumulate(x, detail::rowwise<2, T>(rows::rms_norm_vjp{eps}, x.value(), constant<T>{T(1)}, g)[0]);
  }, x);
}

// ---- indexed access

namespace detail {
template <class Table, class Ids>
auto record_take(Table const& raw_table, Ids const& raw_ids) {
  std::shared_ptr<tape> const t = tape_of(raw_table, raw_ids);
  auto const table = lift(raw_table, t);
  auto const ids = value_of(raw_ids);
  pause_recording const paused;
  auto y = take(table.value(), ids);
  using Y = decltype(y);
  return record(y, t, [table, ids](Y const& g) {
    auto rows = as_rows(table.recorder()->buffer(table.slot(), table.value()));
    auto lead = std::array<index_t, Ids::rank + 1>{};
    std::copy(ids.extents().begin(), ids.extents().end(), lead.begin());
    lead.back() = rows.extent(1);
    add_rows(rows, ids, reshape(g, lead));
  }, table);
}
}  // namespace detail
template <class T, int RT, class B, class I, int R>
auto take(variable<T, RT, B> const& table, tensor<I, R, B> const& ids) { return detail::record_take(table, ids); }
template <class T, int RT, class B, class I, int R>
auto take(variable<T, RT, B> const& table, variable<I, R, B> const& ids) { return detail::record_take(table, ids); }
template <class T, int RT, class B, class I, int R>
auto take(tensor<T, RT, B> const& table, variable<I, R, B> const& ids) { return detail::record_take(table, ids); }

template <recorded_expression E, class Ids>
auto take_along(E const& e, Ids const& raw_ids) {
  auto const x = variable(evaluate(e));
  auto const ids = value_of(raw_ids);
  pause_recording const paused;
  auto y = take_along(x.value(), ids);
  using Y = decltype(y);
  return detail::record(y, x.recorder(),
                        [x, ids](Y const& g) { add_along(x.recorder()->buffer(x.slot(), x.value()), ids, g); }, x);
}

template <class T, int R, class B>
auto concatenate(int axis, std::vector<variable<T, R, B>> const& parts) {
  std::vector<tensor<T, R, B>> values;
  for (auto const& x : parts) values.push_back(detail::lift(x, parts.front().recorder()).value());
  pause_recording const paused;
  auto y = concatenate(axis, values);
  struct any_of {
    std::vector<variable<T, R, B>> const& x;
    bool needs_gradient() const { return std::any_of(x.begin(), x.end(), [](auto const& v) { return v.needs_gradient(); }); }
  };
  return detail::record(std::move(y), parts.front().recorder(), [parts, axis](tensor<T, R, B> const& g) {
    index_t at = 0;
    for (auto const& part : parts) {
      detail::accumulate(part, slice(g, axis, at, at + part.extent(axis)));
      at += part.extent(axis);
    }
  }, any_of{parts});
}
template <class First, class... More>
  requires(expression<First> && (expression<More> && ...) && (recorded_expression<First> || (recorded_expression<More> || ...)))
auto concatenate(int axis, First const& first, More const&... more) {
  auto const raw = std::tuple(evaluate(first), evaluate(more)...);
  std::shared_ptr<tape> const t = detail::unpack([](auto const&... x) { return detail::tape_of(x...); }, raw);
  return concatenate(axis, detail::unpack([&](auto const&... x) { return std::vector{detail::lift(x, t)...}; }, raw));
}

namespace detail {
/// The elements of one axis in the opposite order, as a view.
template <class T, int R, class B>
tensor<T, R, B> reversed(tensor<T, R, B> const& x, int axis) {
  auto const a = static_cast<std::size_t>(normal_axis("reversed", axis, R));
  auto strides = x.strides();
  T* const last = const_cast<T*>(x.data()) + std::max<index_t>(0, x.extents()[a] - 1) * strides[a];
  strides[a] = -strides[a];
  return {x.storage_handle(), last, x.extents(), strides};
}
}  // namespace detail
/// The gradient runs backwards: g's sums from the end to each position.
template <class T, int R, class B>
auto cumulative_sum(variable<T, R, B> const& x, int axis) {
  pause_recording const paused;
  return detail::record(cumulative_sum(x.value(), axis), x.recorder(), [x, axis](tensor<T, R, B> const& g) {
    detail::accumulate(x, detail::reversed(cumulative_sum(detail::reversed(g, axis), axis), axis));
  }, x);
}

/// What top_k of a variable returns: [..., k] both.
template <class T, int R, class B>
struct recorded_top_k {
  variable<T, R, B> values;
  tensor<std::int64_t, R, B> indices;
};
template <class T, int R, class B>
recorded_top_k<T, R, B> top_k(variable<T, R, B> const& x, index_t k) {
  pause_recording const paused;
  auto const found = top_k(x.value(), k);
  auto const back = [x, ids = found.indices](tensor<T, R, B> const& g) {
    auto& whole = x.recorder()->buffer(x.slot(), x.value());
    for (index_t i = 0; i < ids.extent(-1); ++i) add_along(whole, select(ids, -1, i), select(g, -1, i));
  };
  return {detail::record(found.values, x.recorder(), back, x), found.indices};
}

// ---- what takes no lazy expression says so

namespace detail {

template <class X>
concept unevaluated = expression<X> && !is_tensor<X> && !is_variable<X>;

template <class X>
X refuse(X const& x) {
  static_assert(!unevaluated<X>, "cog: views, take, cumulative_sum and top_k take no lazy expression; write eval(x)");
  return x;
}

}  // namespace detail

template <detail::unevaluated X, std::size_t N>
auto reshape(X const& x, std::array<index_t, N> const&) { return detail::refuse(x); }
template <detail::unevaluated X, std::size_t N>
auto expand(X const& x, std::array<index_t, N> const&) { return detail::refuse(x); }
template <detail::unevaluated X>
auto permuted(X const& x, std::array<int, static_cast<std::size_t>(X::rank)> const&) { return detail::refuse(x); }
template <detail::unevaluated X>
auto flatten(X const& x) { return detail::refuse(x); }
template <detail::unevaluated X>
auto transposed(X const& x) { return detail::refuse(x); }
template <detail::unevaluated X>
auto unsqueeze(X const& x, int) { return detail::refuse(x); }
template <detail::unevaluated X>
auto squeeze(X const& x, int) { return detail::refuse(x); }
template <detail::unevaluated X>
auto slice(X const& x, int, index_t, index_t, index_t = 1) { return detail::refuse(x); }
template <detail::unevaluated X>
auto select(X const& x, int, index_t) { return detail::refuse(x); }
template <detail::unevaluated First, plain_expression... More>
  requires plain_expression<First>
auto concatenate(int axis, First const& x, More const&... more) { return concatenate(axis, evaluate(x), more...); }
template <expression Table, detail::unevaluated Ids>
auto take(Table const&, Ids const& x) { return detail::refuse(x); }
template <detail::unevaluated Table, expression Ids>
  requires(!detail::unevaluated<Ids>)
auto take(Table const& x, Ids const&) { return detail::refuse(x); }
template <detail::unevaluated X>
auto cumulative_sum(X const& x, int) { return detail::refuse(x); }
template <detail::unevaluated X>
auto top_k(X const& x, index_t) { return detail::refuse(x); }

}  // namespace cog
