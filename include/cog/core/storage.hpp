// Memory with shared ownership: aligned to 64 bytes and given back to its context's pool by the last owner, or somebody else's.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include <cog/core/backend.hpp>

namespace cog {

template <backend B>
class storage {
 public:
  storage() = default;
  storage(typename B::context const& context, std::size_t bytes) : block_(std::make_shared<block>(context, bytes)) {}
  /// Memory of somebody else, who counts as one more owner: it is never reused for the value of an assignment.
  storage(typename B::context const& context, void* data, std::size_t bytes, std::shared_ptr<void const> owner)
      : block_(std::make_shared<block>(context, data, bytes, std::move(owner))) {}

  void* data() const noexcept { return block_ ? block_->data : nullptr; }
  std::size_t bytes() const noexcept { return block_ ? block_->bytes : 0; }
  typename B::context const& context() const noexcept { return block_->context; }
  explicit operator bool() const noexcept { return block_ != nullptr; }
  bool operator==(storage const& other) const noexcept { return block_ == other.block_; }
  /// How many handles share it. What another thread did with a handle that is gone has happened before this returns: use_count()
  /// alone promises no order, a copy that comes and goes does.
  long owners() const noexcept {
    long const count = block_.use_count() + (block_ && block_->foreign);
    [[maybe_unused]] auto const ordered = block_;
    return count;
  }
  /// Identity, for tables keyed by storage.
  void const* id() const noexcept { return block_.get(); }
  /// The number of tapes that collect a gradient for it (see autograd/tape.hpp).
  std::atomic<int>& watchers() const noexcept { return block_->watchers; }

 private:
  struct block {
    block(typename B::context const& c, std::size_t n) : context(c), data(B::allocate(c, n)), bytes(n) {}
    block(typename B::context const& c, void* p, std::size_t n, std::shared_ptr<void const> who)
        : context(c), data(p), bytes(n), foreign(true), owner(std::move(who)) {}
    block(block const&) = delete;
    ~block() {
      if (!foreign) B::deallocate(context, data, bytes);
    }
    typename B::context context;
    void* data;
    std::size_t bytes;
    bool foreign = false;
    std::shared_ptr<void const> owner;
    std::atomic<int> watchers{0};
  };
  std::shared_ptr<block> block_;
};

}  // namespace cog
