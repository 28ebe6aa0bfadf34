// Everything that runs on several threads, for ThreadSanitizer: each kind of kernel with work for all of them, a training step,
// handles that are shared between threads. Results are those of one thread, bit for bit.
#include "support.hpp"

#include <future>

#include <cog/models/cogformer.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/clip.hpp>

using namespace test;

namespace {

cog::cpu::context const one{{.threads = 1}}, four{{.threads = 4}};

/// f on four threads gives the bits that it gives on one.
template <class F>
void check_bits(F const& f) {
  CHECK(f(four) == f(one));
}

cog::cogformer_config const small{.vocab_size = 11, .n_layers = 3, .max_seq_length = 96, .dim = 16, .n_heads = 4, .head_dim = 4,
                                  .hidden_dim = 24, .norm_eps = 1e-6, .attn_type = cog::attn_type::np, .n_key_heads = 2};

/// The parameters after three steps, one behind the other.
std::vector<float> trained(cog::cpu::context const& ctx, std::uint64_t seed) {
  cog::cogformer<float, cog::cpu> model(ctx, small);
  model.initialise(seed, 0.3);
  cog::adamw<cog::cpu> optimizer(model, {.weight_decay = 0.1});
  for (std::uint64_t step = 0; step < 3; ++step) {
    auto const tokens = cog::randint<std::int64_t>(ctx, {2, 80}, 0, small.vocab_size, seed, step);
    auto const targets = cog::randint<std::int64_t>(ctx, {2, 80}, 0, small.vocab_size, seed, step + 100);
    auto const result = cog::value_and_grad(model, [&](auto& m) { return cog::cross_entropy(m(tokens), targets); });
    optimizer.step(model, cog::clip_norm(model, result.gradients, 1.0), 1e-2);
  }
  std::vector<float> all;
  cog::for_each_parameter(model, [&](auto const&, auto const& x) {
    auto const values = x.to_vector();
    all.insert(all.end(), values.begin(), values.end());
  });
  return all;
}

}  // namespace

TEST_CASE("training steps") {
  check_bits([](auto const& ctx) { return trained(ctx, 1); });
}

TEST_CASE("training in several threads on one context") {
  auto const want = std::array{trained(one, 1), trained(one, 2)};
  std::vector<std::future<bool>> right;
  for (std::size_t t = 0; t < 4; ++t)
    right.push_back(std::async(std::launch::async, [&want, t] { return trained(four, 1 + t % 2) == want[t % 2]; }));
  for (auto& r : right) CHECK(r.get());
}

TEST_CASE("one model in several threads: inference, decoding and gradients at once") {
  cog::cogformer<float, cog::cpu> model(four, small);
  model.initialise(5, 0.3);
  auto const tokens = cog::randint<std::int64_t>(four, {2, 40}, 0, small.vocab_size, 6);
  auto const infer = [&] { return model(tokens).to_vector(); };
  auto const decode = [&] {
    auto cache = model.make_cache(2);
    model(cog::slice(tokens, 1, 0, 30), cache);
    return model(cog::slice(tokens, 1, 30, 40), cache).to_vector();
  };
  auto const differentiate = [&] {
    auto const result = cog::value_and_grad(model, [&](auto& m) { return cog::cross_entropy(m(tokens), tokens); });
    return result.gradients(model.embedding.weight).to_vector();
  };
  auto const want = std::array{infer(), decode(), differentiate()};
  std::vector<std::future<bool>> right;
  for (std::size_t t = 0; t < 6; ++t)
    right.push_back(std::async(std::launch::async, [&, t] {
      bool same = true;
      for (int round = 0; round < 3; ++round) same = same && (t % 3 == 0 ? infer() : t % 3 == 1 ? decode() : differentiate()) == want[t % 3];
      return same;
    }));
  for (auto& r : right) CHECK(r.get());
}

TEST_CASE("element-wise, row-wise, reductions, products, indexed access: enough for every thread") {
  check_bits([](auto const& ctx) {
    auto const x = cog::randn<float>(ctx, {200, 301}, 1), y = cog::randn<float>(ctx, {301, 200}, 2);
    cog::tensor z = cog::gelu(x) * cog::transposed(y) + 1;
    z.assign(z * x);
    return z.to_vector();
  });
  check_bits([](auto const& ctx) {
    auto const x = cog::randn<float>(ctx, {200, 301}, 1);
    return cog::eval(cog::softmax(x) + cog::rms_norm(x) * cog::unsqueeze(cog::row_logsumexp(x), 1)).to_vector();
  });
  check_bits([](auto const& ctx) {
    auto const x = cog::randn<float>(ctx, {500, 301}, 1);
    auto sums = cog::sum(x, 0).to_vector();
    sums.push_back(cog::sum(x).item());
    sums.push_back(cog::variance(cog::transposed(x)).item());
    sums.push_back(static_cast<float>(cog::argmax(x).item()));
    return sums;
  });
  check_bits([](auto const& ctx) {
    auto const x = cog::randn<float>(ctx, {200, 301}, 1), y = cog::randn<float>(ctx, {301, 150}, 2);
    auto const b = cog::randn<float>(ctx, {150}, 3);
    cog::tensor z = cog::relu(cog::matmul(x, y) + b);
    return cog::eval(cog::matmul(cog::expand(z, {6, 200, 150}), cog::transposed(z))).to_vector();
  });
  check_bits([](auto const& ctx) {
    auto table = cog::randn<float>(ctx, {50, 64}, 1);
    auto const ids = cog::randint<std::int32_t>(ctx, {1000}, 0, 50, 2);
    auto const rows = cog::take(table, ids);
    cog::add_rows(table, ids, rows);
    return cog::cumulative_sum(cog::concatenate(0, table, rows, cog::top_k(rows, 64).values), 0).to_vector();
  });
}

TEST_CASE("a handle that another thread lets go: its storage is reused only after that thread's last look") {
  auto const z = cog::full<float>(one, {1000}, 3.0f);
  for (int round = 0; round < 50; ++round) {
    auto x = cog::full<float>(one, {1000}, 1.0f);
    auto* const before = x.data();
    std::thread reader([y = x, round]() mutable {
      bool const seen = cog::sum(y).item() == 1000;
      y = {};
      if (!seen) throw cog::error("round ", round);
    });
    while (x.storage_handle().owners() > 1) std::this_thread::yield();
    x = z + 1;  // in place: there is no other owner left
    CHECK(x.data() == before);
    reader.join();
  }
}
