// tensor<T, Rank, Backend>: a shared handle to strided storage; rank is static, extents are dynamic.
// Copying a handle shares. Assignment is as if into fresh storage: no other handle ever sees it (`assign` is the exception).
// Views (slice, transpose, reshape ...) are free.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include <cog/core/dtype.hpp>
#include <cog/core/storage.hpp>
#include <cog/core/view.hpp>

namespace cog {

template <element T, int Rank, backend B>
class tensor;

/// Anything with a shape and element type that can be evaluated: tensors, variables, lazy nodes.
template <class E>
concept expression = requires(std::remove_cvref_t<E> const& e) {
  typename std::remove_cvref_t<E>::value_type;
  typename std::remove_cvref_t<E>::backend_type;
  { std::remove_cvref_t<E>::rank } -> std::convertible_to<int>;
  { std::remove_cvref_t<E>::is_recorded } -> std::convertible_to<bool>;
  e.extents();
};

/// An expression that holds a variable: evaluating it records a derivative on a tape.
template <class E>
concept recorded_expression = expression<E> && std::remove_cvref_t<E>::is_recorded;

/// An expression of tensors alone.
template <class E>
concept plain_expression = expression<E> && !std::remove_cvref_t<E>::is_recorded;

namespace detail {
template <class T>
inline constexpr bool is_tensor = false;
template <class T, int R, class B>
inline constexpr bool is_tensor<tensor<T, R, B>> = true;

/// What += and its like assign: e, of the shape of what it is assigned to. That one does not grow; only the other broadcasts.
template <class Shape, class E>
E&& of_shape(Shape const& shape, E&& e) {
  if constexpr (std::same_as<Shape, std::remove_cvref_t<decltype(e.extents())>>)  // another rank does not compile
    if (e.extents() != shape) throw error("assignment by an operator: a result of shape ", e.extents(), " for a tensor of shape ", shape);
  return std::forward<E>(e);
}

template <class E>
void refuse_temporary() {
  static_assert(sizeof(E) == 0, "cog: assignment to a handle without a name; slice(x, ...).assign(y) writes into x's elements");
}
}  // namespace detail

/// A plain expression that is not yet a tensor.
template <class E>
concept lazy_expression = plain_expression<E> && !detail::is_tensor<std::remove_cvref_t<E>>;

/// A shared handle to elements of T behind extents and strides, in memory of the backend B. See the head of this file.
template <element T, int Rank, backend B>
class tensor {
  static_assert(Rank >= 0);

 public:
  using value_type = T;
  using backend_type = B;
  using context_type = typename B::context;
  static constexpr int rank = Rank;
  static constexpr bool is_recorded = false;

  /// No storage; extents are all 0.
  tensor() = default;
  /// Uninitialised, row-major.
  tensor(context_type const& context, cog::extents<Rank> const& shape)
      : storage_(context, checked_bytes(shape)),
        data_(static_cast<T*>(storage_.data())),
        extents_(shape),
        strides_(row_major(shape)) {}
  /// A view of existing storage. `data` lies inside `storage`.
  tensor(storage<B> store, T* data, cog::extents<Rank> const& shape, cog::extents<Rank> const& strides)
      : storage_(std::move(store)), data_(data), extents_(shape), strides_(strides) {}

  /// Evaluates: one pass over the elements.
  template <lazy_expression E>
    requires(std::same_as<typename E::value_type, T> && E::rank == Rank && std::same_as<typename E::backend_type, B>)
  tensor(E const& e) : tensor(evaluate(e)) {}

  tensor(tensor const&) = default;
  tensor(tensor&&) = default;
  ~tensor() = default;
  tensor& operator=(tensor const&) & = default;
  tensor& operator=(tensor&&) & = default;

  /// As if into fresh storage; reuses this storage where nobody else can see it.
  template <lazy_expression E>
  tensor& operator=(E&& e) & {
    static_assert(std::remove_cvref_t<E>::rank == Rank, "cog: assignment of an expression of another rank");
    static_assert(std::same_as<typename std::remove_cvref_t<E>::value_type, T>,
                  "cog: assignment of an expression of another dtype; write cast<>");
    evaluate_into(*this, e, std::is_lvalue_reference_v<E>);
    return *this;
  }

  /// A number has no shape.
  template <class N>
    requires std::is_arithmetic_v<N>
  tensor& operator=(N) & {
    static_assert(sizeof(N) == 0, "cog: assignment of a number, which has no shape; write x.assign(number) to fill the elements");
    return *this;
  }

  // Nobody would see what is assigned to a temporary.
  template <class E> void operator=(E&&) && { detail::refuse_temporary<E>(); }
  template <class E> void operator+=(E const&) && { detail::refuse_temporary<E>(); }
  template <class E> void operator-=(E const&) && { detail::refuse_temporary<E>(); }
  template <class E> void operator*=(E const&) && { detail::refuse_temporary<E>(); }
  template <class E> void operator/=(E const&) && { detail::refuse_temporary<E>(); }

