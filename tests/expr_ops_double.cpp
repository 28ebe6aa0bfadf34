#include "expr_ops.hpp"

TEST_CASE("ops: double, every length") { ops::check_lengths<double>(); }
TEST_CASE("ops: double, special values") { ops::check_special_values<double>(); }
