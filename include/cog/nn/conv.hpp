// conv2d: y[b, o, i, j] = bias[o] + sum_{c, u, v} weight[o, c, u, v] x[b, c, i s + u - p, j s + v - p], as deep
// learning calls convolution. The windows of a part of the batch are laid out as columns and multiplied at once; a part
// is as large as `conv_columns` allows, so that memory beside x and y stays bounded. The gradients lay the columns out
// again instead of keeping them.
#pragma once

#include <cog/nn/init.hpp>
#include <cog/nn/window.hpp>

namespace cog {

/// The most elements of columns at a time.
inline constexpr index_t conv_columns = index_t{1} << 22;

namespace detail {

/// The extents of one convolution without padding, and its parts.
struct conv_plan {
  index_t batch, channels, out_channels, rows, columns;  // rows, columns: of the output
  std::array<index_t, 2> kernel, stride;

  template <class X, class W>
  conv_plan(X const& x, W const& w, std::array<index_t, 2> const& s)
      : batch(x.extents()[0]),
        channels(x.extents()[1]),
        out_channels(w.extents()[0]),
        kernel{w.extents()[2], w.extents()[3]},
        stride(s) {
    if (w.extents()[1] != channels)
      throw error("conv2d: x, with its padding of shape ", x.extents(), ", for a weight of shape ", w.extents(),
                  " [out, in, rows, columns]");
    rows = window_places("conv2d", x.extents()[2], kernel[0], stride[0]);
    columns = window_places("conv2d", x.extents()[3], kernel[1], stride[1]);
  }
  index_t window() const { return channels * kernel[0] * kernel[1]; }
  extents<4> out() const { return {batch, out_channels, rows, columns}; }

  struct part {
    index_t first, images, row, rows;
  };
  /// Calls f with whole pictures while they fit, else with rows of one.
  template <class F>
  void for_each_part(F const& f) const {
    index_t const row = std::max<index_t>(1, window() * columns);
    index_t const some_rows = std::clamp<index_t>(conv_columns / row, 1, std::max<index_t>(rows, 1));
    index_t const some = some_rows < rows ? 1
                                          : std::clamp<index_t>(conv_columns / (row * std::max<index_t>(rows, 1)), 1,
                                                                std::max<index_t>(batch, 1));
    for (index_t b = 0; b < batch; b += some)
      for (index_t r = 0; r < rows; r += some_rows)
        f(part{b, std::min(some, batch - b), r, std::min(some_rows, rows - r)});
  }

