// How the attention kernels for Hopper are launched: which tiles fit, maps of the operands, into how many parts the keys are cut. That
// depends on the shape alone, so that results are the same on every run. False where these kernels do not apply: another does.
#pragma once

#include <algorithm>

#include <cog/backend/cuda/attention_hopper_backward.hpp>
#include <cog/backend/cuda/attention_hopper_forward.hpp>
#include <cog/backend/cuda/attention_hopper_wide.hpp>
#include <cog/backend/cuda/hopper_support.hpp>

namespace cog::cuda_detail {

/// Calls go<W>() with the smallest width of a kernel that holds n. False if none does.
template <class Go>
bool for_hopper_width(index_t n, Go const& go) {
  if (n <= 64) go.template operator()<64>();
  else if (n <= 96) go.template operator()<96>();
  else if (n <= 128) go.template operator()<128>();
  else if (n <= 256) go.template operator()<256>();
  else return false;
  return true;
}

/// As many heads as have their keys and values in the L2 cache together.
inline int heads_together(index_t keys, index_t columns, index_t heads) {
  return static_cast<int>(std::clamp<index_t>((index_t{32} << 20) / std::max<index_t>(1, keys * columns * 2), 1, heads));
}

/// Into how many parts, `most` at most, the keys of so many tiles of rows are cut: the fewest that keep the multiprocessors of an H100 nearly
/// as busy as any number would.
inline int key_parts(index_t tiles, index_t most) {
  constexpr index_t device = 132;
  auto const busy = [&](index_t parts) { return static_cast<double>(tiles * parts) / static_cast<double>(blocks_of(tiles * parts, device) * device); };
  if (tiles * 5 >= device * 4) return 1;
  double best = 0;
  for (index_t n = 1; n <= most; ++n) best = std::max(best, busy(n));
  index_t n = 1;
  while (n < most && busy(n) < 0.85 * best) ++n;
  return static_cast<int>(n);
}

template <class Rule, class T>
class hopper_forward_pass {
 public:
  hopper_forward_pass(cuda_context const& ctx, forward_task<T, interval_mask> const& t) : hopper_forward_pass(ctx, t, {}, t.a.q.extents[0], t.a.q.extents[2]) {}
  /// Of `entries` sequences with at most `longest` queries and t.keys keys.
  hopper_forward_pass(cuda_context const& ctx, forward_task<T, interval_mask> const& t, sequence_table const& sequences, index_t entries, index_t longest)
      : ctx_(ctx), entries_(entries), longest_(longest) {
    task_.t = t;
    task_.sequences = sequences;
  }

  bool run() {
    auto& a = task_.t.a;
    index_t const group = a.q.extents[1] / a.k.extents[1];
    if (group > 64 || task_.t.width == 0 || task_.t.value_width == 0) return false;
    rows_in_chunks<T> const q(ctx_, Rule::name, a.q), k(ctx_, Rule::name, a.k), v(ctx_, Rule::name, a.v);
    if (!boxable(q.get()) || !boxable(k.get()) || !boxable(v.get())) return false;
    a.q = q.get(), a.k = k.get(), a.v = v.get();
    task_.rows = grouped_rows(static_cast<int>(group));
    task_.out_in_chunks = moves_in_chunks(a.out);
    task_.out_boxed = task_.out_in_chunks && boxable(a.out);
    task_.factor = device_rule<Rule>::homogeneous ? a.scale * log2_e<float> : log2_e<float>;
    return for_hopper_width(std::max(task_.t.width, task_.t.value_width), [&]<int W>() { launch<W>(); });
  }

