// The CPU backend against plain loops: products, gradients and attention.
#include "conformance.hpp"

#include <cog/backend/cpu/cpu.hpp>

namespace {
cog::cpu::context const ctx{{.threads = 3}};
}

TEST_CASE("cpu: products") { conformance::products(ctx); }
TEST_CASE("cpu: gradients") { conformance::gradients(ctx); }
TEST_CASE("cpu: attention") { conformance::attention(ctx); }
