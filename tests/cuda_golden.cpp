// The language models on the GPU backend against the values of the published code (golden files).
#include <nlohmann/json.hpp>

#include "cuda.hpp"
#include "part_of_file.hpp"

#include <cog/models/cogformer.hpp>

using namespace cog;
using nn_test::part_of_file;

TEST_CASE("gpu: logits, loss and every gradient are those of the published code") {
  for (std::string const name : {"cog", "softmax"}) {
    CAPTURE(name);
    safetensors_file const file(std::string(COG_GOLDEN_DIR "/cogformer_") + name + ".safetensors");
    auto const j = nlohmann::json::parse(file.metadata().at("config"));
    cogformer<float, cog::cuda> model(
        gpu(), {.vocab_size = j["vocab_size"], .n_layers = j["n_layers"], .max_seq_length = j["max_seq_length"], .dim = j["dim"], .n_heads = j["n_heads"],
                .head_dim = j["head_dim"], .hidden_dim = j["hidden_dim"], .norm_eps = j["norm_eps"], .attn_type = attn_type_of(j["attn_type"].get<std::string>()),
                .shared_expert_recipe = {j["shared_expert_recipe"]}});
    model.load(part_of_file{file, "param."});
    auto const tokens = file.load<std::int64_t, 2>(gpu(), "tokens");
    document<cog::cuda> const documents{document_starts(tokens, std::stoll(file.metadata().at("bos_token")))};
    auto const targets = full<std::int64_t>(gpu(), tokens.extents(), ignore_index);
    index_t const n = tokens.extent(1);
    slice(targets, 1, 0, n - 1).assign(slice(tokens, 1, 1, n));

    CHECK(relative(model(tokens, documents), file.load<float, 3>(gpu(), "logits")) < 1e-5);
    auto const [loss, gradients] = value_and_grad(model, [&](auto& m) { return cross_entropy(m(tokens, documents), targets); });
    CHECK(loss.item() == Approx(file.load<float, 1>(gpu(), "loss").to_vector()[0]).epsilon(2e-6));
    for_each_parameter(model, [&, &gradients = gradients]<class X>(std::string const& parameter, X const& x) {
      CAPTURE(parameter);
      CHECK(relative(gradients(x), file.load<float, X::rank>(gpu(), "grad." + parameter)) < 2e-5);
    });
  }
}
