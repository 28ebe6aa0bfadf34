// The autoencoder against the values of the published code (golden file), and its gradients.
#include <nlohmann/json.hpp>

#include <cog/models/autoencoder_kl.hpp>

#include "golden_common.hpp"

using namespace nn_test;

TEST_CASE("the autoencoder is the published one, both ways", "[autoencoder][golden]") {
  cog::safetensors_file const file(COG_GOLDEN_DIR "/autoencoder_kl.safetensors");
  auto const j = nlohmann::json::parse(file.metadata().at("config"));
  cog::autoencoder_kl<float, cog::cpu> model(on_two, {.ch = j["ch"],
                                                      .ch_mult = j["ch_mult"],
                                                      .num_res_blocks = j["num_res_blocks"],
                                                      .z_channels = j["z_channels"],
                                                      .in_channels = j["in_channels"],
                                                      .out_ch = j["out_ch"],
                                                      .scale_factor = std::stod(file.metadata().at("scale_factor"))});
  load_parameters(model, part_of_file{file, "param."});
  auto const image = file.load<float, 4>(on_two, "image");
  auto const moments = file.load<float, 4>(on_two, "moments");
  CHECK(relative(model.moments(image), moments) < 1e-5);
  CHECK(relative(model.decode(file.load<float, 4>(on_two, "latent")), file.load<float, 4>(on_two, "decoded")) < 1e-5);

  auto const noise = cog::randn<float>(on_two, {2, 4, 8, 8}, 1);
  auto wide = moments.copy();  // where the clamp matters
  wide(0, 4, 0, 0) = 100;
  wide(1, 5, 2, 3) = -100;
  auto const z = model.draw(wide, noise);
  for (auto const& [b, c, i, k] : {std::array<index_t, 4>{0, 0, 0, 0}, {1, 1, 2, 3}, {1, 3, 7, 7}}) {
    double const log_variance = std::clamp<double>(wide(b, c + 4, i, k), -30, 20);
    CHECK(z(b, c, i, k) ==
          Approx(0.2301 * (wide(b, c, i, k) + std::exp(0.5 * log_variance) * noise(b, c, i, k))).epsilon(1e-5));
  }
}

TEST_CASE("the published autoencoder has the published number of parameters", "[autoencoder]") {
  cog::autoencoder_kl<float, cog::cpu> const model(on_two, {});
  CHECK(cog::parameter_count(model) == 83'653'863);
  CHECK(cog::parameter_count(model.encoder) == 34'163'592);
  CHECK(cog::parameter_count(model.decoder) == 49'490'179);
  check_error([] { cog::autoencoder_kl<float, cog::cpu>(on_two, {.ch = 48}); }, {"48 channels", "32"});
}

TEST_CASE("the autoencoder's gradients are its derivatives", "[autoencoder]") {
  cog::autoencoder_kl<double, cog::cpu> model(
      on_two, {.ch = 32, .ch_mult = {1, 1}, .num_res_blocks = 1, .z_channels = 2, .in_channels = 1, .out_ch = 1});
  cog::nn::initialise(model, 1, cog::nn::kaiming_uniform{1});
  auto const x = cog::randn<double>(on_two, {1, 1, 4, 4}, 2), weights = cog::randn<double>(on_two, {1, 1, 4, 4}, 3);
  auto const loss = [&](auto const& m, auto const& v) { return sum(m(v) * weights); };
  auto const [value, gradients] = cog::value_and_grad(model, [&](auto& m) { return loss(m, x); });
  // Along one random direction of all parameters at once: a parameter that were left out would show.
  double along = 0;
  auto const h = 1e-6;
  auto ahead = copy_of(model), behind = copy_of(model);
  cog::for_each_parameter(model, [&, &gradients = gradients](std::string const& name, auto& p) {
    auto const d = cog::randn<double>(on_two, p.extents(), 7, cog::nn::stream_of(name));
    double const part = sum(gradients(p) * d).item();
    if (name != "encoder.mid.attn_1.k.bias") CHECK(part != 0);  // softmax does not see a shift of all keys
    along += part;
  });
  auto const shift = [&](auto& m, double by) {
    cog::for_each_parameter(m, [&](std::string const& name, auto& p) {
      p += cog::randn<double>(on_two, p.extents(), 7, cog::nn::stream_of(name)) * by;
    });
  };
  shift(ahead, h);
  shift(behind, -h);
  CHECK(along == Approx((loss(ahead, x).item() - loss(behind, x).item()) / (2 * h)).epsilon(1e-5));
  auto const result = cog::gradcheck([&](auto const& v) { return loss(model, v); }, x);
  INFO(result.message);
  CHECK(result.ok);
}
