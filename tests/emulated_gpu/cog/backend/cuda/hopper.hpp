// cog/backend/cuda/hopper.hpp on the emulated machine. What runs by itself on the chip is done as late as it may be, and what must not be
// touched meanwhile is spoilt or watched: targets of copies and accumulators are NaN until they are waited for; operands in shared memory
// or registers that change before a product or a store has read them, writes that were not published, products without a fence, barriers
// that were not made, and what is still under way at the end of a block throw.
#pragma once

#include <cog/backend/cuda/intrinsics.hpp>
#include <cuda.h>

#define COG_HOPPER 1

namespace emulated {

[[noreturn]] inline void fail(char const* what) { throw std::runtime_error(std::string("emulated GPU: ") + what); }

/// An mbarrier, as it lies in shared memory.
struct phase_barrier {
  std::uint16_t phase, expected, pending;
  std::int16_t bytes;  // / 16, that are to come

  static phase_barrier& at(unsigned address) {
    auto& b = *reinterpret_cast<phase_barrier*>(shared_at(address, 8));
    if (b.phase > 1 || b.expected > 1024) fail("an mbarrier that has not been made");
    return b;
  }
  void expect(unsigned n) { bytes = static_cast<std::int16_t>(bytes + n / 16); }
  void came(unsigned n) {
    bytes = static_cast<std::int16_t>(bytes - n / 16);
    turn();
  }
  void arrived() {
    if (pending == 0) fail("more arrivals at an mbarrier than it waits for");
    --pending;
    block::now()->moved = true;
    turn();
  }

 private:
  void turn() {
    if (pending != 0 || bytes != 0) return;
    phase ^= 1;
    pending = expected;
    block::now()->moved = true;
  }
};

/// Bits 4 ... of an address, by those above: 128 bytes: 3 of them.
inline unsigned swizzled(unsigned address, unsigned span) { return address ^ (address >> 3 & (span - 16)); }

/// each(where in the tensor, where in shared memory) of the elements of a box; null outside.
template <class Each>
void for_box(tensor_map const& m, int const (&p)[5], unsigned shared, Each const& each) {
  if (shared % (m.span >= 32 ? 8u * m.span : 128u) != 0) fail("a box in shared memory that is not aligned");
  unsigned n = 0;
  int i[5];
  for (i[4] = 0; i[4] < m.box[4]; ++i[4])
    for (i[3] = 0; i[3] < m.box[3]; ++i[3])
      for (i[2] = 0; i[2] < m.box[2]; ++i[2])
        for (i[1] = 0; i[1] < m.box[1]; ++i[1])
          for (i[0] = 0; i[0] < m.box[0]; ++i[0], ++n) {
            unsigned char* at = m.data;
            bool inside = true;
            for (std::size_t a = 0; a < 5; ++a) {
              std::int64_t const x = std::int64_t{p[a]} + i[a];
              inside = inside && x >= 0 && x < static_cast<std::int64_t>(m.extents[a]);
              at += x * static_cast<std::int64_t>(m.strides[a]);
            }
            each(inside ? at : nullptr, swizzled(shared + n * m.element, m.span));
          }
}

struct box_load {
  unsigned to, barrier;
  tensor_map map;
  int at[5];
  void const* from = nullptr;  // bytes in a row instead
  unsigned bytes = 0;
};
struct bulk_store {
  unsigned from, bytes;
  float* sums;  // null: to a box
  tensor_map map;
  int at[5];
  std::vector<unsigned char> snapshot;
};

/// A product of a warpgroup: what its operands were when its first thread asked for it.
struct product {
  std::uint64_t a, b;
  bool a_in_tile, along_a, along_b;
  unsigned n, taken = 0;
  std::vector<std::uint16_t> a_bits, b_bits;  // [64, 16], [n, 16]
  std::vector<float> a_rows, b_columns;

