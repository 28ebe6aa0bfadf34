#include "latent.hpp"

#include <cog/backend/cpu/cpu.hpp>

namespace image {

namespace fs = std::filesystem;
using cog::index_t;

cog::autoencoder_kl_config autoencoder_config(cog::safetensors_file const& file, double scale_factor) {
  auto const width = [&](std::string const& name, std::size_t axis) {
    auto const& shape = file.info(name).shape;
    if (axis >= shape.size() || shape[axis] < 1) throw cog::error(file.path().string(), ": '", name, "' has no axis ", axis, ", or an empty one");
    return shape[axis];
  };
  cog::autoencoder_kl_config c{.ch = width("encoder.conv_in.weight", 0),
                               .ch_mult = {},
                               .num_res_blocks = 0,
                               .z_channels = width("decoder.conv_in.weight", 1),
                               .in_channels = width("encoder.conv_in.weight", 1),
                               .out_ch = width("decoder.conv_out.weight", 0),
                               .scale_factor = scale_factor};
  auto const block = [](std::size_t level, index_t b) {
    return "encoder.down." + std::to_string(level) + ".block." + std::to_string(b) + ".conv1.weight";
  };
  while (file.contains(block(0, c.num_res_blocks))) ++c.num_res_blocks;
  for (std::size_t l = 0; file.contains(block(l, 0)); ++l) c.ch_mult.push_back(width(block(l, 0), 0) / c.ch);
  return c;
}

cog::clip_text_config clip_config(fs::path const& folder) {
  auto const file = folder / "config.json";
  cog::clip_text_config c;
  cog::mapped_file const text(file);
  try {
    auto json = cog::detail::parse_json(text.text());
    if (auto const part = json.find("text_config"); part != json.end()) json = nlohmann::json(*part);
    auto const read = [&](char const* key, auto& value) {
      if (auto const at = json.find(key); at != json.end()) at->get_to(value);
    };
    read("vocab_size", c.vocab_size);
    read("hidden_size", c.hidden_size);
    read("num_hidden_layers", c.num_hidden_layers);
    read("num_attention_heads", c.num_attention_heads);
    read("intermediate_size", c.intermediate_size);
    read("max_position_embeddings", c.max_position_embeddings);
    read("layer_norm_eps", c.layer_norm_eps);
  } catch (std::exception const& e) {
    throw cog::error(file.string(), ": ", e.what());
  }
  return c;
}

}  // namespace image
