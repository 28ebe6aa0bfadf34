// A small whole program: makes tensors, evaluates an expression, reads the result.
#include <cog/cog.hpp>

#include <vector>

int main() {
  cog::cpu::context ctx;
  auto x = cog::arange<float>(ctx, 5);
  cog::tensor y = x * 2 + 1;
  return y.to_vector() == std::vector<float>{1, 3, 5, 7, 9} ? 0 : 1;
}
