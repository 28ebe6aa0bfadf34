// One training step of a language model (forward, backward, clipping, AdamW): tokens a second, for both kinds of attention.
// small is nanoGPT's character setting (4 layers, 4 heads, width 128, context 64, batch 12); medium has 10 million parameters.
#include <benchmark/benchmark.h>

#include <cog/cog.hpp>
#include <cog/models/cogformer.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>

#include "machine.hpp"

namespace {

using namespace cog;

void step(benchmark::State& state, cogformer_config config, index_t batch, index_t context) {
  cpu::context const ctx;
  cogformer<float, cpu> model(ctx, config);
  model.initialise(1);
  adamw<cpu> optimizer(model, {.learning_rate = 1e-3});
  auto const tokens = randint<std::int32_t>(ctx, {batch, context}, 0, config.vocab_size, 1);
  auto const targets = randint<std::int32_t>(ctx, {batch, context}, 0, config.vocab_size, 2);
  auto const one = [&] {
    auto [loss, gradients] = value_and_grad(model, [&](auto& m) { return cross_entropy(m(tokens), targets); });
    optimizer.step(model, clip_norm(model, gradients, 1.0));
    benchmark::DoNotOptimize(loss.item());
  };
  one();
  double seconds = 0;
  for (auto _ : state) {
    double const start = machine::seconds();
    one();
    seconds += machine::seconds() - start;
  }
  double const steps = static_cast<double>(state.iterations());
  double const per_token = 6.0 * static_cast<double>(parameter_count(model) - config.vocab_size * config.dim) +
                           6.0 * static_cast<double>(config.n_layers * config.n_heads * config.head_dim * context);  // causal: half of 12
  double const tokens_a_second = steps * static_cast<double>(batch * context) / seconds;
  state.counters["tokens/s"] = tokens_a_second;
  state.counters["parameters"] = static_cast<double>(parameter_count(model));
  state.counters["share_of_peak"] = tokens_a_second * per_token / machine::fma_peak<float>(ctx);
  state.counters["peak_MB"] = static_cast<double>(ctx.memory().report().peak) * 1e-6;
}

cogformer_config shape(index_t layers, index_t heads, index_t dim, index_t hidden, index_t context, attn_type kind) {
  cogformer_config c;
  c.vocab_size = 256;
  c.n_layers = layers;
  c.max_seq_length = context;
  c.dim = dim;
  c.n_heads = heads;
  c.head_dim = dim / heads;
  c.hidden_dim = hidden;
  c.attn_type = kind;
  return c;
}

void small_cog(benchmark::State& s) { step(s, shape(4, 4, 128, 344, 64, attn_type::np), 12, 64); }
void small_softmax(benchmark::State& s) { step(s, shape(4, 4, 128, 344, 64, attn_type::vanilla), 12, 64); }
void medium_cog(benchmark::State& s) { step(s, shape(6, 6, 384, 1024, 256, attn_type::np), 4, 256); }
void medium_softmax(benchmark::State& s) { step(s, shape(6, 6, 384, 1024, 256, attn_type::vanilla), 4, 256); }

BENCHMARK(small_cog)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(small_softmax)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(medium_cog)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(medium_softmax)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
