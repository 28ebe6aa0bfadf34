// Element-wise and row-wise kernels: bytes that must move (each input read once, each output written once) a second,
// and their share of what a plain copy of the same size reaches in the same process: beyond the caches in turn with the kernel.
#include <benchmark/benchmark.h>

#include <map>

#include <cog/cog.hpp>

#include "machine.hpp"

namespace {

using namespace cog;

cpu::context const ctx;

double copy_rate(index_t bytes) {
  static std::map<index_t, double> known;
  auto const [at, fresh] = known.try_emplace(bytes, 0.0);
  if (fresh) at->second = machine::copy_bandwidth(ctx, static_cast<std::size_t>(bytes));
  return at->second;
}

/// f() computes something that must move `streams` arrays of n floats; it is run and reported.
template <class F>
void measure(benchmark::State& state, index_t n, int streams, F const& f) {
  f();
  double seconds = 0, copy = 0;
  auto const run = [&](auto const& timed) {
    for (auto _ : state) {
      double const once = timed();
      state.SetIterationTime(once);
      seconds += once;
    }
  };
  if (n * 4 > index_t{1} << 25) {
    machine::in_turn turn(ctx, static_cast<std::size_t>(n * 4));
    run([&] { return turn(f); });
    copy = turn.copy_rate();
  } else {
    copy = copy_rate(std::max<index_t>(n * 4, 1 << 16));
    run([&] {
      double const start = machine::seconds();
      f();
      return machine::seconds() - start;
    });
  }
  double const rate = 4.0 * streams * static_cast<double>(n) * static_cast<double>(state.iterations()) / seconds;
  state.counters["GB/s"] = rate * 1e-9;
  state.counters["copy_GB/s"] = copy * 1e-9;
  state.counters["share_of_copy"] = rate / copy;
}

void scale_and_shift(benchmark::State& state) {
  auto const x = randn<float>(ctx, {state.range(0)}, 1);
  tensor y = x * 2 + 1;
  measure(state, state.range(0), 2, [&] { y = x * 2 + 1; });
}
void gelu_of_sum(benchmark::State& state) {
  auto const x = randn<float>(ctx, {state.range(0)}, 1), z = randn<float>(ctx, {state.range(0)}, 2);
  tensor y = x + z;
  measure(state, state.range(0), 3, [&] { y = gelu(x + z); });
}
void fused_gradient(benchmark::State& state) {
  auto const x = randn<float>(ctx, {state.range(0)}, 1), z = randn<float>(ctx, {state.range(0)}, 2);
  auto t = std::make_shared<tape>();
  measure(state, state.range(0), 5 + 3, [&] {
    auto const [v, g] = value_and_grad([](auto const& a, auto const& b) { return sum(fuse([](auto u, auto w) { return tanh(u * w) * u + u * w; }, a, b)); }, x, z);
    benchmark::DoNotOptimize(g);
  });
}
void broadcast_row(benchmark::State& state) {
  index_t const n = state.range(0);
  auto const x = randn<float>(ctx, {n / 512, 512}, 1);
  auto const row = randn<float>(ctx, {512}, 2);
  tensor y = x * row;
  measure(state, n, 2, [&] { y = x * row; });
}
void transposed_copy(benchmark::State& state) {
  index_t const n = state.range(0);
  auto const x = transposed(randn<float>(ctx, {512, n / 512}, 1));
  auto y = x.copy();
  measure(state, n, 2, [&] { y.assign(x); });
}
void softmax_rows(benchmark::State& state) {
  auto const x = randn<float>(ctx, {state.range(0) / 512, 512}, 1);
  measure(state, state.range(0), 2, [&] { benchmark::DoNotOptimize(softmax(x)); });
}
void rms_norm_rows(benchmark::State& state) {
  auto const x = randn<float>(ctx, {state.range(0) / 512, 512}, 1);
  auto const w = ones<float>(ctx, {512});
  measure(state, state.range(0), 2, [&] { benchmark::DoNotOptimize(rms_norm(x, w)); });
}
void layer_norm_rows(benchmark::State& state) {
  auto const x = randn<float>(ctx, {state.range(0) / 512, 512}, 1);
  auto const w = ones<float>(ctx, {512}), b = zeros<float>(ctx, {512});
  measure(state, state.range(0), 2, [&] { benchmark::DoNotOptimize(layer_norm(x, w, b)); });
}
void sum_all(benchmark::State& state) {
  auto const x = randn<float>(ctx, {state.range(0)}, 1);
  measure(state, state.range(0), 1, [&] { benchmark::DoNotOptimize(sum(x)); });
}
void sum_of_columns(benchmark::State& state) {
  auto const x = randn<float>(ctx, {state.range(0) / 512, 512}, 1);
  measure(state, state.range(0), 1, [&] { benchmark::DoNotOptimize(sum(x, 0)); });
}
void normal_numbers(benchmark::State& state) {
  measure(state, state.range(0), 1, [&] { benchmark::DoNotOptimize(randn<float>(ctx, {state.range(0)}, 3)); });
}

void sizes(benchmark::internal::Benchmark* b) { b->Arg(1 << 16)->Arg(1 << 20)->Arg(1 << 25)->UseManualTime()->Unit(benchmark::kMicrosecond); }

BENCHMARK(scale_and_shift)->Apply(sizes);
BENCHMARK(gelu_of_sum)->Apply(sizes);
BENCHMARK(fused_gradient)->Apply(sizes);
BENCHMARK(broadcast_row)->Apply(sizes);
BENCHMARK(transposed_copy)->Apply(sizes);
BENCHMARK(softmax_rows)->Apply(sizes);
BENCHMARK(rms_norm_rows)->Apply(sizes);
BENCHMARK(layer_norm_rows)->Apply(sizes);
BENCHMARK(sum_all)->Apply(sizes);
BENCHMARK(sum_of_columns)->Apply(sizes);
BENCHMARK(normal_numbers)->Apply(sizes);

}  // namespace
