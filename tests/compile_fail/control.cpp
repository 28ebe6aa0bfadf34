// ok
// The neighbour of every case, as it is meant.
#include "backends.hpp"

#include <cog/attention/attention.hpp>
#include <cog/nn/module.hpp>

auto one_backend(cog::tensor<float, 1, here> a, cog::tensor<float, 1, here> b) { return a + b; }
auto bf16_as_half(vector<cog::bf16> a, vector<cog::half> b) { return cog::cast<cog::half>(a) * b; }
void same_rank_and_dtype(matrix<float> y, matrix<float> x) { y = x + 1; }
auto whole_beside_integers(vector<std::int32_t> x) { return x * 2; }
auto fraction_beside_floats(vector<std::int32_t> x) { return cog::cast<float>(x) * 0.5; }
auto exp_of_floats(vector<float> x) { return exp(x); }
auto logic_of_bools(vector<float> x) { return x < 1 && x > 0; }
auto where_of_bools(vector<float> x) { return where(x > 0, x, 0); }
auto expand_adds_axes(matrix<float> x) { return expand(x, cog::extents<3>{2, 3, 4}); }
auto matmul_of_matrices(matrix<float> a, matrix<float> b) { return matmul(a, b); }
auto matmul_as_half(matrix<cog::bf16> a, matrix<cog::half> b) { return matmul(cog::eval(cog::cast<cog::half>(a)), b); }
cog::tensor<float, 4, here> q;
using attention_of_rank_4 = decltype(cog::cog_attention(q, q, q));
struct scale {
  vector<float> weight;
  void visit(auto&& f) { f("weight", weight); }
};
void member_of_module(scale s) {
  cog::for_each_parameter(s, [](auto const&, auto&) {});
}
