// What attention kernels are called with: plain views, a scale and a lowered mask. No tensors: any program can fill these in.
// Everything is trivially copyable. Strides are free, widths and lengths are any, 0 included.
#pragma once

#include <concepts>

#include <cog/attention/mask.hpp>
#include <cog/attention/rule.hpp>
#include <cog/core/dtype.hpp>
#include <cog/core/view.hpp>

namespace cog {

/// out = attention(q, k, v). Query head h reads key head h / (Hq / Hkv); Hq is a multiple of Hkv.
template <floating T, lowered_mask Mask>
struct attention_arguments {
  view<T const, 4> q;                 // [B, Hq, Nq, D]
  view<T const, 4> k;                 // [B, Hkv, Nk, D]
  view<T const, 4> v;                 // [B, Hkv, Nk, E]
  view<T, 4> out;                     // [B, Hq, Nq, E]; 0 where a query sees no key
  view<compute_t<T>, 3> logsumexp{};  // [B, Hq, Nq]; -inf where a query sees no key; not written if data is null
  compute_t<T> scale = 1;             // > 0
  Mask mask{};
};

/// The gradients of q, k and v, from the results of the forward pass and the gradient of out. k and v gradients of grouped
/// heads are summed over the group.
template <floating T, lowered_mask Mask>
struct attention_backward_arguments {
  view<T const, 4> q, k, v;              // as above
  view<T const, 4> out;                  // [B, Hq, Nq, E]
  view<compute_t<T> const, 3> logsumexp;  // [B, Hq, Nq]
  view<T const, 4> out_gradient;         // [B, Hq, Nq, E]
  view<T, 4> dq, dk, dv;                 // shapes of q, k, v
  compute_t<T> scale = 1;
  Mask mask{};
};

}  // namespace cog
