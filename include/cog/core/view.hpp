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
    auto const* step = reinterpret_cast<index_t const*>(&strides);  // device code may not call std::array's members
    index_t offset = 0;
    ((offset += static_cast<index_t>(i) * *step++), ...);
    return data[offset];
  }

  COG_HD index_t size() const { return size_of(extents); }
  operator view<T const, Rank>() const
    requires(!std::is_const_v<T>)
  {
    return {data, extents, strides};
  }
};

/// A row-major block seen as a view.
template <class T, std::size_t N>
view<T, static_cast<int>(N)> contiguous_view(T* data, std::array<index_t, N> const& shape) {
  return {data, shape, row_major(shape)};
}

}  // namespace cog
