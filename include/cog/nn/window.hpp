// Windows that move over pictures [b, c, h, w]: padding, the pixels under one place of a window, and pooling and
// up-sampling made of them. All of it is composed of the library's own expressions, so it runs on every backend, with
// gradients.
#pragma once

#include <cog/autograd/functions.hpp>

namespace cog {

/// How a window moves: its step down and to the right, and how far beyond the border it begins (and may end).
struct window_steps {
  std::array<index_t, 2> stride{1, 1};
  std::array<index_t, 2> padding{0, 0};
};

/// Pixels to add on each side.
struct margins {
  index_t top = 0, bottom = 0, left = 0, right = 0;
};

namespace detail {

/// How many places a window of this size has along an axis.
inline index_t window_places(char const* operation, index_t length, index_t window, index_t stride) {
  if (window < 1 || stride < 1 || length < window)
    throw error(operation, ": a window of ", window, " with stride ", stride, " for ", length, " pixels");
  return (length - window) / stride + 1;
}

template <class T, class B>
tensor<T, 4, B> inner(tensor<T, 4, B> const& x, margins const& m) {
  return slice(slice(x, 2, m.top, x.extent(2) - m.bottom), 3, m.left, x.extent(3) - m.right);
}

}  // namespace detail

/// x with `value` around it. Errors: a negative margin.
template <class T, class B>
tensor<T, 4, B> pad(tensor<T, 4, B> const& x, margins const& m, std::type_identity_t<T> value = T(0)) {
  if (m.top < 0 || m.bottom < 0 || m.left < 0 || m.right < 0)
    throw error("pad: margins ", m.top, ", ", m.bottom, ", ", m.left, ", ", m.right, "; none may be negative");
  auto const [b, c, h, w] = x.extents();
  auto const out = full<T>(x.context(), extents<4>{b, c, h + m.top + m.bottom, w + m.left + m.right}, value);
  detail::inner(out, m).assign(x);
  return out;
}
template <class T, class B>
auto pad(variable<T, 4, B> const& x, margins const& m, std::type_identity_t<T> value = T(0)) {
  pause_recording const paused;
  return detail::record(
      pad(x.value(), m, value), x.recorder(),
      [x, m](tensor<T, 4, B> const& g) { detail::accumulate(x, detail::inner(g, m)); }, x);
}

namespace detail {

/// f(a, b) folded over the pixels under every place of a window: element [b, c, i, j] combines those of window (i, j).
template <class X, class F>
auto fold_window(char const* operation, X const& x, std::array<index_t, 2> const& window,
                 std::array<index_t, 2> const& stride, F const& f) {
  index_t const rows = window_places(operation, x.extents()[2], window[0], stride[0]);
  index_t const columns = window_places(operation, x.extents()[3], window[1], stride[1]);
  auto const place = [&](index_t i, index_t j) {
    auto const down = slice(x, 2, i, i + (rows - 1) * stride[0] + 1, stride[0]);
    return slice(down, 3, j, j + (columns - 1) * stride[1] + 1, stride[1]);
  };
  auto out = place(0, 0);
  for (index_t i = 0; i < window[0]; ++i)
    for (index_t j = i == 0 ? 1 : 0; j < window[1]; ++j) out = eval(f(out, place(i, j)));
  return out;
}

template <class X>
auto padded(X const& x, std::array<index_t, 2> const& padding, typename X::value_type value) {
  if (padding == std::array<index_t, 2>{0, 0}) return x;
  return eval(pad(x, {padding[0], padding[0], padding[1], padding[1]}, value));
}

}  // namespace detail

/// The largest pixel under each place of a window [rows, columns]; what is beyond the border never wins.
/// Errors: a window larger than the padded picture.
template <expression X>
auto max_pool(X const& input, std::array<index_t, 2> const& window, window_steps const& steps) {
  using T = typename X::value_type;
  auto const x = detail::padded(eval(input), steps.padding, T(-std::numeric_limits<compute_t<T>>::infinity()));
  return detail::fold_window("max_pool", x, window, steps.stride,
                             [](auto const& a, auto const& b) { return maximum(a, b); });
}

/// The mean of the pixels under each place of a window; pixels beyond the border count as zeros, or not at all.
/// Errors: a window larger than the padded picture; one that the padding hides, where there would be nothing to count.
template <expression X>
auto average_pool(X const& input, std::array<index_t, 2> const& window, window_steps const& steps,
                  bool count_border = true) {
  using T = typename X::value_type;
  if (!count_border && (steps.padding[0] >= window[0] || steps.padding[1] >= window[1] || input.extents()[2] * input.extents()[3] == 0))
    throw error("average_pool: a window of ", window, " with padding of ", steps.padding, " sees no pixel of ", input.extents());
  auto const add = [](auto const& a, auto const& b) { return a + b; };
  auto const sum_over = [&](auto const& x) {
    return detail::fold_window("average_pool", detail::padded(x, steps.padding, T(0)), window, steps.stride, add);
  };
  auto const x = eval(input);
  auto const total = sum_over(x);
  if (count_border) return eval(total * (1.0 / static_cast<double>(window[0] * window[1])));
  return eval(total / sum_over(ones<T>(x.context(), extents<4>{1, 1, x.extents()[2], x.extents()[3]})));
}

/// Every pixel as a block of factor x factor.
template <expression X>
auto upsample_nearest(X const& input, index_t factor) {
  if (factor < 1) throw error("upsample_nearest: a factor of ", factor);
  auto const x = eval(input);
  auto const [b, c, h, w] = x.extents();
  auto const blocks = expand(reshape(x, extents<6>{b, c, h, 1, w, 1}), extents<6>{b, c, h, factor, w, factor});
  return reshape(blocks, extents<4>{b, c, h * factor, w * factor});
}

}  // namespace cog
