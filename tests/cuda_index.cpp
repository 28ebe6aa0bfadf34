// Index arithmetic of GPU kernels, on the host.
#include <random>

#include "cuda.hpp"

using namespace cog;

TEST_CASE("gpu: division by multiplication") {
  std::mt19937_64 random(1);
  auto const check = [](index_t n, index_t d) {
    auto const [q, r] = cuda_detail::divider(d)(n);
    if (q != n / d || r != n % d) FAIL_CHECK(n << " / " << d << " gave " << q << " remainder " << r);
  };
  for (index_t d : {1, 2, 3, 5, 7, 10, 64, 65, 641, 65535, 65536, 65537, 1 << 30, 0x7ffffffe, 0x7fffffff})
    for (index_t n : {0, 1, 2, 63, 64, 65, 65535, 65536, 0x7ffffffd, 0x7ffffffe, 0x7fffffff}) {
      check(n, d);
      check(n + (index_t{1} << 33), d);
    }
  for (int i = 0; i < 200000; ++i) {
    index_t const d = static_cast<index_t>(random() >> (33 + random() % 30)) + 1;
    check(static_cast<index_t>(random() >> (33 + random() % 30)), d);
    check(static_cast<index_t>(random() >> 1), d);
  }
  check(5, index_t{1} << 40);
  CHECK(true);
}
