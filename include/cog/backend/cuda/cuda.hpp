// The CUDA backend: kernels from the library's functors, cuBLASLt, CUB, memory pooled by stream. Everything is asynchronous.
#pragma once

#include <cog/backend/cuda/attention.hpp>
#include <cog/backend/cuda/elementwise.hpp>
#include <cog/backend/cuda/gemm.hpp>
#include <cog/backend/cuda/graph.hpp>
#include <cog/backend/cuda/list.hpp>
#include <cog/backend/cuda/reduce.hpp>
#include <cog/backend/cuda/rowwise.hpp>
#include <cog/backend/cuda/select.hpp>

namespace cog {

struct cuda {
  using context = cuda_context;
  using event = cuda_event;
  using graph = cuda_graph;
  static constexpr std::string_view name = "cuda";
  static constexpr bool host_accessible = false;
  static constexpr int dlpack_device_type = 2;  // kDLCUDA; see core/dlpack.hpp

  static void* allocate(context const& ctx, std::size_t bytes) {
    ctx.activate();
    return ctx.memory().allocate(bytes);
  }
  static void deallocate(context const& ctx, void* p, std::size_t bytes) noexcept { ctx.memory().deallocate(p, bytes); }
  static void copy_from_host(context const& ctx, void* to, void const* host, std::size_t bytes) {
    refuse_in_capture(ctx, "copy_from_host");
    ctx.activate();
    ctx.pinned().send(ctx.stream(), to, host, bytes);
  }
  static void copy_to_host(context const& ctx, void* host, void const* from, std::size_t bytes) {
    refuse_in_capture(ctx, "copy_to_host");
    ctx.activate();
    ctx.pinned().fetch(ctx.stream(), ctx.launched(), host, from, bytes);
    ctx.report();
  }
  static void synchronize(context const& ctx) { ctx.synchronize(); }
  template <class T>
  static void fill(context const& ctx, T* data, index_t n, T value) {
    cuda_detail::fill(ctx, data, n, value);
  }

  template <class F, class In, class Out, std::size_t Rank>
  static void for_each(context const& ctx, std::array<index_t, Rank> const& shape, F const& f, In const& in, Out const& out) {
    cuda_detail::for_each(ctx, shape, f, in, out);
  }
  template <class F, class In, class Out>
  static void for_each_of(context const& ctx, std::span<list_entry<F, In, Out> const> entries) {
    cuda_detail::for_each_of(ctx, entries);
  }
  template <class C, class F, class In>
  static void sum_of(context const& ctx, std::span<list_entry<F, In, pack<>> const> entries, C* out) {
    cuda_detail::sum_of(ctx, entries, out);
  }
  template <class R, class F, class In, class T, std::size_t Rank>
  static void reduce(context const& ctx, F const& f, std::array<index_t, Rank> const& shape, int kept, In const& in, T* out) {
    cuda_detail::reduce<R>(ctx, f, shape, kept, in, out);
  }
  template <class Op, class In, class Out, std::size_t Rank>
  static void rowwise(context const& ctx, Op const& op, std::array<index_t, Rank> const& shape, In const& in, Out const& out) {
    cuda_detail::rowwise(ctx, op, shape, in, out);
  }
  template <class Op, class In, class T, std::size_t Rank>
  static void row_reduce(context const& ctx, Op const& op, std::array<index_t, Rank> const& shape, In const& in, T* out) {
    cuda_detail::row_reduce(ctx, op, shape, in, out);
  }
  template <class Activation, class T>
  static void gemm(context const& ctx, gemm_arguments<T> const& arguments) {
    cuda_detail::gemm<Activation>(ctx, arguments);
  }
  template <class T, class I>
  static void take_rows(context const& ctx, view<T const, 2> table, I const* ids, index_t count, T* out) {
    cuda_detail::take_rows(ctx, table, ids, count, out);
  }
  template <class T, class I>
  static void add_rows(context const& ctx, view<T, 2> table, I const* ids, index_t count, T const* rows) {
    cuda_detail::add_rows(ctx, table, ids, count, rows);
  }
  template <class T, class I>
  static void take_along(context const& ctx, T const* rows, index_t n, I const* ids, index_t count, T* out) {
    cuda_detail::take_along(ctx, rows, n, ids, count, out);
  }
  template <class T, class I>
  static void add_along(context const& ctx, T* rows, index_t n, I const* ids, index_t count, T const* values) {
    cuda_detail::add_along(ctx, rows, n, ids, count, values);
  }
  template <class T>
  static void cumulative_sum(context const& ctx, T* data, index_t outer, index_t n, index_t inner) {
    cuda_detail::cumulative_sum(ctx, data, outer, n, inner);
  }
  template <class T>
  static void top_k(context const& ctx, T const* data, index_t rows, index_t n, index_t k, T* values, std::int64_t* indices) {
    cuda_detail::top_k(ctx, data, rows, n, k, values, indices);
  }
  template <class Rule, class T, class Mask>
  static void attention_forward(context const& ctx, attention_arguments<T, Mask> const& arguments) {
    cuda_detail::attention_forward<Rule>(ctx, arguments);
  }
  template <class Rule, class T, class Mask>
  static void attention_backward(context const& ctx, attention_backward_arguments<T, Mask> const& arguments) {
    cuda_detail::attention_backward<Rule>(ctx, arguments);
  }

 private:
  /// A replay would copy whatever the staging buffers hold then.
  static void refuse_in_capture(context const& ctx, char const* what) {
    if (ctx.memory().capturing()) throw error(what, ": the host's memory is read and written while a graph is captured");
  }
};

static_assert(backend<cuda>);

}  // namespace cog
