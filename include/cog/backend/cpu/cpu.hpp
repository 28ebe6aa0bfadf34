// The CPU backend: Eigen's packets and products, a pool of threads, pooled memory.
#pragma once

#include <cstring>

#include <cog/backend/cpu/context.hpp>
#include <cog/backend/cpu/elementwise.hpp>

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
};

static_assert(backend<cpu>);

}  // namespace cog
