// What a backend is. A backend is a type of static functions; its context says where and on which threads or stream to run.
// `static_assert(backend<mine>)` and the conformance suite (tests/conformance.hpp) are all it takes to add one.
#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>

#include <cog/core/config.hpp>

namespace cog {

/// Memory and identity. The members that run kernels are templates over the kernel, so a concept cannot name them; they are:
///
///     fill(ctx, data, n, value)                      n elements
///     for_each(ctx, shape, f, inputs, outputs)       outputs = f(inputs) at every element of shape
///     reduce<R>(ctx, f, shape, kept, inputs, out)    one value for each element of the first `kept` axes
///     rowwise(ctx, op, shape, inputs, outputs)       statistics along the last axis, then a map
///     row_reduce(ctx, op, shape, inputs, out)        statistics along the last axis, one value a row
///     gemm<Activation>(ctx, arguments)               C = activation(alpha A B + beta C + bias)
///     take_rows add_rows take_along add_along cumulative_sum top_k
///     attention_forward<Rule> attention_backward<Rule>    optional: attention/arguments.hpp
///
/// docs/extending.md says more; tests/backend_loops.hpp has them all in plain loops.
template <class B>
concept backend = requires(typename B::context const& context, void* p, void const* q, std::size_t bytes) {
  { B::name } -> std::convertible_to<std::string_view>;
  { B::host_accessible } -> std::convertible_to<bool>;  // may the host dereference the pointers?
  { B::allocate(context, bytes) } -> std::same_as<void*>;  // aligned to 64 bytes; throws cog::error
  { B::deallocate(context, p, bytes) } noexcept;
  B::copy_from_host(context, p, q, bytes);
  B::copy_to_host(context, p, q, bytes);
  B::synchronize(context);
};

}  // namespace cog
