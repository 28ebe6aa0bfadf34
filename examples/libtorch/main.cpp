// A layer of attention written with PyTorch, its attention done by PyTorch and by cog: outputs and gradients beside each other, and beside
// the formula in double.
#include <iostream>

#include "attention.hpp"

namespace {

/// The formula, in the type of its operands.
at::Tensor formula(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, bool signed_weights, bool causal) {
  auto s = at::matmul(q, k.transpose(-2, -1)) / std::sqrt(static_cast<double>(q.size(3)));
  auto u = signed_weights ? s.abs() : s;
  if (causal) u = u.masked_fill(at::ones({q.size(2), k.size(2)}, at::dtype(at::kBool).device(q.device())).triu(1 + k.size(2) - q.size(2)), -INFINITY);
  auto const p = at::softmax(u, -1);
  return at::matmul(signed_weights ? p * s.sign() : p, v);
}

struct layer : torch::nn::Module {
  torch::nn::Linear qkv{nullptr}, project{nullptr};
  std::int64_t heads;
  layer(std::int64_t width, std::int64_t h) : heads(h) {
    qkv = register_module("qkv", torch::nn::Linear(width, 3 * width));
    project = register_module("project", torch::nn::Linear(width, width));
  }
  template <class Attention>
  at::Tensor forward(at::Tensor const& x, Attention const& attention) {
    auto const split = qkv(x).view({x.size(0), x.size(1), 3, heads, -1}).permute({2, 0, 3, 1, 4});  // views: nothing is copied
    return project(attention(split[0], split[1], split[2]).transpose(1, 2).reshape_as(x));
  }
};

double difference(at::Tensor const& a, at::Tensor const& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

}  // namespace

int main() {
  if (!torch::cuda::is_available()) {
    std::cout << "skipped: there is no GPU\n";
    return 77;
  }
  torch::manual_seed(1);
  layer m(512, 8);
  m.to(at::kCUDA, at::kBFloat16);
  auto const x = at::randn({2, 1000, 512}, at::dtype(at::kBFloat16).device(at::kCUDA));
  bool good = true;
  for (bool const signed_weights : {false, true}) {
    auto const step = [&](auto const& attention) {
      m.zero_grad();
      auto const y = m.forward(x, attention);
      y.pow(2).sum().backward();
      return std::pair(y.detach(), m.qkv->weight.grad().clone());
    };
    auto const [y, g] = step([&](auto const& q, auto const& k, auto const& v) { return signed_weights ? cog_attention(q, k, v, true) : softmax_attention(q, k, v, true); });
    auto const [want_y, want_g] = step([&](auto const& q, auto const& k, auto const& v) {
      return formula(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), signed_weights, true).to(at::kBFloat16);
    });
    std::cout << (signed_weights ? "signed " : "softmax") << ": output " << difference(y, want_y) << ", gradient of the weights " << difference(g, want_g) << " from the formula in double";
    good = good && difference(y, want_y) < 1e-2 && difference(g, want_g) < 2e-2;
    if (!signed_weights) {
      auto const [torch_y, torch_g] = step([](auto const& q, auto const& k, auto const& v) { return at::scaled_dot_product_attention(q, k, v, {}, 0, true); });
      std::cout << "; PyTorch's own: " << difference(torch_y, want_y) << ", " << difference(torch_g, want_g);
    }
    std::cout << '\n';
  }
  return good ? 0 : 1;
}
