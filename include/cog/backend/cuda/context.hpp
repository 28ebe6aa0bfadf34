// Where GPU work runs: one device, one stream in order, its memory, pinned staging, library handles. Copies of a context share
// all of it. Everything is asynchronous; the host waits only to read (copy_to_host, item, to_vector) or in synchronize.
// Work of several contexts is ordered by events. A kernel's complaint (an index out of range) is thrown at the next wait.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <typeindex>
#include <unordered_map>

#include <cog/backend/cuda/memory.hpp>

namespace cog {

struct cuda;

namespace cuda_detail {

/// What a kernel writes where an index is out of range, in memory that host and device see. The last writer wins.
struct alignas(16) complaint {
  struct alignas(16) found {
    std::int64_t index, position;
  };
  found what;
  std::int64_t limit;
  char const* operation;  // a literal of the host, which the device passes on; null: no complaint

  __device__ void write(char const* name, std::int64_t index, std::int64_t position, std::int64_t bound) volatile {
    const_cast<complaint*>(this)->what = {index, position};
    limit = bound;
    operation = name;
  }
};

/// Two pinned buffers, used in turn.
class staging {
 public:
  static constexpr std::size_t bytes = 4 << 20;

  staging() = default;
  staging(staging const&) = delete;
  ~staging() {
    for (auto& b : buffers_) {
      if (b.memory) (void)cudaFreeHost(b.memory);
      if (b.done) (void)cudaEventDestroy(b.done);
    }
  }
  /// Returns when the host's bytes have been read.
  void send(cudaStream_t stream, void* to, void const* host, std::size_t n) {
    std::lock_guard lock(mutex_);
    for (std::size_t at = 0; at < n; at += bytes) {
      std::size_t const part = std::min(bytes, n - at);
      auto& b = next();
      std::memcpy(b.memory, static_cast<char const*>(host) + at, part);
      check(cudaMemcpyAsync(static_cast<char*>(to) + at, b.memory, part, cudaMemcpyHostToDevice, stream), "copy_from_host");
      check(cudaEventRecord(b.done, stream), "copy_from_host");
    }
  }
  /// Returns when the bytes are there, and with them all earlier work of the stream done.
  void fetch(cudaStream_t stream, launch_log& log, void* host, void const* from, std::size_t n) {
    std::lock_guard lock(mutex_);
    buffer* before = nullptr;
    std::size_t before_at = 0, before_part = 0;
    auto const deliver = [&] {
      if (!before) return;
      log.check(cudaEventSynchronize(before->done), "copy_to_host");
      std::memcpy(static_cast<char*>(host) + before_at, before->memory, before_part);
    };
    for (std::size_t at = 0; at < n; at += bytes) {
      std::size_t const part = std::min(bytes, n - at);
      auto& b = next();
      log.check(cudaMemcpyAsync(b.memory, static_cast<char const*>(from) + at, part, cudaMemcpyDeviceToHost, stream), "copy_to_host");
      check(cudaEventRecord(b.done, stream), "copy_to_host");
      deliver();
      before = &b;
      before_at = at;
      before_part = part;
    }
    deliver();
    log.clear();
  }

 private:
  struct buffer {
    void* memory = nullptr;
    cudaEvent_t done = nullptr;
  };
  buffer& next() {
    auto& b = buffers_[turn_ ^= 1];
    if (!b.memory) {
      check(cudaHostAlloc(&b.memory, bytes, cudaHostAllocDefault), "pinned memory");
      check(cudaEventCreateWithFlags(&b.done, cudaEventDisableTiming), "event");
    } else {
      check(cudaEventSynchronize(b.done), "pinned memory");
    }
    return b;
  }
  std::mutex mutex_;
  buffer buffers_[2];
  unsigned turn_ = 0;
};

}  // namespace cuda_detail

/// What a context is told.
struct cuda_options {
  int device = 0;
  std::optional<cudaStream_t> stream{};  // somebody else's, who keeps it; none: the context makes its own
  bool blocking = false;  // wait after every kernel, so that a fault names its operation: for finding errors
  bool any_order = false;  // gradients of attention may be added up as they come: faster, but not the same bits every time
  bool tf32 = false;      // products of float may round their inputs to TF32 (10 bits of mantissa)
};

/// See the head of this file.
class cuda_context {
 public:
  using backend_type = cuda;
  using options = cuda_options;

  cuda_context() : cuda_context(options{}) {}
  /// Errors: no such device; memory or a stream that cannot be had.
  explicit cuda_context(cuda_options o) : state_(std::make_shared<state>(o)) {}

