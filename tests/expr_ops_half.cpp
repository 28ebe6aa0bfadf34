#include "expr_ops.hpp"

TEST_CASE("ops: half, every length") { ops::check_lengths<cog::half>(); }
TEST_CASE("ops: half, special values") { ops::check_special_values<cog::half>(); }
