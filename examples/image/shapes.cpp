#include "shapes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include <cog/random/stream.hpp>

namespace image {

using cog::index_t;

namespace {

using colour = std::array<double, 3>;  // 0 to 1

struct {
  char const* name;
  colour paint;
} const colours[] = {{"red", {0.85, 0.15, 0.12}}, {"green", {0.15, 0.70, 0.20}}, {"blue", {0.15, 0.30, 0.88}}};

/// Is the point inside a shape of radius 1 around the origin?
struct {
  char const* name;
  bool (*inside)(double x, double y);
} const shapes[] = {
    {"disc", [](double x, double y) { return x * x + y * y < 1; }},
    {"square", [](double x, double y) { return std::max(std::abs(x), std::abs(y)) < 0.85; }},
    {"triangle", [](double x, double y) { return y < 0.6 && std::abs(x) < (y + 1.1) * 0.62; }},
    {"ring", [](double x, double y) { return x * x + y * y < 1 && x * x + y * y > 0.3; }},
};

}  // namespace

std::vector<std::string> shape_names() {
  std::vector<std::string> out;
  for (auto const& c : colours)
    for (auto const& s : shapes) out.push_back(std::string(c.name) + " " + s.name);
  return out;
}

picture draw_shape(std::uint64_t seed, index_t i, index_t size) {
  cog::random_stream random{seed, static_cast<std::uint64_t>(i) * 64};  // fewer draws than that to a picture
  auto const between = [&](double low, double high) { return low + (high - low) * random.uniform(); };
  auto const kind = static_cast<std::size_t>(i) % (std::size(colours) * std::size(shapes));
  auto const& shape = shapes[kind % std::size(shapes)];
  double const radius = between(0.3, 0.42), x0 = between(0.42, 0.58), y0 = between(0.42, 0.58);
  double const turn = between(-0.15, 0.15), cos = std::cos(turn), sin = std::sin(turn);
  colour paint = colours[kind / std::size(shapes)].paint;
  for (double& p : paint) p = std::clamp(p + between(-0.06, 0.06), 0.0, 1.0);
  double const light = between(0.7, 0.95), slope = between(-0.15, 0.15), direction = between(0, 2 * std::numbers::pi);
  double const slope_x = slope * std::cos(direction), slope_y = slope * std::sin(direction);

  constexpr index_t fine = 4;  // points along a pixel's side: smooth edges
  picture out(size, size);
  for (index_t y = 0; y < size; ++y)
    for (index_t x = 0; x < size; ++x) {
      double covered = 0;
      for (index_t k = 0; k < fine * fine; ++k) {
        double const u =
            (static_cast<double>(x) + (static_cast<double>(k % fine) + 0.5) / fine) / static_cast<double>(size) - x0;
        double const v =
            (static_cast<double>(y) + (static_cast<double>(k / fine) + 0.5) / fine) / static_cast<double>(size) - y0;
        covered += shape.inside((u * cos + v * sin) / radius, (v * cos - u * sin) / radius);
      }
      covered /= fine * fine;
      double const u = static_cast<double>(x) / static_cast<double>(size) - 0.5,
                   v = static_cast<double>(y) / static_cast<double>(size) - 0.5;
      double const ground = light + slope_x * u + slope_y * v;
      for (std::size_t c = 0; c < 3; ++c)
        out.at(x, y)[c] = static_cast<std::uint8_t>(
            std::lround(255 * std::clamp(paint[c] * covered + ground * (1 - covered), 0.0, 1.0)));
    }
  return out;
}

}  // namespace image