  template <class E> tensor& operator+=(E const& e) & { return *this = detail::of_shape(extents_, *this + e); }
  template <class E> tensor& operator-=(E const& e) & { return *this = detail::of_shape(extents_, *this - e); }
  template <class E> tensor& operator*=(E const& e) & { return *this = detail::of_shape(extents_, *this * e); }
  template <class E> tensor& operator/=(E const& e) & { return *this = detail::of_shape(extents_, *this / e); }

  /// Writes into the elements this handle refers to; every handle of the storage sees it. Broadcasts. Returns *this.
  template <class E>
  tensor const& assign(E const& e) const {
    write_through(*this, e);
    return *this;
  }

  cog::extents<Rank> const& extents() const noexcept { return extents_; }
  /// The extent of an axis, counted from the end when negative.
  index_t extent(int axis) const { return extents_[static_cast<std::size_t>(normal_axis("extent", axis, Rank))]; }
  cog::extents<Rank> const& strides() const noexcept { return strides_; }
  index_t size() const noexcept { return size_of(extents_); }
  bool is_contiguous() const noexcept { return is_row_major(extents_, strides_); }
  bool has_storage() const noexcept { return static_cast<bool>(storage_); }
  context_type const& context() const {
    if (!storage_) throw error("a tensor without storage was used (default-constructed and never assigned)");
    return storage_.context();
  }
  cog::storage<B> const& storage_handle() const noexcept { return storage_; }

  T* data() noexcept { return data_; }
  T const* data() const noexcept { return data_; }
  cog::view<T, Rank> view() noexcept { return {data_, extents_, strides_}; }
  cog::view<T const, Rank> view() const noexcept { return {data_, extents_, strides_}; }

  /// One element, on backends whose memory the host can reach. Writing it is seen by every handle of the storage.
  template <std::convertible_to<index_t>... I>
    requires(sizeof...(I) == Rank && B::host_accessible)
  T& operator()(I... i) {
    return data_[offset({static_cast<index_t>(i)...})];
  }
  template <std::convertible_to<index_t>... I>
    requires(sizeof...(I) == Rank && B::host_accessible)
  T const& operator()(I... i) const {
    return data_[offset({static_cast<index_t>(i)...})];
  }

  /// The only element; throws unless size() == 1.
  T item() const {
    if (size() != 1) throw error("item: the tensor has shape ", extents_, ", not one element");
    T value;
    B::copy_to_host(context(), &value, data_, sizeof(T));
    return value;
  }
  /// All elements in row-major order, on the host.
  std::vector<T> to_vector() const
    requires(!std::same_as<T, bool>)  // std::vector<bool> has no data(); use contiguous().data()
  {
    std::vector<T> out(static_cast<std::size_t>(size()));
    if (size() > 0) B::copy_to_host(context(), out.data(), contiguous().data(), out.size() * sizeof(T));
    return out;
  }
  /// A row-major tensor of its own.
  tensor copy() const {
    tensor out(context(), extents_);
    out.assign(*this);
    return out;
  }
  /// This tensor if it is row-major, else a copy that is.
  tensor contiguous() const { return is_contiguous() ? *this : copy(); }

  /// A copy on another context, possibly of another backend.
  template <class Context>
  auto to(Context const& target) const {
    using other = typename Context::backend_type;
    tensor const source = contiguous();
    tensor<T, Rank, other> out(target, extents_);
    std::size_t const bytes = static_cast<std::size_t>(size()) * sizeof(T);
    if constexpr (B::host_accessible) {
      other::copy_from_host(target, out.data(), source.data(), bytes);
    } else if constexpr (other::host_accessible) {
      B::copy_to_host(context(), out.data(), source.data(), bytes);
    } else {
      std::vector<std::byte> staging(bytes);
      B::copy_to_host(context(), staging.data(), source.data(), bytes);
      other::copy_from_host(target, out.data(), staging.data(), bytes);
    }
    return out;
  }

 private:
  static std::size_t checked_bytes(cog::extents<Rank> const& shape) {
    index_t bytes = sizeof(T);
    for (index_t e : shape) {
      if (e < 0) throw error("tensor: negative extent in ", shape);
      // An extent of 0 excuses no other: strides must not overflow either.
      if (__builtin_mul_overflow(bytes, std::max<index_t>(e, 1), &bytes)) throw error("tensor: shape ", shape, " has too many elements");
    }
    return size_of(shape) == 0 ? 0 : static_cast<std::size_t>(bytes);
  }

  index_t offset(cog::extents<Rank> const& at) const {
    if constexpr (Rank == 0) static_cast<void>(context());  // extents alone do not tell that there is no storage
    index_t out = 0;
    for (std::size_t axis = 0; axis < Rank; ++axis) {
      if (at[axis] < 0 || at[axis] >= extents_[axis]) throw error("element ", at, " is outside a tensor of shape ", extents_);
      out += at[axis] * strides_[axis];
    }
    return out;
  }

  cog::storage<B> storage_;
  T* data_ = nullptr;
  cog::extents<Rank> extents_{};
  cog::extents<Rank> strides_{};
};

template <lazy_expression E>
tensor(E const&) -> tensor<typename E::value_type, E::rank, typename E::backend_type>;

}  // namespace cog