  int device() const noexcept { return state_->options.device; }
  bool tf32() const noexcept { return state_->options.tf32; }
  bool any_order() const noexcept { return state_->options.any_order; }
  cudaStream_t stream() const noexcept { return state_->stream; }
  cuda_detail::device_memory& memory() const noexcept { return state_->memory; }
  cuda_detail::staging& pinned() const noexcept { return state_->pinned; }
  cuda_detail::launch_log& launched() const noexcept { return state_->launched; }
  cuda_detail::complaint* complaint() const noexcept { return state_->heard; }
  int multiprocessors() const noexcept { return state_->multiprocessors; }
  /// 90 for compute capability 9.0.
  int capability() const noexcept { return state_->capability; }
  std::size_t shared_memory_limit() const noexcept { return state_->shared_limit; }
  bool operator==(cuda_context const& other) const noexcept { return state_ == other.state_; }

  /// Makes the device current for this thread; every use of the stream begins with it.
  void activate() const { cuda_detail::check(cudaSetDevice(device()), "device"); }

  /// Waits for all work of the stream. Throws what a kernel complained of.
  void synchronize() const {
    activate();
    launched().check(cudaStreamSynchronize(stream()), "synchronize");
    launched().clear();
    report();
  }
  /// Throws what a kernel complained of. Only after a wait is this complete.
  void report() const {
    auto* const c = state_->heard;
    if (c->operation == nullptr) return;
    auto const found = *c;
    *c = {};
    throw error(found.operation, ": index ", found.what.index, " at position ", found.what.position, " is outside [0, ", found.limit, ")");
  }

  /// kernel<<<grid, stream>>>(arguments...).
  template <class... P, class... A>
  void launch(char const* operation, cuda_detail::grid const& g, void (*kernel)(P...), A&&... arguments) const {
    activate();
    cuda_detail::launch(operation, launched(), stream(), g, kernel, std::forward<A>(arguments)...);
    if (state_->options.blocking) cuda_detail::check(cudaStreamSynchronize(stream()), operation);
  }

  /// The one T of this context, made with T(*this) when first asked for: handles of libraries, tables.
  template <class T>
  T& part() const {
    std::lock_guard lock(state_->mutex);
    auto& slot = state_->parts[std::type_index(typeid(T))];
    if (!slot) slot = std::make_shared<T>(*this);
    return *static_cast<T*>(slot.get());
  }

 private:
  struct state {
    explicit state(cuda_options o) : options(o) {
      using cuda_detail::check;
      int devices = 0;
      check(cudaGetDeviceCount(&devices), "cuda::context");
      if (o.device < 0 || o.device >= devices) throw error("cuda::context: device ", o.device, " of ", devices);
      check(cudaSetDevice(o.device), "cuda::context");
      auto const attribute = [&](cudaDeviceAttr a) {
        int value = 0;
        check(cudaDeviceGetAttribute(&value, a, o.device), "cuda::context");
        return value;
      };
      multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
      capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor);
      shared_limit = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
      if (o.stream) stream = *o.stream;
      else check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cuda::context");
      void* p = nullptr;
      check(cudaHostAlloc(&p, sizeof(cuda_detail::complaint), cudaHostAllocMapped), "cuda::context");
      heard = new (p) cuda_detail::complaint{};
    }
    state(state const&) = delete;
    ~state() {
      (void)cudaSetDevice(options.device);
      (void)cudaStreamSynchronize(stream);
      parts.clear();
      if (heard) (void)cudaFreeHost(heard);
      if (!options.stream) (void)cudaStreamDestroy(stream);
    }
    cuda_options options;
    int multiprocessors = 0, capability = 0;
    std::size_t shared_limit = 0;
    cudaStream_t stream = nullptr;
    cuda_detail::complaint* heard = nullptr;  // not "complaint": nvcc writes the name of a type that a member hides as a declaration
    cuda_detail::device_memory memory;
    cuda_detail::staging pinned;
    cuda_detail::launch_log launched;
    std::mutex mutex;
    std::unordered_map<std::type_index, std::shared_ptr<void>> parts;
  };
  std::shared_ptr<state> state_;
};

namespace cuda_detail {

/// Device memory for the length of a scope; what was launched in it runs before the memory is used again.
template <class T>
class scratch {
 public:
  scratch(cuda_context const& ctx, index_t n) : memory_(&ctx.memory()), bytes_(static_cast<std::size_t>(n) * sizeof(T)) {
    if (n <= 0) return;
    ctx.activate();
    data_ = static_cast<T*>(memory_->allocate(bytes_));
  }
  scratch(scratch const&) = delete;
  ~scratch() {
    if (data_) memory_->deallocate(data_, bytes_);
  }
  T* get() const noexcept { return data_; }

 private:
  device_memory* memory_;
  std::size_t bytes_;
  T* data_ = nullptr;
};

}  // namespace cuda_detail

}  // namespace cog
