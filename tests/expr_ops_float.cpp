#include "expr_ops.hpp"

TEST_CASE("ops: float, every length") { ops::check_lengths<float>(); }
TEST_CASE("ops: float, special values") { ops::check_special_values<float>(); }
