#include "io_common.hpp"

#include <cog/io/safetensors.hpp>

#include <atomic>
#include <cmath>
#include <thread>

using namespace cog;
using namespace io_test;

namespace {

/// A file of this header and so many bytes 0, 1, 2, ... of data.
std::string file_of(std::string const& header, std::size_t data) {
  std::uint64_t const length = header.size();
  std::string out(sizeof(length), '\0');
  std::memcpy(out.data(), &length, sizeof(length));
  out += header;
  for (std::size_t i = 0; i < data; ++i) out += static_cast<char>(i);
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("every dtype goes through a file", "[safetensors]", double, float, bf16, half, std::int64_t,
                   std::int32_t, std::uint8_t, bool) {
  using T = TestType;
  folder const folder;
  auto const x = numbered<T>(std::array<index_t, 3>{2, 30, 70});
  safetensors_writer().add("x", x).add("turned", permuted(x, {2, 0, 1})).write(folder / "x");
  safetensors_file const file(folder / "x");
  CHECK(file.info("x").dtype == detail::safetensors_name(dtype_of<T>));
  CHECK(equal(file.load<T, 3>(ctx, "x"), x));
  CHECK(equal(file.load<T, 3>(ctx, "turned"), permuted(x, {2, 0, 1})));
  auto back = numbered<T>(x.extents());
  file.load_into("turned", permuted(back, {2, 0, 1}));
  CHECK(equal(back, x));
}

TEST_CASE("every rank goes through a file, and so do slices and nothing", "[safetensors]") {
  folder const folder;
  auto const scalar = select(filled<float>(3), 0, 0);
  auto const row = numbered<float>(std::array<index_t, 1>{7});
  auto const none = numbered<float>(std::array<index_t, 2>{0, 4});
  auto const cube = numbered<float>(std::array<index_t, 3>{2, 3, 5});
  auto const wide = numbered<float>(std::array<index_t, 4>{1, 300, 1, 70});
  safetensors_writer writer;
  writer.add("scalar", scalar).add("row", row).add("none", none).add("cube", cube).add("wide", wide);
  writer.add("slice", slice(cube, 2, 1, 5, 2)).add("wide turned", permuted(wide, {3, 2, 1, 0}));
  writer.write(folder / "x");

  safetensors_file const file(folder / "x");
  CHECK(file.names().size() == 7);
  CHECK(file.info("cube").shape == std::vector<index_t>{2, 3, 5});
  CHECK(equal(file.load<float, 0>(ctx, "scalar"), scalar));
  CHECK(equal(file.load<float, 1>(ctx, "row"), row));
  CHECK(equal(file.load<float, 2>(ctx, "none"), none));
  CHECK(equal(file.load<float, 3>(ctx, "cube"), cube));
  CHECK(equal(file.load<float, 4>(ctx, "wide"), wide));
  CHECK(equal(file.load<float, 3>(ctx, "slice"), slice(cube, 2, 1, 5, 2)));
  CHECK(equal(file.load<float, 4>(ctx, "wide turned"), permuted(wide, {3, 2, 1, 0})));

  auto target = numbered<float>(std::array<index_t, 3>{2, 5, 5});
  auto const before = numbered<float>(target.extents());
  file.load_into("cube", slice(target, 1, 1, 4));  // what lies around the slice stays
  CHECK(equal(slice(target, 1, 1, 4), cube));
  CHECK(equal(select(target, 1, 0), select(before, 1, 0)));
  CHECK(equal(select(target, 1, 4), select(before, 1, 4)));
}

TEST_CASE("a tensor that the host cannot reach goes through a file", "[safetensors]") {
  folder const folder;
  auto const x = numbered<float>(std::array<index_t, 2>{3, 4});
  auto const there = x.to(far_away::context{});
  safetensors_writer().add("x", there).add("turned", transposed(there)).write(folder / "x.safetensors");
  safetensors_file const file(folder / "x.safetensors");
  CHECK(equal(file.load<float, 2>(ctx, "x"), x));
  CHECK(equal(file.load<float, 2>(ctx, "turned"), transposed(x)));
  auto const target = numbered<float>(std::array<index_t, 2>{4, 5}).to(far_away::context{});
  file.load_into("turned", slice(target, 1, 1, 4));
  CHECK(equal(slice(target.to(ctx), 1, 1, 4), transposed(x)));
  auto const far = file.load<double, 2>(far_away::context{}, "x");
  CHECK(far.to(ctx).to_vector() == std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
}

TEST_CASE("the written file is the same each time, aligned, and keeps what it held when interrupted", "[safetensors]") {
  folder const folder;
  auto const path = folder / "x.safetensors";
  auto const write = [&](bool other_order) {
    safetensors_writer writer;
    auto const flags = numbered<bool>(std::array<index_t, 1>{3});
    auto const weight = numbered<double>(std::array<index_t, 1>{2});
    if (other_order) writer.metadata("b", "2").add("z", weight).add("a", flags).metadata("a", "1");
    else writer.metadata("a", "1").metadata("b", "2").add("a", flags).add("z", weight);
    writer.write(path);
    return read(path);
  };
  std::string const first = write(false);
  CHECK(write(true) == first);
  CHECK(first.size() % 8 == 3);  // header, 16 bytes of doubles, 3 of flags
  CHECK(first.substr(8, 68) == R"({"__metadata__":{"a":"1","b":"2"},"z":{"dtype":"F64","shape":[2],"da)");
  CHECK(safetensors_file(path).metadata() == std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}});
  CHECK(safetensors_file(path).names() == std::vector<std::string>{"z", "a"});
  CHECK(folder.names() == std::vector<std::string>{"x.safetensors"});

  {
    atomic_file unfinished(path);
    unfinished.write("half of a fi");
    CHECK(folder.names().size() == 2);
  }
  CHECK(read(path) == first);
  CHECK(folder.names().size() == 1);

  // An open file stays what it was when another takes its place.
  safetensors_file const open(path);
  safetensors_writer().add("other", numbered<float>(std::array<index_t, 1>{1})).write(path);
  CHECK(open.load<double, 1>(ctx, "z").to_vector() == std::vector<double>{0, 1});
  CHECK(safetensors_file(path).names() == std::vector<std::string>{"other"});

  safetensors_writer().write(path);
  CHECK(safetensors_file(path).names().empty());

  // To the system, "x.safetensors\0b" would be this file.
  auto const longer = path.native() + std::string("\0b", 2);
  CHECK_THROWS_WITH(write_file(longer, "text"), Catch::Contains("cannot write") && Catch::Contains("holds a NUL"));
  CHECK_THROWS_WITH(mapped_file(longer), Catch::Contains("cannot open"));
  CHECK(folder.names().size() == 1);
}

TEST_CASE("a writer holds the value that a tensor had", "[safetensors]") {
  folder const folder;
  auto x = numbered<float>(std::array<index_t, 1>{4});
  safetensors_writer writer;
  writer.add("x", x);
  x = numbered<float>(std::array<index_t, 1>{2});
  writer.write(folder / "x.safetensors");
  auto const written = safetensors_file(folder / "x.safetensors").load<float, 1>(ctx, "x");
  CHECK(written.to_vector() == std::vector<float>{0, 1, 2, 3});
}

TEST_CASE("floats convert to floats, integers to integers that hold them", "[safetensors]") {
  folder const folder;
  auto const path = folder / "x.safetensors";
  float const pi = 3.14159265f;
  std::int16_t const short_values[] = {-3, 300};
  std::uint64_t const huge = ~std::uint64_t{0};
  std::uint8_t const truths[] = {0, 2, 255};
  safetensors_writer()
      .add("pi", filled<float>(pi))
      .add("half pi", filled<half>(half(pi)))
      .add("bf16 pi", filled<bf16>(bf16(pi)))
      .add("large", filled<double>(1e300))
      .add("big", filled<std::int64_t>(std::int64_t{1} << 40))
      .add("small", filled<std::int64_t>(-7))
      .add_bytes("i16", "I16", {2}, std::as_bytes(std::span(short_values)))
      .add_bytes("u64", "U64", {}, std::as_bytes(std::span(&huge, 1)))
      .add_bytes("truths", "BOOL", {3}, std::as_bytes(std::span(truths)))
      .add_bytes("complex", "C64", {1}, std::as_bytes(std::span(&huge, 1)))
      .add_bytes("float8", "F8_E4M3", {8}, std::as_bytes(std::span(&huge, 1)))
      .write(path);
  safetensors_file const file(path);
  CHECK(file.load<double, 1>(ctx, "pi")(0) == double(pi));
  CHECK(file.load<half, 1>(ctx, "pi")(0).bits == half(pi).bits);
  CHECK(file.load<bf16, 1>(ctx, "half pi")(0).bits == bf16(float(half(pi))).bits);
  CHECK(file.load<float, 1>(ctx, "bf16 pi")(0) == float(bf16(pi)));
  CHECK(std::isinf(file.load<float, 1>(ctx, "large")(0)));
  CHECK(file.load<std::int32_t, 1>(ctx, "small")(0) == -7);
  CHECK(file.load<std::int64_t, 1>(ctx, "i16")(1) == 300);
  auto const flags = file.load<bool, 1>(ctx, "truths");
  CHECK((!flags(0) && flags(1) && flags(2)));

  std::string const name = path.string();
  check_error([&] { file.load<std::int32_t, 1>(ctx, "big"); }, {name, "'big' I64 [1]", "element 0 does not fit int32"});
  check_error([&] { file.load<std::uint8_t, 1>(ctx, "i16"); }, {"'i16' I16 [2]: element 0 does not fit uint8"});
  check_error([&] { file.load<std::int64_t, 0>(ctx, "u64"); }, {"'u64' U64 []: element 0 does not fit int64"});
  check_error([&] { file.load<std::int32_t, 1>(ctx, "pi"); }, {name, "'pi' is F32 [1], expected int32 [1]"});
  check_error([&] { file.load<float, 1>(ctx, "small"); }, {"'small' is I64 [1], expected float32 [1]"});
  check_error([&] { file.load<std::uint8_t, 1>(ctx, "truths"); }, {"'truths' is BOOL [3], expected uint8 [3]"});
  check_error([&] { file.load<float, 2>(ctx, "pi"); }, {name, "'pi' is F32 [1], expected float32 of rank 2"});
  check_error([&] { file.load_into("pi", empty<half>(ctx, {2, 1})); },
              {name, "'pi' is F32 [1], expected float16 [2, 1]"});
  check_error([&] { file.load_into("pi", empty<float>(ctx, {2})); }, {"'pi' is F32 [1], expected float32 [2]"});
  check_error([&] { file.load<float, 1>(ctx, "tau"); }, {name, "no tensor 'tau'"});
  check_error([&] { file.load_into("pi", tensor<float, 1, host>()); }, {"without storage"});

  // Types that cog does not compute with are listed, and their bytes can be had.
  CHECK(file.info("complex").dtype == "C64");
  CHECK(file.bytes("float8").size() == 8);
  check_error([&] { file.load<float, 1>(ctx, "complex"); }, {"'complex' is C64 [1], expected float32 [1]"});
  check_error([&] { file.load<float, 1>(ctx, "float8"); }, {"'float8' is F8_E4M3 [8], expected float32 [8]"});
}

TEST_CASE("tensors that are not aligned in a foreign file are read", "[safetensors]") {
  folder const folder;
  write(folder / "x", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                       R"("b":{"dtype":"I32","shape":[2],"data_offsets":[1,9]} })", 9));
  auto const b = safetensors_file(folder / "x").load<std::int64_t, 1>(ctx, "b");
  CHECK(b(0) == 0x04030201);
  CHECK(b(1) == 0x08070605);
}

