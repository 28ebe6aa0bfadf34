// Memory with shared ownership, aligned to 64 bytes, given back to its context's pool by the last owner.
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

  void* data() const noexcept { return block_ ? block_->data : nullptr; }
  std::size_t bytes() const noexcept { return block_ ? block_->bytes : 0; }
  typename B::context const& context() const noexcept { return block_->context; }
  explicit operator bool() const noexcept { return block_ != nullptr; }
  bool operator==(storage const& other) const noexcept { return block_ == other.block_; }
  /// How many handles share it.
  long owners() const noexcept { return block_.use_count(); }
  /// Identity, for tables keyed by storage.
  void const* id() const noexcept { return block_.get(); }
  /// The number of tapes that collect a gradient for it (see autograd/tape.hpp).
  std::atomic<int>& watchers() const noexcept { return block_->watchers; }

 private:
  struct block {
    block(typename B::context const& c, std::size_t n) : context(c), data(B::allocate(c, n)), bytes(n) {}
    block(block const&) = delete;
    ~block() { B::deallocate(context, data, bytes); }
    typename B::context context;
    void* data;
    std::size_t bytes;
    std::atomic<int> watchers{0};
  };
  std::shared_ptr<block> block_;
};

}  // namespace cog
