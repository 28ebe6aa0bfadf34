// Checkpoints: what is written is what is read; a crash or damage at any place leaves an older one or a clear error.
#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <cog/cog.hpp>
#include <cog/io/checkpoint.hpp>
#include <cog/io/npy.hpp>
#include <cog/optim/adamw.hpp>
#include <cog/optim/ema.hpp>

namespace fs = std::filesystem;
using cog::index_t;

namespace {

cog::cpu::context const ctx{{.threads = 1}};

struct folder {
  fs::path path;
  folder() {
    std::string name = (fs::temp_directory_path() / "cog-checkpoint-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~folder() { fs::remove_all(path); }
};

struct parts {
  cog::tensor<float, 2, cog::cpu> matrix;
  cog::tensor<float, 1, cog::cpu> bias;
  explicit parts(std::uint64_t seed, index_t width = 5)
      : matrix(cog::randn<float>(ctx, {width, 3}, seed, 0)), bias(cog::randn<float>(ctx, {3}, seed, 1)) {}
  void visit(auto&& f) {
    f("matrix", matrix);
    f("bias", bias);
  }
};

auto save(fs::path const& root, index_t step, parts& model, index_t keep = 0) {
  return cog::save_checkpoint(
      root, step, {{"seed", 7}}, [&](fs::path const& to) { cog::save_parameters(model, to / "model.safetensors"); },
      keep);
}
std::vector<std::string> names(fs::path const& root) {
  std::vector<std::string> out;
  for (auto const& e : fs::directory_iterator(root)) out.push_back(e.path().filename());
  std::ranges::sort(out);
  return out;
}
std::string content(fs::path const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void put(fs::path const& path, std::string const& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

}  // namespace

TEST_CASE("a checkpoint holds what was put there") {
  folder const root;
  parts a(1), b(2);
  auto const path = save(root.path, 120, a);
  CHECK(path == root.path / "step-00000120");
  CHECK(names(path) == std::vector<std::string>{"model.safetensors", "state.json"});

  auto const found = cog::latest_checkpoint(root.path);
  REQUIRE(found);
  CHECK(found->step() == 120);
  CHECK(found->state().at("seed") == 7);
  found->load("model.safetensors", b);
  CHECK(b.matrix.to_vector() == a.matrix.to_vector());
  CHECK(b.bias.to_vector() == a.bias.to_vector());
  CHECK_THROWS_WITH(found->load("optimizer.safetensors", b), Catch::Contains("has no optimizer.safetensors"));
  CHECK_FALSE(cog::latest_checkpoint(root.path / "nothing"));
}

TEST_CASE("optimiser and average come back bit for bit") {
  folder const root;
  parts model(1);
  auto const gradient = [](auto const& p) { return cog::tensor(p * 0.25f); };
  cog::adamw<cog::cpu> optimizer(model);
  cog::ema<cog::cpu> average(model, 0.9);
  auto const step = [&](parts& m, auto& o, auto& e) {
    o.step(m, gradient, 1e-2);
    e.update(m);
  };
  for (int i = 0; i < 10; ++i) step(model, optimizer, average);
  cog::save_checkpoint(root.path, 10, {}, [&](fs::path const& to) {
    cog::save_parameters(model, to / "model.safetensors");
    cog::save_parameters(optimizer, to / "optimizer.safetensors");
    cog::save_parameters(average, to / "ema.safetensors");
  });

  parts again(5);
  cog::adamw<cog::cpu> other(again);
  cog::ema<cog::cpu> smooth(again, 0.9);
  auto const found = cog::latest_checkpoint(root.path).value();
  found.load("model.safetensors", again);
  found.load("optimizer.safetensors", other);
  found.load("ema.safetensors", smooth);
  CHECK(other.steps() == 10);
  for (int i = 0; i < 10; ++i) {
    step(model, optimizer, average);
    step(again, other, smooth);
  }
  CHECK(again.matrix.to_vector() == model.matrix.to_vector());
  CHECK(smooth.of(again).matrix.to_vector() == average.of(model).matrix.to_vector());
}

TEST_CASE("only the newest are kept") {
  folder const root;
  parts model(1);
  for (index_t step : {10, 20, 30, 40}) save(root.path, step, model, 2);
  CHECK(names(root.path) == std::vector<std::string>{"step-00000030", "step-00000040"});
  // Going back and on again from an older one: what lies ahead is not counted, and not touched.
  save(root.path, 35, model, 1);
  CHECK(names(root.path) == std::vector<std::string>{"step-00000035", "step-00000040"});
  // Numbers count, not their spelling.
  save(root.path, 99'999'999, model, 1);
  save(root.path, 100'000'000, model, 1);
  CHECK(names(root.path) == std::vector<std::string>{"step-100000000"});
}

TEST_CASE("places that cannot hold checkpoints are named") {
  folder const root;
  parts model(1);
  put(root.path / "file", "");
  CHECK_THROWS_WITH(save(root.path / "file" / "below", 1, model), Catch::Contains("create") && Catch::Contains("file/below"));
  CHECK_THROWS_WITH(cog::latest_checkpoint(root.path / "file"), Catch::Contains("read") && Catch::Contains("file"));
  CHECK_THROWS_AS(save(root.path, -1, model), cog::error);
  CHECK_THROWS_AS(save("/proc/nowhere", 1, model), cog::error);
}

TEST_CASE("a checkpoint of the same step is replaced") {
  folder const root;
  parts a(1), b(2), c(3);
  save(root.path, 10, a);
  save(root.path, 10, b);
  CHECK(names(root.path) == std::vector<std::string>{"step-00000010"});
  cog::latest_checkpoint(root.path)->load("model.safetensors", c);
  CHECK(c.matrix.to_vector() == b.matrix.to_vector());
}

TEST_CASE("a failure while writing leaves what was there") {
  folder const root;
  parts model(1);
  save(root.path, 10, model);
  CHECK_THROWS_WITH(cog::save_checkpoint(root.path, 20, {},
                                         [&](fs::path const& to) {
                                           cog::save_parameters(model, to / "model.safetensors");
                                           throw cog::error("the disk is full");
                                         }),
                    Catch::Contains("the disk is full"));
  CHECK(names(root.path) == std::vector<std::string>{"step-00000010"});

  // A crash in the middle: a hidden folder, which is never taken for a checkpoint, and which the next one removes.
  fs::create_directory(root.path / ".step-00000020");
  put(root.path / ".step-00000020" / "model.safetensors", "half");
  CHECK(cog::latest_checkpoint(root.path)->step() == 10);
  save(root.path, 30, model);
  CHECK(names(root.path) == std::vector<std::string>{"step-00000010", "step-00000030"});
}

TEST_CASE("a state that is not UTF-8 is written and read all the same") {
  folder const root;
  cog::save_checkpoint(root.path, 1, {{"data", "caf\xe9.txt"}}, [](fs::path const&) {});
  CHECK(cog::latest_checkpoint(root.path)->state().at("data") == "caf\xef\xbf\xbd.txt");
}

TEST_CASE("damage is named") {
  folder const root;
  parts model(1);
  auto const path = save(root.path, 10, model) / "model.safetensors";
  auto const good = content(path);

  SECTION("a flipped bit in the numbers") {
    auto bad = good;
    bad.back() ^= 1;
    put(path, bad);
    CHECK_THROWS_WITH(cog::latest_checkpoint(root.path)->load("model.safetensors", model),
                      Catch::Contains(path.string()) && Catch::Contains("CRC-32"));
  }
  SECTION("a flipped bit in the header") {
    auto bad = good;
    bad[9] ^= 4;
    put(path, bad);
    CHECK_THROWS_WITH(cog::latest_checkpoint(root.path)->load("model.safetensors", model),
                      Catch::Contains(path.string()));
  }
  SECTION("truncated: the one before is taken, and the reason is told") {
    save(root.path, 20, model);
    auto const newer = root.path / "step-00000020" / "model.safetensors";
    put(newer, good.substr(0, good.size() - 8));
    std::string reason;
    CHECK(cog::latest_checkpoint(root.path, [&](std::string const& r) { reason = r; })->step() == 10);
    CHECK_THAT(reason, Catch::Contains(newer.string()) && Catch::Contains("bytes"));
  }
  SECTION("a file is missing") {
    fs::remove(path);
    CHECK_THROWS_WITH(cog::checkpoint_reader(path.parent_path()), Catch::Contains(path.string()));
  }
  SECTION("state.json is cut") {
    auto const state = path.parent_path() / "state.json";
    put(state, content(state).substr(0, 40));
    CHECK_THROWS_WITH(cog::checkpoint_reader(path.parent_path()), Catch::Contains(state.string()));
    CHECK_FALSE(cog::latest_checkpoint(root.path));
  }
  SECTION("a folder under another step's name") {
    fs::rename(path.parent_path(), root.path / "step-00000020");
    CHECK_THROWS_WITH(cog::checkpoint_reader(root.path / "step-00000020"), Catch::Contains("of step 10"));
    fs::rename(root.path / "step-00000020", root.path / "best");
    CHECK(cog::checkpoint_reader(root.path / "best").step() == 10);
  }
  SECTION("a bit of state.json is wrong") {
    auto const state = path.parent_path() / "state.json";
    auto const whole = content(state);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      auto text = whole;
      text[i] ^= 1;
      put(state, text);
      REQUIRE_THROWS_WITH(cog::checkpoint_reader(path.parent_path()), Catch::Contains(state.string()));
    }
    auto text = whole;
    text.replace(text.find("\"seed\": 7"), 9, "\"seed\": 8");
    put(state, text);
    CHECK_THROWS_WITH(cog::checkpoint_reader(path.parent_path()), Catch::Contains("not what was written"));
  }
  SECTION("state.json of a later format") {
    auto const state = path.parent_path() / "state.json";
    auto text = content(state);
    text.replace(text.find("\"format_version\": 2"), 19, "\"format_version\": 9");
    put(state, text);
    CHECK_THROWS_WITH(cog::checkpoint_reader(path.parent_path()), Catch::Contains("format_version 9"));
  }
}

TEST_CASE("a model of another shape: file, tensor and both shapes") {
  folder const root;
  parts model(1), wider(1, 6);
  save(root.path, 10, model);
  CHECK_THROWS_WITH(cog::latest_checkpoint(root.path)->load("model.safetensors", wider),
                    Catch::Contains("model.safetensors") && Catch::Contains("'matrix'") && Catch::Contains("[5, 3]") &&
                        Catch::Contains("[6, 3]"));
  cog::ema<cog::cpu> average(model, 0.5);
  cog::adamw<cog::cpu> optimizer(model);
  CHECK_THROWS_WITH(cog::latest_checkpoint(root.path)->load("model.safetensors", optimizer),
                    Catch::Contains("model.safetensors") && Catch::Contains("matrix.first_moment"));
}

TEST_CASE("CRC-32 is that of zip") {
  auto const crc = [](std::string_view text) { return cog::detail::crc32(std::as_bytes(std::span(text))); };
  CHECK(crc("") == 0);
  CHECK(crc("123456789") == 0xcbf43926u);
  CHECK(crc("The quick brown fox jumps over the lazy dog") == 0x414fa339u);
}

TEST_CASE("a lazy expression is saved as its value", "[npy]") {
  folder const folder;
  auto const x = cog::randn<float>(ctx, {3, 2}, 1);
  cog::save_npy(folder.path / "x.npy", x * 2);
  CHECK(cog::load_npy<float, 2>(ctx, folder.path / "x.npy").to_vector() == cog::eval(x * 2).to_vector());
}