 private:
  template <int W>
  void launch() {
    using shape = hopper_forward_shape<W>;
    auto& t = task_.t;
    auto const& maps = ctx_.part<tensor_map_encoder>();
    constexpr int span = shape::row_tile_type::span;
    int const positions = task_.rows.positions, paged = task_.sequences.pages ? std::min(task_.sequences.page_size, shape::keys) : shape::keys;
    task_.q = maps(Rule::name, t.a.q, task_.rows.group, positions, span);
    task_.k = maps(Rule::name, t.a.k, 1, paged, span);
    task_.v = maps(Rule::name, t.a.v, 1, paged, span);
    if (task_.out_boxed) task_.out = maps(Rule::name, t.a.out, task_.rows.group, positions, span);

    auto const& [batch, heads, queries, width] = t.a.q.extents;
    index_t const rows = batch * heads * queries, tiles = blocks_of(longest_, shape::consumers * positions), key_heads = entries_ * t.key_heads;
    bool const together = !task_.sequences.query_begin;  // every row of q is a row of the tiles
    t.splits = together ? key_parts(tiles * key_heads, std::clamp<index_t>(t.keys / 256, 1, 128)) : 1;
    scratch<float> const partial(ctx_, t.splits > 1 ? t.splits * rows * (t.value_width + 1) : 0);
    t.partial_logsumexp = partial.get();
    t.partial_out = partial.get() + (t.splits > 1 ? t.splits * rows : 0);
    along_x(Rule::name, t.splits * tiles * key_heads);
    task_.order = {t.splits, static_cast<int>(tiles), static_cast<int>(key_heads), heads_together(t.keys, t.width + t.value_width, key_heads)};
    int const blocks = std::min(task_.order.count(), ctx_.multiprocessors());
    bool const uneven = task_.order.count() > blocks && (t.a.mask.start.data || t.a.mask.offset < t.keys || task_.sequences.query_begin || task_.sequences.key_count);
    scratch<int> const counter(ctx_, uneven ? 1 : 0);
    task_.counter = counter.get();
    if (uneven) check(cudaMemsetAsync(counter.get(), 0, sizeof(int), ctx_.stream()), Rule::name);
    ctx_.launch(Rule::name, {dim3(static_cast<unsigned>(blocks)), dim3(shape::threads), shape::bytes}, hopper_attention_kernel<W, Rule, T>, task_);
    if (t.splits > 1)
      ctx_.launch(Rule::name, {along_x(Rule::name, blocks_of(rows * t.value_width, 256)), dim3(256)}, merge_attention_kernel<T, interval_mask>, t);
  }

  cuda_context const& ctx_;
  index_t entries_, longest_;
  hopper_forward_task<T> task_{};
};

/// Gradients, but of hidden NaNs and infinities: where there are any in the results, `wild` is set, and another kernel must see to them.
template <class Rule, class T>
class hopper_backward_pass {
 public:
  /// The states and spans of the task's rows are there when the stream comes to it.
  hopper_backward_pass(cuda_context const& ctx, backward_task<T, interval_mask> const& t) : ctx_(ctx), wild_(ctx, 1) { task_.t = t; }

  bool run() {
    auto& a = task_.t.a;
    index_t const group = a.q.extents[1] / a.k.extents[1], n = std::max(task_.t.width, task_.t.value_width);
    if (n > 256 || group > row_tile || task_.t.width == 0 || task_.t.value_width == 0) return false;
    rows_in_chunks<T> const q(ctx_, Rule::name, a.q), k(ctx_, Rule::name, a.k), v(ctx_, Rule::name, a.v), g(ctx_, Rule::name, a.out_gradient);
    if (!boxable(q.get()) || !boxable(k.get()) || !boxable(v.get()) || !boxable(g.get())) return false;
    a.q = q.get(), a.k = k.get(), a.v = v.get(), a.out_gradient = g.get();
    check(cudaMemsetAsync(wild_.get(), 0, sizeof(int), ctx_.stream()), Rule::name);
    if (n <= 64) launch<64>(static_cast<int>(group));
    else if (n <= 96) launch<96>(static_cast<int>(group));
    else if (n <= 128) launch<128>(static_cast<int>(group));
    else launch_wide<256>(static_cast<int>(group));
    return true;
  }
  /// On the device.
  int const* wild() const { return wild_.get(); }

