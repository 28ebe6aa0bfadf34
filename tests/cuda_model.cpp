// A whole model on the GPU backend against plain loops: loss, every gradient, cached decoding, training in both precisions.
#include "conformance.hpp"
#include "cuda.hpp"

#include <cog/models/cogformer.hpp>
#include <cog/models/generate.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>

using namespace cog;

namespace {

template <class T, class Context>
auto small_model(Context const& c) {
  cogformer<T, typename Context::backend_type> m(
      c, {.vocab_size = 37, .n_layers = 3, .max_seq_length = 24, .dim = 16, .n_heads = 4, .head_dim = 8, .hidden_dim = 20, .n_key_heads = 2});
  m.initialise(5);
  return m;
}

template <class Context>
auto some_tokens(Context const& c, std::uint64_t seed) {
  return randint<std::int32_t>(c, {3, 13}, 0, 37, seed);
}

}  // namespace

TEST_CASE("gpu: a model's loss and gradients") {
  auto const one_type = []<class T>(T, double tolerance) {
    conformance::agree(gpu(), "cogformer", tolerance, [](auto const& c) {
      auto m = small_model<T>(c);
      auto const tokens = some_tokens(c, 1), targets = some_tokens(c, 2);
      auto const [loss, g] = value_and_grad(m, [&](auto& r) { return cross_entropy(r(tokens), targets); });
      auto const& block = m.layers[1];
      return std::tuple(loss, g(m.embedding.weight), g(m.output.weight), g(block.attention.qw), g(block.attention.vw), g(block.ffn_norm.weight));
    });
  };
  one_type(float{}, 2e-4);
  one_type(bf16{}, 0.05);
}

TEST_CASE("gpu: cached decoding gives what prefill gives") {
  auto const m = small_model<float>(gpu());
  auto const tokens = some_tokens(gpu(), 3);
  auto const whole = m(tokens).to_vector();
  auto cache = m.make_cache(3);
  std::vector<float> last;
  for (index_t i = 0; i < 13; ++i) last = eval(m(slice(tokens, 1, i, i + 1), cache)).to_vector();
  for (index_t b = 0; b < 3; ++b)
    for (index_t v = 0; v < 37; ++v)
      CHECK(last[static_cast<std::size_t>(b * 37 + v)] == Approx(whole[static_cast<std::size_t>((b * 13 + 12) * 37 + v)]).margin(2e-5));
}

TEST_CASE("gpu: a model learns, in float and in bf16 with master copies, and nothing is allocated in a warm step") {
  auto const train = []<class T>(T) {
    cog::cuda::context const ctx;
    auto m = small_model<T>(ctx);
    adamw<cog::cuda> optimizer(m);
    auto const tokens = some_tokens(ctx, 1), targets = some_tokens(ctx, 2);
    double first = 0, last = 0;
    for (int step = 0; step < 25; ++step) {
#if defined(COG_EMULATED_GPU)
      auto const mallocs = emulated::count().mallocs;
#endif
      auto const [loss, g] = value_and_grad(m, [&](auto& r) { return cross_entropy(r(tokens), targets); });
      optimizer.step(m, clip_norm(m, g, 1.0), 0.01);
      last = static_cast<double>(loss.item());
      if (step == 0) first = last;
#if defined(COG_EMULATED_GPU)
      if (step >= 2) CHECK(emulated::count().mallocs == mallocs);
#endif
    }
    INFO(first << " to " << last);
    CHECK(last < 0.5 * first);
  };
  train(float{});
  train(bf16{});
}

