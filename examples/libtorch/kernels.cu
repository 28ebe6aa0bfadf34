#include "kernels.hpp"

#include <cog/backend/cuda/attention_door.hpp>

namespace {

cog::door::tensor tensor_of(attention_call::tensor const& t) { return {t.data, t.strides[0], t.strides[1], t.strides[2], t.strides[3]}; }

cog::door::attention call_of(attention_call const& c) {
  cog::door::attention a{.type = c.half ? cog::door::element::half : cog::door::element::bf16,
                         .rule = c.signed_weights ? cog::door::rule::cog : cog::door::rule::softmax,
                         .batch = c.batch, .heads = c.heads, .key_heads = c.key_heads, .queries = c.queries, .keys = c.keys,
                         .width = c.width, .value_width = c.value_width, .scale = c.scale, .causal = c.causal};
  a.q = tensor_of(c.q), a.k = tensor_of(c.k), a.v = tensor_of(c.v), a.out = tensor_of(c.out);
  a.out_gradient = tensor_of(c.out_gradient), a.dq = tensor_of(c.dq), a.dk = tensor_of(c.dk), a.dv = tensor_of(c.dv);
  a.logsumexp = c.logsumexp;
  a.device = c.device;
  a.stream = static_cast<cudaStream_t>(c.stream);
  return a;
}

}  // namespace

void attention_forward(attention_call const& c) { cog::door::forward(call_of(c)); }
void attention_backward(attention_call const& c) { cog::door::backward(call_of(c)); }
