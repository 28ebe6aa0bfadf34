// Rotary position embedding (Su et al. 2021) over interleaved pairs: (x_2i, x_2i+1) turns by the angle p theta^(-2i/d) at position p.
// Not the half-split layout of Hugging Face's Llama. The table is made once and shared by copies; a rotation is one kernel, and so
// is its gradient, the rotation back.
#pragma once

#include <cmath>
#include <vector>

#include <cog/autograd/variable.hpp>
#include <cog/expr/select.hpp>

namespace cog {

namespace detail {

/// Turns one pair, given where it lies in x, in out and in the table. `direction` is 1, or -1 to turn back.
template <class T>
struct turn_pair {
  using lane = void;
  T const* x;
  T* out;
  compute_t<T> const* turns;
  compute_t<T> direction;
  COG_HD COG_INLINE bool operator()(index_t from, index_t to, index_t turn) const {
    auto const a = static_cast<compute_t<T>>(x[from]), b = static_cast<compute_t<T>>(x[from + 1]);
    auto const cos = turns[turn], sin = turns[turn + 1] * direction;
    out[to] = T(a * cos - b * sin);
    out[to + 1] = T(a * sin + b * cos);
    return true;  // to no_output
  }
};

template <class T, int R, class B, int A>
tensor<T, R, B> turn_pairs(tensor<T, R, B> const& input, tensor<compute_t<T>, A, B> const& turns, int direction) {
  auto const x = input.strides()[R - 1] == 1 ? input : input.contiguous();
  auto const pairs = [](auto const& rows) { return slice(rows, -1, 0, rows.extent(-1), 2); };  // the first of each
  auto const shape = pairs(x).extents();
  auto const table = select(turns.contiguous(), -1, 0);
  if (x.extent(-1) != 2 * table.extent(-1) || turns.extent(-1) != 2 || broadcast("rotate_pairs", table.extents(), shape) != shape)
    throw error("rotate_pairs: x of shape ", x.extents(), " by turns of shape ", turns.extents(), " [..., pair, cosine and sine]");
  detail::check_recording(x);
  tensor<T, R, B> out(x.context(), x.extents());
  auto const offsets = [](auto const& strides) {  // a leaf whose value is the offset itself
    position_leaf<R> leaf{};
    std::copy(strides.begin(), strides.end(), leaf.strides);
    return leaf;
  };
  B::for_each(x.context(), shape, turn_pair<T>{x.data(), out.data(), turns.data(), compute_t<T>(direction)},
              make_pack(offsets(pairs(x).strides()), offsets(pairs(out).strides()),
                        offsets(broadcast_strides(table.extents(), table.strides(), shape))),
              make_pack(no_output{}));
  return out;
}

}  // namespace detail

/// Turns pair i of the last axis: x [..., d] by turns [..., d / 2, 2], the cosine and sine of each angle, which broadcast to x's
/// leading axes. Computed in float for bf16 and half. The result is row-major.
template <class T, int R, class B, int A>
tensor<T, R, B> rotate_pairs(tensor<T, R, B> const& x, tensor<compute_t<T>, A, B> const& turns) {
  return detail::turn_pairs(x, turns, 1);
}
template <class T, int R, class B, int A>
variable<T, R, B> rotate_pairs(variable<T, R, B> const& x, tensor<compute_t<T>, A, B> const& turns) {
  pause_recording const paused;
  return detail::record(
      rotate_pairs(x.value(), turns), x.recorder(),
      [x, turns](tensor<T, R, B> const& g) { detail::accumulate(x, detail::turn_pairs(g, turns, -1)); }, x);
}

namespace nn {

/// Holds the turns of every position up to a last one. They are computed in float (double for double), as the reference does.
template <floating T, backend B>
class rotary {
 public:
  rotary() = default;
  /// For rows of `width`. Errors: an odd width.
  rotary(typename B::context const& ctx, index_t width, index_t positions, double theta = 10000) {
    using C = compute_t<T>;
    if (width % 2 != 0) throw error("rotary: a width of ", width, ", not a number of pairs");
    std::vector<C> turns;
    for (index_t p = 0; p < positions; ++p)
      for (index_t i = 0; i < width; i += 2) {
        C const angle = C(p) * (C(1) / std::pow(C(theta), C(i) / C(width)));
        turns.push_back(std::cos(angle));
        turns.push_back(std::sin(angle));
      }
    turns_ = from(ctx, std::span<C const>(turns), extents<3>{positions, width / 2, 2});
  }

  bool has_table() const { return turns_.has_storage(); }
  /// How many positions the table has.
  index_t positions() const { return turns_.extent(0); }

  /// x [B, N, H, d] at positions first, first + 1, ... Errors: positions past the table, another width.
  auto operator()(auto const& x, index_t first = 0) const {
    index_t const n = x.extents()[1];
    if (first < 0 || first + n > positions())
      throw error("rotary: positions ", first, " to ", first + n, " of a table of ", positions());
    return rotate_pairs(eval(x), unsqueeze(slice(turns_, 0, first, first + n), 1));  // [N, 1, d / 2, 2]
  }
  /// The same where the first position is a number in the backend's memory.
  auto operator()(auto const& x, tensor<std::int64_t, 0, B> const& first) const {
    index_t const n = x.extents()[1], width = 2 * turns_.extent(1);
    auto const at = eval(full<std::int64_t>(first.context(), extents<1>{n}, 0) + position<-1>{} + first);
    auto const turns = take(reshape(turns_, extents<2>{positions(), width}), at);
    return rotate_pairs(eval(x), reshape(turns, extents<4>{n, 1, width / 2, 2}));
  }

 private:
  tensor<compute_t<T>, 3, B> turns_;  // [position, pair, cosine and sine]
};

}  // namespace nn

}  // namespace cog
