// What backends share in preparing a kernel: the strides of its operands, and axes joined where all operands allow it.
#pragma once

#include <algorithm>
#include <tuple>

#include <cog/expr/lower.hpp>

namespace cog::detail {

/// The strides of every operand, row k for operand k; zeros where it has none.
template <int Rank, int Operands>
struct operand_strides {
  index_t at[Operands == 0 ? 1 : Operands][Rank == 0 ? 1 : Rank] = {};
  bool is_array[Operands == 0 ? 1 : Operands] = {};
  int count = 0;

  template <class L>
  void note(L const& leaf) {
    if constexpr (requires { leaf.strides; }) std::copy_n(leaf.strides, Rank, at[count]);
    if constexpr (requires { leaf.data; }) is_array[count] = leaf.data != nullptr;
    ++count;
  }
};

/// Axes joined where every operand allows it.
template <int Rank, int Operands>
struct joined_axes {
  static constexpr int capacity = Rank == 0 ? 1 : Rank;
  int last = 0;  // the innermost of the joined axes; where nothing is left to join, one axis of extent 1
  index_t extents[capacity] = {};
  index_t strides[Operands][capacity] = {};

  /// Joins the axes [first, end) of `shape`.
  joined_axes(index_t const* shape, int end, index_t const (*from)[capacity], int first = 0) {
    extents[0] = 1;
    if constexpr (Rank > 0) {
      for (int a = first; a < end; ++a) {
        if (shape[a] == 1) continue;
        // An axis of extent 1 joins anything.
        bool join = true;
        for (int k = 0; k < Operands && join; ++k) join = extents[last] == 1 || strides[k][last] == from[k][a] * shape[a];
        if (!join) ++last;
        extents[last] = join ? extents[last] * shape[a] : shape[a];
        for (int k = 0; k < Operands; ++k) strides[k][last] = from[k][a];
      }
    }
  }
  COG_HD index_t size() const {
    index_t n = 1;
    for (int a = 0; a <= last; ++a) n *= extents[a];
    return n;
  }
  COG_HD index_t inner() const { return extents[last]; }
  COG_HD index_t inner_stride(int operand) const { return strides[operand][last]; }

  /// Adds the offset of every operand at flat position `at` of these axes.
  COG_HD void add_offsets(index_t at, index_t* offset) const {
    for (int a = last < capacity - 1 ? last : capacity - 1; a >= 0; --a) {
      index_t const i = a == 0 ? at : at % extents[a];
      if (a > 0) at /= extents[a];
      for (int o = 0; o < Operands; ++o) offset[o] += i * strides[o][a];
    }
  }
};

template <class... P>
std::tuple<P...> as_tuple(pack<P...> const& p) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return std::tuple<P...>(get<static_cast<int>(I)>(p)...);
  }(std::index_sequence_for<P...>{});
}

template <class P>
inline constexpr int size_of_pack = 0;
template <class... P>
inline constexpr int size_of_pack<pack<P...>> = sizeof...(P);
template <class V>
inline constexpr bool is_pack = false;
template <class... P>
inline constexpr bool is_pack<pack<P...>> = true;

}  // namespace cog::detail
