// safetensors: tensors by name, as the Python package of that name reads and writes them.
// Reading maps the file and checks all of it that is not data; writing is atomic, streams, and repeats byte for byte.
// Errors name the file, the tensor and both shapes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cog/core/error.hpp>
#include <cog/core/tensor.hpp>
#include <cog/io/elements.hpp>
#include <cog/io/file.hpp>
#include <cog/io/json.hpp>
#include <cog/io/safetensors_header.hpp>
#include <cog/io/utf8.hpp>

namespace cog {

/// An open safetensors file. A cheap handle; threads may read through one at the same time.
class safetensors_file {
 public:
  /// Opens and checks. Throws when the file is not readable, truncated, or breaks the format anywhere in its header.
  explicit safetensors_file(std::filesystem::path path) : file_(std::move(path)) {
    try {
      header_ = std::make_shared<safetensors_header const>(file_.bytes());
    } catch (error const& e) {
      throw error("safetensors ", file_.path().string(), ": ", e.what());
    }
  }

  std::filesystem::path const& path() const noexcept { return file_.path(); }
  /// All names, in the order of their bytes in the file.
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (auto const& t : header_->tensors) out.push_back(t.name);
    return out;
  }
  bool contains(std::string_view name) const { return header_->find(name) != nullptr; }
  /// The free-form strings of `__metadata__`.
  std::map<std::string, std::string> const& metadata() const noexcept { return header_->metadata; }
  /// Type, shape and place of a tensor. Throws when there is none of that name.
  safetensors_info const& info(std::string_view name) const {
    if (auto const* t = header_->find(name)) return *t;
    throw error("safetensors ", path().string(), ": no tensor '", name, "' among ", header_->tensors.size());
  }
  /// The bytes of a tensor of any type, for as long as a copy of this handle lives.
  std::span<std::byte const> bytes(std::string_view name) const {
    auto const& t = info(name);
    return file_.bytes().subspan(header_->data_begin + t.begin, t.end - t.begin);
  }

  /// A tensor of its own, row-major. Floats convert to any float type, integers to an integer type that holds the
  /// values. Throws when the rank is another, the type does not convert, or an integer does not fit.
  template <element T, int Rank, class Context>
  auto load(Context const& context, std::string_view name) const {
    auto const& t = info(name);
    if (t.shape.size() != Rank) mismatch(t, std::string(cog::name(dtype_of<T>)) + " of rank " + std::to_string(Rank));
    cog::extents<Rank> shape{};
    std::ranges::copy(t.shape, shape.begin());
    check_type<T>(t, detail::shape_text(t.shape));
    tensor<T, Rank, typename Context::backend_type> out(context, shape);
    read(t, out);
    return out;
  }

  /// Reads into the elements that `target` refers to, which may be a slice or a transpose; every handle of the storage
  /// sees it. Throws as `load` does, and when the shapes differ.
  template <element T, int Rank, class B>
  void load_into(std::string_view name, tensor<T, Rank, B> target) const {
    auto const& t = info(name);
    static_cast<void>(target.context());  // throws when there is no storage
    auto const wanted = detail::shape_text(target.extents());
    if (!std::ranges::equal(t.shape, target.extents())) mismatch(t, std::string(cog::name(dtype_of<T>)) + " " + wanted);
    check_type<T>(t, wanted);
    read(t, target);
  }

 private:
  [[noreturn]] void mismatch(safetensors_info const& t, std::string const& wanted) const {
    throw error("safetensors ", path().string(), ": tensor '", t.name, "' is ", t.dtype, " ",
                detail::shape_text(t.shape), ", expected ", wanted);
  }
  template <element T>
  void check_type(safetensors_info const& t, std::string const& wanted) const {
    auto const type = detail::safetensors_type(t.dtype);
    if (!type || !detail::readable_as<T>(*type)) mismatch(t, std::string(cog::name(dtype_of<T>)) + " " + wanted);
  }
  template <class T, int Rank, class B>
  void read(safetensors_info const& t, tensor<T, Rank, B>& out) const {
    auto const* data = file_.bytes().data() + header_->data_begin + t.begin;
    index_t const bad = detail::fill_elements(out, *detail::safetensors_type(t.dtype), false, data);
    if (bad >= 0)
      throw error("safetensors ", path().string(), ": tensor '", t.name, "' ", t.dtype, " ",
                  detail::shape_text(t.shape), ": element ", bad, " does not fit ", cog::name(dtype_of<T>));
  }

  mapped_file file_;
  std::shared_ptr<safetensors_header const> header_;
};

