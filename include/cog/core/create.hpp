// Tensors from values: empty, full, zeros, ones, arange, and from host memory. Shapes are braced lists or std::array.
#pragma once

#include <span>

#include <cog/core/shape.hpp>

namespace cog {

template <class C>
concept context = backend<typename C::backend_type> && std::same_as<typename C::backend_type::context, C>;

namespace detail {
template <class C>
using backend_of = typename C::backend_type;
}

/// Uninitialised, row-major. Errors (of all functions here): a negative extent, more elements than memory.
template <element T, context C, std::size_t N>
tensor<T, static_cast<int>(N), detail::backend_of<C>> empty(C const& ctx, std::array<index_t, N> const& shape) {
  return {ctx, shape};
}

/// Every element is `value`.
template <element T, context C, std::size_t N>
auto full(C const& ctx, std::array<index_t, N> const& shape, std::type_identity_t<T> value) {
  auto out = empty<T>(ctx, shape);
  detail::backend_of<C>::fill(ctx, out.data(), out.size(), value);
  return out;
}
/// The same with a number that is rounded to bf16 or half.
template <reduced_float T, context C, std::size_t N>
auto full(C const& ctx, std::array<index_t, N> const& shape, double value) {
  return full<T>(ctx, shape, T(value));
}
/// Every element is 0 (false).
template <element T, context C, std::size_t N>
auto zeros(C const& ctx, std::array<index_t, N> const& shape) {
  return full<T>(ctx, shape, T(0));
}
/// Every element is 1 (true).
template <element T, context C, std::size_t N>
auto ones(C const& ctx, std::array<index_t, N> const& shape) {
  return full<T>(ctx, shape, T(1));
}

template <element T, context C, std::size_t N>
auto empty(C const& ctx, index_t const (&shape)[N]) { return empty<T>(ctx, std::to_array(shape)); }
template <element T, context C, std::size_t N>
auto full(C const& ctx, index_t const (&shape)[N], std::type_identity_t<T> value) { return full<T>(ctx, std::to_array(shape), value); }
template <reduced_float T, context C, std::size_t N>
auto full(C const& ctx, index_t const (&shape)[N], double value) { return full<T>(ctx, std::to_array(shape), T(value)); }
template <element T, context C, std::size_t N>
auto zeros(C const& ctx, index_t const (&shape)[N]) { return zeros<T>(ctx, std::to_array(shape)); }
template <element T, context C, std::size_t N>
auto ones(C const& ctx, index_t const (&shape)[N]) { return ones<T>(ctx, std::to_array(shape)); }

/// Zeros of x's shape, dtype and context; row-major.
template <class T, int R, class B>
tensor<T, R, B> zeros_like(tensor<T, R, B> const& x) { return zeros<T>(x.context(), x.extents()); }

/// A copy of host memory, row-major. Errors: another number of values than the shape has.
template <class T, context C, std::size_t N>
auto from(C const& ctx, std::span<T const> values, std::array<index_t, N> const& shape) {
  auto out = empty<T>(ctx, shape);
  if (static_cast<index_t>(values.size()) != out.size())
    throw error("from: ", values.size(), " values for shape ", shape);
  if (out.size() > 0) detail::backend_of<C>::copy_from_host(ctx, out.data(), values.data(), values.size_bytes());
  return out;
}
template <class T, context C, std::size_t N>
auto from(C const& ctx, std::vector<T> const& values, std::array<index_t, N> const& shape) {
  return from(ctx, std::span<T const>(values), shape);
}
template <class T, context C, std::size_t N>
auto from(C const& ctx, std::vector<T> const& values, index_t const (&shape)[N]) {
  return from(ctx, std::span<T const>(values), std::to_array(shape));
}
template <class T, context C, std::size_t N>
auto from(C const& ctx, std::span<T const> values, index_t const (&shape)[N]) {
  return from(ctx, values, std::to_array(shape));
}

/// Braced values: from<float>(ctx, {1, 2, 3}), from<float>(ctx, {{1, 2}, {3, 4}}).
template <element T, context C, std::size_t N>
auto from(C const& ctx, T const (&v)[N]) {
  return from(ctx, std::span<T const>(v, N), std::array<index_t, 1>{N});
}
template <element T, context C, std::size_t M, std::size_t N>
auto from(C const& ctx, T const (&v)[M][N]) {
  return from(ctx, std::span<T const>(v[0], M * N), std::array<index_t, 2>{M, N});
}
template <element T, context C, std::size_t L, std::size_t M, std::size_t N>
auto from(C const& ctx, T const (&v)[L][M][N]) {
  return from(ctx, std::span<T const>(v[0][0], L * M * N), std::array<index_t, 3>{L, M, N});
}

/// A rank-0 tensor.
template <element T, context C>
auto scalar(C const& ctx, T value) {
  return full<T>(ctx, std::array<index_t, 0>{}, value);
}

/// first, first + step, ...: n values. Errors: a negative n.
template <element T, context C>
auto arange(C const& ctx, index_t n, T first = T(0), T step = T(1)) {
  if (n < 0) throw error("arange: ", n, " values");
  std::vector<T> host(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i)
    host[static_cast<std::size_t>(i)] = T(compute_t<T>(first) + compute_t<T>(i) * compute_t<T>(step));
  return from(ctx, std::span<T const>(host), std::array<index_t, 1>{n});
}

}  // namespace cog
