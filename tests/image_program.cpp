// The parts of cog-diffusion that are libraries of their own: pictures in files, data sets, drawn shapes, the Frechet
// distance; and models of latents and texts from end to end.
#include <cstdio>
#include <fstream>

#include <cog/io/npy.hpp>
#include <cog/io/safetensors.hpp>

#include "../examples/image/features.hpp"
#include "../examples/image/fid.hpp"
#include "../examples/image/latent.hpp"
#include "../examples/image/published.hpp"
#include "../examples/image/sampler.hpp"
#include "../examples/image/shapes.hpp"
#include "nn_common.hpp"

using namespace nn_test;
namespace fs = std::filesystem;

namespace {

struct scratch_folder {
  fs::path path = fs::temp_directory_path() / ("cog-image-" + std::to_string(::getpid()));
  scratch_folder() { fs::create_directories(path); }
  ~scratch_folder() { fs::remove_all(path); }
};

void write_bytes(fs::path const& file, std::vector<std::uint8_t> const& bytes) {
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<char const*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

TEST_CASE("a PNG that libpng wrote is read by another library, with the same pixels", "[image]") {
  scratch_folder const folder;
  auto const p = image::draw_shape(3, 5, 31);
  image::write_png(folder.path / "p.png", p, {{"steps", "50"}, {"class", "red ring"}});
  auto const back = image::read_picture(folder.path / "p.png");
  CHECK(back.width == 31);
  CHECK(back.height == 31);
  CHECK(back.rgb == p.rgb);
  std::ifstream in(folder.path / "p.png", std::ios::binary);
  std::string const bytes{std::istreambuf_iterator<char>(in), {}};
  CHECK(bytes.find(std::string("tEXtclass\0red ring", 18)) != bytes.npos);
  CHECK(bytes.find(std::string("tEXtsteps\0"
                               "50",
                               12)) != bytes.npos);
  check_error([&] { image::write_png(folder.path / "no such folder" / "p.png", p); }, {"no such folder"});
  write_bytes(folder.path / "bad.jpg", {1, 2, 3});
  check_error([&] { image::read_picture(folder.path / "bad.jpg"); }, {"bad.jpg", "neither a PNG nor a JPEG"});
  image::write_png(folder.path / "p.png", p, {{"class", "gr\u00f6\u00dfe"}});
  cog::mapped_file const named(folder.path / "p.png");
  CHECK(named.text().find(std::string("iTXtclass\0\0\0\0\0gr\u00f6\u00dfe", 21)) != std::string::npos);
  auto const all = image::grid({p, p, p}, 2);
  CHECK(all.width == 2 * 33 + 2);
  CHECK(all.height == 2 * 33 + 2);
  CHECK(all.at(0, 0)[0] == 255);
  CHECK(std::equal(p.at(4, 7), p.at(5, 7), all.at(2 + 33 + 4, 2 + 7)));
}

TEST_CASE("pictures of every depth and kind become eight bits of red, green and blue", "[image]") {
  scratch_folder const folder;
  auto const read = [&](std::vector<std::uint8_t> const& bytes) {
    write_bytes(folder.path / "p.png", bytes);
    return image::read_picture(folder.path / "p.png").rgb;
  };
  using values = std::vector<std::uint8_t>;
  // Written by Python's zlib: 16 bits of grey, a palette of 2 bits, grey with transparency, 16 bits of colour.
  CHECK(read({137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 1, 16, 0, 0, 0, 0, 129, 217, 252, 21, 0, 0, 0, 13, 73, 68, 65, 84, 120, 218, 99, 16, 50, 249, 119, 7, 0, 3, 193, 2, 33, 210, 189, 85, 34, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130}) == values{0x12, 0x12, 0x12, 0xfe, 0xfe, 0xfe});
  CHECK(read({137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 0, 0, 0, 137, 76, 151, 25, 0, 0, 0, 9, 80, 76, 84, 69, 1, 2, 3, 40, 50, 60, 250, 0, 7, 75, 1, 168, 98, 0, 0, 0, 10, 73, 68, 65, 84, 120, 218, 99, 152, 0, 0, 0, 146, 0, 145, 191, 170, 129, 246, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130}) == values{250, 0, 7, 40, 50, 60});
  CHECK(read({137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0, 0, 0, 1, 8, 4, 0, 0, 0, 94, 43, 183, 1, 0, 0, 0, 13, 73, 68, 65, 84, 120, 218, 99, 224, 252, 127, 162, 1, 0, 5, 54, 2, 81, 205, 231, 9, 118, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130}) == values{9, 9, 9, 200, 200, 200});
  CHECK(read({137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 1, 0, 0, 0, 2, 16, 2, 0, 0, 0, 70, 115, 253, 51, 0, 0, 0, 21, 73, 68, 65, 84, 120, 218, 99, 248, 255, 159, 145, 161, 129, 1, 8, 234, 255, 51, 49, 0, 0, 34, 125, 4, 0, 39, 197, 128, 74, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130}) == values{0xff, 0x01, 0x80, 0x00, 0x7f, 0x02});
  auto const one = image::square(image::picture(1, 1, 77), 5);
  CHECK(one.rgb == values(75, 77));
  auto wide = image::picture(300, 2, 10);
  std::fill_n(wide.at(149, 0), 6, std::uint8_t{200});
  std::fill_n(wide.at(149, 1), 6, std::uint8_t{200});
  CHECK(image::square(wide, 2).rgb == values(12, 200));  // the middle
}

TEST_CASE("what is no number becomes black, and what is out of range its end", "[image]") {
  float const nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  CHECK(image::to_pictures({nan, infinity, -infinity, 0}, {1, 1, 2, 2})[0].rgb ==
        std::vector<std::uint8_t>{0, 0, 0, 255, 255, 255, 0, 0, 0, 128, 128, 128});
}

TEST_CASE("drawn shapes are functions of seed and number, and look like their class", "[image]") {
  auto const names = image::shape_names();
  CHECK(names.size() == 12);
  CHECK(image::draw_shape(1, 3, 16).rgb == image::draw_shape(1, 3, 16).rgb);
  CHECK(image::draw_shape(1, 3, 16).rgb != image::draw_shape(2, 3, 16).rgb);
  CHECK(image::draw_shape(1, 3, 16).rgb != image::draw_shape(1, 15, 16).rgb);
  for (index_t i = 0; i < 60; ++i) {  // the strongest colour anywhere is that of the class
    auto const p = image::draw_shape(4, i, 32);
    int best = 0;
    std::size_t strongest = 0;
    for (std::size_t k = 0; k < p.rgb.size(); k += 3)
      for (std::size_t c = 0; c < 3; ++c) {
        int const over = p.rgb[k + c] - (p.rgb[k + (c + 1) % 3] + p.rgb[k + (c + 2) % 3]) / 2;
        if (over > best) best = over, strongest = c;
      }
    std::string const colours[] = {"red", "green", "blue"};
    CHECK(names[static_cast<std::size_t>(i) % 12].starts_with(colours[strongest]));
  }
}

TEST_CASE("data sets in every format, and back to pictures", "[image]") {
  scratch_folder const folder;
  cog::cpu::context const one_thread({.threads = 1});
  auto const bytes_of = [](auto f, std::size_t n) {
    std::vector<std::uint8_t> out;
    for (std::size_t i = 0; i < n; ++i) out.push_back(static_cast<std::uint8_t>(f(i)));
    return out;
  };
  auto records = bytes_of([](std::size_t i) { return i * 7; }, 2 * 3073);
  records[0] = 3;
  records[3073] = 9;
  write_bytes(folder.path / "data_batch_1.bin", records);
  auto const cifar = image::load_dataset(folder.path, 0);
  CHECK(cifar.count() == 2);
  CHECK(cifar.labels == std::vector<std::int64_t>{3, 9});
  index_t const second[] = {1};
  auto const x = cifar.batch(one_thread, second);
  CHECK(x(0, 2, 4, 5) == Approx(records[3073 + 1 + 2 * 1024 + 4 * 32 + 5] / 127.5 - 1));
  CHECK(cifar.batch(one_thread, second, {true})(0, 2, 4, 26) == x(0, 2, 4, 5));
  auto const back = image::to_pictures(x)[0];
  CHECK(back.at(5, 4)[2] == records[3073 + 1 + 2 * 1024 + 4 * 32 + 5]);
  records[0] = 10;
  write_bytes(folder.path / "data_batch_1.bin", records);
  check_error([&] { image::load_dataset(folder.path, 0); }, {"data_batch_1.bin", "label 10"});

  auto const mnist = folder.path / "mnist";
  fs::create_directories(mnist);
  auto images = bytes_of([](std::size_t i) { return i; }, 2 * 6);
  images.insert(images.begin(), {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3});
  write_bytes(mnist / "train-images-idx3-ubyte", images);
  write_bytes(mnist / "train-labels-idx1-ubyte", {0, 0, 8, 1, 0, 0, 0, 2, 4, 7});
  auto const digits = image::load_dataset(mnist, 0);
  CHECK(digits.count() == 2);
  CHECK(digits.channels == 1);
  CHECK(digits.size == 2);
  CHECK(digits.labels == std::vector<std::int64_t>{4, 7});
  CHECK(digits.pixels == std::vector<std::uint8_t>{0, 1, 3, 4, 6, 7, 9, 10});  // the left square of 2 x 3
  write_bytes(mnist / "train-labels-idx1-ubyte", {0, 0, 8, 1, 0, 0, 0, 3, 4, 7, 1});
  check_error([&] { image::load_dataset(mnist, 0); }, {"train-images-idx3-ubyte", "2 pictures"});

  auto const classes = folder.path / "classes";
  for (char const* name : {"b", "a"}) {
    fs::create_directories(classes / name);
    image::write_png(classes / name / "1.png", image::draw_shape(1, *name, 20));
  }
  auto const named = image::load_dataset(classes, 10);
  CHECK(named.classes == std::vector<std::string>{"a", "b"});
  CHECK(named.count() == 2);
  CHECK(named.size == 10);
  fs::create_directories(classes / "c");
  check_error([&] { image::load_dataset(classes, 10); }, {"classes/c", "a class without pictures"});
  fs::create_directories(folder.path / "none");
  check_error([&] { image::load_dataset(folder.path / "none", 0); }, {"none", "no pictures"});
}

TEST_CASE("the Frechet distance is SciPy's", "[image][golden]") {
  cog::safetensors_file const file(COG_GOLDEN_DIR "/frechet.safetensors");
  auto const moments = [&](char const* name) {
    return image::moments_of(file.load<float, 2>(ctx, name).to_vector(), 6);
  };
  auto const second = moments("second"), kept = image::read_moments(COG_GOLDEN_DIR "/frechet_second.npz");
  for (std::size_t i = 0; i < 6; ++i) CHECK(second.mean[i] == Approx(kept.mean[i]).epsilon(1e-12));
  for (std::size_t i = 0; i < 36; ++i) CHECK(second.covariance[i] == Approx(kept.covariance[i]).margin(1e-12));
  CHECK(image::frechet_distance(moments("first"), kept) ==
        Approx(file.load<double, 1>(ctx, "first_to_second")(0)).epsilon(1e-8));
  CHECK(image::frechet_distance(moments("few"), kept) ==
        Approx(file.load<double, 1>(ctx, "few_to_second")(0)).epsilon(1e-5));
  CHECK(image::frechet_distance(second, second) == Approx(0).margin(1e-9));
  check_error([&] { image::moments_of(std::vector<float>(6), 6); }, {"at least 2"});
  check_error([&] { image::read_moments(COG_GOLDEN_DIR "/frechet.safetensors"); }, {"frechet.safetensors", ".npz"});
}

TEST_CASE("pictures are resized as FID resizes: bilinear, no antialiasing, corners not aligned", "[image]") {
  auto const x = cog::from<float>(ctx, {{0, 1}, {2, 3}});
  auto const y = image::resized<cog::cpu>(reshape(x, {1, 1, 2, 2}), 4);
  double const at[] = {0, 0.25, 0.75, 1};
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 4; ++j) CHECK(y(0, 0, i, j) == Approx(2 * at[i] + at[j]));
  auto const down = image::resized<cog::cpu>(reshape(cog::arange<float>(ctx, 8), {1, 1, 1, 8}), 4);
  for (index_t j = 0; j < 4; ++j) CHECK(down(0, 0, 0, j) == Approx(2 * j + 0.5));
}

TEST_CASE("published settings are taken, but for what is given beside them", "[image]") {
  for (auto const& name : image::published_names()) {
    CAPTURE(name);
    image::published(name).config.check();
  }
  image::train_settings asked;
  asked.config = "uvic_s2_mscoco";
  asked.batch = 7;
  auto const s = image::with_published(asked, {"config", "batch"});
  CHECK(s.batch == 7);
  CHECK(s.attention == "cog");
  CHECK(s.dim == 512);
  CHECK(s.beta2 == 0.9);
  CHECK(s.scale_factor == 0.2301);
  CHECK(image::published("uvic_s2_mscoco").config.tokens() == 334);
  check_error([] { image::published("uvit_xxl"); }, {"uvit_xxl"});
}

TEST_CASE("a model of texts learns from latents, goes on bit by bit, and draws what a prompt says", "[image]") {
  scratch_folder const folder;
  auto const clip_folder = folder.path / "clip", data = folder.path / "features";
  fs::create_directories(clip_folder);
  fs::create_directories(data / "train");
  for (char const* file : {"vocab.json", "merges.txt"})
    fs::copy_file(fs::path(COG_GOLDEN_DIR "/clip_tokenizer") / file, clip_folder / file);
  auto const tokenizer = cog::clip_tokenizer::load(clip_folder / "vocab.json", clip_folder / "merges.txt");
  cog::clip_text<float, cog::cpu> clip(ctx, {.vocab_size = tokenizer.vocab_size(),
                                             .hidden_size = 16,
                                             .num_hidden_layers = 1,
                                             .num_attention_heads = 2,
                                             .intermediate_size = 24,
                                             .max_position_embeddings = 8});
  cog::nn::initialise(clip, 1, cog::nn::normal{0.3});
  cog::save_parameters(clip, clip_folder / "model.safetensors");
  cog::write_file(clip_folder / "config.json", R"({"text_config": {"vocab_size": )" +
                                                   std::to_string(tokenizer.vocab_size()) +
                                                   R"(, "hidden_size": 16, "num_hidden_layers": 1,
      "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 8}})");
  cog::autoencoder_kl<float, cog::cpu> autoencoder(
      ctx, {.ch = 32, .ch_mult = {1, 2}, .num_res_blocks = 1, .z_channels = 2, .scale_factor = 0.3});
  cog::nn::initialise(autoencoder, 2, cog::nn::kaiming_uniform{1});
  cog::save_parameters(autoencoder, folder.path / "autoencoder.safetensors");

  image::text_encoder<cog::cpu, float> const encoder(ctx, clip_folder);
  auto const states = encoder({"the cat", "an ending", ""});
  CHECK(same_bits(slice(states, 0, 2, 3).copy(), encoder({""})));
  cog::save_npy(data / "empty_context.npy", select(states, 0, 2).copy());
  for (index_t i = 0; i < 5; ++i) {
    auto const stem = (data / "train" / std::to_string(i)).string();
    cog::save_npy(stem + ".npy", cog::randn<float>(ctx, {4, 4, 4}, 5, static_cast<std::uint64_t>(i)));
    for (index_t k = 0; k <= i % 2; ++k)
      cog::save_npy(stem + "_" + std::to_string(k) + ".npy", select(states, 0, k).copy());
  }

  image::train_settings s;
  s.data = data;
  s.out = folder.path / "once";
  s.autoencoder = folder.path / "autoencoder.safetensors";
  s.threads = s.previews = s.preview_steps = s.patch = s.layers = s.heads = 2;
  s.dim = 16;
  s.batch = s.steps = 4;
  s.scale_factor = 0.3;
  s.held_out = 0.2;
  s.warmup = 1;
  s.min_lr = 1;  // constant: the cosine would depend on the number of steps
  REQUIRE(image::train<cog::cpu, float>(s, {}) == 0);
  CHECK(image::read_picture(folder.path / "once" / "preview-00000004.png").height == 8 + 4);
  auto halves = s;
  halves.out = folder.path / "halves";
  halves.steps = 2;
  REQUIRE(image::train<cog::cpu, float>(halves, {}) == 0);
  halves.steps = 4;
  halves.resume = "auto";
  REQUIRE(image::train<cog::cpu, float>(halves, {"steps", "resume"}) == 0);
  for (char const* file : {"model.safetensors", "ema.safetensors", "optimizer.safetensors"}) {
    cog::mapped_file const a(folder.path / "once" / "step-00000004" / file),
        b(folder.path / "halves" / "step-00000004" / file);
    CHECK((a.text() == b.text()));
  }

  image::sample_settings wish;
  wish.ckpt = s.out;
  wish.out = folder.path / "drawn";
  check_error([&] { image::sample<cog::cpu, float>(wish); }, {"--prompt and --clip are required"});
  wish.prompts = {"the cat", "an ending"};
  wish.clip = clip_folder;
  check_error([&] { image::sample<cog::cpu, float>(wish); }, {"--autoencoder is required"});
  wish.autoencoder = s.autoencoder;
  wish.guidance = 1;
  wish.count = 4;
  wish.steps = wish.batch = 3;
  REQUIRE(image::sample<cog::cpu, float>(wish) == 0);
  // The same, put together by hand.
  auto const loaded = image::load_model<cog::cpu, float>(ctx, s.out, true, "test");
  auto const both = concatenate(0, slice(states, 0, 0, 2), slice(states, 0, 0, 2));
  tensor<float, 4> noise(ctx, {4, 2, 4, 4});
  for (index_t i = 0; i < 4; ++i)
    select(noise, 0, i).assign(cog::randn<float>(ctx, {2, 4, 4}, 1, static_cast<std::uint64_t>(i)));
  auto const z = cog::dpm_solver(cog::guided(loaded.model, both, slice(states, 0, 2, 3).copy(), 1.0), noise,
                                 cog::vp_schedule(), {.steps = 3, .spacing = cog::dpm_spacing::lambda, .end = 1e-4});
  auto const expected = image::to_pictures(autoencoder.decode(z));
  for (index_t i = 0; i < 4; ++i) {
    auto const file =
        folder.path / "drawn" / "pictures" / (i % 2 ? "001" : "000") / ("0000" + std::to_string(i) + ".png");
    auto const drawn = image::read_picture(file);
    auto const& want = expected[static_cast<std::size_t>(i)];
    REQUIRE(drawn.rgb.size() == want.rgb.size());
    for (std::size_t k = 0; k < want.rgb.size(); ++k)
      CHECK(std::abs(drawn.rgb[k] - want.rgb[k]) <= 1);  // batches of 3 and 4
  }
  cog::mapped_file const png(folder.path / "drawn" / "pictures" / "001" / "00001.png");
  CHECK(png.text().find(std::string("tEXtprompt\0an ending", 20)) != png.text().npos);

  autoencoder.quant_conv.bias(0) = std::numeric_limits<float>::quiet_NaN();
  cog::save_parameters(autoencoder, folder.path / "autoencoder.safetensors");
  check_error([&] { image::sample<cog::cpu, float>(wish); }, {"autoencoder.safetensors", "quant_conv.bias", "not finite"});

  fs::remove(data / "train" / "2_0.npy");
  check_error([&] { image::feature_folder{data}; }, {"2.npy has no caption"});
  cog::save_npy(data / "train" / "2_0.npy", cog::zeros<float>(ctx, {8, 15}));
  index_t const second[] = {2}, zero[] = {0};
  check_error([&] { image::feature_folder(data).texts(ctx, second, zero); }, {"2_0.npy", "[8, 15]", "[8, 16]"});
}
