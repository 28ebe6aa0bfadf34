// Views of a tensor: the same storage under another shape. Nothing is copied, except by a reshape that strides forbid.
#pragma once

#include <utility>

#include <cog/core/tensor.hpp>

namespace cog {

/// Elements begin, begin + step, ... < end of one axis; negative bounds count from the end. step >= 1.
/// Errors: bounds outside the axis, or in the wrong order.
template <class T, int R, class B>
tensor<T, R, B> slice(tensor<T, R, B> const& x, int axis, index_t begin, index_t end, index_t step = 1) {
  auto const a = static_cast<std::size_t>(normal_axis("slice", axis, R));
  auto shape = x.extents();
  auto strides = x.strides();
  index_t const n = shape[a];
  index_t const first = begin < 0 ? begin + n : begin;
  index_t const last = end < 0 ? end + n : end;
  if (first < 0 || last < first || last > n || step < 1)
    throw error("slice: [", begin, ", ", end, ") step ", step, " does not lie in axis ", axis, " of shape ", x.extents());
  shape[a] = last > first ? (last - first - 1) / step + 1 : 0;
  T* data = const_cast<T*>(x.data()) + (shape[a] > 0 ? first * strides[a] : 0);
  strides[a] *= std::min(step, std::max<index_t>(n, 1));  // a longer step goes nowhere
  return {x.storage_handle(), data, shape, strides};
}

/// Element i of one axis, counted from the end when negative; the axis is dropped. Errors: no such element.
template <class T, int R, class B>
  requires(R >= 1)
tensor<T, R - 1, B> select(tensor<T, R, B> const& x, int axis, index_t i) {
  auto const a = static_cast<std::size_t>(normal_axis("select", axis, R));
  index_t const at = i < 0 ? i + x.extents()[a] : i;
  if (at < 0 || at >= x.extents()[a]) throw error("select: ", i, " is outside axis ", axis, " of shape ", x.extents());
  extents<R - 1> shape{}, strides{};
  for (std::size_t from = 0, to = 0; from < R; ++from) {
    if (from == a) continue;
    shape[to] = x.extents()[from];
    strides[to++] = x.strides()[from];
  }
  return {x.storage_handle(), const_cast<T*>(x.data()) + at * x.strides()[a], shape, strides};
}

/// Axes in another order: out.extent(i) = x.extent(order[i]). Errors: an axis that is named twice or does not exist.
template <class T, int R, class B>
tensor<T, R, B> permuted(tensor<T, R, B> const& x, std::array<int, static_cast<std::size_t>(R)> const& order) {
  extents<R> shape{}, strides{};
  std::array<bool, static_cast<std::size_t>(R)> seen{};
  for (std::size_t i = 0; i < R; ++i) {
    auto const from = static_cast<std::size_t>(normal_axis("permuted", order[i], R));
    if (seen[from]) throw error("permuted: axis ", order[i], " appears twice in ", order);
    seen[from] = true;
    shape[i] = x.extents()[from];
    strides[i] = x.strides()[from];
  }
  return {x.storage_handle(), const_cast<T*>(x.data()), shape, strides};
}

/// The last two axes exchanged.
template <class T, int R, class B>
  requires(R >= 2)
tensor<T, R, B> transposed(tensor<T, R, B> const& x) {
  auto shape = x.extents();
  auto strides = x.strides();
  std::swap(shape[R - 1], shape[R - 2]);
  std::swap(strides[R - 1], strides[R - 2]);
  return {x.storage_handle(), const_cast<T*>(x.data()), shape, strides};
}

namespace detail {

/// One extent of -1 takes what is left.
template <std::size_t N>
std::array<index_t, N> resolve_shape(index_t size, std::array<index_t, N> shape) {
  index_t known = 1;
  int unknown = -1;
  for (std::size_t i = 0; i < N; ++i) {
    if (shape[i] == -1 && unknown < 0) unknown = static_cast<int>(i);
    else if (shape[i] < 0) throw error("reshape: shape ", shape, "; one extent may be -1, none may be less");
    else if (__builtin_mul_overflow(known, shape[i], &known)) throw error("reshape: ", size, " elements do not fill shape ", shape);
  }
  if (unknown >= 0 && known > 0 && size % known == 0) {
    shape[static_cast<std::size_t>(unknown)] = size / known;
    known = size;
  }
  if (known != size || (unknown >= 0 && known == 0 && size != 0) || (unknown >= 0 && shape[static_cast<std::size_t>(unknown)] < 0))
    throw error("reshape: ", size, " elements do not fill shape ", shape);
  return shape;
}

/// Strides that show `from` under shape `to` without a copy; false if there are none.
template <std::size_t A, std::size_t N>
bool reshape_strides(std::array<index_t, A> const& from, std::array<index_t, A> const& strides,
                     std::array<index_t, N> const& to, std::array<index_t, N>& out) {
  if (size_of(from) == 0 || is_row_major(from, strides)) {
    out = row_major(to);
    return true;
  }
  // Axes that follow each other in memory form blocks; a block may be cut anywhere, never joined with another.
  std::array<index_t, A> block{}, step{};
  std::size_t blocks = 0;
  for (std::size_t a = 0; a != A; ++a) {
    if (from[a] == 1) continue;
    if (blocks > 0 && step[blocks - 1] == strides[a] * from[a]) {
      block[blocks - 1] *= from[a];
      step[blocks - 1] = strides[a];
    } else {
      block[blocks] = from[a];
      step[blocks++] = strides[a];
    }
  }
  std::size_t n = N;
  while (blocks-- > 0) {
    for (index_t left = block[blocks], s = step[blocks]; left > 1;) {
      index_t const e = to[--n];
      if (left % e != 0) return false;
      out[n] = s;
      s *= e;
      left /= e;
    }
  }
  while (n > 0) out[--n] = 1;
  return true;
}

}  // namespace detail

/// The same elements in row-major order under another shape; one extent may be -1. Copies only when strides force it.
/// Errors: a shape with another number of elements.
template <class T, int R, class B, std::size_t N>
tensor<T, static_cast<int>(N), B> reshape(tensor<T, R, B> const& x, std::array<index_t, N> const& shape) {
  auto const to = detail::resolve_shape(x.size(), shape);
  std::array<index_t, N> strides{};
  if (detail::reshape_strides(x.extents(), x.strides(), to, strides))
    return {x.storage_handle(), const_cast<T*>(x.data()), to, strides};
  tensor<T, R, B> row = x.copy();
  return {row.storage_handle(), row.data(), to, row_major(to)};
}

/// All elements along one axis, in row-major order.
template <class T, int R, class B>
tensor<T, 1, B> flatten(tensor<T, R, B> const& x) {
  return reshape(x, std::array<index_t, 1>{x.size()});
}

/// Drops an axis of extent 1. Errors: another extent.
template <class T, int R, class B>
tensor<T, R - 1, B> squeeze(tensor<T, R, B> const& x, int axis) {
  if (x.extent(axis) != 1) throw error("squeeze: axis ", axis, " of shape ", x.extents(), " is not 1");
  return select(x, axis, 0);
}

/// Inserts an axis of extent 1; -1 appends.
template <class T, int R, class B>
tensor<T, R + 1, B> unsqueeze(tensor<T, R, B> const& x, int axis) {
  auto const a = static_cast<std::size_t>(normal_axis("unsqueeze", axis, R + 1));
  extents<R + 1> shape{}, strides{};
  for (std::size_t to = 0, from = 0; to < R + 1; ++to) {
    shape[to] = to == a ? 1 : x.extents()[from];
    strides[to] = to == a ? 1 : x.strides()[from];
    if (to != a) ++from;
  }
  return {x.storage_handle(), const_cast<T*>(x.data()), shape, strides};
}

/// Broadcast to a shape without a copy (stride 0 along stretched axes). Such a view is for reading.
/// Errors: a shape that x does not broadcast to.
template <class T, int R, class B, std::size_t N>
tensor<T, static_cast<int>(N), B> expand(tensor<T, R, B> const& x, std::array<index_t, N> const& shape) {
  static_assert(N >= R, "cog: expand cannot drop axes");
  if (broadcast("expand", x.extents(), shape) != shape) throw error("expand: ", x.extents(), " does not broadcast to ", shape);
  return {x.storage_handle(), const_cast<T*>(x.data()), shape, broadcast_strides(x.extents(), x.strides(), shape)};
}

/// Braced shapes: reshape(x, {2, -1}).
template <class X, std::size_t N>
auto reshape(X const& x, index_t const (&shape)[N]) {
  return reshape(x, std::to_array(shape));
}
template <class X, std::size_t N>
auto expand(X const& x, index_t const (&shape)[N]) {
  return expand(x, std::to_array(shape));
}

}  // namespace cog