/// Collects named tensors, then writes them: `safetensors_writer w; w.add("weight", t); w.write("model.safetensors");`.
/// It holds handles, not copies; the same content always gives the same bytes.
class safetensors_writer {
 public:
  /// Adds a tensor of any strides on any backend. Throws when the name is taken, reserved or not UTF-8.
  template <element T, int Rank, class B>
  safetensors_writer& add(std::string name, tensor<T, Rank, B> t) {
    static_cast<void>(t.context());  // throws when there is no storage
    std::vector<index_t> shape(t.extents().begin(), t.extents().end());
    auto const bytes = static_cast<std::size_t>(t.size()) * sizeof(T);
    std::string dtype(detail::safetensors_name(dtype_of<T>));
    return insert({std::move(name), std::move(dtype), std::move(shape), 0, bytes}, sizeof(T),
                  [t = std::move(t)](sink const& put) { detail::stream_elements(t, put); });
  }
  /// Adds bytes of any type that the format has ("C64"). They must live until `write`. Throws also when their number is
  /// not that of the shape.
  safetensors_writer& add_bytes(std::string name, std::string dtype, std::vector<index_t> shape,
                                std::span<std::byte const> bytes) {
    index_t count = 0;
    index_t bits = detail::safetensors_bits(dtype);
    if (bits == 0) throw error("safetensors_writer: tensor '", name, "': unknown dtype '", dtype, "'");
    auto const width = static_cast<std::size_t>(std::max<index_t>(bits / 8, 1));
    if (!detail::count_elements(shape, count) || __builtin_mul_overflow(count, bits, &bits) || bits % 8 != 0 ||
        static_cast<std::uint64_t>(bits / 8) != bytes.size())
      throw error("safetensors_writer: tensor '", name, "': ", dtype, " ", detail::shape_text(shape), " given ",
                  bytes.size(), " bytes");
    return insert({std::move(name), std::move(dtype), std::move(shape), 0, bytes.size()}, width,
                  [bytes](sink const& put) { put(bytes); });
  }
  /// Sets a string of `__metadata__`. Throws when it is not UTF-8.
  safetensors_writer& metadata(std::string key, std::string value) {
    check_text("metadata", key);
    check_text("metadata", value);
    metadata_.insert_or_assign(std::move(key), std::move(value));
    return *this;
  }

  /// Writes the file under its name, whole or not at all. Throws when the disk does not take it.
  void write(std::filesystem::path const& path) const {
    auto const order = ordered();
    std::string const header = header_text(order);
    atomic_file file(path);
    std::uint64_t const length = header.size();
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(header);
    for (auto const* e : order) e->data([&](std::span<std::byte const> block) { file.write(block); });
    file.commit();
  }

 private:
  using sink = std::function<void(std::span<std::byte const>)>;
  struct entry {
    safetensors_info info;
    std::size_t width;  // bytes of an element
    std::function<void(sink const&)> data;
  };

  static void check_text(char const* what, std::string const& text) {
    if (valid_utf8(text) != text) throw error("safetensors_writer: ", what, " '", valid_utf8(text), "' is not UTF-8");
  }

  safetensors_writer& insert(safetensors_info info, std::size_t width, std::function<void(sink const&)> data) {
    check_text("name", info.name);
    if (info.name == "__metadata__") throw error("safetensors_writer: the name '__metadata__' is reserved");
    std::string key = info.name;
    auto const [at, fresh] = entries_.try_emplace(std::move(key), entry{std::move(info), width, std::move(data)});
    if (!fresh) throw error("safetensors_writer: tensor '", at->first, "' is added twice");
    return *this;
  }

  /// Wide elements first, then by name, as the Python package does: every tensor is aligned to its element.
  std::vector<entry const*> ordered() const {
    std::vector<entry const*> order;
    for (auto const& [name, e] : entries_) order.push_back(&e);
    std::ranges::stable_sort(order, std::greater{}, &entry::width);
    return order;
  }

  std::string header_text(std::vector<entry const*> const& order) const {
    nlohmann::ordered_json root = nlohmann::ordered_json::object();
    std::string text = "{";
    if (!metadata_.empty()) text.append("\"__metadata__\":").append(nlohmann::json(metadata_).dump());
    std::size_t at = 0;
    for (auto const* e : order) {
      std::size_t const end = at + (e->info.end - e->info.begin);
      nlohmann::ordered_json const j = {
          {"dtype", e->info.dtype}, {"shape", e->info.shape}, {"data_offsets", {at, end}}};
      text.append(text.size() > 1 ? "," : "").append(nlohmann::json(e->info.name).dump()).append(":").append(j.dump());
      at = end;
    }
    text += "}";
    text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begin at a multiple of 8
    if (text.size() > safetensors_header::most_bytes)
      throw error("safetensors_writer: the names take ", text.size(), " bytes, at most ", safetensors_header::most_bytes,
                  " are allowed");
    return text;
  }

  std::map<std::string, entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace cog
