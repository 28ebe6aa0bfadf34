// Products of the shapes that language models make: floating-point operations a second and their share of the multiply-add peak
// of the threads used, measured in the same process. Those of bf16 may exceed it, where the processor multiplies pairs.
#include <benchmark/benchmark.h>

#include <cog/cog.hpp>

#include "machine.hpp"

namespace {

using namespace cog;

cpu::context const ctx;
double const peak = machine::fma_peak<float>(ctx);

template <class F>
void measure(benchmark::State& state, double operations, F const& f) {
  f();
  double seconds = 0;
  for (auto _ : state) {
    double const start = machine::seconds();
    f();
    seconds += machine::seconds() - start;
  }
  double const rate = operations * static_cast<double>(state.iterations()) / seconds;
  state.counters["GF/s"] = rate * 1e-9;
  state.counters["peak_GF/s"] = peak * 1e-9;
  state.counters["share_of_peak"] = rate / peak;
}

// x W, x W^T and x^T G: the forward product of a layer and the two of its gradient.
template <class T>
void forward(benchmark::State& state) {
  index_t const m = state.range(0), k = state.range(1), n = state.range(2);
  tensor<T, 2, cpu> const x = cast<T>(randn<float>(ctx, {m, k}, 1)), w = cast<T>(randn<float>(ctx, {k, n}, 2));
  measure(state, 2.0 * static_cast<double>(m * k * n), [&] { benchmark::DoNotOptimize(evaluate(matmul(x, w))); });
}
void input_gradient(benchmark::State& state) {
  index_t const m = state.range(0), k = state.range(1), n = state.range(2);
  auto const g = randn<float>(ctx, {m, n}, 1), w = randn<float>(ctx, {k, n}, 2);
  measure(state, 2.0 * static_cast<double>(m * k * n), [&] { benchmark::DoNotOptimize(evaluate(matmul(g, transposed(w)))); });
}
void weight_gradient(benchmark::State& state) {
  index_t const m = state.range(0), k = state.range(1), n = state.range(2);
  auto const x = randn<float>(ctx, {m, k}, 1), g = randn<float>(ctx, {m, n}, 2);
  measure(state, 2.0 * static_cast<double>(m * k * n), [&] { benchmark::DoNotOptimize(evaluate(matmul(transposed(x), g))); });
}
void bias_and_gelu(benchmark::State& state) {
  index_t const m = state.range(0), k = state.range(1), n = state.range(2);
  auto const x = randn<float>(ctx, {m, k}, 1), w = randn<float>(ctx, {k, n}, 2);
  auto const b = randn<float>(ctx, {n}, 3);
  measure(state, 2.0 * static_cast<double>(m * k * n), [&] { benchmark::DoNotOptimize(evaluate(gelu(matmul(x, w) + b))); });
}
void one_token(benchmark::State& state) {
  index_t const k = state.range(0), n = state.range(1);
  auto const x = randn<float>(ctx, {1, k}, 1), w = randn<float>(ctx, {k, n}, 2);
  measure(state, 2.0 * static_cast<double>(k * n), [&] { benchmark::DoNotOptimize(evaluate(matmul(x, w))); });
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "in", "out"})
      ->Args({768, 128, 128})
      ->Args({768, 128, 512})
      ->Args({1024, 384, 384})
      ->Args({1024, 384, 1024})
      ->Args({2048, 768, 768})
      ->Args({2048, 768, 2304})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}
BENCHMARK(forward<float>)->Name("forward")->Apply(shapes);
BENCHMARK(forward<bf16>)->Name("forward_bf16")->Apply(shapes);
BENCHMARK(input_gradient)->Apply(shapes);
BENCHMARK(weight_gradient)->Apply(shapes);
BENCHMARK(bias_and_gelu)->Apply(shapes);
BENCHMARK(one_token)->Args({768, 768})->Args({768, 32000})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
