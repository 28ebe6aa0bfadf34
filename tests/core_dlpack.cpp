// DLPack in both directions, in C++; tests/interop/check_dlpack.py asks NumPy and PyTorch.
#include "dlpack.hpp"
#include "support.hpp"

#include <cog/core/dlpack.hpp>

using namespace test;

namespace {

/// A tensor of another library's over `data`; counts how often it is handed back.
template <class M>
struct foreign {
  std::vector<float> data{0, 1, 2, 3, 4, 5};
  std::array<std::int64_t, 2> shape{2, 3}, strides{1, 2};
  int returned = 0;
  M managed{};

  foreign() {
    managed.dl_tensor = {data.data(), {kDLCPU, 0}, 2, {2, 32, 1}, shape.data(), strides.data(), 0};
    if constexpr (requires { managed.version; }) managed.version = {1, 1};
    managed.manager_ctx = this;
    managed.deleter = [](M* m) { ++static_cast<foreign*>(m->manager_ctx)->returned; };
  }
  foreign(foreign const&) = delete;
};

}  // namespace

TEMPLATE_TEST_CASE("to_dlpack: the elements themselves, for as long as the consumer holds them", "", DLManagedTensor, DLManagedTensorVersioned) {
  auto x = cog::reshape(cog::arange<double>(context(), 6), {2, 3});
  auto managed = cog::to_dlpack<TestType>(cog::slice(cog::transposed(x), 0, 1, 3));
  auto const& t = managed->dl_tensor;
  CHECK(t.data == &x(0, 1));
  CHECK(t.device.device_type == kDLCPU);
  CHECK(t.device.device_id == 0);
  CHECK((t.dtype.code == 2 && t.dtype.bits == 64 && t.dtype.lanes == 1));
  REQUIRE(t.ndim == 2);
  CHECK((t.shape[0] == 2 && t.shape[1] == 2));
  CHECK((t.strides[0] == 1 && t.strides[1] == 3));
  CHECK(t.byte_offset == 0);
  if constexpr (requires { managed->version; }) CHECK((managed->version.major == 1 && managed->flags == 0));

  x = x + 1;  // a value: the consumer keeps what it was given
  CHECK(static_cast<double*>(t.data)[0] == 1);
  x = {};
  auto const back = cog::from_dlpack<double, 2>(context(), managed.release());
  CHECK(back.to_vector() == std::vector<double>{1, 4, 2, 5});
}

TEST_CASE("to_dlpack: every element type, rank 0, no elements, no storage") {
  auto const check = [&]<class T>(T, int code, int bits) {
    auto const managed = cog::to_dlpack<DLManagedTensor>(cog::scalar<T>(context(), T(1)));
    CHECK(managed->dl_tensor.dtype.code == code);
    CHECK(managed->dl_tensor.dtype.bits == bits);
    CHECK(managed->dl_tensor.ndim == 0);
  };
  check(double{}, 2, 64);
  check(float{}, 2, 32);
  check(cog::half{}, 2, 16);
  check(cog::bf16{}, 4, 16);
  check(std::int64_t{}, 0, 64);
  check(std::int32_t{}, 0, 32);
  check(std::uint8_t{}, 1, 8);
  check(bool{}, 6, 8);
  auto none = cog::to_dlpack<DLManagedTensor>(cog::zeros<float>(context(), {0, 3}));
  CHECK(cog::from_dlpack<float, 2>(context(), none.release()).extents() == cog::extents<2>{0, 3});
  CHECK_THROWS_WITH(cog::to_dlpack<DLManagedTensor>(tensor<float, 1>()), Catch::Contains("without storage"));
}

TEMPLATE_TEST_CASE("from_dlpack: no copy, strides and offset, handed back by the last handle", "", DLManagedTensor, DLManagedTensorVersioned) {
  foreign<TestType> other;
  SECTION("strides") {
    auto x = cog::from_dlpack<float, 2>(context(), &other.managed);
    CHECK(x.data() == other.data.data());
    CHECK(x.to_vector() == std::vector<float>{0, 2, 4, 1, 3, 5});
    x.assign(x * 2);
    CHECK(other.data[5] == 10);
    auto const row = cog::select(x, 0, 1);
    x = {};
    CHECK(other.returned == 0);
    CHECK(row(2) == 10);
  }
  SECTION("no strides, an offset") {
    other.managed.dl_tensor.strides = nullptr;
    other.managed.dl_tensor.byte_offset = sizeof(float);
    other.shape = {1, 5};
    CHECK(cog::from_dlpack<float, 2>(context(), &other.managed).to_vector() == std::vector<float>{1, 2, 3, 4, 5});
  }
  CHECK(other.returned == 1);
}

TEST_CASE("from_dlpack: what is read-only is copied") {
  foreign<DLManagedTensorVersioned> other;
  other.managed.flags = 1;
  auto x = cog::from_dlpack<float, 2>(context(), &other.managed);
  CHECK(other.returned == 1);
  x.assign(x + 1);
  CHECK(x.to_vector() == std::vector<float>{1, 3, 5, 2, 4, 6});
  CHECK(other.data[0] == 0);
}

TEST_CASE("from_dlpack: errors say what came and what was expected, and hand it back") {
  foreign<DLManagedTensorVersioned> other;
  auto const refused = [&](auto const&... parts) {
    int const before = other.returned;
    CHECK_THROWS_WITH((cog::from_dlpack<float, 2>(context(), &other.managed)), (Catch::Contains(parts) && ...));
    CHECK(other.returned == before + 1);
  };
  auto const whole = other.managed;
  other.managed.dl_tensor.dtype = {4, 16, 1};
  refused("bfloat16 of rank 2", "float32 of rank 2");
  other.managed.dl_tensor.dtype = {2, 32, 4};
  refused("float32x4");
  other.managed.dl_tensor.dtype = {17, 8, 1};
  refused("code 17, bits 8");
  other.managed = whole;
  other.managed.dl_tensor.ndim = 1;
  refused("float32 of rank 1", "float32 of rank 2");
  other.managed = whole;
  other.managed.dl_tensor.device = {kDLCUDA, 3};
  refused("device 3 of type 2");
  other.managed = whole;
  other.managed.dl_tensor.byte_offset = 2;
  refused("multiple of 4");
  other.managed = whole;
  other.shape[0] = -1;
  refused("[-1, 3]");
  other.managed.version.major = 2;
  refused("version 2");
  CHECK_THROWS_AS((cog::from_dlpack<float, 2>(context(), static_cast<DLManagedTensor*>(nullptr))), cog::error);
}
