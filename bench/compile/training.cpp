// One instantiation of a training step: loss and every gradient of a Cogformer, clipping, AdamW. Compiled, never run: bench/compile_time.sh.
#include <cog/cog.hpp>

double use(cog::cogformer<float, cog::cpu>& model, cog::adamw<cog::cpu>& optimizer, cog::tensor<std::int64_t, 2, cog::cpu> const& tokens,
           cog::tensor<std::int64_t, 2, cog::cpu> const& targets) {
  auto [loss, gradients] = cog::value_and_grad(model, [&](auto& m) { return cross_entropy(m(tokens), targets); });
  optimizer.step(model, cog::clip_norm(model, gradients, 1.0));
  return loss.item();
}
