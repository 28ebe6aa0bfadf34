// Elements as files hold them: more types than cog computes with, any alignment, either byte order.
// Floats convert to floats (rounding to nearest), integers to integers that hold the value; nothing else converts.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <cog/core/dtype.hpp>
#include <cog/core/layout.hpp>
#include <cog/core/tensor.hpp>

namespace cog::detail {

static_assert(std::endian::native == std::endian::little, "cog: files are little-endian, and so must the machine be");

enum class stored_kind : std::uint8_t { real, brain, signed_integer, unsigned_integer, boolean };

/// An element type in a file: `brain` is bfloat16, `real` the IEEE formats.
struct stored_type {
  stored_kind kind;
  std::size_t bytes;
  bool operator==(stored_type const&) const = default;
};

template <element T>
inline constexpr stored_type stored_type_of = {
    std::is_same_v<T, bool>    ? stored_kind::boolean
    : std::is_same_v<T, bf16>  ? stored_kind::brain
    : floating<T>              ? stored_kind::real
    : std::is_signed_v<T>      ? stored_kind::signed_integer
                               : stored_kind::unsigned_integer,
    sizeof(T)};

/// Calls `f.operator()<S>()` with the C++ type of the elements.
template <class F>
decltype(auto) with_stored(stored_type type, F&& f) {
  switch (type.kind) {
    case stored_kind::brain: return f.template operator()<bf16>();
    case stored_kind::boolean: return f.template operator()<bool>();
    case stored_kind::real:
      if (type.bytes == 2) return f.template operator()<half>();
      if (type.bytes == 4) return f.template operator()<float>();
      return f.template operator()<double>();
    case stored_kind::signed_integer:
      if (type.bytes == 1) return f.template operator()<std::int8_t>();
      if (type.bytes == 2) return f.template operator()<std::int16_t>();
      if (type.bytes == 4) return f.template operator()<std::int32_t>();
      return f.template operator()<std::int64_t>();
    default:
      if (type.bytes == 1) return f.template operator()<std::uint8_t>();
      if (type.bytes == 2) return f.template operator()<std::uint16_t>();
      if (type.bytes == 4) return f.template operator()<std::uint32_t>();
      return f.template operator()<std::uint64_t>();
  }
}

/// Whether elements of a stored type can be read as T, values permitting.
template <element T>
constexpr bool readable_as(stored_type from) {
  bool const is_float = from.kind == stored_kind::real || from.kind == stored_kind::brain;
  if constexpr (std::is_same_v<T, bool>) return from.kind == stored_kind::boolean;
  else if constexpr (floating<T>) return is_float;
  else return !is_float && from.kind != stored_kind::boolean;
}

template <class S>
S load_element(std::byte const* at, bool swapped) {
  std::array<std::byte, sizeof(S)> raw;
  std::memcpy(raw.data(), at, sizeof(S));
  if (swapped) std::ranges::reverse(raw);
  if constexpr (std::is_same_v<S, bool>) return raw[0] != std::byte{};  // any other bit pattern in a bool is undefined
  else return std::bit_cast<S>(raw);
}

/// Reads `count` elements. Gives back the position of the first that T cannot hold, or -1.
template <element T>
index_t read_elements(stored_type from, bool swapped, std::byte const* source, index_t count, T* out) {
  if (from == stored_type_of<T> && !swapped && !std::is_same_v<T, bool>) {
    if (count > 0) std::memcpy(static_cast<void*>(out), source, static_cast<std::size_t>(count) * sizeof(T));
    return -1;
  }
  return with_stored(from, [&]<class S>() -> index_t {
    for (index_t i = 0; i < count; ++i) {
      S const value = load_element<S>(source + static_cast<std::size_t>(i) * sizeof(S), swapped);
      if constexpr (std::is_same_v<S, T>) {
        out[i] = value;
      } else if constexpr (floating<T> && (std::is_floating_point_v<S> || reduced_float<S>)) {
        if constexpr (reduced_float<S>) out[i] = static_cast<T>(static_cast<float>(value));
        else out[i] = static_cast<T>(value);
      } else if constexpr (std::is_integral_v<S> && std::is_integral_v<T> && !std::is_same_v<S, bool> &&
                           !std::is_same_v<T, bool>) {
        if (!std::in_range<T>(value)) return i;
        out[i] = static_cast<T>(value);
      }
    }
    return -1;
  });
}

/// Calls `f(offset, step, n)` for each innermost row of a strided block, in row-major order of its shape.
template <class F>
void for_each_row(std::span<index_t const> shape, std::span<index_t const> strides, F&& f) {
  if (std::ranges::find(shape, 0) != shape.end()) return;
  if (shape.empty()) return f(index_t{0}, index_t{1}, index_t{1});
  std::vector<index_t> at(shape.size());
  index_t offset = 0;
  for (;;) {
    f(offset, strides.back(), shape.back());
    std::size_t axis = shape.size() - 1;
    for (;;) {
      if (axis == 0) return;
      --axis;
      offset += strides[axis];
      if (++at[axis] < shape[axis]) break;
      offset -= strides[axis] * shape[axis];
      at[axis] = 0;
    }
  }
}

/// Gives strided elements to `sink` in row-major order, a small block at a time.
template <class T, class Sink>
void gather_elements(T const* data, std::span<index_t const> shape, std::span<index_t const> strides, Sink&& sink) {
  std::array<std::byte, 1 << 14> block;
  std::size_t used = 0;
  for_each_row(shape, strides, [&](index_t offset, index_t step, index_t n) {
    for (index_t i = 0; i < n; ++i) {
      std::memcpy(block.data() + used, data + offset + i * step, sizeof(T));
      used += sizeof(T);
      if (used < block.size()) continue;
      sink(std::span<std::byte const>(block));
      used = 0;
    }
  });
  if (used > 0) sink(std::span<std::byte const>(block).first(used));
}

/// Writes row-major elements to strided places. As `read_elements`.
template <class T>
index_t scatter_elements(T* data, std::span<index_t const> shape, std::span<index_t const> strides, stored_type from,
                         bool swapped, std::byte const* source) {
  std::array<T, 1 << 10> block;
  index_t done = 0;
  index_t bad = -1;
  for_each_row(shape, strides, [&](index_t offset, index_t step, index_t n) {
    for (index_t begin = 0; begin < n && bad < 0;) {
      index_t const count = std::min<index_t>(n - begin, block.size());
      bad = read_elements(from, swapped, source + static_cast<std::size_t>(done) * from.bytes, count, block.data());
      if (bad >= 0) bad += done;
      for (index_t i = 0; i < count && bad < 0; ++i)
        data[offset + (begin + i) * step] = block[static_cast<std::size_t>(i)];
      begin += count;
      done += count;
    }
  });
  return bad;
}

/// Calls `sink(std::span<std::byte const>)` with the elements of a tensor in row-major order, in blocks.
/// Strided host memory goes through a small buffer; only a device tensor takes a host copy of itself.
template <class T, int Rank, class B, class Sink>
void stream_elements(tensor<T, Rank, B> const& t, Sink&& sink) {
  if (t.size() == 0) return;
  if constexpr (!B::host_accessible) {
    std::vector<std::byte> host(static_cast<std::size_t>(t.size()) * sizeof(T));
    auto const packed = t.contiguous();
    B::copy_to_host(t.context(), host.data(), packed.data(), host.size());
    sink(std::span<std::byte const>(host));
  } else if (t.is_contiguous()) {
    sink(std::as_bytes(std::span(t.data(), static_cast<std::size_t>(t.size()))));
  } else {
    gather_elements(t.data(), t.extents(), t.strides(), sink);
  }
}

/// Puts elements into the storage that `t` refers to, `source` being row-major. As `read_elements`.
template <class T, int Rank, class B>
index_t fill_elements(tensor<T, Rank, B>& t, stored_type from, bool swapped, std::byte const* source) {
  if (t.size() == 0) return -1;
  if constexpr (!B::host_accessible) {
    auto const host = std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(t.size()));
    index_t const bad = read_elements(from, swapped, source, t.size(), host.get());
    if (bad >= 0) return bad;
    tensor<T, Rank, B> packed = t.is_contiguous() ? t : tensor<T, Rank, B>(t.context(), t.extents());
    B::copy_from_host(t.context(), packed.data(), host.get(), static_cast<std::size_t>(t.size()) * sizeof(T));
    if (!t.is_contiguous()) t.assign(packed);
    return -1;
  } else if (t.is_contiguous()) {
    return read_elements(from, swapped, source, t.size(), t.data());
  } else {
    return scatter_elements(t.data(), t.extents(), t.strides(), from, swapped, source);
  }
}

/// Shapes print as `[2, 3]`.
inline std::string shape_text(std::span<index_t const> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text.append(i ? ", " : "").append(std::to_string(shape[i]));
  return text.append("]");
}

/// The number of elements; false when it, or any stride, does not fit an index.
inline bool count_elements(std::span<index_t const> shape, index_t& count) {
  count = 1;
  bool empty = false;
  for (index_t e : shape) {
    if (e < 0) return false;
    if (e == 0) empty = true;
    else if (__builtin_mul_overflow(count, e, &count)) return false;
  }
  if (empty) count = 0;
  return true;
}

}  // namespace cog::detail
