// DLPack: tensors of other libraries (NumPy, PyTorch, JAX ...) as cog's and back, without a copy. For those who include it: no header
// of DLPack is needed here. The structs are the caller's, of whatever version of <dlpack/dlpack.h> is at hand: DLManagedTensor, or
// DLManagedTensorVersioned of DLPack 1.
// Source: https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <cog/core/wrap.hpp>

namespace cog {

/// DLManagedTensor or DLManagedTensorVersioned.
template <class M>
concept dlpack_managed = requires(M& m) {
  m.dl_tensor.byte_offset;
  m.manager_ctx;
  m.deleter(&m);
};

/// Hands a managed tensor back to who made it.
struct dlpack_deleter {
  void operator()(dlpack_managed auto* managed) const {
    if (managed->deleter) managed->deleter(managed);
  }
};

namespace detail {

template <class M>
inline constexpr bool is_versioned = requires(M& m) { m.version.major; };

/// DLDataTypeCode and the bits of an element.
struct dlpack_type {
  int code, bits;
  bool operator==(dlpack_type const&) const = default;
};
template <element T>
inline constexpr dlpack_type dlpack_type_of{
    std::same_as<T, bool> ? 6 : std::same_as<T, bf16> ? 4 : floating<T> ? 2 : std::unsigned_integral<T> ? 1 : 0, 8 * sizeof(T)};

/// DLDeviceType and the number of the device. A backend whose memory the host cannot reach has a member dlpack_device_type.
struct dlpack_device {
  int type, number;
  bool operator==(dlpack_device const&) const = default;
};
template <context C>
dlpack_device dlpack_device_of(C const& ctx) {
  using B = backend_of<C>;
  if constexpr (B::host_accessible) return {1, 0};
  else return {B::dlpack_device_type, ctx.device()};
}

/// "float32", "float32x4".
inline std::string dlpack_name(int code, int bits, int lanes) {
  char const* const kinds[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  std::string name;
  if (code >= 0 && code < 7) name = kinds[code];
  else name.append("code ").append(std::to_string(code)).append(", bits ");
  name.append(std::to_string(bits));
  if (lanes != 1) name.append("x").append(std::to_string(lanes));
  return name;
}

}  // namespace detail

/// x for another library, which sees its elements for as long as it keeps the result: `consumer(to_dlpack<DLManagedTensor>(x).release())`.
/// On a GPU the consumer's work must be ordered after that of x's context.
template <dlpack_managed M, element T, int R, backend B>
std::unique_ptr<M, dlpack_deleter> to_dlpack(tensor<T, R, B> const& x) {
  struct holder {
    M managed;
    tensor<T, R, B> x;
    extents<R> shape, strides;
  };
  auto const device = detail::dlpack_device_of(x.context());
  auto held = std::make_unique<holder>(holder{{}, x, x.extents(), x.strides()});
  M& m = held->managed;
  auto& t = m.dl_tensor;
  t.data = held->x.data();
  t.device.device_type = static_cast<decltype(t.device.device_type)>(device.type);
  t.device.device_id = device.number;
  t.ndim = R;
  t.dtype.code = static_cast<decltype(t.dtype.code)>(detail::dlpack_type_of<T>.code);
  t.dtype.bits = static_cast<decltype(t.dtype.bits)>(detail::dlpack_type_of<T>.bits);
  t.dtype.lanes = 1;
  t.shape = held->shape.data();
  t.strides = held->strides.data();
  t.byte_offset = 0;
  if constexpr (detail::is_versioned<M>) {
    m.version.major = 1;
    m.version.minor = 0;
    m.flags = 0;
  }
  m.deleter = [](M* self) { delete static_cast<holder*>(self->manager_ctx); };
  m.manager_ctx = held.release();
  return std::unique_ptr<M, dlpack_deleter>(&m);
}

/// Another library's tensor, on `ctx`, without a copy; but what is marked read-only is copied, for a cog tensor can be written.
/// Takes `managed` over, also where it throws, and hands it back with the last handle; on a GPU, when the work of `ctx` on it is done
/// is the caller's to know.
/// Errors: another element type, rank or device; a version of DLPack after 1; an address that is not a multiple of the element's size.
template <element T, int R, context C, dlpack_managed M>
tensor<T, R, detail::backend_of<C>> from_dlpack(C const& ctx, M* managed) {
  if (managed == nullptr) throw error("from_dlpack: a null pointer");
  std::shared_ptr<M const> const owner(managed, [](M* m) { dlpack_deleter{}(m); });
  bool read_only = false;
  if constexpr (detail::is_versioned<M>) {
    if (managed->version.major != 1) throw error("from_dlpack: version ", managed->version.major, " of DLPack; 1 is known");
    read_only = (managed->flags & 1) != 0;
  }
  auto const& t = managed->dl_tensor;
  detail::dlpack_type const type{t.dtype.code, t.dtype.bits};
  if (type != detail::dlpack_type_of<T> || t.dtype.lanes != 1 || t.ndim != R)
    throw error("from_dlpack: ", detail::dlpack_name(type.code, type.bits, t.dtype.lanes), " of rank ", t.ndim, ", expected ",
                name(dtype_of<T>), " of rank ", R);
  detail::dlpack_device const device{static_cast<int>(t.device.device_type), t.device.device_id}, own = detail::dlpack_device_of(ctx);
  if (device != own)
    throw error("from_dlpack: memory of device ", device.number, " of type ", device.type, ", expected device ", own.number, " of type ",
                own.type);
  auto const address = reinterpret_cast<std::uintptr_t>(t.data) + t.byte_offset;
  if (address % sizeof(T) != 0) throw error("from_dlpack: ", name(dtype_of<T>), " at an address that is not a multiple of ", sizeof(T));
  extents<R> shape{};
  std::copy_n(t.shape, R, shape.begin());
  auto strides = row_major(shape);
  if (t.strides) std::copy_n(t.strides, R, strides.begin());
  auto const x = wrap(ctx, reinterpret_cast<T*>(address), shape, strides, owner);
  if (!read_only) return x;
  auto own_copy = x.copy();
  detail::backend_of<C>::synchronize(ctx);
  return own_copy;
}

}  // namespace cog