TEST_CASE("gpu: a captured training step, replayed, is as many plain steps, bit for bit") {
  auto const one_type = []<class T>(T) {
    auto const train = [](bool captured) {
      cog::cuda::context const ctx;
      auto m = small_model<T>(ctx);
      adamw<cog::cuda> optimizer(m, {.weight_decay = 0.1});
      learning_rate const rate{.peak = 0.02, .floor = 0.001, .warmup = 3, .steps = 7};
      auto const tokens = eval(some_tokens(ctx, 1) * 1), targets = some_tokens(ctx, 2);
      auto const norm = zeros<double>(ctx, extents<0>{});
      auto const step = [&] {
        auto const [loss, g] = value_and_grad(m, [&](auto& r) { return cross_entropy(r(tokens), targets); });
        optimizer.step(m, clip_norm(m, g, 0.5, norm), rate);
      };
      step();
      auto const go_on = [&](auto const& next) {
        for (std::uint64_t i = 0; i < 6; ++i) {
          tokens.assign(some_tokens(ctx, 10 + i));
          next();
        }
      };
      if (captured) {
        cog::cuda::graph const graph(ctx, step);
        go_on([&] { graph.launch(); });
      } else {
        go_on(step);
      }
      CHECK(optimizer.steps() == 7);
      return std::tuple(norm.item(), m.embedding.weight.to_vector(), m.layers[2].attention.ow.to_vector(), m.output.weight.to_vector());
    };
    CHECK(train(true) == train(false));
  };
  one_type(float{});
  one_type(bf16{});
}

TEST_CASE("gpu: captured decoding, replayed, is plain decoding") {
  cog::cuda::context const ctx;
  auto const m = small_model<float>(ctx);
  auto const prompt = some_tokens(ctx, 3);
  auto const decode = [&](auto const& counted_or_not) {
    auto cache = m.make_cache(3, 20);
    (void)m(prompt, cache);
    auto const token = full<std::int32_t>(ctx, {3, 1}, 5);
    auto const logits = zeros<float>(ctx, {3, 37});
    auto const step = [&](auto& to) {
      logits.assign(select(eval(m(token, to)), 1, 0));
      token.assign(unsqueeze(eval(cast<std::int32_t>(argmax(logits, -1))), -1));
    };
    counted_or_not(cache, step);
    return std::pair(logits.to_vector(), token.to_vector());
  };
  auto const plain = decode([](auto& cache, auto const& step) {
    counted_cogformer_cache counted(cache);
    for (int i = 0; i < 5; ++i) step(counted);
    CHECK(counted.length.item() == 18);
  });
  auto const captured = decode([&](auto& cache, auto const& step) {
    counted_cogformer_cache counted(cache);
    step(counted);
    cog::cuda::graph const graph(ctx, [&] { step(counted); });
    for (int i = 0; i < 4; ++i) graph.launch();
    CHECK(counted.length.item() == 18);
  });
  CHECK(captured == plain);
  auto const by_host = decode([](auto& cache, auto const& step) {
    for (int i = 0; i < 5; ++i) step(cache);
  });
  CHECK(captured.second == by_host.second);
  for (std::size_t i = 0; i < plain.first.size(); ++i) CHECK(plain.first[i] == Approx(by_host.first[i]).margin(1e-5));
}

TEST_CASE("gpu: loss and gradients are captured in a graph, without a hidden wait") {
  cog::cuda::context const ctx;
  auto m = small_model<float>(ctx);
  auto const tokens = eval(some_tokens(ctx, 1) * 1), targets = some_tokens(ctx, 2);
  auto kept = zeros<float>(ctx, {16, 16});
  auto value = zeros<float>(ctx, {1});
  auto const step = [&] {
    auto const [loss, g] = value_and_grad(m, [&](auto& r) { return cross_entropy(r(tokens), targets); });
    value.assign(unsqueeze(loss, 0));
    kept.assign(slice(g(m.layers[0].attention.ow), 0, 0, 16));
  };
  step();
  auto const expected = kept.to_vector();
  cog::cuda::graph const graph(ctx, step);
  kept.assign(0);
  graph.launch();
  CHECK(kept.to_vector() == expected);
  tokens.assign(some_tokens(ctx, 7));
  graph.launch();
  auto const replayed = value.to_vector();
  step();
  CHECK(value.to_vector() == replayed);
}
