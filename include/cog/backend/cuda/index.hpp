// From flat positions to offsets on the device: joined axes whose divisions are multiplications.
#pragma once

#include <cstdint>

#include <cog/backend/cuda/runtime.hpp>
#include <cog/expr/axes.hpp>

namespace cog::cuda_detail {

/// n / d for n < 2^31 by one multiplication (Granlund and Montgomery 1994).
class divider {
 public:
  divider() = default;
  explicit divider(index_t d) : divisor_(d) {
    if (d < 1 || d > 0x7fffffff) return;
    while ((index_t{1} << shift_) < d) ++shift_;
    magic_ = static_cast<std::uint32_t>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift_) - static_cast<std::uint64_t>(d))) /
                                            static_cast<std::uint64_t>(d) + 1);
  }
  struct result {
    index_t quotient, remainder;
  };
  __host__ __device__ result operator()(index_t n) const {
    if (n < 0x7fffffff && divisor_ <= 0x7fffffff) {
      auto const small = static_cast<std::uint32_t>(n);
      auto const high = static_cast<std::uint32_t>((static_cast<std::uint64_t>(small) * magic_) >> 32);
      std::uint32_t const q = (high + small) >> shift_;
      return {q, small - q * static_cast<std::uint32_t>(divisor_)};
    }
    return {n / divisor_, n % divisor_};
  }

 private:
  index_t divisor_ = 1;
  std::uint32_t magic_ = 1;
  int shift_ = 0;
};

/// Axes of a kernel: offsets of Operands arrays at a flat position.
template <int Rank, int Operands>
struct device_axes {
  static constexpr int capacity = Rank == 0 ? 1 : Rank;
  static constexpr int operands = Operands == 0 ? 1 : Operands;
  int last = 0;
  divider by[capacity];
  index_t strides[operands][capacity] = {};

  device_axes() = default;
  /// The joined axes; the innermost is counted in groups of `group` elements.
  explicit device_axes(detail::joined_axes<Rank, operands> const& axes, index_t group = 1) : last(axes.last) {
    for (int a = 0; a <= last && a < capacity; ++a) {
      bool const inner = a == last;
      by[a] = divider(inner ? blocks_of(axes.extents[a], group) : axes.extents[a]);
      for (int o = 0; o < operands; ++o) strides[o][a] = axes.strides[o][a] * (inner ? group : 1);
    }
  }
  /// Adds the offset of every operand at position `at`; gives the place along the innermost axis.
  __device__ index_t add_offsets(index_t at, index_t (&offset)[operands]) const {
    index_t inner = at;
#pragma unroll
    for (int a = capacity - 1; a >= 0; --a) {
      if (a > last) continue;
      divider::result place{0, at};
      if (a > 0) place = by[a](at);
      at = place.quotient;
      if (a == last) inner = place.remainder;
      for (int o = 0; o < operands; ++o) offset[o] += place.remainder * strides[o][a];
    }
    return inner;
  }
};

}  // namespace cog::cuda_detail
