// A pointer with a shape: what kernels receive. Trivially copyable, owns nothing.
#pragma once

#include <type_traits>

#include <cog/core/layout.hpp>

namespace cog {

/// Elements at `data`, with extents and strides. The memory is somebody else's.
template <class T, int Rank>
struct view {
  T* data = nullptr;
  cog::extents<Rank> extents{};
  cog::extents<Rank> strides{};  // in elements

  /// The element at (i, j, ...).
  template <class... I>
    requires(sizeof...(I) == Rank)
  COG_HD T& operator()(I... i) const {
    index_t offset = 0;
    int axis = 0;
    ((offset += static_cast<index_t>(i) * stride(axis++)), ...);
    return data[offset];
  }
  // For device code, which may not call std::array's members.
  COG_HD index_t extent(int axis) const { return reinterpret_cast<index_t const*>(&extents)[axis]; }
  COG_HD index_t stride(int axis) const { return reinterpret_cast<index_t const*>(&strides)[axis]; }

  COG_HD index_t size() const {
    index_t n = 1;
    for (int a = 0; a < Rank; ++a) n *= extent(a);
    return n;
  }
  template <class U>
    requires(std::is_same_v<U, T const> && !std::is_const_v<T>)
  operator view<U, Rank>() const {
    return {data, extents, strides};
  }
};

/// A row-major block seen as a view.
template <class T, std::size_t N>
view<T, static_cast<int>(N)> contiguous_view(T* data, std::array<index_t, N> const& shape) {
  return {data, shape, row_major(shape)};
}

}  // namespace cog
