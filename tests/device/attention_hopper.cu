// The attention kernels for Hopper of one element type, for hygiene/hopper.sh.
#include <cog/backend/cuda/attention_hopper_backward.hpp>
#include <cog/backend/cuda/attention_hopper_forward.hpp>
#include <cog/backend/cuda/attention_hopper_wide.hpp>

namespace cog::cuda_detail {

#define FORWARD(W)                                                                                                        \
  template __global__ void hopper_attention_kernel<W, cog_rule, bf16>(hopper_forward_task<bf16> const __grid_constant__); \
  template __global__ void hopper_attention_kernel<W, softmax_rule, bf16>(hopper_forward_task<bf16> const __grid_constant__);
#define BACKWARD(W)                                                                                                       \
  template __global__ void hopper_gradient_kernel<W, cog_rule, bf16>(hopper_backward_task<bf16> const __grid_constant__); \
  template __global__ void hopper_gradient_kernel<W, softmax_rule, bf16>(hopper_backward_task<bf16> const __grid_constant__);
#define WIDE(Of, Rule) template __global__ void hopper_wide_kernel<gradient::Of, 256, Rule, bf16>(hopper_wide_task<bf16> const __grid_constant__);
FORWARD(64)
FORWARD(96)
FORWARD(128)
FORWARD(256)
BACKWARD(64)
BACKWARD(96)
BACKWARD(128)
WIDE(of_queries, cog_rule)
WIDE(of_queries, softmax_rule)
WIDE(of_keys, cog_rule)
WIDE(of_keys, softmax_rule)
WIDE(of_values, cog_rule)
WIDE(of_values, softmax_rule)

}  // namespace cog::cuda_detail
