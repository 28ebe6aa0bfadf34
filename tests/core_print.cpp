// Tensors as text.
#include "support.hpp"

#include <iomanip>
#include <sstream>

using namespace test;

namespace {
template <class X>
std::string text(X const& x) {
  std::ostringstream out;
  out << x;
  return out.str();
}
auto ctx() { return context(); }
}  // namespace

TEST_CASE("print: columns are aligned, the last line says what it is") {
  CHECK(text(cog::from<float>(ctx(), {{1, 2.5, -3}, {0, 100.25, 0.0625}})) ==
        "[[  1.0000,   2.5000,  -3.0000],\n"
        " [  0.0000, 100.2500,   0.0625]]\n"
        "float32 [2, 3] on cpu");
  CHECK(text(cog::from<std::int32_t>(ctx(), {-1, 20, 300})) == "[ -1,  20, 300]\nint32 [3] on cpu");
  CHECK(text(cog::from<bool>(ctx(), {true, false})) == "[ true, false]\nbool [2] on cpu");
  CHECK(text(cog::from<std::uint8_t>(ctx(), {65, 7})) == "[65,  7]\nuint8 [2] on cpu");
  CHECK(text(cog::full<cog::bf16>(ctx(), {2}, cog::bf16(1.5f))) == "[1.5000, 1.5000]\nbfloat16 [2] on cpu");
  CHECK(text(cog::full<cog::half>(ctx(), {1, 1}, cog::half(-2))) == "[[-2.]]\nfloat16 [1, 1] on cpu");
  CHECK(text(cog::from<std::int64_t>(ctx(), {std::numeric_limits<std::int64_t>::min()})) ==
        "[-9223372036854775808]\nint64 [1] on cpu");
}

TEST_CASE("print: whole numbers, small and large ones, infinities") {
  CHECK(text(cog::from<float>(ctx(), {1, 20, -3})) == "[ 1., 20., -3.]\nfloat32 [3] on cpu");
  CHECK(text(cog::from<double>(ctx(), {1e-5, 1})) == "[1.0000e-05, 1.0000e+00]\nfloat64 [2] on cpu");
  CHECK(text(cog::from<double>(ctx(), {123456.5, 1})) == "[1.2346e+05, 1.0000e+00]\nfloat64 [2] on cpu");
  CHECK(text(cog::from<double>(ctx(), {1e20, 0})) == "[1.0000e+20, 0.0000e+00]\nfloat64 [2] on cpu");
  CHECK(text(cog::from<float>(ctx(), {NAN, INFINITY, -INFINITY, 0.5})) == "[   nan,    inf,   -inf, 0.5000]\nfloat32 [4] on cpu");
  CHECK(text(cog::from<float>(ctx(), {NAN, 2})) == "[nan,  2.]\nfloat32 [2] on cpu");
  CHECK(text(cog::from<float>(ctx(), {0, -0.0f})) == "[ 0., -0.]\nfloat32 [2] on cpu");
}

TEST_CASE("print: no axes, no elements, no storage") {
  CHECK(text(cog::scalar<float>(ctx(), 2.5f)) == "2.5000\nfloat32 [] on cpu");
  CHECK(text(cog::empty<float>(ctx(), {0, 3})) == "[]\nfloat32 [0, 3] on cpu");
  CHECK(text(cog::empty<float>(ctx(), {3, 0})) == "[]\nfloat32 [3, 0] on cpu");
  CHECK(text(tensor<float, 1>()) == "(no storage)\nfloat32 [0] on cpu");
}

TEST_CASE("print: a blank line between matrices, strides do not matter") {
  auto const x = cog::reshape(cog::arange<std::int64_t>(ctx(), 8), {2, 2, 2});
  CHECK(text(x) ==
        "[[[0, 1],\n"
        "  [2, 3]],\n"
        "\n"
        " [[4, 5],\n"
        "  [6, 7]]]\n"
        "int64 [2, 2, 2] on cpu");
  CHECK(text(cog::permuted(x, {2, 1, 0})) ==
        "[[[0, 4],\n"
        "  [2, 6]],\n"
        "\n"
        " [[1, 5],\n"
        "  [3, 7]]]\n"
        "int64 [2, 2, 2] on cpu");
}

TEST_CASE("print: more than a thousand elements are elided, long rows go on below") {
  CHECK(text(cog::arange<std::int64_t>(ctx(), 1001)) == "[   0,    1,    2, ...,  998,  999, 1000]\nint64 [1001] on cpu");
  CHECK(text(cog::transposed(cog::reshape(cog::arange<std::int32_t>(ctx(), 2000), {2, 1000}))) ==
        "[[   0, 1000],\n"
        " [   1, 1001],\n"
        " [   2, 1002],\n"
        " ...,\n"
        " [ 997, 1997],\n"
        " [ 998, 1998],\n"
        " [ 999, 1999]]\n"
        "int32 [1000, 2] on cpu");
  auto const long_row = text(cog::arange<std::int64_t>(ctx(), 1000));
  std::istringstream lines(long_row);
  std::string line;
  int count = 0, number = 0;
  while (std::getline(lines, line) && line.find("int64") == std::string::npos) {
    CHECK(line.size() <= 80);
    CHECK(line[0] == (count++ == 0 ? '[' : ' '));
    std::istringstream numbers(line.substr(1));
    for (int n; numbers >> n; numbers.get()) CHECK(n == number++);
  }
  CHECK(number == 1000);
  CHECK(count > 50);
  CHECK(text(cog::zeros<float>(ctx(), {100, 100, 100, 100})).size() < 6 * 6 * 6 * 80);
}

TEST_CASE("print: a stream's precision and state") {
  std::ostringstream out;
  out << std::setprecision(2) << std::hex << cog::from<double>(ctx(), {1.23456}) << ' ' << 255;
  CHECK(out.str() == "[1.23]\nfloat64 [1] on cpu ff");
}

TEST_CASE("print: lazy expressions show their value") {
  auto const x = cog::from<float>(ctx(), {1, 2});
  CHECK(text(x * 2 + 0.5f) == "[2.5000, 4.5000]\nfloat32 [2] on cpu");
  CHECK(text(x > 1) == "[false,  true]\nbool [2] on cpu");
}

TEST_CASE("print: variables show their value") {
  std::string seen;
  auto const x = cog::from<float>(ctx(), {1, 2});
  cog::value_and_grad([&](auto const& v) {
    seen = text(v) + '\n' + text(v * 3);
    return cog::sum(v);
  }, x);
  CHECK(seen == "[1., 2.]\nfloat32 [2] on cpu\n[3., 6.]\nfloat32 [2] on cpu");
}

TEST_CASE("print: extents, where cog's names are visible") {
  using namespace cog;
  std::ostringstream out;
  out << zeros<float>(ctx(), {2, 3}).extents() << ' ' << index_t{4} << ' ' << extents<0>{};
  CHECK(out.str() == "[2, 3] 4 []");
}
