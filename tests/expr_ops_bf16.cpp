#include "expr_ops.hpp"

TEST_CASE("ops: bf16, every length") { ops::check_lengths<cog::bf16>(); }
TEST_CASE("ops: bf16, special values") { ops::check_special_values<cog::bf16>(); }
