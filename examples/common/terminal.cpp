#include "terminal.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>

#include <sys/ioctl.h>
#include <unistd.h>

namespace tool {

std::string format(char const* pattern, ...) {
  std::va_list first, second;
  va_start(first, pattern);
  va_copy(second, first);
  std::string out(static_cast<std::size_t>(std::max(0, std::vsnprintf(nullptr, 0, pattern, first))), '\0');
  std::vsnprintf(out.data(), out.size() + 1, pattern, second);
  va_end(second);
  va_end(first);
  return out;
}

std::string with_prefix(double x) {
  char const* prefixes[] = {"", " k", " M", " G", " T"};
  std::size_t p = 0;
  while (std::abs(x) >= 999.5 && p + 1 < std::size(prefixes)) {
    x /= 1000;
    ++p;
  }
  int const decimals = p == 0 ? 0 : std::abs(x) < 9.995 ? 2 : std::abs(x) < 99.95 ? 1 : 0;
  return format("%.*f%s", decimals, x, prefixes[p]);
}

std::string counted(long n, char const* what) { return std::to_string(n) + ' ' + what + (n == 1 ? "" : "s"); }

std::string duration(double seconds) {
  auto const s = static_cast<long>(std::lround(std::max(0.0, seconds)));
  if (s < 60) return format("%ld s", s);
  if (s < 3600) return format("%ld min %02ld s", s / 60, s % 60);
  return format("%ld h %02ld min", s / 3600, s % 3600 / 60);
}

progress_bar::progress_bar(std::string title) : title_(std::move(title)), shown_(::isatty(STDERR_FILENO) == 1) {}

void progress_bar::clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

void progress_bar::draw() {
  winsize size{};
  std::size_t const columns = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  std::string const left = title_ + " [", right = format("] %3.0f %% ", 100 * fraction_) + note_;
  std::size_t const taken = left.size() + right.size() + 1;
  std::size_t const width = std::clamp<std::size_t>(columns > taken ? columns - taken : 0, 4, 40);
  auto const done = static_cast<std::size_t>(fraction_ * static_cast<double>(width));
  std::string line = left + std::string(done, '#') + std::string(width - done, '.') + right;
  line.resize(std::min(line.size(), columns - 1));
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void progress_bar::update(double fraction, std::string_view note) {
  if (!shown_) return;
  fraction_ = std::clamp(fraction, 0.0, 1.0);
  note_ = note;
  if (last_ >= 0 && since_.seconds() - last_ < 0.1 && fraction < 1) return;
  last_ = since_.seconds();
  draw();
}

void progress_bar::print(std::string_view line) {
  bool const again = drawn_;
  clear();
  std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
  std::fflush(stdout);
  if (again) draw();
}

void print_table(std::vector<std::vector<std::string>> const& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (auto const& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  for (auto const& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      std::string const blanks(widths[c] - row[c].size(), ' ');
      line += c == 0 ? row[c] + blanks : "  " + blanks + row[c];
    }
    std::printf("%s\n", line.c_str());
  }
}

namespace {
volatile std::sig_atomic_t received = 0;
}

interruption::interruption() {
  received = 0;
  struct sigaction action {};
  action.sa_handler = [](int number) { received = number; };
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  ::sigaction(SIGINT, &action, &before_int_);
  ::sigaction(SIGTERM, &action, &before_term_);
}
interruption::~interruption() {
  ::sigaction(SIGINT, &before_int_, nullptr);
  ::sigaction(SIGTERM, &before_term_, nullptr);
}
int interruption::signal() noexcept { return received; }
void interruption::check() {
  if (int const number = signal()) throw interrupted(number);
}

}  // namespace tool
