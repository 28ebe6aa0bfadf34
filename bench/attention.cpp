// Attention, forward and backward, under both rules: floating-point operations a second and their share of the
// multiply-add peak of the threads used, measured in the same process. Forward counts 4 B H N^2 D operations (half of
// that when causal), backward 2.5 times as many. MB is the memory a call takes beside its arguments. `decoding` is one
// query over a cache: bytes of keys and values read a second, and their share of what a plain copy of as many reads and
// writes and of what a plain sum reads. Rows of bf16 also have their share of the rate of products of bf16 in pairs, by
// AMX or AVX512-BF16, where the processor has one.
#include <benchmark/benchmark.h>

#include <map>
#include <vector>

#include <cog/attention/attention.hpp>
#include <cog/backend/cpu/cpu.hpp>
#include <cog/random/random.hpp>

#include "machine.hpp"

namespace {

using namespace cog;

cpu::context const ctx;
double const peak = machine::fma_peak<float>(ctx), pair_peak = machine::pair_peak(ctx);

/// Seconds a call, and the memory it takes at most beside its arguments: results and work space.
struct measured {
  double seconds, megabytes;
};
template <class F>
measured measure(benchmark::State& state, F const& f) {
  f();
  double const before = static_cast<double>(ctx.memory().report().in_use);
  ctx.memory().reset_peak();
  double seconds = 0;
  for (auto _ : state) {
    double const start = machine::seconds();
    f();
    double const once = machine::seconds() - start;
    state.SetIterationTime(once);
    seconds += once;
  }
  return {seconds / static_cast<double>(state.iterations()),
          (static_cast<double>(ctx.memory().report().peak) - before) * 1e-6};
}

/// About as much work for every length: 16k positions in all, or one head.
template <class T>
struct problem {
  index_t n, d, heads;
  tensor<T, 4, cpu> q, k, v, dout;
  problem(index_t length, index_t width)
      : n(length),
        d(width),
        heads(std::max<index_t>(1, std::min<index_t>(16, 16384 / length))),
        q(eval(cast<T>(randn<float>(ctx, {1, heads, n, d}, 1)))),
        k(eval(cast<T>(randn<float>(ctx, {1, heads, n, d}, 2)))),
        v(eval(cast<T>(randn<float>(ctx, {1, heads, n, d}, 3)))),
        dout(eval(cast<T>(randn<float>(ctx, {1, heads, n, d}, 4)))) {}
  double operations(bool causal_mask) const {
    return 4.0 * static_cast<double>(heads * n * n * d) * (causal_mask ? 0.5 : 1.0);
  }
};

template <class T>
void report(benchmark::State& state, double operations, measured const& m) {
  state.counters["GF/s"] = operations / m.seconds * 1e-9;
  state.counters["share_of_peak"] = operations / m.seconds / peak;
  if (std::same_as<T, bf16> && pair_peak > 0) state.counters["share_of_pair_peak"] = operations / m.seconds / pair_peak;
  state.counters["MB"] = m.megabytes;
}

template <class Rule, class T, class Mask>
void forward(benchmark::State& state, Mask const& mask) {
  problem<T> const x(state.range(0), state.range(1));
  auto const m = measure(state, [&] { benchmark::DoNotOptimize(attention_forward<Rule>(x.q, x.k, x.v, mask)); });
  report<T>(state, x.operations(std::is_same_v<Mask, causal_type>), m);
}
template <class Rule, class T, class Mask>
void backward(benchmark::State& state, Mask const& mask) {
  problem<T> const x(state.range(0), state.range(1));
  auto const f = attention_forward<Rule>(x.q, x.k, x.v, mask);
  auto const m = measure(state, [&] {
    benchmark::DoNotOptimize(attention_backward<Rule>(x.q, x.k, x.v, f.out, f.logsumexp, x.dout, mask));
  });
  report<T>(state, 2.5 * x.operations(std::is_same_v<Mask, causal_type>), m);
}
template <class Rule, class T>
void decoding(benchmark::State& state, index_t heads, index_t key_heads) {
  index_t const n = state.range(0), d = state.range(1);
  tensor<T, 4, cpu> const q = cast<T>(randn<float>(ctx, {1, heads, 1, d}, 1));
  tensor<T, 4, cpu> const k = cast<T>(randn<float>(ctx, {1, key_heads, n, d}, 2)),
                          v = cast<T>(randn<float>(ctx, {1, key_heads, n, d}, 3));
  auto const decode = [&] { benchmark::DoNotOptimize(attention_forward<Rule>(q, k, v, causal)); };
  double const bytes = static_cast<double>(2 * key_heads * n * d) * sizeof(T);
  auto const size = static_cast<std::size_t>(bytes);
  static std::map<double, std::pair<double, double>> known;  // copying and reading
  auto const [at, fresh] = known.try_emplace(bytes);
  if (fresh) at->second = {machine::copy_bandwidth(ctx, size), machine::read_bandwidth(ctx, size)};
  auto [copy, read] = at->second;
  double seconds = 0;
  if (size > std::size_t{1} << 23) {  // beyond what a core has for itself
    machine::in_turn turn(ctx, size);
    for (auto _ : state) {
      double const once = turn(decode);
      state.SetIterationTime(once);
      seconds += once;
    }
    seconds /= static_cast<double>(state.iterations());
    copy = turn.copy_rate();
  } else {
    seconds = measure(state, decode).seconds;
  }
  state.counters["GB/s"] = bytes / seconds * 1e-9;
  state.counters["share_of_copy"] = bytes / seconds / copy;
  state.counters["share_of_read"] = bytes / seconds / read;
}

using shapes = std::vector<std::vector<std::int64_t>>;
void add(char const* name, shapes const& all, benchmark::TimeUnit unit, void (*run)(benchmark::State&)) {
  auto* b = benchmark::RegisterBenchmark(name, run)->ArgNames({"N", "D"})->UseManualTime()->Unit(unit);
  for (auto const& shape : all) b->Args(shape);
}

bool const added = [] {
  using state = benchmark::State;
  shapes const all{{128, 64}, {512, 64}, {2048, 64}, {8192, 64}, {128, 128}, {512, 128}, {2048, 128}, {8192, 128}};
  shapes const one{{2048, 64}}, of_bf16{{2048, 64}, {8192, 64}, {2048, 128}}, one_head{{16384, 64}}, caches{{512, 64}, {32768, 64}};
  auto const ms = benchmark::kMillisecond, us = benchmark::kMicrosecond;
  add("forward softmax", all, ms, [](state& s) { forward<softmax_rule, float>(s, no_mask); });
  add("forward cog", all, ms, [](state& s) { forward<cog_rule, float>(s, no_mask); });
  add("forward softmax causal", all, ms, [](state& s) { forward<softmax_rule, float>(s, causal); });
  add("forward cog causal", all, ms, [](state& s) { forward<cog_rule, float>(s, causal); });
  add("backward softmax", all, ms, [](state& s) { backward<softmax_rule, float>(s, no_mask); });
  add("backward cog", all, ms, [](state& s) { backward<cog_rule, float>(s, no_mask); });
  add("backward softmax causal", all, ms, [](state& s) { backward<softmax_rule, float>(s, causal); });
  add("backward cog causal", all, ms, [](state& s) { backward<cog_rule, float>(s, causal); });
  add("forward cog, one head", one_head, ms, [](state& s) { forward<cog_rule, float>(s, no_mask); });
  add("backward cog, one head", one_head, ms, [](state& s) { backward<cog_rule, float>(s, no_mask); });
  add("forward softmax bf16", of_bf16, ms, [](state& s) { forward<softmax_rule, bf16>(s, no_mask); });
  add("forward cog bf16", of_bf16, ms, [](state& s) { forward<cog_rule, bf16>(s, no_mask); });
  add("backward softmax bf16", of_bf16, ms, [](state& s) { backward<softmax_rule, bf16>(s, no_mask); });
  add("backward cog bf16", of_bf16, ms, [](state& s) { backward<cog_rule, bf16>(s, no_mask); });
  add("forward cog half", one, ms, [](state& s) { forward<cog_rule, half>(s, no_mask); });
  add("decoding, 8 heads", caches, us, [](state& s) { decoding<cog_rule, float>(s, 8, 8); });
  add("decoding, 8 heads of 2 key heads", caches, us, [](state& s) { decoding<cog_rule, float>(s, 8, 2); });
  add("decoding, 8 heads, bf16", caches, us, [](state& s) { decoding<cog_rule, bf16>(s, 8, 8); });
  return true;
}();

}  // namespace
