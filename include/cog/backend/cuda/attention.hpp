// Attention on the GPU: which kernel runs. How keys are split over blocks depends on the shape alone, so results are the same on every
// run and every device.
//
//   dtype        width              device, mask                          forward                   backward
//   bf16, half   up to 128          9.0 (code for sm_90a), intervals      attention_hopper_forward  attention_hopper_backward
//   bf16, half   up to 256          9.0 (code for sm_90a), intervals      attention_hopper_forward  attention_hopper_wide
//   bf16, half   up to 256          8.0 or newer, enough shared memory    attention_mma             attention_mma_backward
//   any          any                any                                   attention_plain           attention_plain
// Intervals: every mask of the library but `boolean`. Rules without a kernel (no attention_backend): the composed form.
#pragma once

#include <optional>

#include <cog/backend/cuda/attention_hopper_launch.hpp>
#include <cog/backend/cuda/attention_mma.hpp>
#include <cog/backend/cuda/attention_mma_backward.hpp>
#include <cog/backend/cuda/attention_plain.hpp>

namespace cog::cuda_detail {

/// The number of positions, as kernels count them.
inline int checked_positions(char const* operation, index_t n) {
  if (n > 0x7fffff00) throw error(operation, ": ", n, " positions are more than the GPU kernels count");
  return static_cast<int>(n);
}

inline head_rows rows_of_heads(char const* operation, index_t queries, index_t heads, index_t key_heads, int tile) {
  int const count = checked_positions(operation, queries * (heads / key_heads));
  return {count, static_cast<int>(heads / key_heads), (count + tile - 1) / tile};
}

inline tiled_rows tiled_rows_of_heads(char const* operation, index_t queries, index_t heads, index_t key_heads, bool whole_groups) {
  if (key_heads == 0) return {};
  int const group = static_cast<int>(heads / key_heads), used = whole_groups && group > 0 && group <= row_tile ? row_tile / group * group : row_tile;
  int const rows = checked_positions(operation, queries * group), tiles = (rows + used - 1) / used;
  return {used == row_tile ? rows : checked_positions(operation, index_t{tiles} * row_tile), group, tiles, used, rows};
}

/// go<W>() with the smallest width of a tensor-core kernel that holds n: has it run? False if none holds n.
template <class Go>
bool for_mma_width(index_t n, Go const& go) {
  if (n <= 32) return go.template operator()<32>();
  if (n <= 64) return go.template operator()<64>();
  if (n <= 96) return go.template operator()<96>();
  if (n <= 128) return go.template operator()<128>();
  if (n <= 192) return go.template operator()<192>();
  if (n <= 256) return go.template operator()<256>();
  return false;
}

/// Have kernels for Hopper been compiled for it?
template <class T, class Mask>
inline constexpr bool for_hopper = reduced_float<T> && std::same_as<Mask, interval_mask>;

template <class Rule, class T, class M>
class forward_pass {
  using C = compute_t<T>;
  using Mask = std::remove_const_t<decltype(device_mask(std::declval<M const&>(), 0))>;

 public:
  forward_pass(cuda_context const& ctx, attention_arguments<T, M> const& a)
      : ctx_(ctx), rows_(a.q.extents[0] * a.q.extents[1] * a.q.extents[2]) {
    index_t const keys = a.k.extents[2];
    t_.a = {a.q, a.k, a.v, a.out, a.logsumexp, a.scale, device_mask(a.mask, keys)};
    t_.key_heads = static_cast<int>(a.k.extents[1]);
    t_.keys = checked_positions(Rule::name, keys);
    t_.width = static_cast<int>(a.q.extents[3]);
    t_.value_width = static_cast<int>(a.v.extents[3]);
  }

