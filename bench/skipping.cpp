// Dynamic Routing in evaluation with a growing part of its cells forced shut: does the time follow the arithmetic?
// The gates' weights are zeroed, so that their biases alone decide; cells are shut in a fixed random order.
//
//   bench_skipping [--network dynamic_raw_l16] [--input 1x512x1024] [--device cpu] [--repeat N] [--json F]
//
// A line a share: cells that ran, multiply-adds executed, median time, both as ratios to the fully open network, and
// the ratio of the ratios (1: time falls exactly as the arithmetic does). The shares are timed in turn, round by round,
// so that a machine that slows down slows all of them.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "models/dynamic_routing.h"

namespace segrt {
namespace {
using models::DynamicRouting;
using models::Routing;

struct Arguments {
  std::string network = "dynamic_raw_l16", input = "1x512x1024", json;
  int repeat = 7;
  apps::CommonOptions common;
};

struct Measurement {
  std::vector<size_t> shut;  // cells, by Lattice::index
  double open_share = 0, gmacs = 0, median_ms = 0;
  std::vector<double> ms = {};
};

// All gates of the listed cells shut (tanh of -2), those of the others open.
void set_gates(DynamicRouting& model, const std::vector<size_t>& shut) {
  const models::Lattice& lattice = model.options().lattice;
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    const size_t at = path.find(".gate_conv_beta.2.");
    if (at == std::string::npos) return;
    Tensor value = p.var.value();
    if (path.ends_with(".weight")) return value.fill_zero();
    const std::string list = "backbone.all_cell_list.";
    size_t cell = 0;  // the initial one
    if (path.starts_with(list)) {
      const std::string place = path.substr(list.size(), at - list.size());  // "<layer - 1>.<row>"
      const size_t dot = place.find('.');
      cell = static_cast<size_t>(lattice.index(std::stoi(place) + 1, std::stoi(place.substr(dot + 1))));
    }
    const bool closed = std::find(shut.begin(), shut.end(), cell) != shut.end();
    const std::vector<float> bias(static_cast<size_t>(value.numel()), closed ? -2.0f : 2.0f);
    value.copy_from(Tensor::from<float>(value.shape(), bias, value.device()));
  });
}

Tensor noise(const Shape& shape, Device& device) {
  Rng rng(1, 0);
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (float& v : values) v = static_cast<float>(rng.uniform(-100, 100));
  return Tensor::from<float>(shape, values, device);
}

void run(DynamicRouting& model, const Tensor& image) {
  const models::Head head = model.forward(image).front();
  nn::segmentation_argmax(head.scores.value(), head.up, static_cast<int>(image.dim(1)), static_cast<int>(image.dim(2)));
  image.device().synchronize();
}

double open_share(DynamicRouting& model) {
  const Routing routing = model.routing();
  const auto executed = std::count_if(routing.cells.begin(), routing.cells.end(), [](const Routing::CellRoute& c) {
    return c.status == Routing::Status::executed;
  });
  return static_cast<double>(executed) / static_cast<double>(routing.cells.size());
}

// For 100 %, 90 % .. 30 %: the shortest start of a random order of cells which, shut, leaves no more than that running
// (a cell whose senders are all shut does not run either).
std::vector<Measurement> choose_cells(DynamicRouting& model, const Tensor& small) {
  std::vector<size_t> order(static_cast<size_t>(model.options().lattice.cells()) - 1);
  std::iota(order.begin(), order.end(), size_t{1});
  Rng rng(7, 0);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.next_u32() % i]);
  std::vector<Measurement> shares;
  size_t count = 0;
  for (int percent = 100; percent >= 30; percent -= 10)
    for (;; ++count) {
      const std::vector<size_t> shut(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
      set_gates(model, shut);
      run(model, small);
      const double share = open_share(model);
      if (100 * share > percent + 1e-9) continue;
      shares.push_back({.shut = shut, .open_share = share});
      break;
    }
  return shares;
}

int bench(const Arguments& a) {
  const std::vector<int64_t> size = apps::parse_sizes("--input", a.input, 3);
  const std::unique_ptr<Device> device = apps::open_device(a.common);
  const NoGrad no_grad(*device);
  nn::Init init(*device, 1);
  const Config config = Config::parse("[model]\nname = \"" + a.network + "\"\nclasses = 19\n", "bench");
  const std::unique_ptr<models::Model> built = models::build(config.table("model"), init);
  auto* model = dynamic_cast<DynamicRouting*>(built.get());
  if (!model) throw ArgumentError(a.network + " is no Dynamic Routing network");
  model->set_training(false);

  std::vector<Measurement> shares = choose_cells(*model, noise({1, 128, 128, 3}, *device));
  const Tensor image = noise({size[0], size[1], size[2], 3}, *device);
  for (int round = -1; round < a.repeat; ++round)  // the first warms up
    for (Measurement& m : shares) {
      set_gates(*model, m.shut);
      const auto start = std::chrono::steady_clock::now();
      run(*model, image);
      const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      if (round >= 0) m.ms.push_back(ms);
      m.gmacs = 1e-9 * static_cast<double>(model->executed_multiply_adds());
    }
  fmt::print("{} {} on {}, {} threads, {} rounds\n", a.network, a.input, device->description(), threads(), a.repeat);
  fmt::print("{:>10} {:>10} {:>10} {:>12} {:>12} {:>12}\n", "cells run", "GMACs", "ms", "MAC ratio", "time ratio",
             "time / MAC");
  nlohmann::json rows = nlohmann::json::array();
  for (Measurement& m : shares) {
    std::sort(m.ms.begin(), m.ms.end());
    m.median_ms = m.ms[m.ms.size() / 2];
    const double macs = m.gmacs / shares[0].gmacs, time = m.median_ms / shares[0].median_ms;
    fmt::print("{:>9.1f}% {:>10.3f} {:>10.2f} {:>12.3f} {:>12.3f} {:>12.3f}\n", 100 * m.open_share, m.gmacs,
               m.median_ms, macs, time, time / macs);
    rows.push_back({{"open_share", m.open_share},
                    {"gmacs", m.gmacs},
                    {"median_ms", m.median_ms},
                    {"mac_ratio", macs},
                    {"time_ratio", time},
                    {"all_ms", m.ms}});
  }
  if (a.json.empty()) return 0;
  std::ofstream out(a.json);
  out << nlohmann::json{{"network", a.network},
                        {"input", a.input},
                        {"device", device->description()},
                        {"threads", threads()},
                        {"shares", rows}}
             .dump(2)
      << '\n';
  if (!out.flush()) throw FileError(a.json + ": cannot write");
  return 0;
}
}  // namespace
}  // namespace segrt

int main(int argc, char** argv) {
  CLI::App app("Times Dynamic Routing with part of its cells shut.", "bench_skipping");
  segrt::Arguments a;
  app.add_option("--network", a.network, "a gated variant")->capture_default_str();
  app.add_option("--input", a.input, "NxHxW")->capture_default_str();
  app.add_option("--repeat", a.repeat, "timed rounds")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--json", a.json, "write the figures to this file");
  segrt::apps::add_device_options(app, a.common);
  return segrt::apps::run_program(app, argc, argv, [&] { return segrt::bench(a); });
}
