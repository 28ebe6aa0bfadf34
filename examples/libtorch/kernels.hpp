// The kernels of cog as a C++ program with PyTorch sees them: plain numbers and pointers, so that only kernels.cu is compiled by nvcc.
#pragma once

#include <cstdint>

struct attention_call {
  struct tensor {
    void* data = nullptr;
    std::int64_t strides[4]{};  // of batch, head, position, column
  };
  tensor q, k, v, out, out_gradient, dq, dk, dv;
  float* logsumexp = nullptr;  // [batch, heads, queries]
  std::int64_t batch = 0, heads = 0, key_heads = 0, queries = 0, keys = 0, width = 0, value_width = 0;
  float scale = 1;
  bool half = false, signed_weights = true, causal = false;
  int device = 0;
  void* stream = nullptr;
};

void attention_forward(attention_call const&);
void attention_backward(attention_call const&);
