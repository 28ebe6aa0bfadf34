// NumPy's .npy: one array to a file. Reads format versions 1 to 3, C and Fortran order, either byte order; writes
// version 1, C order, little-endian, atomically. Errors name the file and both shapes.
// Source: numpy.lib.format.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cog/core/error.hpp>
#include <cog/core/tensor.hpp>
#include <cog/io/elements.hpp>
#include <cog/io/file.hpp>

namespace cog {

/// What the header of a .npy file says. `dtype` is NumPy's name: "<f4".
struct npy_info {
  std::string dtype;
  std::vector<index_t> shape;
  bool fortran_order = false;
  std::size_t data_begin = 0;
};

namespace detail {

/// NumPy's name of an element type, without the byte order. bf16 has none.
template <element T>
constexpr std::string_view npy_name() {
  static_assert(!std::is_same_v<T, bf16>, "cog: .npy has no bfloat16; save cast<float>(x), or use safetensors");
  constexpr std::string_view names[] = {"<f8", "<f4", "", "<f2", "<i8", "<i4", "|u1", "|b1"};
  return names[static_cast<int>(dtype_of<T>)];
}

struct npy_type {
  stored_type type;
  bool swapped;
};

inline std::optional<npy_type> npy_type_of(std::string_view descr) {
  using enum stored_kind;
  if (descr.size() != 3 || std::string_view("<>=|").find(descr[0]) == std::string_view::npos) return std::nullopt;
  std::size_t const bytes = static_cast<std::size_t>(descr[2] - '0');
  bool const power = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
  bool const swapped = descr[0] == '>' && bytes > 1;
  if (descr[1] == 'f' && power && bytes > 1) return npy_type{{real, bytes}, swapped};
  if (descr[1] == 'i' && power) return npy_type{{signed_integer, bytes}, swapped};
  if (descr[1] == 'u' && power) return npy_type{{unsigned_integer, bytes}, swapped};
  if (descr[1] == 'b' && bytes == 1) return npy_type{{boolean, 1}, false};
  return std::nullopt;
}

/// Reads the Python dictionary of the header: "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }".
class npy_dictionary {
 public:
  explicit npy_dictionary(std::string_view text) : rest_(text) {}

  npy_info read() {
    npy_info out;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      std::string_view const key = quoted();
      expect(':');
      if (key == "descr" && !std::exchange(descr, true)) {
        if (next() != '\'' && next() != '"')
          throw error("structured or unusual dtypes are not supported: ", rest_.substr(0, 40));
        out.dtype = quoted();
      } else if (key == "fortran_order" && !std::exchange(order, true)) {
        out.fortran_order = boolean();
      } else if (key == "shape" && !std::exchange(shape, true)) {
        out.shape = tuple();
      } else {
        throw error("bad header: unexpected key '", key, "'");
      }
      if (!accept(',') && next() != '}') throw error("bad header: '}' expected at ", where());
    }
    if (!descr || !order || !shape) throw error("bad header: 'descr', 'fortran_order' or 'shape' is missing");
    next();
    if (!rest_.empty()) throw error("bad header: text after the dictionary");
    return out;
  }

 private:
  char next() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) rest_.remove_prefix(1);
    return rest_.empty() ? '\0' : rest_.front();
  }
  bool accept(char c) {
    if (next() != c || rest_.empty()) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) throw error("bad header: '", c, "' expected at ", where());
  }
  std::string where() const {
    return rest_.empty() ? "its end" : std::string("'").append(rest_.substr(0, 20)).append("'");
  }
  std::string_view quoted() {
    char const quote = next();
    auto const end = quote == '\'' || quote == '"' ? rest_.find(quote, 1) : rest_.npos;
    if (end == rest_.npos) throw error("bad header: a string expected at ", where());
    auto const text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    next();
    for (std::string_view word : {"True", "False"})
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return word == "True";
      }
    throw error("bad header: True or False expected at ", where());
  }
  std::vector<index_t> tuple() {
    std::vector<index_t> extents;
    expect('(');
    while (!accept(')')) {
      next();
      index_t e = 0;
      auto const [end, failed] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), e);
      if (failed != std::errc() || e < 0) throw error("bad header: an extent expected at ", where());
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      accept('L');  // long integers of Python 2
      extents.push_back(e);
      if (!accept(',') && next() != ')') throw error("bad header: ')' expected at ", where());
    }
    return extents;
  }
  std::string_view rest_;
};

