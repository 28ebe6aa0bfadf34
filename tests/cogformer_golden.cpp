// The language model against the values of the published code (golden files).
#include <nlohmann/json.hpp>

#include <cog/models/cogformer.hpp>
#include <cog/models/generate.hpp>

#include "golden_common.hpp"

using namespace nn_test;
using cog::cogformer, cog::cogformer_config, cog::cpu;
using tokens_t = tensor<std::int64_t, 2>;

namespace {

/// A golden file, its model and its batch.
struct golden {
  cog::safetensors_file file;
  cogformer<float, cpu> model;
  tokens_t tokens, targets;  // targets: the next token, ignored at the last position
  cog::document<cpu> documents;

  explicit golden(std::string const& name)
      : file(std::string(COG_GOLDEN_DIR "/cogformer_") + name + ".safetensors"),
        model(on_two, config()),
        tokens(file.load<std::int64_t, 2>(on_two, "tokens")),
        targets(cog::full<std::int64_t>(on_two, tokens.extents(), cog::ignore_index)),
        documents{document_starts(tokens, bos())} {
    model.load(part_of_file{file, "param."});
    index_t const n = tokens.extent(1);
    slice(targets, 1, 0, n - 1).assign(slice(tokens, 1, 1, n));
  }
  std::int64_t bos() const { return std::stoll(file.metadata().at("bos_token")); }
  cogformer_config config() const {
    auto const j = nlohmann::json::parse(file.metadata().at("config"));
    return {.vocab_size = j["vocab_size"], .n_layers = j["n_layers"], .max_seq_length = j["max_seq_length"], .dim = j["dim"],
            .n_heads = j["n_heads"], .head_dim = j["head_dim"], .hidden_dim = j["hidden_dim"], .norm_eps = j["norm_eps"],
            .attn_type = cog::attn_type_of(j["attn_type"].get<std::string>()), .shared_expert_recipe = {j["shared_expert_recipe"]}};
  }
};

constexpr auto models = {"cog", "softmax"};

}  // namespace

TEST_CASE("logits, loss and every gradient are those of the published code", "[cogformer][golden]") {
  for (std::string const name : models) {
    CAPTURE(name);
    golden g(name);
    auto const expected = g.file.load<float, 3>(on_two, "logits");
    CHECK(relative(g.model(g.tokens, g.documents), expected) < 1e-5);
    CHECK(relative(g.model(g.tokens, cog::boolean{g.file.load<bool, 4>(on_two, "document_mask")}), expected) < 1e-5);
    auto const [loss, gradients] =
        cog::value_and_grad(g.model, [&](auto& m) { return cog::cross_entropy(m(g.tokens, g.documents), g.targets); });
    CHECK(loss.item() == Approx(g.file.load<float, 1>(on_two, "loss")(0)).epsilon(2e-6));
    cog::for_each_parameter(g.model, [&, &gradients = gradients]<class X>(std::string const& parameter, X const& x) {
      CAPTURE(parameter);
      CHECK(relative(gradients(x), g.file.load<float, X::rank>(on_two, "grad." + parameter)) < 2e-5);
    });
  }
}

TEST_CASE("attention weights are those of the published code, and negative in the inner layers only", "[cogformer][golden]") {
  for (std::string const name : models) {
    CAPTURE(name);
    golden const g(name);
    cog::hooks<float, cpu> hooks;
    auto const point = [](index_t l) { return "blocks." + std::to_string(l) + ".attn.hook_attn"; };
    for (index_t l = 0; l < 4; ++l) hooks.cache(point(l));
    CHECK(relative(g.model(g.tokens, g.documents, hooks), g.file.load<float, 3>(on_two, "logits")) < 1e-5);
    for (index_t l = 0; l < 4; ++l) {
      auto const& weights = hooks.cached<4>(point(l));
      CHECK(distance(weights, g.file.load<float, 4>(on_two, "attention_weights." + std::to_string(l))) < 1e-5);
      CHECK((cog::min(weights).item() < 0) == (name == "cog" && (l == 1 || l == 2)));
    }
  }
}

TEST_CASE("cached greedy decoding gives the published tokens and logits", "[cogformer][golden]") {
  for (std::string const name : models) {
    CAPTURE(name);
    golden const g(name);
    auto const prompt = g.file.load<std::int64_t, 2>(on_two, "prompt");
    auto const text = g.file.load<std::int64_t, 2>(on_two, "greedy_tokens");
    auto const logits = g.file.load<float, 3>(on_two, "greedy_logits");
    auto cache = g.model.make_cache(1);
    auto x = prompt;
    for (index_t step = 0; step < logits.extent(1); ++step) {
      auto const y = g.model(x, cache);
      auto const last = slice(y, 1, y.extent(1) - 1, y.extent(1));
      CHECK(relative(last, slice(logits, 1, step, step + 1)) < 1e-5);
      x = cog::argmax(last, -1);
      CHECK(x(0, 0) == text(0, prompt.extent(1) + step));
    }
    auto const generated = cog::generate(g.model, prompt, {.max_tokens = 20, .sampling = {.temperature = 0}, .bos = g.bos()});
    CHECK(cog::from(on_two, generated[0], {1, 20}).to_vector() == slice(text, 1, 8, 28).copy().to_vector());
  }
}

TEST_CASE("a file of another shape is an error of the file, with both shapes", "[cogformer][golden]") {
  golden const g("cog");
  auto c = g.config();
  c.hidden_dim = 111;
  cogformer<float, cpu> wrong(on_two, c);
  check_error([&] { wrong.load(part_of_file{g.file, "param."}); },
              {"cogformer_cog.safetensors", "layers.0.ffn.shared_experts.0.gw", "[48, 112]", "[48, 111]"});
}
