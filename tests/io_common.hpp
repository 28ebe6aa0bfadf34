// A folder of one's own, files made of text, the message that an error must have, and two small backends: files need no
// arithmetic, so their tests need no Eigen.
#pragma once

#include <catch2/catch.hpp>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <cog/core/create.hpp>
#include <cog/core/shape.hpp>
#include <cog/io/elements.hpp>

namespace io_test {

/// Deleted with all that is in it. In memory where possible: files are flushed to the disk, which takes its time.
struct folder {
  std::filesystem::path path;
  folder() {
    std::string const name = "cog-io-" + std::to_string(std::random_device{}());
    std::error_code failed;
    std::filesystem::create_directory(path = "/dev/shm/" + name, failed);
    if (failed) std::filesystem::create_directory(path = std::filesystem::temp_directory_path() / name);
  }
  folder(folder const&) = delete;
  ~folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path operator/(std::string_view name) const { return path / name; }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (auto const& entry : std::filesystem::directory_iterator(path)) out.push_back(entry.path().filename().string());
    return out;
  }
};

inline std::string read(std::filesystem::path const& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
inline void write(std::filesystem::path const& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// Runs `f`, which must throw cog::error with each of `parts` in its text.
/// Neither a template nor in line: there are hundreds of calls, and the time to compile them adds up.
using parts_t = std::initializer_list<std::string_view>;
[[gnu::noinline]] inline void check_error(std::function<void()> const& f, parts_t parts) {
  try {
    f();
  } catch (cog::error const& e) {
    for (auto part : parts) CHECK_THAT(e.what(), Catch::Contains(std::string(part)));
    return;
  }
  FAIL_CHECK("no error, expected: " << (parts.size() ? *parts.begin() : ""));
}

/// Plain memory; or memory that the host may not touch, whose addresses are not those of the bytes.
template <bool Host>
struct memory {
  struct context {
    using backend_type = memory;
  };
  static constexpr std::string_view name = Host ? "plain" : "far away";
  static constexpr bool host_accessible = Host;
  static constexpr std::uintptr_t distance = Host ? 0 : std::uintptr_t{1} << 60;

  static std::byte* near(void const* p) {
    return reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(p) - distance);
  }
  static void* allocate(context const&, std::size_t n) {
    void* p = std::aligned_alloc(64, (n + 64) / 64 * 64);
    return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(p) + distance);
  }
  static void deallocate(context const&, void* p, std::size_t) noexcept { std::free(near(p)); }
  static void copy_from_host(context const&, void* to, void const* p, std::size_t n) { std::memcpy(near(to), p, n); }
  static void copy_to_host(context const&, void* to, void const* p, std::size_t n) { std::memcpy(to, near(p), n); }
  static void synchronize(context const&) {}
};
using host = memory<true>;
using far_away = memory<false>;
static_assert(cog::backend<host> && cog::backend<far_away>);

inline host::context const ctx;

/// What `tensor::assign` does: found through the backend's namespace.
template <class T, int Rank, bool Host>
void write_through(cog::tensor<T, Rank, memory<Host>> const& to, cog::tensor<T, Rank, memory<Host>> const& from) {
  using B = memory<Host>;
  auto const offsets = [](auto const& t) {
    std::vector<cog::index_t> out;
    cog::detail::for_each_row(t.extents(), t.strides(), [&](cog::index_t offset, cog::index_t step, cog::index_t n) {
      for (cog::index_t i = 0; i < n; ++i) out.push_back(offset + i * step);
    });
    return out;
  };
  auto const target = offsets(to), source = offsets(from);
  for (std::size_t i = 0; i < target.size(); ++i)
    std::memcpy(B::near(to.data() + target[i]), B::near(from.data() + source[i]), sizeof(T));
}

/// Same shape, same bits.
template <class T, int Rank, class B>
bool equal(cog::tensor<T, Rank, B> const& a, cog::tensor<T, Rank, B> const& b) {
  auto const bytes = [](cog::tensor<T, Rank, B> const& t) {
    std::string out;
    cog::detail::stream_elements(t, [&](std::span<std::byte const> block) {
      out.append(reinterpret_cast<char const*>(block.data()), block.size());
    });
    return out;
  };
  return a.extents() == b.extents() && bytes(a) == bytes(b);
}

/// Values that tell elements apart and are exact in every type.
template <class T, std::size_t N>
auto numbered(std::array<cog::index_t, N> const& shape) {
  auto t = cog::empty<T>(host::context{}, shape);
  for (cog::index_t i = 0; i < t.size(); ++i)
    t.data()[i] = static_cast<T>(std::is_same_v<T, bool> ? i % 3 == 1 : i % 100);
  return t;
}
template <class T>
auto filled(std::type_identity_t<T> value) {
  auto t = cog::empty<T>(host::context{}, {1});
  t(0) = value;
  return t;
}

}  // namespace io_test
