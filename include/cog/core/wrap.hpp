// Memory of others as tensors, and tensors as spans: no copy in either direction. Values that are assigned to such a tensor
// go to fresh storage as ever; `assign` and the elements t(i, j) write into the wrapped memory. What is wrapped twice counts as two
// memories: take a view of the first tensor where an `assign` may read what it writes.
#pragma once

#include <memory>
#include <span>

#include <cog/core/create.hpp>

namespace cog {

/// A tensor over memory that `ctx`'s backend can reach, with strides in elements. `owner` is kept until the last handle goes;
/// without one the caller keeps the memory alive. No alignment is asked for.
template <element T, context C, std::size_t N>
tensor<T, static_cast<int>(N), detail::backend_of<C>> wrap(C const& ctx, T* data, std::array<index_t, N> const& shape,
                                                           std::array<index_t, N> const& strides,
                                                           std::shared_ptr<void const> owner = nullptr) {
  for (index_t e : shape)
    if (e < 0) throw error("wrap: negative extent in ", shape);
  std::size_t const bytes = static_cast<std::size_t>(size_of(shape)) * sizeof(T);
  if (data == nullptr && bytes > 0) throw error("wrap: a null pointer for shape ", shape);
  return {storage<detail::backend_of<C>>(ctx, data, bytes, std::move(owner)), data, shape, strides};
}
/// Row-major.
template <element T, context C, std::size_t N>
auto wrap(C const& ctx, T* data, std::array<index_t, N> const& shape, std::shared_ptr<void const> owner = nullptr) {
  return wrap(ctx, data, shape, row_major(shape), std::move(owner));
}
template <element T, context C, std::size_t N>
auto wrap(C const& ctx, T* data, index_t const (&shape)[N], std::shared_ptr<void const> owner = nullptr) {
  return wrap(ctx, data, std::to_array(shape), std::move(owner));
}
template <element T, context C, std::size_t N>
auto wrap(C const& ctx, T* data, index_t const (&shape)[N], index_t const (&strides)[N], std::shared_ptr<void const> owner = nullptr) {
  return wrap(ctx, data, std::to_array(shape), std::to_array(strides), std::move(owner));
}

namespace detail {
template <class T, int R, class B>
void check_span(tensor<T, R, B> const& x) {
  static_assert(B::host_accessible, "cog: the host cannot reach this memory; use to_vector()");
  if (!x.is_contiguous()) throw error("as_span: the tensor of shape ", x.extents(), " is not row-major; use contiguous()");
}
}  // namespace detail

/// The elements in row-major order; valid while a handle of the storage lives. Throws where strides are in the way.
template <class T, int R, class B>
std::span<T> as_span(tensor<T, R, B>& x) {
  detail::check_span(x);
  return {x.data(), static_cast<std::size_t>(x.size())};
}
template <class T, int R, class B>
std::span<T const> as_span(tensor<T, R, B> const& x) {
  detail::check_span(x);
  return {x.data(), static_cast<std::size_t>(x.size())};
}
template <class T, int R, class B>
void as_span(tensor<T, R, B>&&) = delete;  // the span would outlive the tensor
template <class T, int R, class B>
void as_span(tensor<T, R, B> const&&) = delete;
template <lazy_expression E>
void as_span(E const&) {
  static_assert(!lazy_expression<E>, "cog: as_span of a lazy expression, which has no elements yet; keep auto x = eval(e) and take its span");
}

}  // namespace cog
