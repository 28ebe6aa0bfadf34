// The CPU backend: Eigen's packets and products, a pool of threads, pooled memory.
#pragma once

#include <cstring>

#include <cog/backend/cpu/attention_backward.hpp>
#include <cog/backend/cpu/attention_forward.hpp>
#include <cog/backend/cpu/context.hpp>
#include <cog/backend/cpu/elementwise.hpp>
#include <cog/backend/cpu/gemm.hpp>
#include <cog/backend/cpu/reduce.hpp>
#include <cog/backend/cpu/rowwise.hpp>
#include <cog/backend/cpu/select.hpp>

namespace cog {

struct cpu {
  using context = cpu_context;
  static constexpr std::string_view name = "cpu";
  static constexpr bool host_accessible = true;

  static void* allocate(context const& ctx, std::size_t bytes) { return ctx.memory().allocate(bytes); }
  static void deallocate(context const& ctx, void* p, std::size_t bytes) noexcept { ctx.memory().deallocate(p, bytes); }
  static void copy_from_host(context const&, void* to, void const* host, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, host, bytes);
  }
  static void copy_to_host(context const&, void* host, void const* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(host, from, bytes);
  }
  static void synchronize(context const&) {}
  template <class T>
  static void fill(context const&, T* data, index_t n, T value) {
    std::fill_n(data, n, value);
  }

  template <class F, class In, class Out, std::size_t Rank>
  static void for_each(context const& ctx, std::array<index_t, Rank> const& shape, F const& f, In const& in, Out const& out) {
    cpu_detail::for_each(ctx, shape, f, in, out);
  }

  template <class R, class F, class In, class T, std::size_t Rank>
  static void reduce(context const& ctx, F const& f, std::array<index_t, Rank> const& shape, int kept, In const& in, T* out) {
    cpu_detail::reduce<R>(ctx, f, shape, kept, in, out);
  }
  template <class Op, class In, class Out, std::size_t Rank>
  static void rowwise(context const& ctx, Op const& op, std::array<index_t, Rank> const& shape, In const& in, Out const& out) {
    cpu_detail::rowwise(ctx, op, shape, in, out);
  }
  template <class Op, class In, class T, std::size_t Rank>
  static void row_reduce(context const& ctx, Op const& op, std::array<index_t, Rank> const& shape, In const& in, T* out) {
    cpu_detail::row_reduce(ctx, op, shape, in, out);
  }
  template <class Activation, class T>
  static void gemm(context const& ctx, gemm_arguments<T> const& arguments) {
    cpu_detail::gemm<Activation>(ctx, arguments);
  }
  template <class T, class I>
  static void take_rows(context const& ctx, view<T const, 2> table, I const* ids, index_t count, T* out) {
    cpu_detail::take_rows(ctx, table, ids, count, out);
  }
  template <class T, class I>
  static void add_rows(context const& ctx, view<T, 2> table, I const* ids, index_t count, T const* rows) {
    cpu_detail::add_rows(ctx, table, ids, count, rows);
  }
  template <class T, class I>
  static void take_along(context const& ctx, T const* rows, index_t n, I const* ids, index_t count, T* out) {
    cpu_detail::take_along(ctx, rows, n, ids, count, out);
  }
  template <class T, class I>
  static void add_along(context const& ctx, T* rows, index_t n, I const* ids, index_t count, T const* values) {
    cpu_detail::add_along(ctx, rows, n, ids, count, values);
  }
  template <class T>
  static void cumulative_sum(context const& ctx, T* data, index_t outer, index_t n, index_t inner) {
    cpu_detail::cumulative_sum(ctx, data, outer, n, inner);
  }
  template <class T>
  static void top_k(context const& ctx, T const* data, index_t rows, index_t n, index_t k, T* values, std::int64_t* indices) {
    cpu_detail::top_k(ctx, data, rows, n, k, values, indices);
  }
  template <class Rule, class T, class Mask>
  static void attention_forward(context const& ctx, attention_arguments<T, Mask> const& arguments) {
    cpu_detail::attention_forward<Rule>(ctx, arguments);
  }
  template <class Rule, class T, class Mask>
  static void attention_backward(context const& ctx, attention_backward_arguments<T, Mask> const& arguments) {
    cpu_detail::attention_backward<Rule>(ctx, arguments);
  }
};

static_assert(backend<cpu>);

}  // namespace cog
