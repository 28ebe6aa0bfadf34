// cog/backend/cuda/intrinsics.hpp on the emulated machine. Layouts are those of the PTX ISA; what hardware would do silently wrong is
// made to show: a copy destroys its target when it starts and arrives only when it is waited for, an address that is not aligned
// throws, and rows of a matrix that share banks are counted.
#pragma once

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <cog/backend/cuda/runtime.hpp>
#include <cog/core/dtype.hpp>

namespace emulated {

/// How many times ldmatrix met a bank twice in one matrix.
inline std::size_t& bank_conflicts() {
  static std::size_t n = 0;
  return n;
}

inline unsigned char* shared_at(unsigned address, unsigned alignment) {
  if (address % alignment != 0) throw std::runtime_error("emulated GPU: a shared address that is not aligned");
  return static_cast<unsigned char*>(emulated_shared()) + address;
}

/// A thread writes there.
inline unsigned char* shared_to_write(unsigned address, unsigned alignment) {
  block& b = *block::now();
  b.unpublished.add(address, b.current->linear);
  return shared_at(address, alignment);
}

/// What one thread has started to copy.
struct pending_copies {
  struct copy {
    unsigned to;
    void const* from;
    int bytes;
  };
  std::vector<std::vector<copy>> groups{1};

  static pending_copies& own() {
    static thread_local std::array<pending_copies, 1024> of_threads;
    return of_threads[block::now()->current->linear];
  }
  void wait(std::size_t left) {
    while (groups.size() > left + 1) {
      for (copy const& c : groups.front()) {
        unsigned char* const to = shared_at(c.to, 16);
        std::memset(to, 0, 16);
        std::memcpy(to, c.from, static_cast<std::size_t>(c.bytes));
      }
      groups.erase(groups.begin());
    }
  }
};

/// f[i] from the eight rows of matrix i, read(rows) of 16 bytes each.
template <class Read>
void load_matrices(unsigned (&f)[4], unsigned address, Read const& read) {
  if (address % 16 != 0) throw std::runtime_error("emulated GPU: ldmatrix of an address that is not aligned");
  exchange(0xffffffffu, address, [&](auto const& of) {
    for (unsigned i = 0; i < 4; ++i) {
      std::array<std::uint16_t const*, 8> rows;
      unsigned banks = 0;
      for (unsigned r = 0; r < 8; ++r) {
        unsigned const at = of(8 * i + r);
        rows[r] = reinterpret_cast<std::uint16_t const*>(shared_at(at, 16));
        banks |= 1u << (at / 16 % 8);
      }
      if (banks != 0xff && emulated_lane() == 0) ++bank_conflicts();
      f[i] = read(rows);
    }
    return 0;
  });
}

}  // namespace emulated

namespace cog::cuda_detail {

inline void* dynamic_shared() { return emulated_shared(); }
inline unsigned shared_address(void const* p) {
  return static_cast<unsigned>(static_cast<unsigned char const*>(p) - static_cast<unsigned char const*>(emulated_shared()));
}

inline void store_shared(unsigned to, uint4 const& x) { std::memcpy(emulated::shared_to_write(to, 16), &x, 16); }
inline void store_shared(unsigned to, unsigned x) { std::memcpy(emulated::shared_to_write(to, 4), &x, 4); }
inline void store_shared(unsigned to, std::uint16_t x) { std::memcpy(emulated::shared_to_write(to, 2), &x, 2); }
inline uint4 load_shared(unsigned from) {
  uint4 x;
  std::memcpy(&x, emulated::shared_at(from, 16), 16);
  return x;
}

inline void copy_chunk(unsigned to, void const* from, int bytes) {
  if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0) throw std::runtime_error("emulated GPU: a copy from an address that is not aligned");
  std::memset(emulated::shared_at(to, 16), 0xff, 16);
  emulated::pending_copies::own().groups.back().push_back({to, from, bytes});
}
inline void end_copies() { emulated::pending_copies::own().groups.emplace_back(); }
template <int Left>
void wait_copies() { emulated::pending_copies::own().wait(Left); }

inline void load_matrices(unsigned (&f)[4], unsigned address) {
  unsigned const g = emulated_lane() / 4, t = emulated_lane() % 4;
  emulated::load_matrices(f, address, [&](auto const& rows) { return rows[g][2 * t] | static_cast<unsigned>(rows[g][2 * t + 1]) << 16; });
}
inline void load_matrices_transposed(unsigned (&f)[4], unsigned address) {
  unsigned const g = emulated_lane() / 4, t = emulated_lane() % 4;
  emulated::load_matrices(f, address, [&](auto const& rows) { return rows[2 * t][g] | static_cast<unsigned>(rows[2 * t + 1][g]) << 16; });
}

template <reduced_float T>
void multiply_add(float (&c)[4], unsigned const (&a)[4], unsigned b0, unsigned b1) {
  struct fragments {
    unsigned a[4], b[2];
  };
  auto const number = [](unsigned pair, unsigned which) {
    T x;
    x.bits = static_cast<std::uint16_t>(pair >> (16 * which));
    return static_cast<float>(x);
  };
  emulated::exchange(0xffffffffu, fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}}, [&](auto const& of) {
    unsigned const g = emulated_lane() / 4, t = emulated_lane() % 4;
    for (unsigned k = 0; k < 16; ++k) {
      unsigned const quad = k % 8 / 2, upper = k / 8;  // k stands in the registers of the lanes with t = quad
      fragments const rows = of(4 * g + quad);
      for (unsigned n = 0; n < 2; ++n) {
        float const b = number(of(4 * (2 * t + n) + quad).b[upper], k % 2);
        c[n] += number(rows.a[2 * upper], k % 2) * b;
        c[2 + n] += number(rows.a[2 * upper + 1], k % 2) * b;
      }
    }
    return 0;
  });
}

template <reduced_float T>
unsigned packed(float low, float high) { return T(low).bits | static_cast<unsigned>(T(high).bits) << 16; }

inline float exp2_approx(float x) {
  float const out = std::exp2(x);
  return out < std::numeric_limits<float>::min() ? 0.0f : out;
}
inline float signed_min(float magnitude, float s) {
  if (magnitude != magnitude || s != s) return std::numeric_limits<float>::quiet_NaN();
  return std::copysign(std::min(magnitude, std::fabs(s)), s);
}

}  // namespace cog::cuda_detail
