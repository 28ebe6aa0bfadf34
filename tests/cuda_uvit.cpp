// U-ViC and U-ViT on the GPU backend against the values of the published code (golden files), and training in float.
#include "cuda_uvit.hpp"
#include "part_of_file.hpp"
#include "uvit_config.hpp"

using namespace cog;
using nn_test::config_of;
using nn_test::part_of_file;

namespace {

struct golden {
  safetensors_file file;
  uvit<float, cog::cuda> model;

  explicit golden(std::string const& name)
      : file(std::string(COG_GOLDEN_DIR "/") + name + ".safetensors"), model(gpu(), config_of(file)) {
    load_parameters(model, part_of_file{file, "param."});
  }
  template <int R>
  auto value(std::string const& name) const {
    return file.load<float, R>(gpu(), name);
  }
  template <class... Condition>
  void check(Condition const&... condition) {
    auto const x = value<4>("x"), target = value<4>("target");
    auto const times = value<1>("timesteps");
    CHECK(relative(model(x, times, condition...), value<4>("out")) < 1e-5);
    auto const [loss, gradients] = value_and_grad(model, [&](auto& m) { return mean(square(m(x, times, condition...) - target)); });
    CHECK(loss.item() == Approx(value<1>("loss").to_vector()[0]).epsilon(2e-6));
    for_each_parameter(model, [&, &gradients = gradients]<class X>(std::string const& parameter, X const& p) {
      CAPTURE(parameter);
      CHECK(relative(gradients(p), value<X::rank>("grad." + parameter)) < 2e-5);
    });
  }
};

}  // namespace

TEST_CASE("gpu: U-ViC, U-ViT and every gradient are those of the published code") {
  for (auto const* name : {"uvic_text_to_image", "uvit_text_to_image"}) {
    CAPTURE(name);
    golden g(name);
    g.check(g.value<3>("context"));
  }
  golden classes("uvit_class_conditional"), unconditional("uvit_unconditional");
  classes.check(classes.file.load<std::int64_t, 1>(gpu(), "labels"));
  unconditional.check();
}

TEST_CASE("gpu: guided sampling is that of the published code") {
  golden const g("uvic_text_to_image");
  auto const predict = guided(g.model, g.value<3>("context"), unsqueeze(g.value<2>("sample.empty_context"), 0),
                              std::stod(g.file.metadata().at("guidance_scale")));
  CHECK(relative(dpm_solver(predict, g.value<4>("sample.noise"), discrete_schedule(), {.steps = 10}), g.value<4>("sample.steps10")) < 1e-5);
}

TEST_CASE("gpu: a diffusion model learns in float, and every solver draws") { cuda_uvit::learns<float>(); }