inline npy_info read_npy_header(std::span<std::byte const> file) {
  auto const byte = [&](std::size_t i) { return std::to_integer<std::size_t>(file[i]); };
  constexpr std::string_view magic = "\x93NUMPY";
  if (file.size() < 10 || !std::ranges::equal(file.first(6), std::as_bytes(std::span(magic))))
    throw error("not a .npy file: it does not begin with \\x93NUMPY");
  if (byte(6) < 1 || byte(6) > 3 || byte(7) != 0) throw error(".npy version ", byte(6), ".", byte(7), " is not known");
  std::size_t const begin = byte(6) == 1 ? 10 : 12;
  if (file.size() < begin) throw error("truncated: ", file.size(), " bytes");
  std::size_t length = byte(8) | byte(9) << 8;
  if (byte(6) > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > file.size() - begin) throw error("truncated: the header has ", length, " bytes, the file ", file.size());
  npy_info info = npy_dictionary({reinterpret_cast<char const*>(file.data()) + begin, length}).read();
  info.data_begin = begin + length;
  return info;
}

}  // namespace detail

/// An open .npy file.
class npy_file {
 public:
  /// Opens and checks. Throws when the file is not readable, not .npy, truncated or longer than its array.
  explicit npy_file(std::filesystem::path path) : file_(std::move(path)) {
    try {
      info_ = detail::read_npy_header(file_.bytes());
      index_t count = 0;
      if (!detail::count_elements(info_.shape, count))
        throw error("shape ", detail::shape_text(info_.shape), " has too many elements");
      auto const type = detail::npy_type_of(info_.dtype);
      index_t const width = type ? static_cast<index_t>(type->type.bytes) : 0;
      index_t bytes = 0;
      if (__builtin_mul_overflow(count, width, &bytes))
        throw error("shape ", detail::shape_text(info_.shape), " has too many elements");
      auto const given = file_.bytes().size() - info_.data_begin;
      if (type && static_cast<std::size_t>(bytes) != given)
        throw error(static_cast<std::size_t>(bytes) > given ? "truncated: " : "too long: ", info_.dtype, " ",
                    detail::shape_text(info_.shape), " needs ", bytes, " bytes, the file gives ", given);
    } catch (error const& e) {
      throw error("npy ", file_.path().string(), ": ", e.what());
    }
  }

  npy_info const& info() const noexcept { return info_; }

  /// The array as a row-major tensor. Floats convert to any float type, integers to an integer type that holds the
  /// values. Throws when the rank is another, the type does not convert, or an integer does not fit.
  template <element T, int Rank, class Context>
  auto load(Context const& context) const {
    using result = tensor<T, Rank, typename Context::backend_type>;
    auto const type = detail::npy_type_of(info_.dtype);
    auto const bad = [&](auto const&... why) {
      return error("npy ", file_.path().string(), ": ", info_.dtype, " ", detail::shape_text(info_.shape), why...);
    };
    if (info_.shape.size() != Rank) throw bad(", expected ", cog::name(dtype_of<T>), " of rank ", Rank);
    if (!type || !detail::readable_as<T>(type->type))
      throw bad(", expected ", cog::name(dtype_of<T>), " ", detail::shape_text(info_.shape));
    cog::extents<Rank> shape{};
    std::ranges::copy(info_.shape, shape.begin());
    result out(context, shape);
    result target = out;
    if (info_.fortran_order) {  // the first axis runs fastest: row-major order of the transpose
      auto extents = out.extents();
      auto strides = out.strides();
      std::ranges::reverse(extents);
      std::ranges::reverse(strides);
      target = result(out.storage_handle(), out.data(), extents, strides);
    }
    index_t const position =
        detail::fill_elements(target, type->type, type->swapped, file_.bytes().data() + info_.data_begin);
    if (position >= 0) throw bad(": element ", position, " of the data does not fit ", cog::name(dtype_of<T>));
    return out;
  }

 private:
  mapped_file file_;
  npy_info info_;
};

/// `auto x = load_npy<float, 2>(ctx, "x.npy");` Throws as `npy_file` and its `load` do.
template <element T, int Rank, class Context>
auto load_npy(Context const& context, std::filesystem::path path) {
  return npy_file(std::move(path)).load<T, Rank>(context);
}

/// Writes a tensor of any strides, on any backend. bf16 does not compile: NumPy has no such type.
template <element T, int Rank, class B>
void save_npy(std::filesystem::path const& path, tensor<T, Rank, B> const& t) {
  static_cast<void>(t.context());  // throws when there is no storage
  std::string shape = "(";
  for (index_t e : t.extents()) shape += std::to_string(e) + (Rank == 1 ? "," : ", ");
  if (Rank > 1) shape.resize(shape.size() - 2);
  std::string header = "{'descr': '";
  header.append(detail::npy_name<T>()).append("', 'fortran_order': False, 'shape': ").append(shape).append("), }");
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10, ' ');  // the data begin at a multiple of 64
  header.back() = '\n';
  atomic_file file(path);
  file.write(std::string_view("\x93NUMPY\x01\x00", 8));
  file.write(std::string{static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)});
  file.write(header);
  detail::stream_elements(t, [&](std::span<std::byte const> block) { file.write(block); });
  file.commit();
}
template <lazy_expression E>
void save_npy(std::filesystem::path const& path, E const& e) {
  save_npy(path, evaluate(e));
}

}  // namespace cog
