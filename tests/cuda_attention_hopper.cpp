// Attention of bf16 and half on Hopper, emulated. On a device of that kind cuda_attention_narrow.cpp tests the same kernels.
#if defined(COG_EMULATED_GPU)
#include "cuda_attention.hpp"
#include "cuda_hopper.hpp"

using namespace cuda_attention;

TEST_CASE("gpu attention on hopper: lengths around tile edges") {
  REQUIRE(on_hopper());
  in_every_order([] { lengths<bf16>(); });
  lengths<cog::half>({191, 192, 193}, {127, 128, 129}, 64);       // three consumers
  lengths<bf16>({1, 127, 129}, {65, 80, 81, 128, 161}, 136);  // tiles of 80 keys forward, of 64 backward
}
TEST_CASE("gpu attention on hopper: widths") {
  REQUIRE(on_hopper());
  widths<bf16>({{8, 8}, {40, 24}, {4, 3}, {64, 64}, {80, 80}, {96, 96}, {128, 128}, {72, 136}, {256, 200}});
}
TEST_CASE("gpu attention on hopper: masks and grouped heads") {
  REQUIRE(on_hopper());
  masks_and_groups<bf16>();
}
TEST_CASE("gpu attention on hopper: strides") {
  REQUIRE(on_hopper());
  layouts<bf16>();
}
TEST_CASE("gpu attention on hopper: scores of exactly zero") {
  REQUIRE(on_hopper());
  in_every_order([] { zeros_in_scores<cog::half>(); });
  for (index_t const width : {64, 128, 256}) zeros_in_scores<bf16>(width, 300);  // tiles that no mask touches
}
TEST_CASE("gpu attention on hopper: tiny and huge scores") {
  REQUIRE(on_hopper());
  sizes_of_scores<bf16>();
  sizes_of_scores<bf16>(64, 300);
  sizes_of_scores<bf16>(136, 200);
}
TEST_CASE("gpu attention on hopper: what is hidden") {
  REQUIRE(on_hopper());
  hidden<cog::half>(std::numeric_limits<double>::quiet_NaN());
  hidden<bf16>(std::numeric_limits<double>::infinity());
  hidden<bf16>(std::numeric_limits<double>::quiet_NaN(), 136);
}
TEST_CASE("gpu attention on hopper: many keys") {
  REQUIRE(on_hopper());
  many_keys<cog::half>();
}
TEST_CASE("gpu attention on hopper: nothing to do") {
  REQUIRE(on_hopper());
  nothing<bf16>();
}
TEST_CASE("gpu attention on hopper: results anywhere") {
  REQUIRE(on_hopper());
  results_anywhere<bf16>();
}
TEST_CASE("gpu attention on hopper: as near to double as PyTorch's") {
  REQUIRE(on_hopper());
  precision<bf16>();
  precision<cog::half>();
}
TEST_CASE("gpu attention on hopper: the same bits every time") {
  REQUIRE(on_hopper());
  repeatable<cog::half>();
  repeatable<bf16>(136);
}
TEST_CASE("gpu attention on hopper: wide heads") {
  REQUIRE(on_hopper());
  for (auto const& n : {sizes{2, 4, 2, 70, 150, 192, 256}, sizes{1, 2, 2, 150, 70, 256, 136}, sizes{1, 5, 1, 33, 200, 144, 144}}) {
    problem<bf16> const x(n);
    in_every_order([&] { check<cog_rule>(x, with_causal); });
    check<softmax_rule>(x, unmasked);
    check<cog_rule>(x, with_window(67));
    if (n.keys >= n.queries) check<softmax_rule>(x, with_documents(n));
  }
  check<cog_rule>(problem<cog::half, packed_heads>({1, 2, 1, 130, 130, 256, 256}), with_causal);
  check<rounded_rule>(problem<bf16>({1, 2, 1, 70, 90, 136, 136}), with_causal);
}
/// Blocks that take many tiles, in turn or as they are ready; every width, with keys that don't fill their last tile.
TEST_CASE("gpu attention on hopper: many tiles") {
  REQUIRE(on_hopper());
  for (index_t const width : {64, 96, 128, 256}) {
    sizes const n{1, 4, 2, width == 64 ? 410 : 290, 411, width, width};
    problem<bf16> const x(n);
    check<cog_rule>(x, with_causal);
    check<softmax_rule>(x, unmasked);
    if (width == 64) check<cog_rule>(x, with_window(150));
    if (width == 128) check<cog_rule>(x, with_documents(n));
  }
}
/// Gradients of queries, added up as they come.
TEST_CASE("gpu attention on hopper: in any order") {
  REQUIRE(on_hopper());
  problem<bf16> const x({1, 4, 2, 130, 300, 64, 64});
  auto const f = attention_forward<cog_rule>(x.q.device, x.k.device, x.v.device, causal);
  auto const d = attention_backward<cog_rule>(x.q.device, x.k.device, x.v.device, f.out, f.logsumexp, x.dout.device, causal);
  cog::cuda::context const other({.any_order = true});
  auto const there = [&](auto const& t) { return t.to(loops_context{}).to(other); };
  auto const e = attention_backward<cog_rule>(there(x.q.device), there(x.k.device), there(x.v.device), there(f.out), there(f.logsumexp), there(x.dout.device), causal);
  CHECK(e.dq.to_vector() == d.dq.to_vector());  // blocks run one after the other here
  CHECK(e.dk.to_vector() == d.dk.to_vector());
}
#endif
