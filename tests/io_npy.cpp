#include "io_common.hpp"

#include <cog/io/npy.hpp>

using namespace cog;
using namespace io_test;

namespace {

/// A .npy file of this dictionary and data, of version 1, 2 or 3.
std::string file_of(std::string const& dictionary, std::string const& data, int version = 1) {
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) out += static_cast<char>(dictionary.size() >> (8 * i) & 255);
  return out + dictionary + data;
}

template <class T>
std::string bytes_of(std::vector<T> const& values) {
  return {reinterpret_cast<char const*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

TEMPLATE_TEST_CASE("every dtype goes through .npy", "[npy]", double, float, half, std::int64_t, std::int32_t,
                   std::uint8_t, bool) {
  folder const folder;
  auto const x = numbered<TestType>(std::array<index_t, 3>{2, 3, 4});
  save_npy(folder / "x.npy", x);
  save_npy(folder / "turned.npy", permuted(x, {2, 0, 1}));
  CHECK(equal(load_npy<TestType, 3>(ctx, folder / "x.npy"), x));
  CHECK(equal(load_npy<TestType, 3>(ctx, folder / "turned.npy"), permuted(x, {2, 0, 1})));
}

TEST_CASE("every rank goes through .npy, and so do slices and nothing", "[npy]") {
  folder const folder;
  auto const path = folder / "x.npy";
  auto const x = numbered<float>(std::array<index_t, 3>{2, 3, 4});
  auto const same = [&]<int R>(tensor<float, R, host> const& t) {
    save_npy(path, t);
    return equal(load_npy<float, R>(ctx, path), t);
  };
  CHECK(same(slice(x, 1, 1, 3)));
  CHECK(same(slice(x, 0, 1, 1)));
  CHECK(same(select(x, 0, 1)));
  CHECK(same(select(select(x, 0, 1), 1, 2)));
  CHECK(same(select(select(select(x, 0, 1), 0, 2), 0, 3)));
  CHECK(same(numbered<float>(std::array<index_t, 5>{1, 2, 1, 3, 1})));
  CHECK(folder.names() == std::vector<std::string>{"x.npy"});
}

TEST_CASE("the header is NumPy's own", "[npy]") {
  folder const folder;
  auto const header = [&](auto const& t) {
    save_npy(folder / "x.npy", t);
    std::string const bytes = read(folder / "x.npy");
    CHECK(bytes.substr(0, 8) == std::string("\x93NUMPY\x01\0", 8));
    auto const length = static_cast<std::size_t>(static_cast<unsigned char>(bytes[8]));
    CHECK((10 + length) % 64 == 0);
    CHECK(bytes[9 + length] == '\n');
    return bytes.substr(10, bytes.find_last_of('}', 9 + length) - 9);
  };
  CHECK(header(empty<float>(ctx, {2, 3})) == "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
  CHECK(header(empty<half>(ctx, {5})) == "{'descr': '<f2', 'fortran_order': False, 'shape': (5,), }");
  CHECK(header(select(empty<bool>(ctx, {1}), 0, 0)) == "{'descr': '|b1', 'fortran_order': False, 'shape': (), }");
  CHECK(header(empty<bool>(ctx, {0, 2, 1})) == "{'descr': '|b1', 'fortran_order': False, 'shape': (0, 2, 1), }");
}

TEST_CASE("both orders, both ends, three versions", "[npy]") {
  folder const folder;
  auto const path = folder / "x.npy";
  std::vector<float> const rows = {0, 1, 2, 3, 4, 5};
  std::vector<float> const columns = {0, 3, 1, 4, 2, 5};
  for (int version : {1, 2, 3}) {
    write(path, file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", bytes_of(rows), version));
    CHECK(load_npy<float, 2>(ctx, path).to_vector() == rows);
    write(path, file_of("{\"shape\":(2L,3L),\"fortran_order\":True,\"descr\":\"<f4\"}", bytes_of(columns), version));
    CHECK(load_npy<float, 2>(ctx, path).to_vector() == rows);
    CHECK(load_npy<float, 2>(ctx, path).is_contiguous());
  }
  std::string swapped;
  for (float x : columns) {
    auto raw = std::bit_cast<std::array<char, 4>>(x);
    swapped.append(raw.rbegin(), raw.rend());
  }
  write(path, file_of("{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3), }", swapped));
  CHECK(load_npy<float, 2>(ctx, path).to_vector() == rows);
  CHECK(load_npy<double, 2>(ctx, path).to_vector() == std::vector<double>(rows.begin(), rows.end()));

  write(path, file_of("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }", std::string("\x01\x02\xff\xfe", 4)));
  CHECK(load_npy<std::int32_t, 1>(ctx, path).to_vector() == std::vector<std::int32_t>{258, -2});
  CHECK(load_npy<bf16, 2>(ctx, (write(path, file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1), }",
                                                             bytes_of<float>({1.5f}))), path))(0, 0) == 1.5f);
}

TEST_CASE("bad .npy files are refused, naming the file", "[npy]") {
  folder const folder;
  auto const path = folder / "bad.npy";
  std::string const start = "npy " + path.string() + ": ";
  std::function<void(std::string const&, parts_t)> const refused = [&](std::string const& bytes, parts_t parts) {
    write(path, bytes);
    check_error([&] { static_cast<void>(load_npy<float, 1>(ctx, path)); }, parts);
    check_error([&] { static_cast<void>(load_npy<float, 1>(ctx, path)); }, {start});
  };
  std::function<void(std::string_view, std::size_t, parts_t)> const dictionary =
      [&](std::string_view text, std::size_t bytes, parts_t parts) {
        refused(file_of(std::string(text), std::string(bytes, '\0')), parts);
      };
  check_error([&] { static_cast<void>(load_npy<float, 1>(ctx, folder / "absent")); }, {"cannot open", "absent"});
  refused("", {"not a .npy file"});
  refused("PK\x03\x04 this is a zip file", {"not a .npy file"});
  refused(std::string("\x93NUMPY\x04\0\0\0\0\0", 12), {".npy version 4.0"});
  refused(std::string("\x93NUMPY\x02\0\0\0", 10), {"truncated"});
  refused(std::string("\x93NUMPY\x01\0\x09\0{}", 12), {"truncated: the header has 9 bytes"});
  dictionary("", 0, {"'{' expected at its end"});
  dictionary("{'descr': '<f4'", 0, {"'}' expected"});
  dictionary("{'descr': '<f4', 'fortran_order': False, }", 0, {"is missing"});
  dictionary("{'descr': '<f4', 'descr': '<f4'}", 0, {"unexpected key 'descr'"});
  dictionary("{'descr': '<f4', 'fortran_order': 0, 'shape': (), }", 4, {"True or False expected at '0, 'shape'"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': 3, }", 12, {"'(' expected"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }", 12, {"an extent expected at '-3"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': (3 4), }", 12, {"')' expected"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 12,
             {"an extent expected"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), } x", 12, {"text after the dictionary"});
  dictionary("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", 12, {"structured"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 11,
             {"truncated: <f4 [3] needs 12 bytes, the file gives 11"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 13,
             {"too long: <f4 [3] needs 12 bytes, the file gives 13"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 0, {"too many elements"});
  dictionary("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }", 12,
             {"<f4 [1, 3], expected float32 of rank 1"});
  dictionary("{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }", 12, {"<i4 [3], expected float32 [3]"});
  dictionary("{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", 24, {"<c8 [3], expected float32 [3]"});
  dictionary("{'descr': '|V2', 'fortran_order': False, 'shape': (3,), }", 6, {"|V2 [3], expected float32 [3]"});
  write(path, file_of("{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", bytes_of<std::int32_t>({7, 256})));
  check_error([&] { static_cast<void>(load_npy<std::uint8_t, 1>(ctx, path)); },
              {"<i4 [2]: element 1 of the data does not fit uint8"});
  check_error([&] { save_npy(path, tensor<float, 1, host>()); }, {"without storage"});
}

TEST_CASE("a damaged .npy file gives an error or its content, never worse", "[npy]") {
  folder const folder;
  auto const path = folder / "x.npy";
  save_npy(path, numbered<float>(std::array<index_t, 2>{3, 2}));
  std::string const whole = read(path);
  auto const survives = [&](std::string const& bytes) {
    write(path, bytes);
    try {
      static_cast<void>(load_npy<float, 2>(ctx, path));
      return true;
    } catch (error const&) {
      return false;
    }
  };
  REQUIRE(survives(whole));
  for (std::size_t n = 0; n < whole.size(); ++n) CHECK_FALSE(survives(whole.substr(0, n)));
  std::mt19937 random(1);
  for (int i = 0; i < 5000; ++i) {
    std::string bytes = whole;
    bytes[random() % 80] ^= static_cast<char>(1u << random() % 8);
    if (i % 2) bytes[random() % 80] = "0123456789,()'<>fiub "[random() % 21];
    survives(bytes);
  }
}
