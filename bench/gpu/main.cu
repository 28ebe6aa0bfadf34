// The GPU backend against the device's own limits:   bench.gpu OUT.json [words]
#include "bench.hpp"

namespace gpu_bench {
namespace {

template <class T>
void element_wise(bench& b, char const* type) {
  index_t const rows = 1 << 14, columns = (index_t{1} << 30) / sizeof(T) / rows;
  auto const x = numbers<T>(b.ctx, {rows, columns}, 1), y = numbers<T>(b.ctx, {rows, columns}, 2);
  auto const row = cog::eval(cog::select(x, 0, 0) * 1);
  tensor<T, 2, cog::cuda> out;
  double const n = static_cast<double>(x.size()) * sizeof(T);
  std::string const of = std::string(" ") + type + ", 1 GiB";
  b.bytes("element-wise x * 2 + y" + of, 3 * n, [&] { out = x * 2 + y; });
  b.bytes("element-wise gelu(x) * row" + of, 2 * n, [&] { out = gelu(x) * row; });
  b.bytes("fuse tanh(x z) x + x z" + of, 3 * n, [&] { out = fuse([](auto p, auto z) { return tanh(p * z) * p + p * z; }, x, y); });
  b.bytes("sum over all" + of, n, [&] { (void)sum(x); });
  b.bytes("sum over rows" + of, n, [&] { (void)sum(x, 0); });
}

template <class T>
void row_wise(bench& b, char const* type) {
  for (index_t columns : {1024, 4096, 32768}) {
    index_t const rows = (index_t{1} << 30) / sizeof(T) / columns;
    auto const x = numbers<T>(b.ctx, {rows, columns}, 1);
    auto const w = cog::eval(cog::select(x, 0, 0) * 1);
    auto const labels = cog::randint<std::int64_t>(b.ctx, std::array<index_t, 1>{rows}, 0, columns, 3);
    tensor<T, 2, cog::cuda> out;
    double const n = static_cast<double>(x.size()) * sizeof(T);
    std::string const of = std::string(" ") + type + ", rows of " + std::to_string(columns);
    b.bytes("softmax" + of, 2 * n, [&] { out = softmax(x); });
    b.bytes("rms_norm" + of, 2 * n, [&] { out = rms_norm(x, w); });
    b.bytes("layer_norm" + of, 2 * n, [&] { out = layer_norm(x, w, w); });
    b.bytes("cross_entropy" + of, n, [&] { (void)cross_entropy_sum(x, labels); });
    b.bytes("cross_entropy, its gradient too," + of, 3 * n,
            [&] { (void)cog::value_and_grad([&](auto const& v) { return cross_entropy_sum(v, labels); }, x); });
  }
}

/// Each product beside cuBLASLt called directly for the same one.
void products(bench& b) {
  for (auto const [m, n, k] : {std::array<index_t, 3>{8192, 8192, 8192}, {32768, 768, 768}, {32768, 2304, 768}, {32768, 32000, 768}}) {
    std::string const of = " bf16, " + std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k);
    if (!b.wants("product" + of)) continue;
    auto const x = numbers<bf16>(b.ctx, {m, k}, 1), w = numbers<bf16>(b.ctx, {k, n}, 2), v = numbers<bf16>(b.ctx, {n, k}, 3);
    auto const bias = cog::eval(cog::select(v, 1, 0) * 1);
    auto direct_out = cog::empty<bf16>(b.ctx, {m, n});
    tensor<bf16, 2, cog::cuda> out;
    double const work = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    auto const beside = [&](std::string const& name, bool transposed_weights, bool epilogue, std::function<void()> const& f) {
      double const direct = direct_product(b, m, n, k, transposed_weights, epilogue ? bias.data() : nullptr)
                                .seconds(b, x.data(), transposed_weights ? v.data() : w.data(), direct_out.data());
      b.note(name + of, work, "TFLOP/s", 1e-12, b.seconds(f), work / direct, "cuBLASLt");
    };
    beside("product", false, false, [&] { out = matmul(x, w); });
    beside("product with transposed weights", true, false, [&] { out = matmul(x, transposed(v)); });
    beside("product, bias and gelu", false, true, [&] { out = gelu_tanh(matmul(x, w) + bias); });
  }
}

/// What an embedding of 32,000 words costs for 32,768 tokens, half of which are the same 100 words.
void indexed(bench& b) {
  if (!b.wants("rows by index")) return;
  index_t const count = 32768, words = 32000, width = 768;
  auto const table = numbers<bf16>(b.ctx, {words, width}, 1), rows = numbers<bf16>(b.ctx, {count, width}, 2);
  auto const any = cog::randint<std::int32_t>(b.ctx, std::array<index_t, 1>{count}, 0, words, 3);
  auto const frequent = cog::randint<std::int32_t>(b.ctx, std::array<index_t, 1>{count}, 0, 100, 4);
  auto const ids = cog::eval(where(cog::bernoulli(b.ctx, std::array<index_t, 1>{count}, 0.5, 5), any, frequent));
  double const n = 2.0 * static_cast<double>(count * width), all = 2.0 * static_cast<double>(words * width);
  tensor<bf16, 2, cog::cuda> out;
  b.bytes("rows by index, taken", 2 * n, [&] { out = take(table, ids); });
  auto sums = table;
  b.bytes("rows by index, added", n + 2 * all, [&] { add_rows(sums, ids, rows); });
}

/// The paper's 141 M model in bf16 with float master weights, context 2,048.
void training(bench& b, cog::attn_type kind, char const* name) {
  if (!b.wants(name)) return;
  cog::cogformer_config const config{.vocab_size = 32000, .n_layers = 12, .max_seq_length = 2048, .dim = 768, .n_heads = 12, .head_dim = 64, .hidden_dim = 2304,
                                     .attn_type = kind};
  index_t const batch = 16;
  cog::cogformer<bf16, cog::cuda> model(b.ctx, config);
  model.initialise(1);
  cog::adamw<cog::cuda> optimizer(model, {.weight_decay = 0.1});
  std::array<index_t, 2> const shape{batch, config.max_seq_length};
  auto const tokens = cog::randint<std::int32_t>(b.ctx, shape, 0, config.vocab_size, 1);
  auto const targets = cog::randint<std::int32_t>(b.ctx, shape, 0, config.vocab_size, 2);
  double const count = static_cast<double>(batch * config.max_seq_length);
  double const weights = static_cast<double>(parameter_count(model) - model.embedding.weight.size());
  double const work = count * (6 * weights + 6 * static_cast<double>(config.n_layers * config.max_seq_length * config.dim));  // causal: half of 12
  auto const measured = [&](std::string const& how, std::function<void()> const& f) {
    double const s = b.seconds(f);
    b.note(std::string(name) + how + ", tokens", count, "tokens/s", 1, s, 0, "");
    b.note(std::string(name) + how + ", model FLOP utilisation", work, "TFLOP/s", 1e-12, s, b.product, "product");
  };
  measured("", [&] {
    auto const [loss, g] = cog::value_and_grad(model, [&](auto& m) { return cross_entropy(m(tokens), targets); });
    optimizer.step(model, clip_norm(model, g, 1.0), 1e-4);
  });
  auto const norm = cog::zeros<double>(b.ctx, cog::extents<0>{});
  auto const alone = [&] {  // nothing of the host
    auto const [loss, g] = cog::value_and_grad(model, [&](auto& m) { return cross_entropy(m(tokens), targets); });
    optimizer.step(model, clip_norm(model, g, 1.0, norm), cog::learning_rate{1e-4});
  };
  alone();
  cog::cuda::graph const graph(b.ctx, alone);
  measured(", captured", [&] { graph.launch(); });
  std::printf("%s: at most %.1f GB\n", name, static_cast<double>(b.ctx.memory().report().peak) * 1e-9);
}

void decode(bench& b) {
  if (!b.wants("decode")) return;
  cog::cogformer_config const config{.vocab_size = 32000, .n_layers = 12, .max_seq_length = 2048, .dim = 768, .n_heads = 12, .head_dim = 64, .hidden_dim = 2304};
  cog::cogformer<bf16, cog::cuda> model(b.ctx, config);
  model.initialise(1);
  auto cache = model.make_cache(1);
  (void)model(cog::randint<std::int32_t>(b.ctx, std::array<index_t, 2>{1, 1000}, 0, 32000, 1), cache);
  auto const token = cog::full<std::int32_t>(b.ctx, {1, 1}, 7);
  double const read = 2.0 * static_cast<double>(parameter_count(model) - model.embedding.weight.size());
  auto logits = cog::eval(model(token, cache) * 1);
  b.bytes("decode, one token after 1,000, 141 M bf16, launched", read, [&] {
    cache.truncate(1000);
    logits = model(token, cache);
  });
  cache.truncate(1000);
  cog::counted_cogformer_cache counted(cache);
  auto const one = [&] {
    logits = model(token, counted);
    counted.length.assign(1000);
  };
  one();
  cog::cuda::graph const graph(b.ctx, one);
  b.bytes("decode, one token after 1,000, 141 M bf16, captured", read, [&] { graph.launch(); });
}

}  // namespace
}  // namespace gpu_bench

int main(int argc, char** argv) {
  using namespace gpu_bench;
  return run(argc, argv, [](bench& b) {
    element_wise<float>(b, "float");
    element_wise<bf16>(b, "bf16");
    row_wise<float>(b, "float");
    row_wise<bf16>(b, "bf16");
    products(b);
    indexed(b);
    training(b, cog::attn_type::np, "training step, 141 M cog");
    training(b, cog::attn_type::vanilla, "training step, 141 M softmax");
    decode(b);
  });
}
