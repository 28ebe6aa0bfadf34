// One instantiation of attention: causal, signed, float, with its gradients. Compiled, never run: bench/compile_time.sh.
#include <cog/cog.hpp>

using qkv = cog::tensor<float, 4, cog::cpu>;

double use(qkv const& q, qkv const& k, qkv const& v) {
  auto const loss = [](auto const& a, auto const& b, auto const& c) { return sum(square(cog_attention(a, b, c, cog::causal))); };
  auto const [value, gradients] = cog::value_and_grad(loss, q, k, v);
  return value.item();
}