  /// The pixels of x that a part reads.
  template <class T, class B>
  tensor<T, 4, B> pixels(tensor<T, 4, B> const& x, part const& p) const {
    return slice(slice(x, 0, p.first, p.first + p.images), 2, p.row * stride[0],
                 (p.row + p.rows - 1) * stride[0] + kernel[0]);
  }
  /// [out channel, image, row, column] of a part of the output.
  template <class T, class B>
  tensor<T, 4, B> results(tensor<T, 4, B> const& y, part const& p) const {
    return permuted(slice(slice(y, 0, p.first, p.first + p.images), 2, p.row, p.row + p.rows), {1, 0, 2, 3});
  }
  /// The windows as columns [window, images rows columns]: one copy of a view in which they overlap.
  template <class T, class B>
  tensor<T, 2, B> lay_out(tensor<T, 4, B> const& x, part const& p) const {
    auto const [b, c, h, w] = x.strides();
    tensor<T, 6, B> const overlapping(x.storage_handle(), const_cast<T*>(x.data()),
                                      {channels, kernel[0], kernel[1], p.images, p.rows, columns},
                                      {c, h, w, b, h * stride[0], w * stride[1]});
    return reshape(overlapping, extents<2>{window(), p.images * p.rows * columns});
  }
};

/// The weight as a matrix [out, window].
template <class T, class B>
tensor<T, 2, B> as_matrix(tensor<T, 4, B> const& w) {
  return reshape(w, extents<2>{w.extent(0), w.size() / std::max<index_t>(1, w.extent(0))});
}

template <class T, class B>
tensor<T, 4, B> convolve(tensor<T, 4, B> const& x, tensor<T, 4, B> const& w, tensor<T, 1, B> const& bias,
                         std::array<index_t, 2> const& stride) {
  conv_plan const plan(x, w, stride);
  check_recording(x);
  check_recording(w);
  tensor<T, 4, B> out(x.context(), plan.out());
  plan.for_each_part([&](auto const& p) {
    auto const product = eval(matmul(as_matrix(w), plan.lay_out(plan.pixels(x, p), p)));
    auto const to = plan.results(out, p);
    auto const y = reshape(product, to.extents());
    if (bias.has_storage()) to.assign(y + reshape(bias, extents<4>{plan.out_channels, 1, 1, 1}));
    else to.assign(y);
  });
  return out;
}

/// The gradient of x: what each window was given, added up where windows overlap.
template <class T, class B>
tensor<T, 4, B> convolve_back(tensor<T, 4, B> const& g, tensor<T, 4, B> const& w, tensor<T, 4, B> const& x,
                              std::array<index_t, 2> const& stride) {
  conv_plan const plan(x, w, stride);
  auto dx = zeros<T>(x.context(), x.extents());
  plan.for_each_part([&](auto const& p) {
    auto const gradient = plan.results(g, p);
    auto const rows = reshape(gradient, extents<2>{plan.out_channels, -1});
    auto const columns =
        reshape(tensor<T, 2, B>(matmul(transposed(as_matrix(w)), rows)),
                extents<6>{plan.channels, plan.kernel[0], plan.kernel[1], p.images, p.rows, plan.columns});
    auto const to = permuted(plan.pixels(dx, p), {1, 0, 2, 3});
    for (index_t i = 0; i < plan.kernel[0]; ++i)
      for (index_t j = 0; j < plan.kernel[1]; ++j) {
        auto const down = slice(to, 2, i, i + (p.rows - 1) * stride[0] + 1, stride[0]);
        auto const place = slice(down, 3, j, j + (plan.columns - 1) * stride[1] + 1, stride[1]);
        place.assign(place + select(select(columns, 1, i), 1, j));
      }
  });
  return dx;
}

/// The gradient of the weight.
template <class T, class B>
tensor<T, 4, B> convolve_weight(tensor<T, 4, B> const& g, tensor<T, 4, B> const& w, tensor<T, 4, B> const& x,
                                std::array<index_t, 2> const& stride) {
  conv_plan const plan(x, w, stride);
  auto dw = zeros<T>(x.context(), extents<2>{plan.out_channels, plan.window()});
  plan.for_each_part([&](auto const& p) {
    auto const rows = reshape(plan.results(g, p), extents<2>{plan.out_channels, -1});
    dw = matmul(rows, transposed(plan.lay_out(plan.pixels(x, p), p))) + dw;
  });
  return reshape(dw, w.extents());
}

}  // namespace detail

/// x [b, c, h, w], weight [o, c, rows, columns], bias [o] (or none: without storage) -> [b, o, (h + 2 p - rows) / s +
/// 1, ...]. Errors: channels that differ, a kernel larger than the padded picture.
template <floating T, backend B>
tensor<T, 4, B> conv2d(tensor<T, 4, B> const& x, tensor<T, 4, B> const& weight, tensor<T, 1, B> const& bias,
                       window_steps const& steps = {}) {
  return detail::convolve(detail::padded(x, steps.padding, T(0)), weight, bias, steps.stride);
}
/// x is recorded; weight and bias are constants or watched parameters.
template <floating T, backend B>
variable<T, 4, B> conv2d(variable<T, 4, B> const& input, tensor<T, 4, B> const& weight, tensor<T, 1, B> const& bias,
                         window_steps const& steps = {}) {
  auto const& t = input.recorder();
  auto const x = detail::padded(input, steps.padding, T(0));
  auto const w = detail::lift(weight, t);
  auto const b = detail::lift(bias, t);
  pause_recording const paused;
  return detail::record(
      detail::convolve(x.value(), w.value(), b.value(), steps.stride), t,
      [x, w, b, stride = steps.stride](tensor<T, 4, B> const& g) {
        if (x.needs_gradient()) detail::accumulate(x, detail::convolve_back(g, w.value(), x.value(), stride));
        if (w.needs_gradient()) detail::accumulate(w, detail::convolve_weight(g, w.value(), x.value(), stride));
        if (b.needs_gradient()) detail::accumulate(b, sum(g, axes<0, 2, 3>{}));
      },
      x, w, b);
}

namespace nn {

/// The layer. Made with zeros; see `initialise`.
template <floating T, backend B>
struct conv2d {
  tensor<T, 4, B> weight;  // [out, in, rows, columns]
  tensor<T, 1, B> bias;    // [out]
  window_steps steps;

  conv2d() = default;
  conv2d(typename B::context const& ctx, index_t in, index_t out, std::array<index_t, 2> kernel,
         window_steps const& s = {}, bool with_bias = true)
      : weight(cog::zeros<T>(ctx, {out, in, kernel[0], kernel[1]})), steps(s) {
    if (with_bias) bias = cog::zeros<T>(ctx, {out});
  }
  /// A square kernel.
  conv2d(typename B::context const& ctx, index_t in, index_t out, index_t kernel, index_t stride = 1,
         index_t padding = 0)
      : conv2d(ctx, in, out, std::array{kernel, kernel}, window_steps{{stride, stride}, {padding, padding}}) {}

  void visit(auto&& f) {
    f("weight", weight);
    f("bias", bias);
  }

  auto operator()(expression auto const& x) const { return cog::conv2d(eval(x), weight, bias, steps); }
};

}  // namespace nn

}  // namespace cog
