// A GPU in software, enough to run this project's kernels on a machine without one: a block's threads are fibers that switch
// at barriers and warp exchanges; blocks run one after the other. What it shows: indexing, synchronisation (a deadlock is found;
// the order of threads can be reversed or shuffled, so that a missing barrier changes results), tails and reuse of memory. What
// it can't: speed, the memory model, and whether the hardware agrees. x86-64 only.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <any>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include <sys/mman.h>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct uint3 {
  unsigned x, y, z;
};

// Of the thread that runs now.
inline thread_local uint3 threadIdx, blockIdx;
inline thread_local dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace emulated {

// Saves the callee-saved registers on one stack and restores those of another.
extern "C" void emulated_switch(void** save, void* to);
asm(R"(
.text
.weak emulated_switch
.type emulated_switch,@function
emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulated_switch,.-emulated_switch
)");

constexpr int warp_size = 32;

struct warp {
  std::uint32_t live = 0;      // threads that have not returned
  unsigned generation = 0;     // of exchanges
  std::uint32_t arrived = 0;   // in this generation
  std::uint32_t expected = 0;  // by the first that arrived
  alignas(16) unsigned char slot[2][warp_size][64];
};
struct barrier {
  unsigned generation = 0, arrived = 0;
};

struct fiber {
  void* stack = nullptr;  // its saved stack pointer
  uint3 thread{};
  unsigned linear = 0;
  bool done = false;
};

/// Writes of threads to shared memory that they have not published yet: the tensor cores and the copy engine may not see them.
struct unpublished_writes {
  std::map<unsigned, unsigned> thread_of;  // by address / 16
  void add(unsigned address, unsigned thread) { thread_of[address / 16] = thread; }
  void publish(unsigned thread) {
    std::erase_if(thread_of, [thread](auto const& w) { return w.second == thread; });
  }
  void check(unsigned address) const {
    if (thread_of.contains(address / 16)) throw std::runtime_error("emulated GPU: shared memory is read before it is published");
  }
};

/// The block that runs now, on this host thread.
struct block {
  static constexpr std::size_t stack_bytes = 64 << 10;
  std::vector<fiber> fibers;
  std::vector<warp> warps;
  barrier all[16];
  unsigned live = 0;
  void* scheduler = nullptr;
  fiber* current = nullptr;
  std::function<void()> const* body = nullptr;
  std::unique_ptr<unsigned char[]> shared;
  bool moved = false;  // has anybody got further since the last round?
  std::exception_ptr failure;     // of a thread
  unpublished_writes unpublished;
  std::any asynchronous;          // what hopper.hpp has under way
  void (*at_end)(block&) = nullptr;  // when all threads have returned

  static block*& now() {
    static thread_local block* b = nullptr;
    return b;
  }
  static void yield() {
    block& b = *now();
    emulated_switch(&b.current->stack, b.scheduler);
  }
};

/// How the threads of a block take turns: 0 in order, 1 in reverse, 2 each warp as far as it gets before the next one has a turn,
/// otherwise shuffled with this seed.
inline unsigned& schedule() {
  static unsigned value = 0;
  return value;
}

inline void fiber_main() {
  block& b = *block::now();
  try {
    (*b.body)();
  } catch (...) {
    b.failure = std::current_exception();
  }
  b.current->done = true;
  --b.live;
  b.warps[b.current->linear / warp_size].live &= ~(1u << (b.current->linear % warp_size));
  b.moved = true;
  block::yield();
  std::abort();  // never resumed
}

class stacks {
 public:
  ~stacks() {
    if (memory_) munmap(memory_, size_);
  }
  unsigned char* of(std::size_t fibers) {
    std::size_t const wanted = fibers * block::stack_bytes;
    if (wanted > size_) {
      if (memory_) munmap(memory_, size_);
      memory_ = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory_ == MAP_FAILED) throw std::runtime_error("emulated GPU: no memory for stacks");
      size_ = wanted;
    }
    return static_cast<unsigned char*>(memory_);
  }

 private:
  void* memory_ = nullptr;
  std::size_t size_ = 0;
};