  /// Element (i, k), i counting rows of `a` or columns of b, by a descriptor of the PTX ISA.
  static std::uint16_t read(std::uint64_t descriptor, bool along, unsigned i, unsigned k, bool check) {
    auto const field = [&](unsigned low) { return static_cast<unsigned>(descriptor >> low & 0x3fff) * 16; };
    unsigned const mode = static_cast<unsigned>(descriptor >> 62), span = mode == 1 ? 128 : mode == 2 ? 64 : mode == 3 ? 32 : 16;
    if (mode == 0 || (descriptor >> 49 & 7) != 0) fail("a matrix descriptor that is not emulated");
    unsigned const start = field(0), leading = field(16), stride = field(32);
    unsigned const at = along ? start + i / (span / 2) * leading + 2 * (i % (span / 2)) + k / 8 * stride + k % 8 * span
                              : start + i / 8 * stride + i % 8 * span + 2 * k;
    if (check) block::now()->unpublished.check(swizzled(at, span));
    std::uint16_t x;
    std::memcpy(&x, shared_at(swizzled(at, span), 2), 2);
    return x;
  }
  template <class Each>
  void operands(bool check, Each const& each) const {
    for (unsigned i = 0; i < n; ++i)
      for (unsigned k = 0; k < 16; ++k) each(true, 16 * i + k, read(b, along_b, i, k, check));
    for (unsigned i = 0; a_in_tile && i < 64; ++i)
      for (unsigned k = 0; k < 16; ++k) each(false, 16 * i + k, read(a, along_a, i, k, check));
  }
  void unchanged() const {
    operands(false, [&](bool of_b, unsigned at, std::uint16_t x) {
      if ((of_b ? b_bits : a_bits)[at] != x) fail("shared memory changes while a product reads it");
    });
  }
};

/// A thread's part in one.
struct product_part {
  std::shared_ptr<product> whole;
  float* d;
  bool add, first;  // of those under way that add to d
  unsigned const* fragment;
  unsigned fragment_bits[4];
  std::vector<float> before;
  float rows[2][16];
};

struct hopper_thread {
  std::vector<std::vector<bulk_store>> stores{1};
  std::vector<std::vector<product_part>> products{1};
  std::size_t next_product = 0;
  bool fenced = false;
};

struct hopper_block {
  std::vector<box_load> loads;
  std::vector<hopper_thread> threads{1024};
  std::vector<std::vector<std::shared_ptr<product>>> products{8};  // of a warpgroup
  std::minstd_rand random{schedule()};

  static hopper_block& of(block& b) {
    if (!b.asynchronous.has_value()) {
      b.asynchronous.emplace<std::shared_ptr<hopper_block>>(std::make_shared<hopper_block>());
      b.at_end = &finish;
    }
    return **std::any_cast<std::shared_ptr<hopper_block>>(&b.asynchronous);
  }
  static hopper_block& now() { return of(*block::now()); }
  static hopper_thread& own() { return now().threads[block::now()->current->linear]; }

