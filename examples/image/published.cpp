#include "published.hpp"

namespace image {

using cog::index_t;

namespace {

cog::uvit_config pictures(index_t size, index_t patch, index_t dim, index_t depth, index_t heads, index_t classes = 0) {
  return {.img_size = size,
          .patch_size = patch,
          .embed_dim = dim,
          .depth = depth,
          .num_heads = heads,
          .num_classes = classes};
}
/// Of Stable Diffusion's autoencoder; the huge models have no convolution at the end. 1001: ImageNet's classes and
/// none.
cog::uvit_config latents(index_t size, index_t patch, index_t dim, index_t depth) {
  auto c = pictures(size, patch, dim, depth, 16, 1001);
  c.in_chans = 4;
  c.conv = dim < 1152;
  return c;
}
cog::uvit_config texts(index_t depth, bool cog_attention) {
  auto c = pictures(32, 2, 512, depth, 8);
  c.in_chans = 4;
  c.clip_dim = 768;
  c.np = cog_attention;
  return c;
}

published_model const all[] = {
    {"uvic_s2_mscoco", texts(12, true), "discrete", 0.23010, 1'000'000, 256, 5000, 2e-4, 0.9, 0.9, 0.1, false},
    {"uvit_s2_mscoco", texts(12, false), "discrete", 0.23010, 1'000'000, 256, 5000, 2e-4, 0.9, 0.9, 0.1, false},
    {"uvic_s2_deep_mscoco", texts(16, true), "discrete", 0.23010, 1'000'000, 256, 5000, 2e-4, 0.9, 0.9, 0.1, false},
    {"uvit_s2_deep_mscoco", texts(16, false), "discrete", 0.23010, 1'000'000, 256, 5000, 2e-4, 0.9, 0.9, 0.1, false},
    {"uvit_s2_cifar10", pictures(32, 2, 512, 12, 8), "vp", 0, 500'000, 128, 2500, 2e-4, 0.99, 0.999, 0, true},
    {"uvit_s4_celeba64", pictures(64, 4, 512, 12, 8), "vp", 0, 500'000, 128, 5000, 2e-4, 0.99, 0.99, 0, true},
    {"uvit_m4_imagenet64", pictures(64, 4, 768, 16, 12, 1000), "vp", 0, 300'000, 1024, 5000, 3e-4, 0.99, 0.99, 0, true},
    {"uvit_l4_imagenet64", pictures(64, 4, 1024, 20, 16, 1000), "vp", 0, 300'000, 1024, 5000, 3e-4, 0.99, 0.99, 0,
     true},
    {"uvit_l2_imagenet256", latents(32, 2, 1024, 20), "vp", 0.18215, 300'000, 1024, 5000, 2e-4, 0.99, 0.99, 0.15,
     false},
    {"uvit_h2_imagenet256", latents(32, 2, 1152, 28), "discrete", 0.18215, 500'000, 1024, 5000, 2e-4, 0.99, 0.99, 0.1,
     false},
    {"uvit_l4_imagenet512", latents(64, 4, 1024, 20), "vp", 0.18215, 500'000, 1024, 5000, 2e-4, 0.99, 0.99, 0.15,
     false},
    {"uvit_h4_imagenet512", latents(64, 4, 1152, 28), "discrete", 0.18215, 500'000, 1024, 5000, 2e-4, 0.99, 0.99, 0.1,
     false}};

}  // namespace

std::vector<std::string> published_names() {
  std::vector<std::string> out;
  for (auto const& m : all) out.push_back(m.name);
  return out;
}

published_model const& published(std::string const& name) {
  for (auto const& m : all)
    if (name == m.name) return m;
  throw cog::error("--config ", name, ": there is no such published model");
}

train_settings with_published(train_settings const& settings, std::set<std::string> const& given) {
  if (settings.config.empty()) return settings;
  auto const& m = published(settings.config);
  train_settings out;
  out.config = settings.config;
  out.attention = m.config.np ? "cog" : "softmax";
  out.schedule = m.schedule;
  out.size = m.config.img_size;
  out.patch = m.config.patch_size;
  out.dim = m.config.embed_dim;
  out.layers = m.config.depth;
  out.heads = m.config.num_heads;
  out.no_final_conv = !m.config.conv;
  out.unconditional = m.config.num_classes == 0;
  out.mirror = m.mirror;
  out.steps = m.steps;
  out.batch = m.batch;
  out.warmup = m.warmup;
  out.lr = out.min_lr = m.lr;
  out.beta1 = m.beta1;
  out.beta2 = m.beta2;
  out.drop_class = m.dropped;
  out.clip = 0;
  out.ema = 0.9999;
  if (m.scale_factor > 0) out.scale_factor = m.scale_factor;
  auto const asked = settings_to_json(settings);
  for (auto const& name : given) settings_from_json(out, {{name, asked.at(name)}});
  return out;
}

}  // namespace image
