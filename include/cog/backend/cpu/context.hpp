// Where CPU work runs: one pool of threads, one pool of 64-byte-aligned memory. Copies of a context share both.
#pragma once

#if defined(__NVCC__)
// Its registers may not stand in functions that are for the device too, and Eigen has none there.
#error "cog: the CPU backend is for files that g++ or clang compile; a file for nvcc includes cog/cuda.hpp and no cog/cog.hpp"
#endif

#include <array>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cog/backend/cpu/threads.hpp>
#include <cog/core/error.hpp>
#include <cog/core/size_class.hpp>

namespace cog {

struct cpu;

namespace cpu_detail {

/// Keeps freed blocks by size class, so that a warm training step allocates nothing.
class memory_pool {
 public:
  struct usage {
    std::size_t in_use = 0;  // bytes handed out
    std::size_t peak = 0;    // the most ever handed out at once
    std::size_t cached = 0;  // bytes kept for reuse
  };

  memory_pool() = default;
  memory_pool(memory_pool const&) = delete;
  ~memory_pool() { release(); }

  void* allocate(std::size_t bytes) {
    auto const [bucket, size] = detail::size_class(bytes);
    {
      std::lock_guard lock(mutex_);
      if (!free_[bucket].empty()) {
        void* p = free_[bucket].back();
        free_[bucket].pop_back();
        usage_.cached -= size;
        count(size);
        return p;
      }
    }
    void* p = new_block(size);
    if (!p) {
      release();
      p = new_block(size);
    }
    std::lock_guard lock(mutex_);
    if (!p) throw error("out of memory: ", bytes, " bytes wanted, ", usage_.in_use, " in use");
    count(size);
    return p;
  }

  void deallocate(void* p, std::size_t bytes) noexcept {
    auto const [bucket, size] = detail::size_class(bytes);
    std::lock_guard lock(mutex_);
    usage_.in_use -= size;
#if defined(__SANITIZE_ADDRESS__)
    std::free(p);  // so that AddressSanitizer sees a use after free
#else
    try {
      free_[bucket].push_back(p);
      usage_.cached += size;
    } catch (...) {
      std::free(p);
    }
#endif
  }

  /// Gives the kept blocks back to the system.
  void release() noexcept {
    std::lock_guard lock(mutex_);
    for (auto& list : free_) {
      for (void* p : list) std::free(p);
      list.clear();
    }
    usage_.cached = 0;
  }

  usage report() const {
    std::lock_guard lock(mutex_);
    return usage_;
  }
  void reset_peak() {
    std::lock_guard lock(mutex_);
    usage_.peak = usage_.in_use;
  }

 private:
  /// Null if there is no memory. Large blocks lie in huge pages where the system has them: what streams through memory
  /// then does not wait for the page tables.
  static void* new_block(std::size_t size) {
#if defined(__linux__)
    constexpr std::size_t huge_page = std::size_t{1} << 21;
    if (size >= huge_page) {
      void* p = nullptr;
      if (posix_memalign(&p, huge_page, size) != 0) return nullptr;
      madvise(p, size, MADV_HUGEPAGE);  // a wish: it may fail
      return p;
    }
#endif
    return std::aligned_alloc(64, size);
  }

  void count(std::size_t size) {
    usage_.in_use += size;
    usage_.peak = std::max(usage_.peak, usage_.in_use);
  }

  mutable std::mutex mutex_;
  std::array<std::vector<void*>, detail::size_class::count> free_;
  usage usage_;
};

}  // namespace cpu_detail

/// A shared handle; copying it is cheap and shares threads and memory.
class cpu_context {
 public:
  using backend_type = cpu;
  struct options {
    int threads = 0;  // counting the caller; 0: all cores that the process may use
  };

  cpu_context() : cpu_context(options{}) {}
  explicit cpu_context(options o) : state_(std::make_shared<state>(o)) {}

  /// f(task) for every task of [0, tasks), in any order, over all threads; nested calls run in line.
  template <class F>
  void run(index_t tasks, F&& f) const {
    state_->threads.run(tasks, f);
  }
  int threads() const noexcept { return state_->threads.threads(); }
  cpu_detail::memory_pool& memory() const noexcept { return state_->memory; }

 private:
  struct state {
    explicit state(options o) : threads(o.threads) {
      if (o.threads < 0) throw error("cpu::context: threads = ", o.threads);
    }
    cpu_detail::memory_pool memory;
    cpu_detail::executor threads;
  };
  std::shared_ptr<state> state_;
};

namespace cpu_detail {

/// n uninitialised elements from the context's pool, 64-byte aligned.
template <class C>
class scratch {
 public:
  scratch() = default;
  scratch(cpu_context const& ctx, index_t n) : memory_(&ctx.memory()), bytes_(static_cast<std::size_t>(n) * sizeof(C)) {
    data_ = static_cast<C*>(memory_->allocate(bytes_));
  }
  scratch(scratch&& other) noexcept { *this = std::move(other); }
  scratch& operator=(scratch&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~scratch() {
    if (memory_) memory_->deallocate(data_, bytes_);
  }
  C* get() const { return data_; }

 private:
  memory_pool* memory_ = nullptr;
  std::size_t bytes_ = 0;
  C* data_ = nullptr;
};

}  // namespace cpu_detail

}  // namespace cog