  /// One load arrives: the oldest, the newest, or any. False if there is none.
  bool receive() {
    if (loads.empty()) return false;
    auto const which = schedule() == 1 ? loads.size() - 1 : schedule() == 7 ? random() % loads.size() : 0;
    box_load const load = loads[which];
    loads.erase(loads.begin() + static_cast<std::ptrdiff_t>(which));
    block::now()->moved = true;
    unsigned bytes = load.bytes;
    if (load.from) std::memcpy(shared_at(load.to, 16), load.from, load.bytes);
    else for_box(load.map, load.at, load.to, [&](unsigned char const* from, unsigned to) {
      if (from) std::memcpy(shared_at(to, 1), from, load.map.element);
      else std::memset(shared_at(to, 1), 0, load.map.element);
      bytes += load.map.element;
    });
    phase_barrier::at(load.barrier).came(bytes);
    return true;
  }
  static void finish(block& b) {
    hopper_block const& h = of(b);
    if (!h.loads.empty()) fail("a block ends before its loads have come");
    for (auto const& t : h.threads) {
      for (auto const& g : t.stores)
        if (!g.empty()) fail("a block ends before its stores have been read");
      for (auto const& g : t.products)
        if (!g.empty()) fail("a block ends before its products are done");
    }
  }
};

inline void store(bulk_store s) {
  s.snapshot.assign(shared_at(s.from, 16), shared_at(s.from, 16) + s.bytes);
  for (unsigned i = 0; i < s.bytes; i += 16) block::now()->unpublished.check(s.from + i);
  hopper_block::own().stores.back().push_back(std::move(s));
}
inline void wait_stores(std::size_t left) {
  auto& groups = hopper_block::own().stores;
  for (; groups.size() > left + 1; groups.erase(groups.begin()))
    for (bulk_store const& s : groups.front()) {
      if (std::memcmp(s.snapshot.data(), shared_at(s.from, 16), s.bytes) != 0) fail("shared memory changes while a store reads it");
      if (s.sums) {
        auto const* const from = reinterpret_cast<float const*>(s.snapshot.data());
        for (unsigned i = 0; i < s.bytes / 4; ++i) s.sums[i] += from[i];
      } else {
        for_box(s.map, s.at, s.from, [&](unsigned char* to, unsigned from) {
          if (to) std::memcpy(to, s.snapshot.data() + (from - s.from), s.map.element);
        });
      }
    }
}

template <class T>
void multiply(float* d, unsigned registers, bool a_in_tile, bool along_a, bool along_b, std::uint64_t a, unsigned const* fragment, std::uint64_t b, bool add) {
  auto const number = [](std::uint16_t bits) {
    T x;
    x.bits = bits;
    return static_cast<float>(x);
  };
  hopper_block& h = hopper_block::now();
  hopper_thread& self = hopper_block::own();
  if (!self.fenced) fail("a product without a fence before it");
  unsigned const thread = block::now()->current->linear, lane = thread % 32, g = lane / 4;
  auto& sequence = h.products[thread / 128];
  if (self.next_product == sequence.size()) {
    auto p = std::make_shared<product>(product{a, b, a_in_tile, along_a, along_b, 2 * registers, 0, {}, {}, {}, {}});
    p->a_bits.resize(64 * 16), p->b_bits.resize(p->n * 16), p->a_rows.resize(64 * 16), p->b_columns.resize(p->n * 16);
    p->operands(true, [&](bool of_b, unsigned at, std::uint16_t x) {
      (of_b ? p->b_bits : p->a_bits)[at] = x;
      (of_b ? p->b_columns : p->a_rows)[at] = number(x);
    });
    sequence.push_back(p);
  }
  auto& slot = sequence[self.next_product++];
  auto const whole = slot;
  if (whole->b != b || whole->a_in_tile != a_in_tile || (a_in_tile && whole->a != a) || whole->n != 2 * registers) fail("warps of a warpgroup disagree on a product");
  if (++whole->taken == 128) slot.reset();

  product_part part{whole, d, add, true, fragment, {}, {}, {}};
  for (auto const& group : self.products)
    for (auto const& other : group) part.first = part.first && other.d != d;
  if (a_in_tile) {
    for (unsigned half = 0; half < 2; ++half)
      std::copy_n(&whole->a_rows[16 * (thread / 32 % 4 * 16 + g + 8 * half)], 16, part.rows[half]);
  } else {
    struct registers4 {
      unsigned x[4];
    } mine;
    std::memcpy(mine.x, fragment, 16);
    std::memcpy(part.fragment_bits, fragment, 16);
    exchange(0xffffffffu, mine, [&](auto const& of) {
      for (unsigned k = 0; k < 16; ++k) {
        registers4 const from = of(4 * g + k % 8 / 2);
        for (unsigned half = 0; half < 2; ++half) part.rows[half][k] = number(static_cast<std::uint16_t>(from.x[2 * (k / 8) + half] >> (16 * (k % 2))));
      }
      return 0;
    });
  }
  if (part.first) {
    part.before.assign(d, d + registers);
    std::memset(d, 0xff, 4 * registers);
  }
  self.products.back().push_back(std::move(part));
}

/// The instructions of products are for a whole warp, which comes together there.
inline void meet_warp() {
  exchange(0xffffffffu, 0, [](auto const&) { return 0; });
}
inline void wait_products(std::size_t left) {
  meet_warp();
  hopper_thread& self = hopper_block::own();
  self.fenced = false;
  unsigned const lane = emulated_lane(), t = lane % 4;
  for (; self.products.size() > left + 1; self.products.erase(self.products.begin()))
    for (product_part const& p : self.products.front()) {
      unsigned const registers = p.whole->n / 2;
      if (lane == 0) p.whole->unchanged();
      if (p.fragment && std::memcmp(p.fragment, p.fragment_bits, 16) != 0) fail("a fragment changes while a product reads it");
      if (p.first) {
        for (unsigned i = 0; i < registers; ++i) {
          if (__float_as_uint(p.d[i]) != 0xffffffffu) fail("an accumulator is written while a product adds to it");
          p.d[i] = p.before[i];
        }
      }
      for (unsigned i = 0; i < registers; ++i) {
        float const* const column = &p.whole->b_columns[16 * (i / 4 * 8 + 2 * t + i % 2)];
        float const* const row = p.rows[i / 2 % 2];
        float sum = p.add ? p.d[i] : 0;
        for (unsigned k = 0; k < 16; ++k) sum += row[k] * column[k];
        p.d[i] = sum;
      }
    }
}

template <class F>
void store_matrices(unsigned address, unsigned const (&f)[4], F const& place) {
  struct registers4 {
    unsigned address, x[4];
  } mine{address, {f[0], f[1], f[2], f[3]}};
  if (address % 16 != 0) fail("stmatrix to an address that is not aligned");
  exchange(0xffffffffu, mine, [&](auto const& of) {
    unsigned const lane = emulated_lane(), matrix = lane / 8, row = lane % 8;  // this lane writes the row whose address it gives
    std::uint16_t out[8];
    for (unsigned c = 0; c < 8; ++c) {
      auto const [from, half] = place(row, c);
      out[c] = static_cast<std::uint16_t>(of(from).x[matrix] >> (16 * half));
    }
    std::memcpy(shared_to_write(address, 16), out, 16);
    return 0;
  });
}

}  // namespace emulated