  void run() {
    if (rows_ == 0) return;
    if constexpr (for_hopper<T, Mask>)
      if (runs_hopper_kernels(ctx_) && hopper_forward_pass<Rule, T>(ctx_, t_).run()) return;
    if constexpr (reduced_float<T>)
      if (ctx_.capability() >= 80 && for_mma_width(std::max(t_.width, t_.value_width), [&]<int W>() { return mma<W>(); })) return;
    plain();
  }

 private:
  void plain() {
    using tile = plain_tile<C>;
    launch(tile::size, tile::chunks_of(t_.value_width), tile::threads, sizeof(tile), plain_attention_kernel<Rule, T, Mask>, [&] { return t_; });
  }
  template <int W>
  bool mma() {
    using shape = mma_forward_shape<W>;
    if (shape::bytes > ctx_.shared_memory_limit()) return false;
    rows_in_chunks<T> const q(ctx_, Rule::name, t_.a.q), k(ctx_, Rule::name, t_.a.k), v(ctx_, Rule::name, t_.a.v);
    t_.a.q = q.get(), t_.a.k = k.get(), t_.a.v = v.get();
    bool const out_in_chunks = moves_in_chunks(t_.a.out);
    launch(shape::rows, 1, shape::threads, shape::bytes, mma_attention_kernel<W, Rule, T, Mask>,
           [&] { return mma_forward_task<T, Mask>{t_, device_rule<Rule>::homogeneous ? t_.a.scale * log2_e<C> : log2_e<C>, out_in_chunks}; });
    return true;
  }

  /// A block to every tile of rows and `parts` of the result. Where these are few, the keys are split too, into parts of at least 256.
  template <class Kernel, class Task>
  void launch(int tile, int parts, int threads, std::size_t shared, Kernel kernel, Task const& task) {
    auto const& [batch, heads, queries, width] = t_.a.q.extents;
    t_.rows = rows_of_heads(Rule::name, queries, heads, t_.key_heads, tile);
    index_t const whole = batch * t_.key_heads * t_.rows.tiles * parts;
    t_.splits = static_cast<int>(std::clamp<index_t>(std::min<index_t>(264 / whole, t_.keys / 256), 1, 64));
    scratch<C> const partial(ctx_, t_.splits > 1 ? t_.splits * rows_ * (t_.value_width + 1) : 0);
    t_.partial_logsumexp = partial.get();
    t_.partial_out = partial.get() + (t_.splits > 1 ? t_.splits * rows_ : 0);
    ctx_.launch(Rule::name, {along_x(Rule::name, whole * t_.splits), dim3(static_cast<unsigned>(threads)), shared}, kernel, task());
    if (t_.splits > 1)
      ctx_.launch(Rule::name, {along_x(Rule::name, blocks_of(rows_ * std::max(1, t_.value_width), 256)), dim3(256)}, merge_attention_kernel<T, Mask>, t_);
  }

  cuda_context const& ctx_;
  index_t rows_;
  forward_task<T, Mask> t_{};
};

/// out and logsumexp of the arguments. Shapes have been checked.
template <class Rule, class T, class M>
void attention_forward(cuda_context const& ctx, attention_arguments<T, M> const& a) {
  forward_pass<Rule, T, M>(ctx, a).run();
}

template <class Rule, class T, class M>
class backward_pass {
  using C = compute_t<T>;
  using Mask = std::remove_const_t<decltype(device_mask(std::declval<M const&>(), 0))>;

 public:
  backward_pass(cuda_context const& ctx, attention_backward_arguments<T, M> const& a)
      : ctx_(ctx),
        heads_(a.k.extents[0] * a.k.extents[1]),
        rows_(tiled_rows_of_heads(Rule::name, a.q.extents[2], a.q.extents[1], a.k.extents[1], for_hopper<T, Mask> && runs_hopper_kernels(ctx))),
        states_(ctx, heads_ * rows_.tiles * row_tile), spans_(ctx, heads_ * rows_.tiles) {
    index_t const keys = a.k.extents[2];
    t_ = {{a.q, a.k, a.v, a.out, a.logsumexp, a.out_gradient, a.dq, a.dk, a.dv, a.scale, device_mask(a.mask, keys)},
          rows_,
          static_cast<int>(a.k.extents[1]),
          checked_positions(Rule::name, keys),
          static_cast<int>(a.q.extents[3]),
          static_cast<int>(a.v.extents[3]),
          states_.get(),
          spans_.get()};
  }

