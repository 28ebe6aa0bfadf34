// Tensors as text: nested brackets, aligned columns, then dtype, shape and backend. More than 1000 elements are elided to the
// first and last three along each axis. A stream's precision, where it is not the default 6, is the number of digits.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include <cog/core/shape.hpp>

namespace cog {

namespace detail {

struct text_format {
  static constexpr index_t all = 1000, edge = 3, line = 80;

  int digits = 4;
  std::chars_format style = std::chars_format::fixed;
  bool whole = false;  // every number is one: "1." without digits

  /// One style for all numbers, and nothing but zero looks like zero.
  text_format(std::vector<double> const& values, int precision) : digits(precision == 6 ? 4 : precision) {
    double largest = 0, smallest = 0;
    whole = true;
    for (double v : values) {
      double const a = std::abs(v);
      if (!std::isfinite(v) || a == 0) continue;
      if (a > largest) largest = a;
      if (smallest == 0 || a < smallest) smallest = a;
      whole = whole && v == std::trunc(v);
    }
    whole = whole && largest < 1e8;
    if (!whole && largest > 0 && (largest >= 1e5 || smallest < 1e-4)) style = std::chars_format::scientific;
  }

  std::string operator()(double v) const {
    if (std::isnan(v)) return "nan";
    if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
    char buffer[512];
    auto const end = std::to_chars(buffer, buffer + sizeof buffer, v, style, whole ? 0 : std::min(digits, 100)).ptr;
    return std::string(buffer, end) + (whole ? "." : "");
  }
};

inline std::vector<std::string> texts(std::vector<double> const& values, int precision) {
  text_format const format(values, precision);
  std::vector<std::string> out;
  for (double v : values) out.push_back(format(v));
  return out;
}
inline std::vector<std::string> texts(std::vector<std::int64_t> const& values, int) {
  std::vector<std::string> out;
  for (std::int64_t v : values) out.push_back(std::to_string(v));
  return out;
}
inline std::vector<std::string> texts(std::vector<bool> const& values, int) {
  std::vector<std::string> out;
  for (bool v : values) out.push_back(v ? "true" : "false");
  return out;
}

/// Lays out texts in row-major order, of which `next` is the first that is still to come.
class layout_writer {
 public:
  layout_writer(std::vector<std::string> const& texts, bool elide) : next_(texts.begin()), elide_(elide) {
    for (auto const& t : texts) width_ = std::max(width_, t.size());
  }

  void write(std::span<index_t const> shape, std::size_t depth = 0) {
    if (shape.empty()) {
      out.append(width_ - next_->size(), ' ') += *next_;
      ++next_;
      return;
    }
    bool const cut = elide_ && shape[0] > 2 * text_format::edge;
    index_t const shown = cut ? 2 * text_format::edge : shape[0];
    out += '[';
    for (index_t i = 0; i < shown; ++i) {
      if (i > 0) separate(shape.size(), depth, width_);
      if (cut && i == text_format::edge) {
        out += "...";
        separate(shape.size(), depth, width_);
      }
      write(shape.subspan(1), depth + 1);
    }
    out += ']';
  }

  std::string out;

 private:
  /// Matrices stand a blank line apart; a row that grows too long goes on below its first element.
  void separate(std::size_t axes, std::size_t depth, std::size_t next_width) {
    out += ',';
    auto const column = out.size() - (out.rfind('\n') + 1);
    bool const full = column + 1 + next_width + 1 > static_cast<std::size_t>(text_format::line);
    if (axes == 1 && !full) out += ' ';
    else out.append(axes == 1 ? 1 : axes - 1, '\n').append(depth + 1, ' ');
  }

  std::vector<std::string>::const_iterator next_;
  bool elide_;
  std::size_t width_ = 0;
};

template <class T>
using shown_t = std::conditional_t<floating<T>, double, std::conditional_t<std::same_as<T, bool>, bool, std::int64_t>>;

/// The elements that are shown, in row-major order.
template <class T, int R, class B>
void shown_elements(tensor<T, R, B> const& x, bool elide, std::vector<shown_t<T>>& out) {
  if constexpr (R == 0) {
    out.push_back(static_cast<shown_t<T>>(x.item()));
  } else if (elide) {
    index_t const n = x.extents()[0];
    for (index_t i = 0; i < n; ++i) {
      if (n > 2 * text_format::edge && i == text_format::edge) i = n - text_format::edge;
      shown_elements(cog::select(x, 0, i), true, out);
    }
  } else {
    auto const row_major = x.contiguous();
    auto const n = static_cast<std::size_t>(x.size());
    std::vector<std::byte> bytes(n * sizeof(T));
    B::copy_to_host(x.context(), bytes.data(), row_major.data(), bytes.size());
    for (std::size_t i = 0; i < n; ++i) {
      T value;
      std::memcpy(&value, &bytes[i * sizeof(T)], sizeof(T));
      out.push_back(static_cast<shown_t<T>>(value));
    }
  }
}

}  // namespace detail

template <class T, int R, class B>
std::ostream& operator<<(std::ostream& out, tensor<T, R, B> const& x) {
  if (!x.has_storage()) {
    out << "(no storage)";
  } else if (x.size() == 0) {
    out << "[]";
  } else {
    bool const elide = x.size() > detail::text_format::all;
    std::vector<detail::shown_t<T>> values;
    detail::shown_elements(x, elide, values);
    auto const texts = detail::texts(values, static_cast<int>(out.precision()));
    detail::layout_writer writer(texts, elide);
    writer.write(x.extents());
    out << writer.out;
  }
  out << '\n' << name(dtype_of<T>) << ' ';
  detail::write_part(out, x.extents());
  return out << " on " << B::name;
}

/// Extents, wherever the names of cog are visible: `[2, 3]`.
template <std::size_t N>
std::ostream& operator<<(std::ostream& out, std::array<index_t, N> const& shape) {
  detail::write_part(out, shape);
  return out;
}

/// The value of a lazy expression, of a variable.
template <expression E>
  requires(!detail::is_tensor<E>)
std::ostream& operator<<(std::ostream& out, E const& e) {
  if constexpr (E::is_recorded) return out << evaluate(e).value();
  else return out << evaluate(e);
}

}  // namespace cog
