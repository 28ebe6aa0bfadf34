// U-ViC and U-ViT against the values of the published code (golden files): networks, every gradient, guided sampling.
#include <cog/diffusion/guidance.hpp>
#include <cog/diffusion/solver.hpp>
#include <cog/models/uvit.hpp>

#include "golden_common.hpp"
#include "uvit_config.hpp"

using namespace nn_test;
using model_t = cog::uvit<float, cog::cpu>;

namespace {

struct golden {
  cog::safetensors_file file;
  model_t model;
  tensor<float, 4> x;
  tensor<float, 1> times;

  explicit golden(std::string const& name)
      : file(std::string(COG_GOLDEN_DIR "/") + name + ".safetensors"),
        model(on_two, config_of(file)),
        x(file.load<float, 4>(on_two, "x")),
        times(file.load<float, 1>(on_two, "timesteps")) {
    load_parameters(model, part_of_file{file, "param."});
  }
};

template <class... Condition>
void check_golden(golden& g, Condition const&... condition) {
  auto const target = g.file.load<float, 4>(on_two, "target");
  CHECK(relative(g.model(g.x, g.times, condition...), g.file.load<float, 4>(on_two, "out")) < 1e-5);
  for (bool const again : {false, true}) {
    g.model.config.use_checkpoint = again;
    auto const [loss, gradients] =
        cog::value_and_grad(g.model, [&](auto& m) { return mean(square(m(g.x, g.times, condition...) - target)); });
    CHECK(loss.item() == Approx(g.file.load<float, 1>(on_two, "loss")(0)).epsilon(2e-6));
    cog::for_each_parameter(g.model, [&, &gradients = gradients]<class X>(std::string const& parameter, X const& p) {
      CAPTURE(parameter);
      CHECK(relative(gradients(p), g.file.load<float, X::rank>(on_two, "grad." + parameter)) < 2e-5);
    });
  }
}

}  // namespace

TEST_CASE("networks and every gradient are those of the published code", "[uvit][golden]") {
  for (auto const* name : {"uvic_text_to_image", "uvit_text_to_image"}) {
    CAPTURE(name);
    golden g(name);
    check_golden(g, g.file.load<float, 3>(on_two, "context"));
  }
  golden classes("uvit_class_conditional"), unconditional("uvit_unconditional");
  check_golden(classes, classes.file.load<std::int64_t, 1>(on_two, "labels"));
  check_golden(unconditional);
}

TEST_CASE("guided sampling is that of the published code", "[uvit][golden]") {
  for (auto const* name : {"uvic_text_to_image", "uvit_text_to_image"}) {
    CAPTURE(name);
    golden const g(name);
    auto const context = g.file.load<float, 3>(on_two, "context");
    auto const empty = unsqueeze(g.file.load<float, 2>(on_two, "sample.empty_context"), 0);
    auto const predict = cog::guided(g.model, context, empty, std::stod(g.file.metadata().at("guidance_scale")));
    auto const noise = g.file.load<float, 4>(on_two, "sample.noise");
    for (index_t const steps : {10, 50}) {
      CAPTURE(steps);
      CHECK(relative_l2(cog::dpm_solver(predict, noise, cog::discrete_schedule(), {.steps = steps}),
                        g.file.load<float, 4>(on_two, "sample.steps" + std::to_string(steps))) < 1e-5);
    }
  }
}

TEST_CASE("published configurations have the published numbers of parameters, and blocks of Cog attention", "[uvit]") {
  auto const count = [](cog::uvit_config c) {
    model_t const model(on_two, c);
    return cog::parameter_count(model);
  };
  CHECK(count({.in_chans = 4, .np = true, .clip_dim = 768}) == 44'692'644);
  CHECK(count({.in_chans = 4, .depth = 16, .np = true, .clip_dim = 768}) == 58'345'636);
  CHECK(count({}) == 44'255'328);
  CHECK(count({.img_size = 64, .patch_size = 4}) == 44'292'228);
  CHECK(cog::uvit_config{.in_chans = 4, .clip_dim = 768}.tokens() == 334);
  int cog_blocks = 0;
  for (index_t i = 0; i <= 12; ++i) cog_blocks += cog::uvit_config{.np = true}.kind(i) == cog::nn::attention_kind::cog;
  CHECK(cog_blocks == 11);
}

TEST_CASE("observers see the weights of Cog attention: negative in the inner blocks only", "[uvit][golden]") {
  golden const g("uvic_text_to_image");
  auto const context = g.file.load<float, 3>(on_two, "context");
  cog::hooks<float, cog::cpu> hooks;
  std::vector<std::string> const blocks{"in_blocks.0", "in_blocks.1", "mid_block", "out_blocks.0", "out_blocks.1"};
  for (auto const& b : blocks) hooks.cache(b + ".attn.hook_attn");
  CHECK(relative(g.model(g.x, g.times, context, hooks), g.file.load<float, 4>(on_two, "out")) < 1e-5);
  for (auto const& b : blocks)
    CHECK((cog::min(hooks.cached<4>(b + ".attn.hook_attn")).item() < 0) == (b != "in_blocks.0" && b != "out_blocks.1"));
}

TEST_CASE("what does not fit is refused", "[uvit]") {
  check_error([] { model_t(on_two, {.depth = 3}); }, {"depth = 3"});
  check_error([] { model_t(on_two, {.img_size = 9}); }, {"img_size = 9", "patch_size = 2"});
  check_error([] { model_t(on_two, {.embed_dim = 510}); }, {"510", "num_heads = 8"});
  check_error([] { model_t(on_two, {.num_classes = 3, .clip_dim = 4}); }, {"one condition"});
  model_t const model(on_two, {.img_size = 4, .embed_dim = 16, .depth = 2, .num_heads = 2, .num_classes = 3});
  auto const x = cog::zeros<float>(on_two, {2, 3, 4, 4});
  auto const times = cog::zeros<float>(on_two, {2});
  check_error([&] { model(x, times); }, {"labels"});
  check_error([&] { model(x, times, cog::from<std::int64_t>(on_two, {0, 3})); }, {"3"});
  check_error(
      [&] {
        model(cog::zeros<float>(on_two, {2, 1, 4, 4}), times, cog::from<std::int64_t>(on_two, {0, 1}));
      },
      {"[2, 1, 4, 4]"});
  check_error([&] { model(x, times, cog::zeros<float>(on_two, {2, 5, 4})); }, {"takes none"});
}
