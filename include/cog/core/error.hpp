// The one exception of the library. Its text names the operation and the shapes, and where it was thrown.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include <cog/core/config.hpp>

namespace cog {

/// std::source_location, which clang 14 lacks on libstdc++.
struct source_location {
  char const* file = "";
  char const* function = "";
  int line = 0;
  static constexpr source_location current(char const* file = __builtin_FILE(),
                                           char const* function = __builtin_FUNCTION(), int line = __builtin_LINE()) {
    return {file, function, line};
  }
};

namespace detail {

template <class T>
void write_part(std::ostream& out, T const& part) {
  out << part;
}

/// Shapes print as `[2, 3]`.
template <class T, std::size_t N>
  requires(!std::is_same_v<T, char>)
void write_part(std::ostream& out, std::array<T, N> const& shape) {
  out << '[';
  for (std::size_t i = 0; i != N; ++i) out << (i ? ", " : "") << shape[i];
  out << ']';
}

/// A part of a message, for code that is the same for all messages: a program has hundreds.
struct text_part {
  void const* value;
  void (*write)(std::ostream&, void const*);
};
inline std::string join_text(std::initializer_list<text_part> parts) {
  std::ostringstream out;
  for (auto const& part : parts) part.write(out, part.value);
  return out.str();
}

/// A first message part that remembers where it was written; the defaulted argument cannot follow a pack.
struct located_text {
  std::string_view text;
  source_location where;
  template <class T>
    requires std::is_convertible_v<T const&, std::string_view>
  located_text(T const& t, source_location w = source_location::current()) : text(t), where(w) {}
};

}  // namespace detail

/// `throw error("matmul: inner extents differ: ", a.extents(), " and ", b.extents())`.
class error : public std::runtime_error {
 public:
  template <class... Parts>
  explicit error(detail::located_text first, Parts const&... parts)
      : std::runtime_error(detail::join_text({part(first.text), part(parts)...})), where_(first.where) {}

  source_location const& where() const noexcept { return where_; }

 private:
  template <class T>
  static detail::text_part part(T const& value) {
    if constexpr (std::is_convertible_v<T const&, char const*>)
      return {static_cast<char const*>(value), [](std::ostream& out, void const* p) { out << static_cast<char const*>(p); }};
    else
      return {&value, [](std::ostream& out, void const* p) { detail::write_part(out, *static_cast<T const*>(p)); }};
  }
  source_location where_;
};

}  // namespace cog
