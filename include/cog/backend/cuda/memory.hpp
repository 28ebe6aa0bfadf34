// Device memory of one stream. Freed blocks are kept by size class and handed out again at once: whatever used them before runs
// earlier on the same stream, so a warm step neither allocates nor waits. While a graph is captured, the blocks it takes stay
// its own, so that replaying it touches nobody else's memory.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <cog/backend/cuda/runtime.hpp>
#include <cog/core/size_class.hpp>

namespace cog::cuda_detail {

class device_memory {
 public:
  struct usage {
    std::size_t in_use = 0;  // bytes handed out
    std::size_t peak = 0;    // the most ever handed out at once
    std::size_t cached = 0;  // bytes kept for reuse
  };
  using free_lists = std::array<std::vector<void*>, detail::size_class::count>;
  /// The blocks of one captured graph.
  struct arena {
    free_lists free;
  };

  device_memory() = default;
  device_memory(device_memory const&) = delete;
  ~device_memory() { release(); }

  /// Aligned to 256 bytes. Throws cog::error where there is no memory left; what is in use stays as it is.
  void* allocate(std::size_t bytes) {
    detail::size_class const wanted(bytes);
    std::lock_guard lock(mutex_);
    void* p = capturing_ ? take(capturing_->free, wanted) : nullptr;
    if (!p) p = take(free_, wanted);
    if (!p) p = fresh(wanted.bytes);
    if (!p && !capturing_) {
      release_locked();
      p = fresh(wanted.bytes);
    }
    if (!p) throw error("out of GPU memory: ", bytes, " bytes wanted, ", usage_.in_use, " in use");
    if (capturing_) own(p);
    usage_.in_use += wanted.bytes;
    usage_.peak = std::max(usage_.peak, usage_.in_use);
    return p;
  }

  void deallocate(void* p, std::size_t bytes) noexcept {
    detail::size_class const size(bytes);
    std::lock_guard lock(mutex_);
    usage_.in_use -= size.bytes;
    try {
      if (capturing_) own(p);  // the graph may read it: nobody else gets it
      lists_of(p)[size.index].push_back(p);
      usage_.cached += size.bytes;
    } catch (...) {
      (void)cudaFree(p);
    }
  }

  /// From now to end_capture, blocks go to and come from `a`.
  void begin_capture(arena* a) {
    std::lock_guard lock(mutex_);
    capturing_ = a;
  }
  void end_capture() {
    std::lock_guard lock(mutex_);
    capturing_ = nullptr;
  }
  bool capturing() const {
    std::lock_guard lock(mutex_);
    return capturing_ != nullptr;
  }
  /// The graph of `a` is gone: its blocks are everybody's, but for those that another graph uses too.
  void dissolve(arena& a) noexcept {
    std::lock_guard lock(mutex_);
    for (auto& [p, owners] : owners_) std::erase(owners, &a);
    std::erase_if(owners_, [](auto const& block) { return block.second.empty(); });
    for (std::size_t i = 0; i < free_.size(); ++i) {
      for (void* p : a.free[i]) lists_of(p)[i].push_back(p);
      a.free[i].clear();
    }
  }

  /// Gives the kept blocks back to the device. Waits for the device.
  void release() noexcept {
    std::lock_guard lock(mutex_);
    release_locked();
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
  void* take(free_lists& lists, detail::size_class const& size) {
    auto& list = lists[size.index];
    if (list.empty()) return nullptr;
    void* p = list.back();
    list.pop_back();
    usage_.cached -= size.bytes;
    return p;
  }
  /// p belongs to the graph that is captured, and to those that it belonged to before.
  void own(void* p) {
    auto& owners = owners_[p];
    if (std::find(owners.begin(), owners.end(), capturing_) == owners.end()) owners.push_back(capturing_);
  }
  /// Where a free block waits: with its graph. That of several waits with the oldest, which takes none any more.
  free_lists& lists_of(void* p) {
    auto const found = owners_.empty() ? owners_.end() : owners_.find(p);
    return found == owners_.end() ? free_ : found->second.front()->free;
  }
  static void* fresh(std::size_t bytes) {
    void* p = nullptr;
    cudaError_t const status = cudaMalloc(&p, bytes);
    if (status == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      return nullptr;
    }
    check(status, "allocate");
    return p;
  }
  void release_locked() noexcept {
    for (auto& list : free_) {
      for (void* p : list) (void)cudaFree(p);
      list.clear();
    }
    usage_.cached = 0;
  }

  mutable std::mutex mutex_;
  free_lists free_;
  arena* capturing_ = nullptr;
  std::unordered_map<void*, std::vector<arena*>> owners_;  // of the blocks of graphs, the oldest first
  usage usage_;
};

}  // namespace cog::cuda_detail
