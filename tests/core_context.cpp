// Threads and memory of a CPU context: every task once, exceptions come back, one context serves many threads, running out of
// memory is an error like any other.
#include "support.hpp"

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include <sched.h>
#include <sys/resource.h>

// The sanitizers end the program where memory runs out, unless told to be like any other allocator.
extern "C" char const* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" char const* __tsan_default_options() { return "allocator_may_return_null=1"; }

using namespace test;

namespace {

/// Whether two tasks are under way at the same time.
bool run_together(cog::cpu::context const& ctx) {
  std::atomic<int> begun{0}, met{0};
  auto const end = std::chrono::steady_clock::now() + std::chrono::seconds(ctx.threads() > 1 ? 20 : 0);
  ctx.run(2, [&](index_t) {
    ++begun;
    while (begun < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    if (begun == 2) ++met;
  });
  return met == 2;
}

}  // namespace

TEST_CASE("run: every task once, whatever the number of threads") {
  for (int threads = 1; threads <= 8; ++threads) {
    cog::cpu::context const ctx{{.threads = threads}};
    CHECK(ctx.threads() == threads);
    for (index_t tasks : {0, 1, 2, 3, 17, 1000}) {
      std::vector<std::atomic<int>> times(static_cast<std::size_t>(tasks));
      ctx.run(tasks, [&](index_t i) { ++times[static_cast<std::size_t>(i)]; });
      for (auto const& n : times) REQUIRE(n == 1);
    }
    CHECK(run_together(ctx) == (threads > 1));
  }
  CHECK(cog::cpu::context().threads() >= 1);
  CHECK_THROWS_AS((cog::cpu::context{{.threads = -1}}), cog::error);
}

#if defined(__linux__)
TEST_CASE("a context takes no more threads than there are cores for it") {
  std::thread([] {
    cpu_set_t all, one;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    CHECK(cog::cpu::context().threads() == CPU_COUNT(&all));
    int core = 0;
    while (!CPU_ISSET(core, &all)) ++core;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(cog::cpu::context().threads() == 1);
  }).join();
}
#endif

TEST_CASE("run: many short jobs in a row") {
  cog::cpu::context const ctx{{.threads = 4}};
  std::atomic<long> sum{0};
  for (int job = 0; job < 3000; ++job) ctx.run(5, [&](index_t i) { sum += i; });
  CHECK(sum == 3000 * 10);
}

TEST_CASE("run: inside a task it runs in line") {
  cog::cpu::context const ctx{{.threads = 4}}, other{{.threads = 2}};
  std::atomic<int> count{0}, elsewhere{0};
  ctx.run(8, [&](index_t) {
    auto const self = std::this_thread::get_id();
    auto const task = [&](index_t) {
      ++count;
      if (std::this_thread::get_id() != self) ++elsewhere;
    };
    ctx.run(8, task);
    other.run(2, task);
  });
  CHECK(count == 8 * 10);
  CHECK(elsewhere == 0);
}

TEST_CASE("run: the exception of a task comes back, and the context goes on") {
  for (int threads : {1, 2, 4}) {
    cog::cpu::context const ctx{{.threads = threads}};
    for (int trial = 0; trial < 50; ++trial) {
      CHECK_THROWS_WITH(ctx.run(100, [&](index_t i) { if (i == 37) throw cog::error("task ", i); }), "task 37");
      std::atomic<int> count{0};
      ctx.run(20, [&](index_t) { ++count; });
      REQUIRE(count == 20);
    }
    // Nested: the inner exception passes through the outer task.
    CHECK_THROWS_AS(ctx.run(4, [&](index_t) { ctx.run(4, [&](index_t i) { if (i == 3) throw std::runtime_error("x"); }); }),
                    std::runtime_error);
    CHECK(run_together(ctx) == (threads > 1));  // not left "inside" a task
  }
}

TEST_CASE("run: after an exception no further task is begun") {
  cog::cpu::context const ctx{{.threads = 2}};
  std::atomic<long> begun{0};
  CHECK_THROWS_AS(ctx.run(1'000'000, [&](index_t) {
                    ++begun;
                    throw cog::error("stop");
                  }),
                  cog::error);
  CHECK(begun < 1'000'000);
}

TEST_CASE("one context, several threads at once") {
  cog::cpu::context const ctx{{.threads = 3}};
  auto const work = [&](float start) {
    bool right = true;
    for (int i = 0; i < 20; ++i) {
      auto x = cog::full<float>(ctx, {70000}, start);  // long enough to be split
      cog::tensor y = x * 2 + 1;
      y += x;
      right = right && y(0) == 3 * start + 1 && y(69999) == 3 * start + 1;
    }
    return right;
  };
  std::vector<std::future<bool>> results;
  for (int t = 0; t < 4; ++t) results.push_back(std::async(std::launch::async, work, static_cast<float>(t)));
  for (auto& r : results) CHECK(r.get());
  CHECK(ctx.memory().report().in_use == 0);
}

TEST_CASE("one tensor read by several threads") {
  cog::cpu::context const ctx{{.threads = 2}};
  auto const x = cog::arange<float>(ctx, 50000);
  auto const e = cog::sqrt(x) + x;
  auto const want = cog::eval(e).to_vector();
  std::vector<std::future<bool>> results;
  for (int t = 0; t < 4; ++t)
    results.push_back(std::async(std::launch::async, [&] {
      auto const mine = e;
      return cog::eval(mine).to_vector() == want;
    }));
  for (auto& r : results) CHECK(r.get());
}

TEST_CASE("element-wise: the same bits with 1 to 8 threads") {
  test::generator random(1);
  auto const run = [&](int threads) {
    cog::cpu::context const ctx{{.threads = threads}};
    auto const x = cog::randn<float>(ctx, {300, 401}, 1);
    auto const row = cog::randn<float>(ctx, {401}, 2);
    auto const column = cog::randn<float>(ctx, {300, 1}, 3);
    return cog::eval(cog::gelu(x * row) + cog::tanh(column) * cog::transposed(cog::randn<float>(ctx, {401, 300}, 4))).to_vector();
  };
  auto const want = run(1);
  for (int threads = 2; threads <= 8; ++threads) CHECK(run(threads) == want);
}

TEST_CASE("contexts come and go") {
  for (int i = 0; i < 30; ++i) {
    cog::cpu::context const ctx{{.threads = 1 + i % 4}};
    if (i % 2) ctx.run(3, [](index_t) {});
  }
  SUCCEED();
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("more threads than the system gives are an error") {
  rlimit before;
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  rlimit const tight{rlim_t{1} << 30, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_AS, &tight) == 0);
  CHECK_THROWS_AS((cog::cpu::context{{.threads = 2000}}), cog::error);
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(cog::cpu::context{{.threads = 3}}.threads() == 3);
}
#endif

// ---- memory

TEST_CASE("memory: classes of sizes, alignment, reuse") {
  cog::cpu::context const ctx{{.threads = 1}};
  auto& pool = ctx.memory();
  test::generator random(2);
  for (std::size_t bytes = 0; bytes < 5000; ++bytes) {
    auto* p = static_cast<unsigned char*>(pool.allocate(bytes));
    REQUIRE(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
    std::fill_n(p, bytes, static_cast<unsigned char>(bytes));  // all of it is ours
    REQUIRE(pool.report().in_use >= bytes);
    REQUIRE(pool.report().in_use <= std::max<std::size_t>(256, bytes + bytes / 4 + 64));
    pool.deallocate(p, bytes);
    REQUIRE(pool.report().in_use == 0);
  }
  auto const kept = pool.report().cached;
  for (int i = 0; i < 100; ++i) pool.deallocate(pool.allocate(3000), 3000);
  CHECK(pool.report().cached == kept);
  pool.release();
  CHECK(pool.report().cached == 0);
}

TEST_CASE("memory: blocks in use do not overlap") {
  cog::cpu::context const ctx{{.threads = 1}};
  auto& pool = ctx.memory();
  test::generator random(3);
  struct block { unsigned char* at; std::size_t bytes; unsigned char mark; };
  std::vector<block> live;
  std::size_t in_use = 0;
  for (int i = 0; i < 3000; ++i) {
    if (live.empty() || random() % 2) {
      std::size_t const bytes = random() % (std::size_t{1} << random() % 16);
      auto const mark = static_cast<unsigned char>(random());
      live.push_back({static_cast<unsigned char*>(pool.allocate(bytes)), bytes, mark});
      std::fill_n(live.back().at, bytes, mark);
      in_use += bytes;
    } else {
      std::swap(live[random() % live.size()], live.back());
      auto const b = live.back();
      live.pop_back();
      REQUIRE(std::all_of(b.at, b.at + b.bytes, [&](unsigned char c) { return c == b.mark; }));
      pool.deallocate(b.at, b.bytes);
      in_use -= b.bytes;
    }
    REQUIRE(pool.report().in_use >= in_use);
  }
  for (auto const& b : live) pool.deallocate(b.at, b.bytes);
  CHECK(pool.report().in_use == 0);
}

TEST_CASE("memory: running out is an error, and the context stays usable") {
  cog::cpu::context const ctx{{.threads = 2}};
  auto const x = cog::ones<float>(ctx, {1000});
  ctx.memory().reset_peak();
  auto const before = ctx.memory().report();
  for (index_t n : {index_t{1} << 50, (index_t{1} << 58) - 1, index_t{1} << 59, index_t{1} << 60}) {
    CHECK_THROWS_AS(cog::empty<float>(ctx, {n}), cog::error);
    CHECK(ctx.memory().report().in_use == before.in_use);
    CHECK(ctx.memory().report().peak == before.peak);
  }
  CHECK_THROWS_AS(cog::eval(cog::expand(x, {index_t{1} << 40, 1000}) + 1), cog::error);
  cog::tensor y = x + 1;
  CHECK(y(999) == 2);
}
