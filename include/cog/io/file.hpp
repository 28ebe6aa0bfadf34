// Whole files in, whole files out. A reader maps the file, so that only what is used is read; what is written appears
// under its name complete or not at all: it is written beside, flushed to the disk and renamed.
#pragma once

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cog/core/error.hpp>

namespace cog {

namespace detail {

[[noreturn]] inline void throw_file_error(std::string_view action, std::filesystem::path const& path, int code) {
  throw error("cannot ", action, " ", path.string(), ": ", std::generic_category().message(code));
}

/// A path that holds a NUL would name another file to the system.
inline void check_path(std::string_view action, std::filesystem::path const& path) {
  if (path.native().find('\0') != std::string::npos) throw error("cannot ", action, " ", path.c_str(), "...: its path holds a NUL");
}

struct descriptor {
  explicit descriptor(int n) : number(n) {}
  descriptor(descriptor const&) = delete;
  ~descriptor() { if (number >= 0) ::close(number); }
  int number;
};

}  // namespace detail

/// The bytes of a file, read-only, for as long as a copy of the handle lives. Threads may share it.
/// Another program that shortens the file meanwhile makes reading it fault, as with any mapped file; renaming or
/// deleting it is harmless, so files written by `atomic_file` may be replaced at any time.
class mapped_file {
 public:
  /// Throws when the file cannot be opened or read.
  explicit mapped_file(std::filesystem::path path) : content_(std::make_shared<content const>(std::move(path))) {}

  std::span<std::byte const> bytes() const noexcept { return content_->bytes; }
  std::string_view text() const noexcept { return {reinterpret_cast<char const*>(bytes().data()), bytes().size()}; }
  std::filesystem::path const& path() const noexcept { return content_->path; }

 private:
  struct content {
    explicit content(std::filesystem::path p) : path(std::move(p)) {
      detail::check_path("open", path);
      detail::descriptor const file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      struct ::stat status {};
      if (file.number < 0 || ::fstat(file.number, &status) != 0) detail::throw_file_error("open", path, errno);
      if (S_ISDIR(status.st_mode)) detail::throw_file_error("read", path, EISDIR);
      auto const size = static_cast<std::size_t>(status.st_size);
      if (S_ISREG(status.st_mode) && size > 0) {
        void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
        if (at != MAP_FAILED) {
          mapped = true;
          bytes = {static_cast<std::byte const*>(at), size};
          return;
        }
      }
      read(file.number);  // pipes, and file systems that cannot map
    }
    content(content const&) = delete;
    ~content() { if (mapped) ::munmap(const_cast<std::byte*>(bytes.data()), bytes.size()); }

    void read(int file) {
      std::size_t used = 0;
      for (;;) {
        if (used == buffer.size()) buffer.resize(used ? 2 * used : std::size_t{1} << 16);
        auto const n = ::read(file, buffer.data() + used, buffer.size() - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) detail::throw_file_error("read", path, errno);
        if (n == 0) break;
        used += static_cast<std::size_t>(n);
      }
      bytes = {buffer.data(), used};
    }

    std::filesystem::path path;
    std::span<std::byte const> bytes;
    std::vector<std::byte> buffer;
    bool mapped = false;
  };
  std::shared_ptr<content const> content_;
};

/// A file that replaces `path` when `commit()` is called, and leaves no trace when it is not.
class atomic_file {
 public:
  /// Throws when the folder cannot be written to.
  explicit atomic_file(std::filesystem::path path) : path_(std::move(path)) {
    detail::check_path("write", path_);
    std::random_device random;
    do {
      beside_ = path_;
      beside_ += ".new-";
      beside_ += std::to_string(random());
      file_ = ::open(beside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (file_ < 0 && errno == EEXIST);
    if (file_ < 0) detail::throw_file_error("write", path_, errno);
  }
  atomic_file(atomic_file const&) = delete;
  ~atomic_file() {
    if (file_ < 0) return;
    ::close(file_);
    ::unlink(beside_.c_str());
  }

  /// Appends. Throws when the disk is full or fails.
  void write(std::span<std::byte const> bytes) {
    while (!bytes.empty()) {
      auto const n = ::write(file_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) detail::throw_file_error("write", path_, errno);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Puts the file in its place: after a crash at any moment, `path` is the old file or this one, whole.
  void commit() {
    if (::fsync(file_) != 0) detail::throw_file_error("write", path_, errno);
    if (::rename(beside_.c_str(), path_.c_str()) != 0) detail::throw_file_error("replace", path_, errno);
    ::close(std::exchange(file_, -1));
    auto const folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
    detail::descriptor const directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.number >= 0) ::fsync(directory.number);  // some file systems refuse; the rename itself has happened
  }

 private:
  std::filesystem::path path_;
  std::filesystem::path beside_;
  int file_ = -1;
};

/// Writes a whole file of text, atomically.
inline void write_file(std::filesystem::path const& path, std::string_view text) {
  atomic_file file(path);
  file.write(text);
  file.commit();
}

}  // namespace cog