/// Runs body once for every thread of the grid.
inline void run(dim3 blocks, dim3 threads, std::size_t shared_bytes, std::function<void()> const& body) {
  static thread_local stacks memory;
  unsigned const count = threads.x * threads.y * threads.z;
  if (count == 0 || count > 1024) throw std::runtime_error("emulated GPU: a block of " + std::to_string(count) + " threads");
  block b;
  b.body = &body;
  block* const outer = block::now();
  block::now() = &b;
  std::vector<unsigned> order(count);
  std::minstd_rand random(schedule());
  for (unsigned z = 0; z < blocks.z; ++z)
    for (unsigned y = 0; y < blocks.y; ++y)
      for (unsigned x = 0; x < blocks.x; ++x) {
        blockIdx = {x, y, z};
        blockDim = threads;
        gridDim = blocks;
        b.fibers.assign(count, {});
        b.warps.assign((count + warp_size - 1) / warp_size, {});
        for (auto& bar : b.all) bar = {};
        b.live = count;
        b.asynchronous.reset();
        b.unpublished = {};
        b.at_end = nullptr;
        b.shared.reset(new unsigned char[shared_bytes + 128]);
        std::memset(b.shared.get(), 0xff, shared_bytes + 128);  // NaN to whoever reads before writing
        unsigned char* const base = memory.of(count);
        for (unsigned t = 0; t < count; ++t) {
          auto& f = b.fibers[t];
          f.linear = t;
          f.thread = {t % threads.x, t / threads.x % threads.y, t / threads.x / threads.y};
          b.warps[t / warp_size].live |= 1u << (t % warp_size);
          auto* top = reinterpret_cast<void**>(base + (t + 1) * block::stack_bytes);
          *--top = nullptr;                                 // keeps the stack aligned as after a call
          *--top = reinterpret_cast<void*>(&fiber_main);    // where `ret` goes
          for (int i = 0; i < 6; ++i) *--top = nullptr;     // registers
          f.stack = top;
        }
        for (unsigned t = 0; t < count; ++t) order[t] = schedule() == 1 ? count - 1 - t : t;
        auto const turn = [&](unsigned t) {
          auto& f = b.fibers[t];
          if (f.done) return;
          b.current = &f;
          threadIdx = f.thread;
          emulated_switch(&b.scheduler, f.stack);
          if (b.failure) {
            block::now() = outer;
            std::rethrow_exception(b.failure);
          }
        };
        while (b.live > 0) {
          if (schedule() > 2) std::shuffle(order.begin(), order.end(), random);
          bool far = false;
          b.moved = false;
          if (schedule() == 2) {
            for (unsigned w = 0; w < count; w += warp_size) {
              do {
                far = far || b.moved;
                b.moved = false;
                for (unsigned t = w; t < std::min(count, w + warp_size); ++t) turn(t);
              } while (b.moved);
            }
            b.moved = far;
          } else {
            for (unsigned t : order) turn(t);
          }
          if (!b.moved && b.live > 0) {
            block::now() = outer;
            throw std::runtime_error("emulated GPU: the threads of a block wait for each other");
          }
        }
        block::now() = outer;
        if (b.at_end) b.at_end(b);
        block::now() = &b;
      }
  block::now() = outer;
}

/// Waits for `expected` threads (0: all that live) at barrier `id`.
inline void sync(int id, unsigned expected) {
  block& b = *block::now();
  auto& bar = b.all[id];
  unsigned const mine = bar.generation;
  ++bar.arrived;
  b.moved = true;
  while (bar.generation == mine) {
    if (bar.arrived >= (expected ? expected : b.live)) {
      bar.arrived = 0;
      ++bar.generation;
      b.moved = true;
      return;
    }
    block::yield();
  }
}
inline void arrive(int id, unsigned expected) {
  block& b = *block::now();
  auto& bar = b.all[id];
  b.moved = true;
  if (++bar.arrived >= expected) {
    bar.arrived = 0;
    ++bar.generation;
  }
}

/// Every thread of `mask` gives a value; f(slots) reads those of all.
template <class T, class F>
auto exchange(std::uint32_t mask, T const& value, F const& f) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 64);
  block& b = *block::now();
  warp& w = b.warps[b.current->linear / warp_size];
  unsigned const lane = b.current->linear % warp_size;
  if (!(mask >> lane & 1u)) throw std::runtime_error("emulated GPU: a warp exchange without the thread that asks for it");
  // Threads outside the mask may be elsewhere; one exchange of a warp at a time is enough for these kernels.
  unsigned const mine = w.generation;
  if (w.arrived == 0) w.expected = mask;
  else if (w.expected != mask) throw std::runtime_error("emulated GPU: threads of a warp disagree on who takes part");
  std::memcpy(w.slot[mine & 1][lane], &value, sizeof(T));
  w.arrived |= 1u << lane;
  b.moved = true;
  while (w.generation == mine) {
    if ((w.arrived & w.live) == (mask & w.live)) {
      w.arrived = 0;
      ++w.generation;
      break;
    }
    block::yield();
  }
  return f([&](unsigned from) {
    T out;
    std::memcpy(&out, w.slot[mine & 1][from % warp_size], sizeof(T));
    return out;
  });
}

}  // namespace emulated