  void run() {
    if (heads_ == 0) return;
    ctx_.launch(Rule::name, {along_x(Rule::name, heads_ * rows_.tiles), dim3(256)}, row_states_kernel<T, Mask>, t_);
    [[maybe_unused]] std::conditional_t<for_hopper<T, Mask>, std::optional<hopper_backward_pass<Rule, T>>, int> hopper{};
    if constexpr (for_hopper<T, Mask>)
      if (runs_hopper_kernels(ctx_) && hopper.emplace(ctx_, t_).run()) t_.only_if = hopper->wild();
    if constexpr (reduced_float<T>)
      if (!t_.only_if && ctx_.capability() >= 80 && for_mma_width(std::max(t_.width, t_.value_width), [&]<int W>() { return mma<W>(); })) return;
    plain<gradient::of_queries>(rows_.count, t_.width);
    plain<gradient::of_keys>(t_.keys, t_.width);
    plain<gradient::of_values>(t_.keys, t_.value_width);
  }

 private:
  template <gradient Of>
  void plain(int outer_rows, int columns) {
    using tile = plain_tile<C>;
    if (columns == 0) return;
    index_t const blocks = heads_ * tile::chunks_of(columns) * blocks_of(outer_rows, tile::size);
    ctx_.launch(Rule::name, {along_x(Rule::name, blocks), dim3(tile::threads), sizeof(tile)}, plain_gradient_kernel<Of, Rule, T, Mask>, t_);
  }

  template <int W>
  bool mma() {
    if (mma_backward_shape<W>::bytes > ctx_.shared_memory_limit()) return false;
    rows_in_chunks<T> const q(ctx_, Rule::name, t_.a.q), k(ctx_, Rule::name, t_.a.k), v(ctx_, Rule::name, t_.a.v),
        out_gradient(ctx_, Rule::name, t_.a.out_gradient);
    t_.a.q = q.get(), t_.a.k = k.get(), t_.a.v = v.get(), t_.a.out_gradient = out_gradient.get();
    mma<gradient::of_queries, W>(rows_.count);
    if constexpr (mma_backward_shape<W>::keys_and_values) {
      mma<gradient::of_keys_and_values, W>(t_.keys);
    } else {
      mma<gradient::of_keys, W>(t_.keys);
      mma<gradient::of_values, W>(t_.keys);
    }
    return true;
  }
  template <gradient Of, int W>
  void mma(int outer_rows) {
    using shape = mma_backward_shape<W>;
    ctx_.launch(Rule::name, {along_x(Rule::name, heads_ * blocks_of(outer_rows, shape::outer)), dim3(shape::threads), shape::bytes},
                mma_gradient_kernel<Of, W, Rule, T, Mask>,
                mma_backward_task<T, Mask>{t_, device_rule<Rule>::homogeneous ? t_.a.scale * log2_e<C> : log2_e<C>, moves_in_chunks(t_.a.dq),
                                           moves_in_chunks(t_.a.dk), moves_in_chunks(t_.a.dv)});
  }

  cuda_context const& ctx_;
  index_t heads_;  // of keys, in all batches
  tiled_rows rows_;
  scratch<row_state<C>> states_;
  scratch<tile_span> spans_;
  backward_task<T, Mask> t_{};
};

/// dq, dk and dv of the arguments. Shapes have been checked.
template <class Rule, class T, class M>
void attention_backward(cuda_context const& ctx, attention_backward_arguments<T, M> const& a) {
  backward_pass<Rule, T, M>(ctx, a).run();
}

}  // namespace cog::cuda_detail
