// scaled_dot_product_attention of PyTorch, replaced by cog's kernels, gradients included. Tensors of bf16 or half on the GPU,
// [batch, heads, positions, width] with any strides; k and v may have fewer heads. The rule is signed (cog) or softmax attention.
#pragma once

#include <c10/cuda/CUDAStream.h>
#include <torch/torch.h>

#include <cmath>

#include "kernels.hpp"

class attention_function : public torch::autograd::Function<attention_function> {
 public:
  using list = torch::autograd::variable_list;

  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, bool signed_weights, bool causal,
                            double scale) {
    auto const out = at::empty({q.size(0), q.size(1), q.size(2), v.size(3)}, q.options());
    auto const logsumexp = at::empty({q.size(0), q.size(1), q.size(2)}, q.options().dtype(at::kFloat));
    attention_call c = call_of(q, k, v, out, logsumexp, signed_weights, causal, scale);
    attention_forward(c);
    ctx->save_for_backward({q, k, v, out, logsumexp});
    ctx->saved_data["signed_weights"] = signed_weights;
    ctx->saved_data["causal"] = causal;
    ctx->saved_data["scale"] = scale;
    return out;
  }

  static list backward(torch::autograd::AutogradContext* ctx, list const& gradients) {
    auto const saved = ctx->get_saved_variables();
    auto const &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &logsumexp = saved[4];
    auto const dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    attention_call c = call_of(q, k, v, out, logsumexp, ctx->saved_data["signed_weights"].toBool(), ctx->saved_data["causal"].toBool(), ctx->saved_data["scale"].toDouble());
    auto const out_gradient = gradients[0].to(q.scalar_type());
    c.out_gradient = plain(out_gradient), c.dq = plain(dq), c.dk = plain(dk), c.dv = plain(dv);
    attention_backward(c);
    return {dq, dk, dv, at::Tensor(), at::Tensor(), at::Tensor()};
  }

 private:
  static attention_call::tensor plain(at::Tensor const& x) { return {x.data_ptr(), {x.stride(0), x.stride(1), x.stride(2), x.stride(3)}}; }

  static attention_call call_of(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, at::Tensor const& out, at::Tensor const& logsumexp, bool signed_weights,
                                bool causal, double scale) {
    TORCH_CHECK(q.is_cuda() && k.is_cuda() && v.is_cuda() && q.dim() == 4 && k.dim() == 4 && v.dim() == 4, "attention: q, k and v are GPU tensors of four axes");
    TORCH_CHECK((q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf) && k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type(),
                "attention: q, k and v are all of bf16 or all of half");
    TORCH_CHECK(k.size(0) == q.size(0) && v.size(0) == q.size(0) && k.size(1) == v.size(1) && q.size(1) % k.size(1) == 0 && k.size(2) == v.size(2) && k.size(3) == q.size(3),
                "attention: q ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
    attention_call c;
    c.q = plain(q), c.k = plain(k), c.v = plain(v), c.out = plain(out);
    c.logsumexp = logsumexp.data_ptr<float>();
    c.batch = q.size(0), c.heads = q.size(1), c.key_heads = k.size(1), c.queries = q.size(2), c.keys = k.size(2), c.width = q.size(3), c.value_width = v.size(3);
    c.scale = static_cast<float>(scale);
    c.half = q.scalar_type() == at::kHalf, c.signed_weights = signed_weights, c.causal = causal;
    c.device = q.get_device();
    c.stream = c10::cuda::getCurrentCUDAStream(q.get_device()).stream();
    return c;
  }
};

/// Signed attention: weights sign(s) e^|s| / sum e^|s|, s = q k^T / sqrt(width).
inline at::Tensor cog_attention(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, bool causal = false) {
  return attention_function::apply(q, k, v, true, causal, 1 / std::sqrt(static_cast<double>(q.size(3))));
}
/// The same as at::scaled_dot_product_attention.
inline at::Tensor softmax_attention(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, bool causal = false) {
  return attention_function::apply(q, k, v, false, causal, 1 / std::sqrt(static_cast<double>(q.size(3))));
}
