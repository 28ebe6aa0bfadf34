// Models of pictures and texts on the GPU backend against the values of the published code (golden files).
#include <nlohmann/json.hpp>

#include "cuda.hpp"
#include "part_of_file.hpp"

#include <cog/models/autoencoder_kl.hpp>
#include <cog/models/clip_text.hpp>
#include <cog/models/inception_v3.hpp>

using namespace cog;
using nn_test::part_of_file;

TEST_CASE("gpu: the autoencoder is the published one, both ways") {
  safetensors_file const file(COG_GOLDEN_DIR "/autoencoder_kl.safetensors");
  auto const j = nlohmann::json::parse(file.metadata().at("config"));
  autoencoder_kl<float, cog::cuda> model(gpu(), {.ch = j["ch"], .ch_mult = j["ch_mult"], .num_res_blocks = j["num_res_blocks"],
                                                 .z_channels = j["z_channels"], .in_channels = j["in_channels"], .out_ch = j["out_ch"],
                                                 .scale_factor = std::stod(file.metadata().at("scale_factor"))});
  load_parameters(model, part_of_file{file, "param."});
  auto const value = [&](char const* name) { return file.load<float, 4>(gpu(), name); };
  CHECK(relative(model.moments(value("image")), value("moments")) < 1e-5);
  CHECK(relative(model.decode(value("latent")), value("decoded")) < 1e-5);
}

TEST_CASE("gpu: CLIP's states and Inception's features are the published ones") {
  safetensors_file const text(COG_GOLDEN_DIR "/clip_text.safetensors"), pictures(COG_GOLDEN_DIR "/inception_v3.safetensors");
  clip_text<float, cog::cuda> clip(gpu(), {.vocab_size = 99, .hidden_size = 24, .num_hidden_layers = 2, .num_attention_heads = 3,
                                           .intermediate_size = 40, .max_position_embeddings = 11});
  clip.load(part_of_file{text, "param."});
  CHECK(relative(clip(text.load<std::int64_t, 2>(gpu(), "tokens")), text.load<float, 3>(gpu(), "states")) < 1e-5);
  inception_v3<float, cog::cuda> inception(gpu(), std::stol(pictures.metadata().at("narrower")));
  inception.load(part_of_file{pictures, "param."});
  CHECK(relative(inception(pictures.load<float, 4>(gpu(), "x")), pictures.load<float, 2>(gpu(), "features")) < 1e-5);
}
