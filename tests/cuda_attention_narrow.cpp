// Attention of bf16 and half on the GPU.
#include "cuda_attention.hpp"

using namespace cuda_attention;

TEST_CASE("gpu attention of bf16: lengths around tile edges") { in_every_order([] { lengths<bf16>(); }); }
TEST_CASE("gpu attention of bf16: widths") {
  widths<bf16>({{8, 8}, {40, 24}, {1, 3}, {64, 64}, {80, 80}, {128, 128}, {130, 60}, {72, 136}, {256, 200}, {300, 16}});
}
TEST_CASE("gpu attention of bf16: wide heads where a block has less shared memory than their kernels want") {
#if defined(COG_EMULATED_GPU)
  problem<bf16> const x({.queries = 20, .keys = 70, .width = 256, .value_width = 200});
  auto const run = [&](cog::cuda::context const& ctx) {
    auto const q = x.q.device.to(ctx), k = x.k.device.to(ctx), v = x.v.device.to(ctx), g = x.dout.device.to(ctx);
    auto const f = attention_forward<cog_rule>(q, k, v, causal);
    auto const d = attention_backward<cog_rule>(q, k, v, f.out, f.logsumexp, g, causal);
    return std::array{eval(cast<double>(f.out)).to(loops_context{}), eval(cast<double>(d.dq)).to(loops_context{}), eval(cast<double>(d.dk)).to(loops_context{}),
                      eval(cast<double>(d.dv)).to(loops_context{})};
  };
  auto const want = run(gpu());
  std::size_t const usual = emulated_shared_memory();
  emulated_shared_memory() = 99 << 10;  // compute capability 8.6 and 8.9
  auto const got = run(cog::cuda::context());
  emulated_shared_memory() = usual;
  for (std::size_t i = 0; i < 4; ++i) CHECK(distance(got[i], want[i]) <= tolerance<bf16>);
#endif
}
TEST_CASE("gpu attention of bf16: masks and grouped heads") { in_every_order(masks_and_groups<bf16>); }
TEST_CASE("gpu attention of bf16: random shapes") {
  std::mt19937 bits(7);
  auto const draw = [&](index_t low, index_t high) { return std::uniform_int_distribution<index_t>(low, high)(bits); };
  for (int i = 0; i < 12; ++i) {
    index_t const key_heads = draw(1, 2), queries = draw(1, 150);
    problem<bf16> const x({draw(1, 2), key_heads * draw(1, 3), key_heads, queries, queries + draw(0, 90), 8 * draw(1, 9), draw(1, 70)}, 1, static_cast<unsigned>(i + 1));
    check<cog_rule>(x, with_causal);
    check<softmax_rule>(x, with_window(draw(1, 100)));
  }
}
TEST_CASE("gpu attention of bf16: strides") { in_every_order(layouts<bf16>); }
TEST_CASE("gpu attention of half: scores of exactly zero") { in_every_order([] { zeros_in_scores<cog::half>(); }); }
TEST_CASE("gpu attention of bf16: tiny and huge scores") { sizes_of_scores<bf16>(); }
TEST_CASE("gpu attention of half: what is hidden") {
  hidden<cog::half>(std::numeric_limits<double>::quiet_NaN());
  hidden<cog::half>(std::numeric_limits<double>::infinity());
}
TEST_CASE("gpu attention of bf16: what is hidden from all") { in_every_order(hidden_from_all<bf16>); }
TEST_CASE("gpu attention of half: many keys") { many_keys<cog::half>(); }
TEST_CASE("gpu attention of bf16: nothing to do") { nothing<bf16>(); }
TEST_CASE("gpu attention of bf16: results anywhere") { results_anywhere<bf16>(); }
TEST_CASE("gpu attention of bf16 and half: as near to double as PyTorch's") {
  precision<bf16>();
  precision<cog::half>();
}
TEST_CASE("gpu attention of half: the same bits every time") { repeatable<cog::half>(); }
