// Reductions of bf16, double, whole numbers and bools.
#include "reduce.hpp"

TEST_CASE("reduce: bf16") { reductions::check_rank3<cog::bf16>(60); }
TEST_CASE("reduce: double") { reductions::check_rank3<double>(60); }
TEST_CASE("reduce: int32") { reductions::check_rank3<std::int32_t>(60); }
TEST_CASE("reduce: bool") { reductions::check_rank3<bool>(40); }
