// The published U-ViT models (Bao et al. 2023) and U-ViC's, by name: network, training and schedule.
#pragma once

#include <set>
#include <span>
#include <string>
#include <vector>

#include <cog/models/uvit.hpp>

#include "commands.hpp"

namespace image {

struct published_model {
  char const* name;
  cog::uvit_config config;
  char const* schedule;
  double scale_factor;  // of latents; 0: pictures
  cog::index_t steps, batch, warmup;
  double lr, beta1, beta2, dropped;  // dropped: share of examples without their condition
  bool mirror;
};

std::vector<std::string> published_names();
/// Throws when there is none of this name.
published_model const& published(std::string const& name);
/// The settings of --config, but for those `given` beside it.
train_settings with_published(train_settings const& settings, std::set<std::string> const& given);

}  // namespace image
