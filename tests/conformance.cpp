// The CPU backend against plain loops.
#include "conformance.hpp"

#include <cog/backend/cpu/cpu.hpp>

namespace {
cog::cpu::context const ctx{{.threads = 3}};
}

TEST_CASE("cpu: memory") { conformance::memory(ctx); }
TEST_CASE("cpu: element-wise kernels") { conformance::element_wise(ctx); }
TEST_CASE("cpu: random numbers") { conformance::random_numbers(ctx); }
TEST_CASE("cpu: indexed access") { conformance::indexed(ctx); }
TEST_CASE("cpu: reductions") { conformance::reductions(ctx); }
TEST_CASE("cpu: row-wise forms") { conformance::rows(ctx); }
TEST_CASE("cpu: random shapes") { conformance::random_shapes(ctx); }
TEST_CASE("cpu: products") { conformance::products(ctx); }
TEST_CASE("cpu: gradients") { conformance::gradients(ctx); }
TEST_CASE("cpu: attention") { conformance::attention(ctx); }
