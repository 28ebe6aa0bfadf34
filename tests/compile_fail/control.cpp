// ok
// The neighbour of every case, as it is meant.
#include "backends.hpp"

auto one_backend(cog::tensor<float, 1, here> a, cog::tensor<float, 1, here> b) { return a + b; }
auto bf16_as_half(vector<cog::bf16> a, vector<cog::half> b) { return cog::cast<cog::half>(a) * b; }
auto whole_beside_integers(vector<std::int32_t> x) { return x * 2; }
auto fraction_beside_floats(vector<std::int32_t> x) { return cog::cast<float>(x) * 0.5; }
auto exp_of_floats(vector<float> x) { return exp(x); }
auto logic_of_bools(vector<float> x) { return x < 1 && x > 0; }
auto where_of_bools(vector<float> x) { return where(x > 0, x, 0); }
auto expand_adds_axes(matrix<float> x) { return expand(x, cog::extents<3>{2, 3, 4}); }
