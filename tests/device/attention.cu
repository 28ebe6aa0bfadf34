// The tensor-core attention kernels of bf16 for operands up to WIDTHS wide: tests/hygiene/spills.sh looks at what ptxas says of them.
#include <cog/backend/cuda/attention.hpp>

namespace cog::cuda_detail {

template <class Rule, class T, class Mask, int W>
void of_width(void const**& to) {
  *to++ = reinterpret_cast<void const*>(&mma_attention_kernel<W, Rule, T, Mask>);
  *to++ = reinterpret_cast<void const*>(&mma_gradient_kernel<gradient::of_queries, W, Rule, T, Mask>);
  if constexpr (mma_backward_shape<W>::keys_and_values) {
    *to++ = reinterpret_cast<void const*>(&mma_gradient_kernel<gradient::of_keys_and_values, W, Rule, T, Mask>);
  } else {
    *to++ = reinterpret_cast<void const*>(&mma_gradient_kernel<gradient::of_keys, W, Rule, T, Mask>);
    *to++ = reinterpret_cast<void const*>(&mma_gradient_kernel<gradient::of_values, W, Rule, T, Mask>);
  }
}

template <int... W>
void of_widths(void const**& to, std::integer_sequence<int, W...>) {
  (of_width<cog_rule, bf16, interval_mask, W>(to), ...);
  (of_width<softmax_rule, bf16, interval_mask, W>(to), ...);
}

void attention_kernels(void const** to) { of_widths(to, std::integer_sequence<int, WIDTHS>{}); }

}  // namespace cog::cuda_detail
