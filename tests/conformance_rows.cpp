// The CPU backend against plain loops: reductions and rows.
#include "conformance.hpp"

#include <cog/backend/cpu/cpu.hpp>

namespace {
cog::cpu::context const ctx{{.threads = 3}};
}

TEST_CASE("cpu: reductions") { conformance::reductions(ctx); }
TEST_CASE("cpu: row-wise forms") { conformance::rows(ctx); }
TEST_CASE("cpu: random shapes") { conformance::random_shapes(ctx); }