 private:
  template <int W>
  void launch(int group) {
    using shape = hopper_backward_shape<W>;
    auto& t = task_.t;
    auto const& maps = ctx_.part<tensor_map_encoder>();
    constexpr int span = shape::key_tile_type::span;
    task_.positions = row_tile / group;
    task_.q = maps(Rule::name, t.a.q, group, task_.positions, span);
    task_.out_gradient = maps(Rule::name, t.a.out_gradient, group, task_.positions, span);
    task_.k = maps(Rule::name, t.a.k, 1, shape::keys, span);
    task_.v = maps(Rule::name, t.a.v, 1, shape::keys, span);
    task_.dq_in_chunks = moves_in_chunks(t.a.dq);
    task_.dk_in_chunks = moves_in_chunks(t.a.dk), task_.dk_boxed = task_.dk_in_chunks && boxable(t.a.dk);
    task_.dv_in_chunks = moves_in_chunks(t.a.dv), task_.dv_boxed = task_.dv_in_chunks && boxable(t.a.dv);
    if (task_.dk_boxed) task_.dk = maps(Rule::name, t.a.dk, 1, 64, span);
    if (task_.dv_boxed) task_.dv = maps(Rule::name, t.a.dv, 1, 64, span);
    task_.factor = device_rule<Rule>::homogeneous ? t.a.scale * log2_e<float> : log2_e<float>;
    task_.wild = wild_.get();

    index_t const heads = t.a.k.extents[0] * t.key_heads, tiles = blocks_of(t.keys, shape::keys);
    index_t const parts = heads * t.rows.tiles * (shape::by_columns ? 2 : 1), numbers = parts * (shape::sums_bytes / 4);
    scratch<float> const sums(ctx_, numbers);
    scratch<int> const turns(ctx_, ctx_.any_order() ? 0 : parts);
    auto const clear = [&](auto* at, index_t n) {
      if (at && n > 0) check(cudaMemsetAsync(at, 0, static_cast<std::size_t>(n) * sizeof(*at), ctx_.stream()), Rule::name);
    };
    clear(sums.get(), numbers);
    clear(turns.get(), parts);
    task_.sums = sums.get();
    task_.turns = turns.get();
    task_.order = {1, static_cast<int>(tiles), static_cast<int>(heads), heads_together(t.rows.count, 2 * (t.width + t.value_width), heads)};
    ctx_.launch(Rule::name, {along_x(Rule::name, tiles * heads), dim3(shape::threads), shape::bytes}, hopper_gradient_kernel<W, Rule, T>, task_);
    ctx_.launch(Rule::name, {along_x(Rule::name, parts), dim3(128)}, finish_gradient_kernel<W, T>, task_);
  }

  template <int W>
  void launch_wide(int group) {
    auto const& t = task_.t;
    auto const& maps = ctx_.part<tensor_map_encoder>();
    constexpr int span = hopper_wide_shape<W>::inner_tile_type::span;
    hopper_wide_task<T> wide{};
    wide.t = t;
    wide.positions = row_tile / group;
    wide.q = maps(Rule::name, t.a.q, group, wide.positions, span);
    wide.out_gradient = maps(Rule::name, t.a.out_gradient, group, wide.positions, span);
    wide.k = maps(Rule::name, t.a.k, 1, row_tile, span);
    wide.v = maps(Rule::name, t.a.v, 1, row_tile, span);
    wide.wild = wild_.get();
    wide.factor = device_rule<Rule>::homogeneous ? t.a.scale * log2_e<float> : log2_e<float>;
    auto const one = [&]<gradient Of>(std::integral_constant<gradient, Of>, view<T, 4> const& result, int of, index_t outer_rows, index_t inner_rows) {
      using shape = hopper_wide_shape<W>;
      wide.in_chunks = moves_in_chunks(result), wide.boxed = wide.in_chunks && boxable(result);
      if (wide.boxed) wide.result = maps(Rule::name, result, of, row_tile / of, span);
      index_t const heads = t.a.k.extents[0] * t.key_heads, tiles = blocks_of(outer_rows, shape::outer);
      wide.order = {1, static_cast<int>(tiles), static_cast<int>(heads), heads_together(inner_rows, t.width + t.value_width, heads)};
      ctx_.launch(Rule::name, {along_x(Rule::name, tiles * heads), dim3(shape::threads), shape::bytes}, hopper_wide_kernel<Of, W, Rule, T>, wide);
    };
    one(std::integral_constant<gradient, gradient::of_queries>{}, t.a.dq, group, t.rows.count, t.keys);
    one(std::integral_constant<gradient, gradient::of_keys>{}, t.a.dk, 1, t.keys, t.rows.count);
    one(std::integral_constant<gradient, gradient::of_values>{}, t.a.dv, 1, t.keys, t.rows.count);
  }

  cuda_context const& ctx_;
  scratch<int> wild_;
  hopper_backward_task<T> task_{};
};

}  // namespace cog::cuda_detail
