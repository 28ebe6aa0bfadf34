// The CPU backend against plain loops: memory and element-wise kernels.
#include "conformance.hpp"

#include <cog/backend/cpu/cpu.hpp>

namespace {
cog::cpu::context const ctx{{.threads = 3}};
}

TEST_CASE("cpu: memory") { conformance::memory(ctx); }
TEST_CASE("cpu: element-wise kernels") { conformance::element_wise(ctx); }
TEST_CASE("cpu: random numbers") { conformance::random_numbers(ctx); }
TEST_CASE("cpu: indexed access") { conformance::indexed(ctx); }
