// CLIP's text encoder and tokenizer, and Inception v3, against transformers and torchvision
// (tests/golden/make_pictures.py).
#include <nlohmann/json.hpp>

#include <cog/io/tokenizer_clip.hpp>
#include <cog/models/clip_text.hpp>
#include <cog/models/inception_v3.hpp>

#include "golden_common.hpp"

using namespace nn_test;

TEST_CASE("the states of a text are those of transformers' CLIP", "[clip][golden]") {
  cog::safetensors_file const file(COG_GOLDEN_DIR "/clip_text.safetensors");
  cog::clip_text<float, cog::cpu> model(on_two, {.vocab_size = 99,
                                                 .hidden_size = 24,
                                                 .num_hidden_layers = 2,
                                                 .num_attention_heads = 3,
                                                 .intermediate_size = 40,
                                                 .max_position_embeddings = 11});
  model.load(part_of_file{file, "param."});
  auto const tokens = file.load<std::int64_t, 2>(on_two, "tokens");
  CHECK(relative(model(tokens), file.load<float, 3>(on_two, "states")) < 1e-5);
  CHECK(relative(model(slice(tokens, 1, 0, 4)), slice(file.load<float, 3>(on_two, "states"), 1, 0, 4)) <
        1e-5);  // causal
  auto const longer = cog::zeros<std::int64_t>(on_two, {1, 12});
  check_error([&] { model(longer); }, {"[1, 12]", "11 positions"});
}

TEST_CASE("the published text encoder has the published number of parameters", "[clip]") {
  cog::clip_text<float, cog::cpu> const model(on_two, {});
  CHECK(cog::parameter_count(model) == 123'060'480);
}

TEST_CASE("texts become the tokens of transformers' CLIPTokenizer", "[clip][golden]") {
  std::string const folder = COG_GOLDEN_DIR "/clip_tokenizer/";
  auto const tokenizer = cog::clip_tokenizer::load(folder + "vocab.json", folder + "merges.txt");
  cog::mapped_file const reference(folder + "reference.json");
  auto const rows = nlohmann::json::parse(reference.text());
  REQUIRE(rows.size() >= 8);
  for (auto const& row : rows) {
    CAPTURE(row.dump());
    CHECK(tokenizer.encode_padded(row["text"].get<std::string>(), 12) == row["ids"].get<std::vector<std::int32_t>>());
  }
  check_error([&] { cog::clip_tokenizer::load(folder + "reference.json", folder + "merges.txt"); }, {"reference.json"});
  check_error([&] { cog::clip_tokenizer({}, {}); }, {"<|startoftext|>"});
}

TEST_CASE("features are those of Inception v3 as FID has it", "[inception][golden]") {
  cog::safetensors_file const file(COG_GOLDEN_DIR "/inception_v3.safetensors");
  cog::inception_v3<float, cog::cpu> model(on_two, std::stol(file.metadata().at("narrower")));
  model.load(part_of_file{file, "param."});
  CHECK(relative(model(file.load<float, 4>(on_two, "x")), file.load<float, 2>(on_two, "features")) < 1e-5);
}

TEST_CASE("the published Inception has the published number of parameters", "[inception]") {
  cog::inception_v3<float, cog::cpu> const model(on_two);
  cog::index_t learnt = 0;
  cog::for_each_parameter(model, [&](std::string const& name, auto const& x) {
    learnt += name.find("running") == name.npos ? x.size() : 0;
  });
  CHECK(learnt == 21'785'568);  // torchvision's 23,834,568 without fc's 2,049,000
}
