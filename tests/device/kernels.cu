// Kernels whose PTX hygiene/device.sh reads.
#include <cog/cuda.hpp>

namespace cog {

template <class T>
void memory_bound(tensor<T, 2, cuda> const& x, tensor<T, 2, cuda> const& y, tensor<T, 2, cuda>& sum, tensor<T, 2, cuda>& rows) {
  sum = x * 2 + y;
  rows = softmax(x);
}
template void memory_bound(tensor<float, 2, cuda> const&, tensor<float, 2, cuda> const&, tensor<float, 2, cuda>&, tensor<float, 2, cuda>&);
template void memory_bound(tensor<bf16, 2, cuda> const&, tensor<bf16, 2, cuda> const&, tensor<bf16, 2, cuda>&, tensor<bf16, 2, cuda>&);
template void memory_bound(tensor<half, 2, cuda> const&, tensor<half, 2, cuda> const&, tensor<half, 2, cuda>&, tensor<half, 2, cuda>&);

void indexed(tensor<float, 2, cuda> table, tensor<std::int32_t, 1, cuda> const& ids, tensor<float, 2, cuda>& rows, tensor<float, 1, cuda>& each) {
  rows = take(table, ids);
  add_rows(table, ids, rows);
  each = take_along(table, ids);
  add_along(table, ids, each);
}

}  // namespace cog