namespace cog::cuda_detail {

inline void* dynamic_shared_tiles() { return emulated_shared(); }

inline void init_barrier(unsigned barrier, unsigned arrivals) {
  emulated::phase_barrier const b{0, static_cast<std::uint16_t>(arrivals), static_cast<std::uint16_t>(arrivals), 0};
  std::memcpy(emulated::shared_at(barrier, 8), &b, sizeof(b));
}
inline void publish_barriers() {}
inline void arrive(unsigned barrier) { emulated::phase_barrier::at(barrier).arrived(); }
inline void arrive_expecting(unsigned barrier, unsigned bytes) {
  auto& b = emulated::phase_barrier::at(barrier);
  b.expect(bytes);
  b.arrived();
}
inline void wait_barrier(unsigned barrier, unsigned parity) {
  while (emulated::phase_barrier::at(barrier).phase == parity)
    if (!emulated::hopper_block::now().receive()) emulated::block::yield();
}

struct box_place {
  int at[5];
};
inline emulated::tensor_map emulated_map(CUtensorMap const& map) {
  emulated::tensor_map m;
  std::memcpy(&m, &map, sizeof(m));
  return m;
}
inline void load_box(unsigned to, CUtensorMap const& from, box_place const& p, unsigned barrier) {
  emulated::box_load load{to, barrier, emulated_map(from), {}, nullptr, 0};
  std::copy_n(p.at, 5, load.at);
  emulated::for_box(load.map, load.at, to, [](unsigned char const*, unsigned at) { std::memset(emulated::shared_at(at, 1), 0xff, 2); });
  emulated::hopper_block::now().loads.push_back(load);
}
inline void load_bulk(unsigned to, void const* from, unsigned bytes, unsigned barrier) {
  if (bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0) emulated::fail("a bulk copy that is not aligned");
  std::memset(emulated::shared_at(to, 16), 0xff, bytes);
  emulated::hopper_block::now().loads.push_back({to, barrier, {}, {}, from, bytes});
}
inline void prefetch_map(CUtensorMap const&) {}
inline void store_box(CUtensorMap const& to, box_place const& p, unsigned from) {
  auto const m = emulated_map(to);
  unsigned bytes = m.element;
  for (unsigned const n : m.box) bytes *= n;
  emulated::bulk_store s{from, bytes, nullptr, m, {}, {}};
  std::copy_n(p.at, 5, s.at);
  emulated::store(std::move(s));
}
inline void add_bulk(float* to, unsigned from, unsigned bytes) {
  if (bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(to) % 16 != 0) emulated::fail("a bulk addition that is not aligned");
  emulated::store({from, bytes, to, {}, {}, {}});
}
inline void end_stores() { emulated::hopper_block::own().stores.emplace_back(); }
template <int Left>
void wait_stores_read() { emulated::wait_stores(Left); }
template <int Left>
void wait_stores() { emulated::wait_stores(Left); }
inline void publish_shared() {
  auto& b = *emulated::block::now();
  b.unpublished.publish(b.current->linear);
}

/// Blocks run one after the other: whoever had to come first has come.
inline void wait_turn(int const* flag, int turn) {
  if (*flag != turn) emulated::fail("a turn that nobody before has passed on");
}
inline void pass_turn(int* flag, int turn) { *flag = turn; }

inline void meet_at(int id, int threads) { emulated::sync(id, static_cast<unsigned>(threads)); }
inline void arrive_at(int id, int threads) { emulated::arrive(id, static_cast<unsigned>(threads)); }
template <int N>
void keep_registers() { static_assert(N % 8 == 0 && N >= 24 && N <= 256); }
template <int N>
void take_registers() { static_assert(N % 8 == 0 && N >= 24 && N <= 256); }

inline void store_matrices(unsigned address, unsigned const (&f)[4]) {
  emulated::store_matrices(address, f, [](unsigned row, unsigned c) { return std::pair(4 * row + c / 2, c % 2); });
}
inline void store_matrices_transposed(unsigned address, unsigned const (&f)[4]) {
  emulated::store_matrices(address, f, [](unsigned row, unsigned c) { return std::pair(4 * c + row / 2, row % 2); });
}

inline void begin_products() {
  emulated::meet_warp();
  emulated::hopper_block::own().fenced = true;
}
inline void end_products() { emulated::hopper_block::own().products.emplace_back(); }
template <class T, std::size_t N>
void settle(T (&)[N]) {}
template <int Left, class... X>
void wait_products(X&...) { emulated::wait_products(Left); }
template <class T, bool AlongA, bool AlongB, std::size_t R>
void multiply_tiles(float (&d)[R], std::uint64_t a, std::uint64_t b, bool add) {
  emulated::multiply<T>(d, R, true, AlongA, AlongB, a, nullptr, b, add);
}
template <class T, bool AlongB, std::size_t R>
void multiply_fragment(float (&d)[R], unsigned const (&a)[4], std::uint64_t b, bool add) {
  emulated::multiply<T>(d, R, false, false, AlongB, 0, a, b, add);
}

}  // namespace cog::cuda_detail
