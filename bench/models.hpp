// The training steps that are measured: forward, backward, clipping, AdamW. small is nanoGPT's character setting (4 layers, 4 heads,
// width 128, context 64, batch 12); medium has nanoGPT's 10 million parameters (6 layers, 6 heads, width 384, context 256), batch 4.
// gpt is nanoGPT's model (learned positions, LayerNorm, GELU, tied embeddings); cogformer the one of models/cogformer.hpp.
#pragma once

#include <string>

#include <cog/cog.hpp>
#include <cog/models/cogformer.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>

namespace training {

using namespace cog;

struct setting {
  index_t layers, heads, dim, context, batch;
};
inline constexpr setting small{4, 4, 128, 64, 12}, medium{6, 6, 384, 256, 4};
inline constexpr index_t vocabulary = 256;

/// nanoGPT's model; tokens [b, n] -> logits [b, n, vocabulary].
struct gpt {
  using block = nn::transformer_block<nn::attention<float, cpu>, nn::gelu_mlp<float, cpu>, nn::layer_norm<float, cpu>>;
  nn::embedding<float, cpu> wte, wpe;
  std::vector<block> layers;
  nn::layer_norm<float, cpu> norm;

  gpt(cpu::context const& ctx, setting const& s, nn::attention_kind kind)
      : wte(ctx, vocabulary, s.dim), wpe(ctx, s.context, s.dim), norm(ctx, s.dim) {
    for (index_t l = 0; l < s.layers; ++l)
      layers.push_back({{ctx, {s.dim, s.heads, s.dim / s.heads}, kind}, {ctx, s.dim, 4 * s.dim}, {ctx, s.dim}, {ctx, s.dim}});
    nn::initialise(*this, 1, nn::normal{0.02});
  }
  void visit(auto&& f) {
    f("wte", wte);
    f("wpe", wpe);
    f("layers", layers);
    f("norm", norm);
  }
  auto operator()(auto const& tokens) const {
    auto x = eval(wte(tokens) + slice(wpe.weight, 0, 0, tokens.extents()[1]));
    for (auto const& layer : layers) x = layer(x, causal);
    return eval(matmul(norm(x), transposed(wte.weight)));
  }
};

inline cogformer<float, cpu> make_cogformer(cpu::context const& ctx, setting const& s, nn::attention_kind kind) {
  cogformer_config c;
  c.vocab_size = vocabulary;
  c.n_layers = s.layers;
  c.max_seq_length = s.context;
  c.dim = s.dim;
  c.n_heads = s.heads;
  c.head_dim = s.dim / s.heads;
  c.hidden_dim = s.dim == 128 ? 344 : 8 * s.dim / 3;
  c.attn_type = kind == nn::attention_kind::cog ? attn_type::np : attn_type::vanilla;
  cogformer<float, cpu> model(ctx, c);
  model.initialise(1);
  return model;
}

/// A model, its optimiser and a batch.
template <class Model>
struct loop {
  Model model;
  adamw<cpu> optimizer;
  tensor<std::int64_t, 2, cpu> tokens, targets;

  loop(Model made, setting const& s)
      : model(std::move(made)),
        optimizer(model, {.learning_rate = 1e-3}),
        tokens(randint<std::int64_t>(optimizer_context(), {s.batch, s.context}, 0, vocabulary, 1)),
        targets(randint<std::int64_t>(optimizer_context(), {s.batch, s.context}, 0, vocabulary, 2)) {}

  double step() {
    auto [loss, gradients] = value_and_grad(model, [&](auto& m) { return cross_entropy(m(tokens), targets); });
    optimizer.step(model, clip_norm(model, gradients, 1.0));
    return loss.item();
  }

 private:
  cpu::context optimizer_context() {
    cpu::context const* found = nullptr;
    for_each_distinct_parameter(model, [&](auto const&, auto& p) { found = &p.context(); });
    return *found;
  }
};
template <class Model>
loop(Model, setting const&) -> loop<Model>;

}  // namespace training
