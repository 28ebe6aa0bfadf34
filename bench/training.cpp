// Training steps of language models (bench/models.hpp): tokens a second, for both kinds of attention.
#include <benchmark/benchmark.h>

#include "machine.hpp"
#include "models.hpp"

namespace {

using namespace training;

template <class Model>
void measure(benchmark::State& state, cpu::context const& ctx, Model made, setting const& s) {
  loop train(std::move(made), s);
  train.step();
  double seconds = 0;
  for (auto _ : state) {
    double const start = machine::seconds();
    benchmark::DoNotOptimize(train.step());
    seconds += machine::seconds() - start;
  }
  // Multiply-adds: 6 a token for every element of a matrix product, and causal attention's half of 12 n dim a layer.
  index_t const tables = std::is_same_v<Model, gpt> ? s.context * s.dim : vocabulary * s.dim;
  double const per_token = 6.0 * static_cast<double>(parameter_count(train.model) - tables + s.layers * s.dim * s.context);
  double const rate = static_cast<double>(state.iterations()) * static_cast<double>(s.batch * s.context) / seconds;
  state.counters["tokens/s"] = rate;
  state.counters["parameters"] = static_cast<double>(parameter_count(train.model));
  state.counters["share_of_peak"] = rate * per_token / machine::fma_peak<float>(ctx);
  state.counters["peak_MB"] = static_cast<double>(ctx.memory().report().peak) * 1e-6;
}

bool const added = [] {
  auto const add = [](std::string const& name, auto const& make) {
    for (auto const& [kind_name, kind] : {std::pair("softmax", nn::attention_kind::softmax), std::pair("cog", nn::attention_kind::cog)})
      for (auto const& [size, s] : {std::pair("small", small), std::pair("medium", medium)})
        benchmark::RegisterBenchmark((name + " " + size + " " + kind_name).c_str(), [=](benchmark::State& state) {
          cpu::context const ctx;
          measure(state, ctx, make(ctx, s, kind), s);
        })->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  add("gpt", [](auto const& ctx, setting const& s, nn::attention_kind kind) { return gpt(ctx, s, kind); });
  add("cogformer", make_cogformer);
  return true;
}();

}  // namespace
