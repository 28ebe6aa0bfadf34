#include "metrics.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <sstream>

#include <cog/core/error.hpp>
#include <cog/io/file.hpp>

#include "terminal.hpp"

namespace tool {

namespace fs = std::filesystem;

metrics_log::metrics_log(fs::path const& file, cog::index_t step) : file_(file) {
  std::string kept;
  if (step > 0 && fs::exists(file)) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
      auto const object = nlohmann::json::parse(line, nullptr, false);  // the last line of a crash may be cut
      if (!object.is_object() || !object.contains("step") || !object["step"].is_number()) continue;
      if (object["step"].get<cog::index_t>() <= step) kept += line + "\n";
    }
  }
  cog::write_file(file, kept);
  out_.open(file, std::ios::app);
}

void metrics_log::write(nlohmann::ordered_json const& line) {
  out_ << line.dump() << std::endl;
  if (!out_) throw cog::error("cannot write ", file_.string());
}

loss_curves read_curves(fs::path const& folder, char const* speed) {
  auto const file = folder / "log.jsonl";
  cog::mapped_file const text(file);
  std::istringstream in{std::string(text.text())};
  loss_curves out;
  std::vector<double> speeds;
  std::size_t number = 0;
  try {
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (in.eof() && !nlohmann::json::accept(line)) break;  // the last line of a crash may be cut
      auto const object = nlohmann::json::parse(line);
      auto const step = object.at("step").get<double>();
      if (object.contains("loss")) out.training.push_back({step, object.at("loss").get<double>()});
      if (object.contains("validation_loss"))
        out.validation.push_back({step, object.at("validation_loss").get<double>()});
      if (object.contains(speed)) speeds.push_back(object.at(speed).get<double>());
    }
  } catch (nlohmann::json::exception const& e) {
    throw cog::error(file.string(), ", line ", number, ": ", e.what());
  }
  out.title = fs::weakly_canonical(folder).filename().string();
  if (!speeds.empty()) {
    std::ranges::nth_element(speeds, speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2));
    out.speed = speeds[speeds.size() / 2];
  }
  return out;
}

namespace {

/// The mean of each point and its neighbours: single batches scatter.
std::vector<loss_curves::point> smoothed(std::vector<loss_curves::point> const& points) {
  std::size_t const reach = points.size() / 200;
  auto out = points;
  for (std::size_t i = 0; i < points.size(); ++i) {
    std::size_t const first = i < reach ? 0 : i - reach, last = std::min(points.size(), i + reach + 1);
    double total = 0;
    for (std::size_t k = first; k < last; ++k) total += points[k].loss;
    out[i].loss = total / static_cast<double>(last - first);
  }
  return out;
}

std::string quoted(std::string const& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? "''" : std::string(1, c);
  return out + "'";
}

}  // namespace

std::string plot_losses(std::vector<loss_curves> const& curves, fs::path const& png, std::string const& axis) {
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) return "gnuplot is not installed";
  auto beside = png;
  beside += ".new";

  std::ostringstream script;
  auto const data = [&](std::string const& name, std::vector<loss_curves::point> const& points) {
    script << name << " << EOD\n";
    for (auto const& p : points) script << p.step << ' ' << p.loss << '\n';
    script << "EOD\n";
  };
  script << "set terminal png truecolor size 1000,600\nset output " << quoted(beside.string())
         << "\nset xlabel 'step'\nset ylabel " << quoted(axis) << "\nset grid lc rgb '#dddddd'\nset key top right\n";
  std::string plots;
  char const* colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};
  double top = 0;
  for (std::size_t i = 0; i < curves.size(); ++i) {
    auto const n = std::to_string(i);
    std::string const colour = std::string(" lc rgb '") + colours[i % std::size(colours)] + "'";
    auto const title = [&](char const* what) { return " title " + quoted(curves[i].title + what) + " noenhanced"; };
    auto const add = [&](std::string const& plot) { plots += (plots.empty() ? "plot " : ", ") + plot; };
    if (!curves[i].training.empty()) {
      auto const line = smoothed(curves[i].training);
      top = std::max(top, line.front().loss);
      data("$training" + n, line);
      add("$training" + n + " with lines lw 1" + colour + title(", training"));
    }
    if (!curves[i].validation.empty()) {
      data("$validation" + n, curves[i].validation);
      add("$validation" + n + " with linespoints lw 2 pt 7 ps 0.8" + colour + title(", validation"));
    }
  }
  if (plots.empty()) return "there is no loss to draw";
  script << "set yrange [*:" << top << "]\n" << plots << '\n';

  auto const before = std::signal(SIGPIPE, SIG_IGN);
  std::FILE* const pipe = ::popen("gnuplot >/dev/null 2>&1", "w");
  bool ok = pipe != nullptr;
  if (pipe) {
    auto const text = script.str();
    ok = std::fwrite(text.data(), 1, text.size(), pipe) == text.size();
    ok = ::pclose(pipe) == 0 && ok;
  }
  std::signal(SIGPIPE, before);
  std::error_code code;
  if (ok) fs::rename(beside, png, code);
  if (ok && !code) return {};
  fs::remove(beside, code);
  return "gnuplot could not draw " + png.string();
}

}  // namespace tool
