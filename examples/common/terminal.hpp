// What is shown and where: results and step lines on stdout, one per line and without control characters; a progress
// bar on stderr, when that is a terminal. Ctrl-C is a request.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace tool {

/// 38.2 k, 1.25 M: three digits and a prefix.
std::string with_prefix(double x);
/// 1 layer, 2 layers: what is counted is given in the singular and takes an s.
std::string counted(long n, char const* what);
/// 12 s, 3 min 05 s, 2 h 10 min.
std::string duration(double seconds);
/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(char const* pattern, ...);

class stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A bar at the foot of the terminal; there is none where stderr is no terminal. Lines printed through it scroll above.
class progress_bar {
 public:
  explicit progress_bar(std::string title);
  progress_bar(progress_bar const&) = delete;
  ~progress_bar() { clear(); }

  void update(double fraction, std::string_view note);
  /// A line on stdout.
  void print(std::string_view line);

 private:
  void clear();
  void draw();

  std::string title_, note_;
  double fraction_ = 0;
  bool const shown_;
  bool drawn_ = false;
  stopwatch since_;
  double last_ = -1;
};

/// What is printed before a long run: a name and a value a line.
class settings_table {
 public:
  void row(char const* name, std::string const& text) { std::printf("%-12s %s\n", name, text.c_str()); }
  ~settings_table() {
    std::printf("\n");
    std::fflush(stdout);
  }
};

/// Rows of equal length, the first of names; numbers to the right. On stdout.
void print_table(std::vector<std::vector<std::string>> const& rows);

/// What ends a command that a signal asked to stop.
struct interrupted : std::runtime_error {
  int signal;
  explicit interrupted(int number) : std::runtime_error("interrupted"), signal(number) {}
};

/// While it lives, the first SIGINT or SIGTERM only sets a flag; the second ends the program as usual.
class interruption {
 public:
  interruption();
  interruption(interruption const&) = delete;
  ~interruption();
  /// The signal that came, or 0.
  static int signal() noexcept;
  /// Throws `interrupted` where one came.
  static void check();

 private:
  struct sigaction before_int_ {
  }, before_term_{};
};

}  // namespace tool
