// Reductions. Where the reduced axes are contiguous, a warp or a block takes each output; where the kept ones are, a thread does, and
// neighbours read side by side. Long ranges are cut into pieces whose states a second kernel merges. How depends on the shape alone,
// so results are the same on every run and every device.
#pragma once

#include <bit>

#include <cog/backend/cuda/block.hpp>
#include <cog/backend/cuda/elementwise.hpp>
#include <cog/core/unpack.hpp>
#include <cog/expr/reduce.hpp>

namespace cog::cuda_detail {

/// What a reduction kernel knows: outputs (kept axes), the range of each (reduced axes) and how it is cut.
template <int Rank, int Operands>
struct ranges_of {
  device_axes<Rank, Operands> keep, over;
  index_t outputs, length, piece, pieces;
};

template <class R, class C, class F, int Rank, int Operands, class... In>
struct reducer {
  using state = typename R::template state<C>;
  using ranges = ranges_of<Rank, Operands>;

  /// Pushes elements first, first + step ... < end of the range of an output.
  static __device__ COG_INLINE void push(state& s, F const& f, ranges const& r, pack<In...> const& in, index_t output, index_t first, index_t end, int step) {
    constexpr int operands = device_axes<Rank, Operands>::operands;
    index_t base[operands] = {};
    r.keep.add_offsets(output, base);
    auto const value = [&](index_t i) {
      index_t offset[operands];
      for (int o = 0; o < operands; ++o) offset[o] = base[o];
      r.over.add_offsets(i, offset);
      return [&]<int... I>(std::integer_sequence<int, I...>) {
        return static_cast<C>(f(load<1>(get<I>(in), offset[I], 0, false, 1).at[0]...));
      }(std::make_integer_sequence<int, sizeof...(In)>{});
    };
    constexpr bool positional = requires { R::positional; };
    auto const add = [&](C x, index_t i) {
      if constexpr (positional) R::push(s, x, i);
      else R::push(s, x);
    };
    index_t i = first;
    for (; i + 3 * step < end; i += 4 * step) {  // four loads under way at once
      C const a = value(i), b = value(i + step), c = value(i + 2 * step), d = value(i + 3 * step);
      add(a, i);
      add(b, i + step);
      add(c, i + 2 * step);
      add(d, i + 3 * step);
    }
    for (; i < end; i += step) add(value(i), i);
  }
  struct merge {
    __device__ void operator()(state& a, state const& b) const { R::merge(a, b); }
  };
};

/// One (output, piece) to every `width` lanes, or to the block where Block.
template <bool Block, class R, class C, class T, class F, int Rank, int Operands, class... In>
__global__ void __launch_bounds__(256) reduce_rows_kernel(F f, ranges_of<Rank, Operands> r, pack<In...> in, int width, typename R::template state<C>* partial, T* out) {
  using reducer = cuda_detail::reducer<R, C, F, Rank, Operands, In...>;
  index_t const unit = Block ? blockIdx.x : (static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x) / width;
  int const lane = Block ? threadIdx.x : threadIdx.x % width;
  typename reducer::state s{};
  index_t const output = unit / r.pieces, first = unit % r.pieces * r.piece;
  if (output < r.outputs) {
    index_t const end = first + r.piece < r.length ? first + r.piece : r.length;
    reducer::push(s, f, r, in, output, first + lane, end, Block ? 256 : width);
  }
  if constexpr (Block) {
    __shared__ room_for<typename reducer::state, 8> slots;
    s = merge_block<256>(s, slots.get(), typename reducer::merge{});
  } else {
    s = merge_lanes(s, width, typename reducer::merge{});
  }
  if (lane != 0 || output >= r.outputs) return;
  if (partial) partial[unit] = s;
  else out[output] = T(R::finish(s, r.length));
}

/// Outputs along x, 8 lanes of each along y, pieces along the grid's y.
template <class R, class C, class T, class F, int Rank, int Operands, class... In>
__global__ void __launch_bounds__(256) reduce_columns_kernel(F f, ranges_of<Rank, Operands> r, pack<In...> in, typename R::template state<C>* partial, T* out) {
  using reducer = cuda_detail::reducer<R, C, F, Rank, Operands, In...>;
  using state = typename reducer::state;
  index_t const output = static_cast<index_t>(blockIdx.x) * 32 + threadIdx.x, first = blockIdx.y * r.piece;
  state s{};
  if (output < r.outputs) {
    index_t const end = first + r.piece < r.length ? first + r.piece : r.length;
    reducer::push(s, f, r, in, output, first + threadIdx.y, end, 8);
  }
  __shared__ room_for<state, 256> memory;
  state* const slots = memory.get();
  slots[threadIdx.y * 32 + threadIdx.x] = s;
  __syncthreads();
  if (threadIdx.y != 0 || output >= r.outputs) return;
  for (int y = 1; y < 8; ++y) R::merge(s, slots[y * 32 + threadIdx.x]);
  if (partial) partial[output * r.pieces + blockIdx.y] = s;
  else out[output] = T(R::finish(s, r.length));
}

/// The pieces of each output, one warp an output.
template <class R, class C, class T>
__global__ void __launch_bounds__(256) merge_pieces_kernel(typename R::template state<C> const* partial, index_t outputs, index_t pieces, index_t length, T* out) {
  index_t const output = (static_cast<index_t>(blockIdx.x) * 256 + threadIdx.x) / 32;
  typename R::template state<C> s{};
  if (output < outputs)
    for (index_t p = threadIdx.x % 32; p < pieces; p += 32) R::merge(s, partial[output * pieces + p]);
  s = merge_lanes(s, 32, [](auto& a, auto const& b) { R::merge(a, b); });
  if (output < outputs && threadIdx.x % 32 == 0) out[output] = T(R::finish(s, length));
}

/// One value per element of the first `kept` axes of `shape`, over all the others; `out` is row-major.
template <class R, class F, class... In, std::size_t Rank, class T>
void reduce(cuda_context const& ctx, F const& f, std::array<index_t, Rank> const& shape, int kept, pack<In...> const& in, T* out) {
  constexpr int rank = static_cast<int>(Rank), operands = sizeof...(In);
  using C = std::conditional_t<requires { R::positional; }, compute_t<typename F::value_type>, compute_t<T>>;
  using state = typename R::template state<C>;
  using axes_type = joined_axes<rank, operands>;

  operand_strides<rank, operands> strides;
  detail::unpack([&](auto const&... leaf) { (strides.note(leaf), ...); }, detail::as_tuple(in));
  axes_type const keep(shape.data(), kept, strides.at), over(shape.data(), rank, strides.at, kept);
  ranges_of<rank, operands> r{device_axes<rank, operands>(keep), device_axes<rank, operands>(over), keep.size(), over.size(), 0, 1};
  if (r.outputs == 0) return;

  auto const side_by_side = [&](axes_type const& axes) {  // some array is contiguous along the innermost axis, and all others too, or stretched
    bool all = axes.inner() > 1;
    for (int o = 0; o < operands; ++o) all = all && (!strides.is_array[o] || axes.inner_stride(o) == 1 || axes.inner_stride(o) == 0);
    return all;
  };
  bool const columns = !side_by_side(over) && side_by_side(keep) && keep.inner() >= 8;
  // About 2,048 units of work, of at least 2,048 elements (256 in a column).
  index_t const wanted = columns ? 2048 / blocks_of(r.outputs, 32) : 2048 / r.outputs;
  r.pieces = std::clamp<index_t>(std::min(wanted, r.length / (columns ? 256 : 2048)), 1, 4096);
  r.piece = std::max<index_t>(1, blocks_of(r.length, r.pieces));
  r.pieces = std::max<index_t>(1, blocks_of(r.length, r.piece));

  scratch<state> const partial(ctx, r.pieces > 1 ? r.outputs * r.pieces : 0);
  char const* const name = R::name;
  if (columns) {
    dim3 blocks = along_x(name, blocks_of(r.outputs, 32));
    blocks.y = static_cast<unsigned>(r.pieces);
    ctx.launch(name, {blocks, dim3(32, 8)}, reduce_columns_kernel<R, C, T, F, rank, operands, In...>, f, r, in, partial.get(), out);
  } else if (r.piece > 512) {
    ctx.launch(name, {along_x(name, r.outputs * r.pieces), dim3(256)}, reduce_rows_kernel<true, R, C, T, F, rank, operands, In...>, f, r, in, 256,
               partial.get(), out);
  } else {
    int const width = std::min(32, static_cast<int>(std::bit_ceil(static_cast<unsigned>(blocks_of(r.piece, 4)))));
    ctx.launch(name, {along_x(name, blocks_of(r.outputs * r.pieces * width, 256)), dim3(256)}, reduce_rows_kernel<false, R, C, T, F, rank, operands, In...>,
               f, r, in, width, partial.get(), out);
  }
  if (r.pieces > 1)
    ctx.launch(name, {along_x(name, blocks_of(r.outputs * 32, 256)), dim3(256)}, merge_pieces_kernel<R, C, T>, partial.get(), r.outputs, r.pieces, r.length, out);
}

}  // namespace cog::cuda_detail