TEST_CASE("what the format forbids is refused, naming the file and the tensor", "[safetensors]") {
  folder const folder;
  auto const path = folder / "bad.safetensors";
  std::string const start = "safetensors " + path.string() + ": ";
  std::function<void(std::string const&, parts_t)> const refused = [&](std::string const& bytes, parts_t parts) {
    write(path, bytes);
    check_error([&] { safetensors_file{path}; }, parts);
    check_error([&] { safetensors_file{path}; }, {start});
  };
  std::function<void(std::string_view, std::size_t, parts_t)> const header =
      [&](std::string_view text, std::size_t data, parts_t parts) { refused(file_of(std::string(text), data), parts); };
  // One tensor 'w', by its dtype, shape and offsets.
  std::function<void(std::array<std::string_view, 3>, std::size_t, parts_t)> const entry =
      [&](std::array<std::string_view, 3> w, std::size_t data, parts_t parts) {
        std::string text = R"({"w":{"dtype":)";
        text += w[0];
        text += R"(,"shape":)";
        text += w[1];
        text += R"(,"data_offsets":)";
        text += w[2];
        header(text + "}}", data, parts);
      };

  check_error([&] { safetensors_file{folder / "absent"}; }, {"cannot open", "absent", "No such file"});
  check_error([&] { safetensors_file{folder.path}; }, {"cannot read", "directory"});
  refused("", {"truncated: 0 bytes"});
  refused("1234567", {"truncated: 7 bytes"});
  refused(file_of(std::string(20, ' '), 0).substr(0, 20), {"truncated: the header has 20 bytes, the file 20"});
  refused(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10), {"not a safetensors file", "100000001"});
  refused(std::string(16, '\xff'), {"not a safetensors file", "18446744073709551615"});
  header("", 0, {"bad header", "'{'"});
  header(" {}", 0, {"bad header", "'{'"});
  header("[]", 0, {"bad header", "'{'"});
  header(R"({"w":)", 0, {"bad header", "parse error"});
  header("{} x", 0, {"bad header", "parse error"});
  header(std::string("{}\0", 3), 0, {"bad header", "parse error"});
  header("{\"\xff\":{}}", 0, {"bad header", "parse error"});
  header(std::string(100'000, '['), 0, {"bad header"});
  header("{\"a\":" + std::string(100'000, '['), 0, {"bad header", "parse error"});
  header(R"({"w":1})", 0, {"tensor 'w'", "not an object"});
  header(R"({"w":{"dtype":"F32","shape":[1]}})", 4, {"tensor 'w'", "no 'data_offsets'"});
  header(R"({"__metadata__":[]})", 0, {"__metadata__ is not an object"});
  header(R"({"__metadata__":{"a":1}})", 0, {"__metadata__ 'a' is not a string"});
  header(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
         R"("w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
         2, {"the name 'w' occurs twice"});
  header(R"({"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}})", 1, {"the name 'dtype' occurs twice"});

  entry({"7", "[1]", "[0,1]"}, 1, {"tensor 'w'", "dtype 7 is not a string"});
  entry({R"("U8")", "1", "[0,1]"}, 1, {"tensor 'w'", "shape 1 is not a list"});
  entry({R"("U8")", "[-1]", "[0,1]"}, 1, {"tensor 'w'", "shape [-1] is not a list"});
  entry({R"("U8")", "[1.0]", "[0,1]"}, 1, {"tensor 'w'", "shape [1.0] is not a list"});
  entry({R"("U8")", "[18446744073709551616]", "[0,1]"}, 1, {"tensor 'w'", "is not a list of extents"});
  entry({R"("U8")", "[1]", "[0]"}, 1, {"tensor 'w'", "data_offsets [0] are not two"});
  entry({R"("U8")", "[1]", "[0,-1]"}, 1, {"tensor 'w'", "data_offsets [0,-1] are not two"});
  entry({R"("U8")", "[1]", "[1,0]"}, 1, {"tensor 'w'", "end before they begin"});
  entry({R"("F32")", "[2,3]", "[0,23]"}, 23, {"tensor 'w'", "F32 [2, 3] needs 24 bytes, the file gives 23"});
  entry({R"("F4")", "[3]", "[0,2]"}, 2, {"tensor 'w'", "F4 [3] needs 2 bytes"});
  entry({R"("F32")", "[4294967296,4294967296]", "[0,0]"}, 0, {"tensor 'w'", "too many elements"});
  entry({R"("F32")", "[0,4294967296,4294967296]", "[0,0]"}, 0, {"tensor 'w'", "too many elements"});
  entry({R"("F64")", "[1152921504606846976]", "[0,0]"}, 0, {"tensor 'w'", "too many elements"});
  entry({R"("U8")", "[5]", "[0,5]"}, 4, {"truncated: tensor 'w' ends at byte 5 of the data, the file has 4"});
  entry({R"("U8")", "[5]", "[0,5]"}, 6, {"the tensors end at byte 5 of the data, the file has 6"});
  entry({R"("U8")", "[5]", "[1,6]"}, 6, {"tensor 'w' leaves a hole: it begins at 1, not at 0"});
  auto const two = [](std::string const& a, std::string const& b) {
    return R"({"v":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
           R"(},"w":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  header(two("[0,4]", "[3,7]"), 7, {"tensor 'w' overlaps the one before it: it begins at 3, not at 4"});
  header(two("[0,4]", "[5,9]"), 9, {"tensor 'w' leaves a hole: it begins at 5, not at 4"});
  header(two("[0,4]", "[0,4]"), 4, {"overlaps the one before it"});

  // A type nobody knows is no reason to refuse the others.
  write(path, file_of(R"({"v":{"dtype":"Q3","shape":[9],"data_offsets":[0,2]},)"
                      R"("w":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                      3));
  safetensors_file const file(path);
  CHECK(file.info("v").dtype == "Q3");
  CHECK(file.load<std::uint8_t, 1>(ctx, "w")(0) == 2);
  check_error([&] { file.load<float, 1>(ctx, "v"); }, {"'v' is Q3 [9], expected float32"});
}

TEST_CASE("the writer refuses what could not be read", "[safetensors]") {
  safetensors_writer writer;
  auto const x = numbered<float>(std::array<index_t, 1>{2});
  writer.add("x", x);
  check_error([&] { writer.add("x", x); }, {"'x' is added twice"});
  check_error([&] { writer.add("__metadata__", x); }, {"reserved"});
  check_error([&] { writer.add("\xff", x); }, {"not UTF-8"});
  check_error([&] { writer.metadata("a", "\xc3"); }, {"not UTF-8"});
  check_error([&] { writer.add("y", tensor<float, 1, host>()); }, {"without storage"});
  check_error([&] { writer.add_bytes("y", "F33", {1}, {}); }, {"'y'", "unknown dtype 'F33'"});
  check_error([&] { writer.add_bytes("y", "F32", {1}, {}); }, {"'y'", "F32 [1] given 0 bytes"});
  check_error([&] { writer.write("/nowhere/at/all"); }, {"cannot write /nowhere/at/all"});
}

TEST_CASE("a damaged file gives an error or its content, never worse", "[safetensors]") {
  folder const folder;
  auto const path = folder / "x.safetensors";
  safetensors_writer()
      .metadata("format", "cog")
      .add("a.weight", numbered<float>(std::array<index_t, 2>{3, 4}))
      .add("a.bias", numbered<bf16>(std::array<index_t, 1>{3}))
      .add("mask", numbered<bool>(std::array<index_t, 1>{5}))
      .add("step", numbered<std::int64_t>(std::array<index_t, 0>{}))
      .write(path);
  std::string const whole = read(path);
  auto const survives = [&](std::string const& bytes) {
    write(path, bytes);
    try {
      safetensors_file const file(path);
      for (auto const& name : file.names()) {
        try {
          static_cast<void>(file.load<float, 2>(ctx, name));
        } catch (error const&) {
        }
        try {
          static_cast<void>(file.load<std::int64_t, 1>(ctx, name));
        } catch (error const&) {
        }
      }
      return true;
    } catch (error const&) {
      return false;
    }
  };

  REQUIRE(survives(whole));
  for (std::size_t n = 0; n < whole.size(); ++n) {
    INFO("the first " << n << " bytes");
    CHECK_FALSE(survives(whole.substr(0, n)));
  }
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = whole;
    for (unsigned flips = 1 + random() % 4; flips-- > 0;)
      bytes[random() % bytes.size()] ^= static_cast<char>(1u << random() % 8);
    survives(bytes);
  }
  for (int i = 0; i < 3000; ++i) {  // digits and punctuation, so that the JSON stays JSON more often
    std::string bytes = whole;
    auto const at = 8 + random() % (whole.size() - 60);
    bytes[at] = "0123456789,:[]{}\"FI-e."[random() % 22];
    survives(bytes);
  }
}

TEST_CASE("threads read one file at the same time", "[safetensors]") {
  folder const folder;
  auto const x = numbered<float>(std::array<index_t, 2>{50, 40});
  safetensors_writer().add("x", x).add("y", transposed(x)).write(folder / "x");
  safetensors_file const file(folder / "x");
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k)
        right += equal(file.load<float, 2>(ctx, "x"), x) && equal(transposed(file.load<float, 2>(ctx, "y")), x);
    });
  for (auto& t : threads) t.join();
  CHECK(right == 200);
}
