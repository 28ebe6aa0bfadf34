// One instantiation of the Cogformer: logits of tokens. Compiled, never run: bench/compile_time.sh.
#include <cog/cog.hpp>

auto use(cog::cogformer<float, cog::cpu> const& model, cog::tensor<std::int64_t, 2, cog::cpu> const& tokens) { return cog::eval(model(tokens)); }
