// What a golden file of U-ViT says of its model.
#pragma once

#include <algorithm>

#include <nlohmann/json.hpp>

#include <cog/io/safetensors.hpp>
#include <cog/models/uvit.hpp>

namespace nn_test {

inline cog::uvit_config config_of(cog::safetensors_file const& file) {
  auto const j = nlohmann::json::parse(file.metadata().at("config"));
  return {.img_size = j["img_size"],
          .patch_size = j["patch_size"],
          .in_chans = j["in_chans"],
          .embed_dim = j["embed_dim"],
          .depth = j["depth"],
          .num_heads = j["num_heads"],
          .mlp_ratio = j["mlp_ratio"],
          .qkv_bias = j["qkv_bias"],
          .mlp_time_embed = j["mlp_time_embed"],
          .np = j.value("np", false),
          .num_classes = std::max<cog::index_t>(0, j.value("num_classes", 0)),
          .clip_dim = j.value("clip_dim", 0),
          .num_clip_token = j.value("num_clip_token", 77)};
}

}  // namespace nn_test
