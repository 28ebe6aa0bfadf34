// Text: one token after another with a cache, by cogformers of bench/models.hpp. Weights read a second, as a share of what a copy reads.
#include <benchmark/benchmark.h>

#include <cog/models/generate.hpp>

#include "machine.hpp"
#include "models.hpp"

namespace {

using namespace training;

bool const added = [] {
  for (auto const& [rule, kind] : {std::pair("softmax", nn::attention_kind::softmax), std::pair("cog", nn::attention_kind::cog)})
    for (auto const& [size, s] : {std::pair("small", small), std::pair("medium", medium)})
      for (index_t const rows : {1, 16})
        benchmark::RegisterBenchmark((std::string("generate ") + size + " " + rule + "/rows:" + std::to_string(rows)).c_str(),
                                     [=, kind = kind, s = s](benchmark::State& state) {
          cpu::context const ctx;
          auto const model = make_cogformer(ctx, s, kind);
          double const weights = 4.0 * static_cast<double>(parameter_count(model));
          auto const prompt = randint<std::int64_t>(ctx, {rows, 8}, 0, vocabulary, 1);
          index_t const count = s.context - 8;
          double seconds = 0;
          for (auto _ : state) {
            double const start = machine::seconds();
            benchmark::DoNotOptimize(generate(model, prompt, {.max_tokens = count, .sampling = {.temperature = 0}}));
            seconds += machine::seconds() - start;
          }
          double const steps = static_cast<double>(state.iterations() * count);
          state.counters["tokens/s"] = static_cast<double>(rows) * steps / seconds;
          state.counters["share_of_copy"] = weights * steps / seconds / (machine::copy_bandwidth(ctx) / 2);
        })->UseRealTime()->Unit(benchmark::kMillisecond);
  return true;
}();

}  // namespace
