// What the tests share: contexts, loops over indices, strided tensors of random numbers, comparisons with a double.
#pragma once

#include <cog/cog.hpp>

#include <cmath>
#include <limits>
#include <random>

#include <catch2/catch.hpp>

namespace test {

using cog::index_t;

template <class T, int R>
using tensor = cog::tensor<T, R, cog::cpu>;

inline cog::cpu::context const& context() {
  static cog::cpu::context const ctx{{.threads = 2}};
  return ctx;
}

using generator = std::mt19937_64;

inline index_t uniform(generator& random, index_t low, index_t high) {  // both included
  return std::uniform_int_distribution<index_t>(low, high)(random);
}

/// f(index) for every index of a shape, in row-major order.
template <std::size_t N, class F>
void for_each_index(std::array<index_t, N> const& shape, F&& f) {
  std::array<index_t, N> i{};
  for (index_t count = cog::size_of(shape); count > 0; --count) {
    f(i);
    for (std::size_t a = N; a-- > 0;) {
      if (++i[a] < shape[a]) break;
      i[a] = 0;
    }
  }
}

/// The element of x that broadcasts to index i of an output.
template <class T, int R, std::size_t N>
T const& element(tensor<T, R> const& x, std::array<index_t, N> const& i) {
  index_t offset = 0;
  for (int a = 0; a < R; ++a)
    if (x.extent(a) != 1) offset += i[static_cast<std::size_t>(a) + N - R] * x.strides()[static_cast<std::size_t>(a)];
  return x.data()[offset];
}
template <class T, int R, std::size_t N>
T at(tensor<T, R> const& x, std::array<index_t, N> const& i) {
  return element(x, i);
}

template <class T>
double widen(T x) {
  return static_cast<double>(static_cast<cog::compute_t<T>>(x));
}
template <class T>
T narrow(double x) {
  return T(static_cast<cog::compute_t<T>>(x));
}

template <class T>
T random_value(generator& random, double low = -3, double high = 3) {
  if constexpr (std::same_as<T, bool>) return random() % 2 == 0;
  else if constexpr (std::same_as<T, std::uint8_t>) return static_cast<T>(random() % 7);
  else if constexpr (std::integral<T>) return static_cast<T>(uniform(random, -9, 9));
  else return narrow<T>(std::uniform_real_distribution<double>(low, high)(random));
}

/// Random numbers, row-major.
template <class T, std::size_t N>
tensor<T, static_cast<int>(N)> dense(generator& random, std::array<index_t, N> const& shape, double low = -3, double high = 3,
                                     cog::cpu::context const& ctx = context()) {
  tensor<T, static_cast<int>(N)> x(ctx, shape);
  for (index_t i = 0; i < x.size(); ++i) x.data()[i] = random_value<T>(random, low, high);
  return x;
}
template <class T, std::size_t N>
auto dense(generator& random, index_t const (&shape)[N], double low = -3, double high = 3) {
  return dense<T>(random, std::to_array(shape), low, high);
}

/// The elements of an axis in the opposite order: a negative stride.
template <class T, int R>
tensor<T, R> reversed(tensor<T, R> const& x, std::size_t axis) {
  auto strides = x.strides();
  T* const last = const_cast<T*>(x.data()) + std::max<index_t>(0, x.extents()[axis] - 1) * strides[axis];
  strides[axis] = -strides[axis];
  return {x.storage_handle(), last, x.extents(), strides};
}

/// Random numbers behind random strides: axes in any order in memory, steps, margins, either direction.
template <class T, std::size_t N>
tensor<T, static_cast<int>(N)> strided(generator& random, std::array<index_t, N> const& shape, double low = -3, double high = 3,
                                       cog::cpu::context const& ctx = context()) {
  constexpr int R = static_cast<int>(N);
  std::array<int, N> order{}, back{};
  for (std::size_t a = 0; a < N; ++a) order[a] = static_cast<int>(a);
  if (random() % 2) std::shuffle(order.begin(), order.end(), random);
  std::array<index_t, N> step{}, begin{}, whole{};
  for (std::size_t k = 0; k < N; ++k) {
    auto const a = static_cast<std::size_t>(order[k]);
    back[a] = static_cast<int>(k);
    step[k] = random() % 3 ? 1 : uniform(random, 1, 3);
    begin[k] = random() % 3 ? 0 : uniform(random, 0, 2);
    whole[k] = begin[k] + shape[a] * step[k];
  }
  tensor<T, R> base(ctx, whole);
  for (index_t i = 0; i < base.size(); ++i) base.data()[i] = random_value<T>(random, low, high);
  for (std::size_t k = 0; k < N; ++k) {
    base = cog::slice(base, static_cast<int>(k), begin[k], whole[k], step[k]);
    if (random() % 4 == 0) base = reversed(base, k);
  }
  return cog::permuted(base, back);
}

template <class T, std::size_t N>
auto strided(generator& random, index_t const (&shape)[N], double low = -3, double high = 3) {
  return strided<T>(random, std::to_array(shape), low, high);
}

/// The distance between 1 and the next T.
template <class T>
inline constexpr double epsilon = std::same_as<T, cog::bf16> ? 0x1p-7 : std::same_as<T, cog::half> ? 0x1p-10
                                  : std::same_as<T, float> ? 0x1p-23 : 0x1p-52;
template <class T>
inline constexpr double smallest = std::same_as<T, cog::half> ? 0x1p-14 : std::same_as<T, double> ? 0x1p-1022 : 0x1p-126;
template <class T>
inline constexpr double largest = std::same_as<T, cog::half> ? 65504.0 : std::same_as<T, cog::bf16> ? 0x1.fep127
                                  : std::same_as<T, float> ? 0x1.fffffep127 : std::numeric_limits<double>::max();

/// a is b to a relative and an absolute tolerance; infinities and NaNs match their like.
inline bool near(double a, double b, double relative, double absolute = 0) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return std::abs(a - b) <= relative * std::abs(b) + absolute;
}

/// The same bits (and one kind of NaN).
template <class T>
bool same(T a, T b) {
  if constexpr (cog::floating<T>) {
    double const x = widen(a), y = widen(b);
    return (std::isnan(x) && std::isnan(y)) || (x == y && std::signbit(x) == std::signbit(y));
  } else {
    return a == b;
  }
}
template <class T, int R>
bool same(tensor<T, R> const& a, tensor<T, R> const& b) {
  if (a.extents() != b.extents()) return false;
  bool all = true;
  for_each_index(a.extents(), [&](auto const& i) { all = all && same(at(a, i), at(b, i)); });
  return all;
}

}  // namespace test
