// Rotary position embedding (Su et al. 2021) over interleaved pairs: (x_2i, x_2i+1) turns by the angle p theta^(-2i/d) at position p.
// Not the half-split layout of Hugging Face's Llama. The table is made once and shared by copies; a rotation is one kernel, and so
// is its gradient, the rotation by the opposite angle.
#pragma once

#include <cmath>
#include <vector>

#include <cog/autograd/variable.hpp>

namespace cog {

namespace detail {

/// (x, y, cos, sin) -> the pair turned.
template <class C>
struct turn {
  using lane = C;
  template <class S>
  COG_HD COG_INLINE auto operator()(S const& x, S const& y, S const& c, S const& s) const {
    return make_pack(x * c - y * s, x * s + y * c);
  }
};

}  // namespace detail

/// Turns pair i of the last axis: x [..., d]; cos and sin [..., d / 2] broadcast to x's leading axes.
template <class T, int R, class B, int A>
tensor<T, R, B> rotate_pairs(tensor<T, R, B> const& x, tensor<compute_t<T>, A, B> const& cos, tensor<compute_t<T>, A, B> const& sin) {
  if (x.extent(-1) % 2 != 0 || x.extent(-1) != 2 * cos.extent(-1))
    throw error("rotate_pairs: x of shape ", x.extents(), " by angles of shape ", cos.extents());
  tensor<T, R, B> out(x.context(), x.extents());
  if (out.size() == 0) return out;
  auto const part = [](auto const& t, index_t first) { return slice(t, -1, first, t.extent(-1), 2); };
  auto const even = part(x, 0), odd = part(x, 1);
  auto even_out = part(out, 0), odd_out = part(out, 1);
  auto const shape = even.extents();
  if (broadcast("rotate_pairs", cos.extents(), shape) != shape || sin.extents() != cos.extents())
    throw error("rotate_pairs: x of shape ", x.extents(), " by angles of shapes ", cos.extents(), " and ", sin.extents());
  B::for_each(x.context(), shape, detail::turn<compute_t<T>>{},
              make_pack(detail::lower(even, shape), detail::lower(odd, shape), detail::lower(cos, shape), detail::lower(sin, shape)),
              make_pack(detail::output_of(even_out.data(), even_out.strides()), detail::output_of(odd_out.data(), odd_out.strides())));
  return out;
}

template <class T, int R, class B, int A>
variable<T, R, B> rotate_pairs(variable<T, R, B> const& x, tensor<compute_t<T>, A, B> const& cos,
                               tensor<compute_t<T>, A, B> const& sin) {
  return detail::record(
      rotate_pairs(x.value(), cos, sin), x.recorder(),
      [x, cos, sin](tensor<T, R, B> const& g) { detail::accumulate(x, rotate_pairs(g, cos, tensor<compute_t<T>, A, B>(-sin))); }, x);
}

namespace nn {

/// Holds cos and sin of every angle up to a last position. They are computed in float (double for double), as the reference does.
template <floating T, backend B>
class rotary {
 public:
  rotary() = default;
  /// Errors: an odd width.
  rotary(typename B::context const& ctx, index_t width, index_t positions, double theta = 10000) {
    using C = compute_t<T>;
    if (width % 2 != 0) throw error("rotary: a width of ", width, ", not a number of pairs");
    index_t const pairs = width / 2;
    std::vector<C> cos(static_cast<std::size_t>(positions * pairs)), sin(cos.size());
    for (index_t i = 0; i < pairs; ++i) {
      C const frequency = C(1) / std::pow(C(theta), C(2 * i) / C(width));
      for (index_t p = 0; p < positions; ++p) {
        auto const at = static_cast<std::size_t>(p * pairs + i);
        cos[at] = std::cos(C(p) * frequency);
        sin[at] = std::sin(C(p) * frequency);
      }
    }
    cos_ = from(ctx, std::span<C const>(cos), extents<2>{positions, pairs});
    sin_ = from(ctx, std::span<C const>(sin), extents<2>{positions, pairs});
  }

  /// How many positions the table has.
  index_t positions() const { return cos_.extent(0); }
  bool has_table() const { return cos_.has_storage(); }

  /// x [B, N, H, d] at positions first, first + 1, ... Errors: positions past the table.
  auto operator()(auto const& x, index_t first = 0) const {
    index_t const n = x.extents()[1];
    if (first < 0 || first + n > positions())
      throw error("rotary: positions ", first, " to ", first + n, " of a table of ", positions());
    auto const rows = [&](auto const& table) { return unsqueeze(slice(table, 0, first, first + n), 1); };  // [N, 1, d/2]
    return rotate_pairs(eval(x), rows(cos_), rows(sin_));
  }

 private:
  tensor<compute_t<T>, 2, B> cos_, sin_;  // [positions, d/2]
};

}  // namespace nn

}  // namespace cog
