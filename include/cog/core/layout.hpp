// Shapes and strides, counted in elements. Everything here is arithmetic on small arrays; nothing allocates.
#pragma once

#include <array>
#include <cstddef>

#include <cog/core/config.hpp>
#include <cog/core/error.hpp>

namespace cog {

template <int Rank>
using extents = std::array<index_t, static_cast<std::size_t>(Rank)>;

/// Number of elements of a shape (1 for rank 0).
template <std::size_t N>
constexpr index_t size_of(std::array<index_t, N> const& shape) {
  index_t n = 1;
  for (index_t e : shape) n *= e;
  return n;
}

/// Row-major strides: the last axis is contiguous.
template <std::size_t N>
constexpr std::array<index_t, N> row_major(std::array<index_t, N> const& shape) {
  std::array<index_t, N> strides{};
  index_t step = 1;
  for (std::size_t i = N; i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

/// True when the elements fill one row-major block (axes of extent 1 may have any stride, and so may all where there are none).
template <std::size_t N>
constexpr bool is_row_major(std::array<index_t, N> const& shape, std::array<index_t, N> const& strides) {
  index_t step = 1;
  bool follows = true;
  for (std::size_t i = N; i-- > 0;) {
    if (shape[i] == 0) return true;
    follows = follows && (shape[i] == 1 || strides[i] == step);
    step *= shape[i];
  }
  return follows;
}

/// Where element i, counted in row-major order, lies.
template <std::size_t N>
constexpr index_t offset_of(index_t i, std::array<index_t, N> const& shape, std::array<index_t, N> const& strides) {
  index_t offset = 0;
  for (std::size_t a = N; a-- > 0; i /= shape[a]) offset += i % shape[a] * strides[a];
  return offset;
}

/// Counts `axis` from the end when negative; throws when it does not exist.
inline int normal_axis(char const* operation, int axis, int rank) {
  if (axis < -rank || axis >= rank) throw error(operation, ": axis ", axis, " of a tensor of rank ", rank);
  return axis < 0 ? axis + rank : axis;
}

/// NumPy broadcasting: shapes are aligned at the last axis, an extent of 1 stretches.
template <std::size_t A, std::size_t B>
constexpr auto broadcast(char const* operation, std::array<index_t, A> const& a, std::array<index_t, B> const& b) {
  constexpr std::size_t n = A > B ? A : B;
  std::array<index_t, n> out{};
  for (std::size_t i = n; i-- != 0;) {
    index_t const x = n - i > A ? 1 : a[i + A - n];
    index_t const y = n - i > B ? 1 : b[i + B - n];
    if (x != y && x != 1 && y != 1) throw error(operation, ": shapes ", a, " and ", b, " do not broadcast");
    out[i] = x == 1 ? y : x;
  }
  return out;
}

/// Strides that read `shape` as if it were `target`: 0 along stretched axes.
template <std::size_t A, std::size_t N>
constexpr std::array<index_t, N> broadcast_strides(std::array<index_t, A> const& shape, std::array<index_t, A> const& strides,
                                                 std::array<index_t, N> const& target) {
  static_assert(A <= N, "cog: a tensor cannot be broadcast to a lower rank");
  std::array<index_t, N> out{};
  for (std::size_t i = 0; i != A; ++i)
    out[i + N - A] = shape[i] == 1 && target[i + N - A] != 1 ? 0 : strides[i];
  return out;
}

}  // namespace cog
