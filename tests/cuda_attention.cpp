// Attention of float and double on the GPU.
#include "cuda_attention.hpp"

using namespace cuda_attention;

TEST_CASE("gpu attention: lengths around tile edges") { in_every_order([] { lengths<float>(); }); }
TEST_CASE("gpu attention: widths") {
  widths<float>({{1, 3}, {8, 8}, {40, 129}, {150, 80}});
  widths<double>({{5, 7}, {130, 128}});
}
TEST_CASE("gpu attention: masks and grouped heads") {
  masks_and_groups<float>();
  problem<double> const x({2, 4, 2, 70, 140, 8, 8});
  check<cog_rule>(x, with_entries<std::uint8_t>({2, 1, 70, 1}));
  check<rounded_rule>(x, with_window(80));
}
TEST_CASE("gpu attention: strides") { layouts<float>(); }
TEST_CASE("gpu attention: scores of exactly zero") { in_every_order([] { zeros_in_scores<float>(); }); }
TEST_CASE("gpu attention: tiny and huge scores") { sizes_of_scores<float>(); }
TEST_CASE("gpu attention: what is hidden") {
  hidden<float>(std::numeric_limits<double>::quiet_NaN());
  hidden<double>(std::numeric_limits<double>::infinity());
}
TEST_CASE("gpu attention: what is hidden from all") { hidden_from_all<float>(); }
TEST_CASE("gpu attention: many keys") { many_keys<float>(); }
TEST_CASE("gpu attention: nothing to do") { nothing<float>(); }
TEST_CASE("gpu attention: results anywhere") { results_anywhere<double>(); }
TEST_CASE("gpu attention: the same bits every time") { repeatable<float>(); }
