// One pool of threads, owned by a context. Tasks are taken dynamically; the caller works too.
// A call from inside a task, or while another thread uses the pool, runs in line: never a deadlock, never oversubscription.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include <cog/core/error.hpp>

namespace cog::cpu_detail {

COG_INLINE void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

/// Cores that this thread may run on; what the standard library counts may be all there are.
inline int usable_cores() {
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

class executor {
 public:
  /// `threads` counts the calling thread; 0 means all usable cores. Throws where the system refuses that many.
  explicit executor(int threads = 0) {
    int const wanted = threads > 0 ? threads : usable_cores();
    try {
      for (int i = 1; i < wanted; ++i) workers_.emplace_back([this] { work(); });
    } catch (std::exception const& e) {
      auto const started = workers_.size();
      stop();
      throw error("cpu::context: ", started + 1, " of ", wanted, " threads, then: ", e.what());
    }
  }
  executor(executor const&) = delete;
  ~executor() { stop(); }

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Calls f(task) for every task in [0, tasks); returns when all are done. The first exception comes back to the caller.
  template <class F>
  void run(index_t tasks, F&& f) {
    run(tasks, [](void* p, index_t i) { (*static_cast<std::remove_reference_t<F>*>(p))(i); }, const_cast<void*>(static_cast<void const*>(&f)));
  }

 private:
  struct job {
    void (*call)(void*, index_t) = nullptr;
    void* function = nullptr;
    index_t tasks = 0;
    std::atomic<index_t> next{0};
    std::exception_ptr failure;
    std::mutex failed;

    void take() {
      for (index_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
        try {
          call(function, i);
        } catch (...) {
          std::lock_guard lock(failed);
          if (!failure) failure = std::current_exception();
          next.store(tasks, std::memory_order_relaxed);
        }
      }
    }
  };

  // One copy for all functions: there are hundreds in a program.
  void run(index_t tasks, void (*call)(void*, index_t), void* function) {
    if (tasks <= 0) return;
    if (tasks == 1 || workers_.empty() || inside_ || !busy_.try_lock()) {
      for (index_t i = 0; i < tasks; ++i) call(function, i);
      return;
    }
    std::unique_lock hold(busy_, std::adopt_lock);
    inside_ = true;
    job current;
    current.call = call;
    current.function = function;
    current.tasks = tasks;
    {
      std::lock_guard lock(mutex_);
      job_ = &current;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    current.take();
    {
      // Nothing is left to take: a worker that has not come by now is not waited for.
      std::lock_guard lock(mutex_);
      job_ = nullptr;
    }
    for (int spins = 0; active_.load(std::memory_order_acquire) != 0; ++spins) {
      if (spins < 4096) relax();
      else std::this_thread::yield();
    }
    inside_ = false;
    if (current.failure) std::rethrow_exception(current.failure);
  }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void work() {
    inside_ = true;
    for (unsigned seen = 0;;) {
      // Training steps are streams of short jobs: look for the next one a little while before sleeping.
      for (int spins = 0; generation_.load(std::memory_order_acquire) == seen && spins < 20000; ++spins) relax();
      job* current;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
        seen = generation_.load(std::memory_order_relaxed);
        if (stop_) return;
        current = job_;
        if (current == nullptr) continue;
        active_.fetch_add(1, std::memory_order_relaxed);
      }
      current->take();
      active_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex busy_;  // held while a job runs
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> generation_{0};
  std::atomic<int> active_{0};  // workers that have joined the job
  job* job_ = nullptr;
  bool stop_ = false;
  static inline thread_local bool inside_ = false;  // in a task: nested calls run in line
};

}  // namespace cog::cpu_detail
