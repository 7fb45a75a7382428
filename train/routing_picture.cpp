#include "train/routing_picture.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace segrt::train {
namespace {
constexpr int kColumn = 52, kRow = 60, kMargin = 36;
constexpr double kRadius = 9;

struct Colour {
  double r, g, b;
};
constexpr Colour kPaper{255, 255, 255}, kHairline{222, 222, 222}, kRing{150, 150, 150}, kCell{178, 34, 52};
constexpr Colour kPath{31, 58, 110};

Colour mix(const Colour& a, const Colour& b, double share) {
  return {a.r + share * (b.r - a.r), a.g + share * (b.g - a.g), a.b + share * (b.b - a.b)};
}

class Canvas {
 public:
  Canvas(int height, int width) : image_(height, width, 3) {
    std::fill(image_.pixels.begin(), image_.pixels.end(), 255);
  }

  // Paints pixels by their coverage in [0,1], inside the box around (y, x) and (v, u) grown by `reach`.
  template <typename Coverage>
  void paint(double y, double x, double v, double u, double reach, const Colour& colour, const Coverage& coverage) {
    const auto clip = [](double value, int limit) { return std::clamp(static_cast<int>(value), 0, limit - 1); };
    const int top = clip(std::min(y, v) - reach - 1, image_.height),
              bottom = clip(std::max(y, v) + reach + 2, image_.height);
    const int left = clip(std::min(x, u) - reach - 1, image_.width),
              right = clip(std::max(x, u) + reach + 2, image_.width);
    for (int i = top; i <= bottom; ++i)
      for (int j = left; j <= right; ++j) {
        const double share = std::clamp(coverage(i, j), 0.0, 1.0);
        uint8_t* p = image_.row(i) + 3 * j;
        const double values[] = {colour.r, colour.g, colour.b};
        for (int c = 0; c < 3; ++c) p[c] = static_cast<uint8_t>(std::lround(p[c] + share * (values[c] - p[c])));
      }
  }

  void disc(double y, double x, double radius, const Colour& colour) {
    paint(y, x, y, x, radius, colour, [=](int i, int j) { return radius + 0.5 - std::hypot(i - y, j - x); });
  }

  void line(double y, double x, double v, double u, double width, const Colour& colour) {
    const double length = std::hypot(v - y, u - x), dy = (v - y) / length, dx = (u - x) / length;
    paint(y, x, v, u, width, colour, [=](int i, int j) {
      const double along = std::clamp((i - y) * dy + (j - x) * dx, 0.0, length);
      return width / 2 + 0.5 - std::hypot(i - y - along * dy, j - x - along * dx);
    });
  }

  data::Image take() { return std::move(image_); }

 private:
  data::Image image_;
};
}  // namespace

void RoutingShares::add(const models::Routing& routing) {
  if (samples_ == 0) {
    lattice_ = routing.lattice;
    executed_.assign(routing.cells.size(), 0);
    gates_.assign(routing.cells.size(), {});
  } else if (routing.cells.size() != executed_.size()) {
    throw ArgumentError("routing: averages need networks of one lattice");
  }
  for (const models::SampleGates& gates : routing.samples) {
    ++samples_;
    for (size_t cell = 0; cell < gates.size(); ++cell) {
      float sum = 0;
      for (size_t slot = 0; slot < 3; ++slot) {
        sum += gates[cell][slot];
        gates_[cell][slot] += static_cast<double>(gates[cell][slot]);
      }
      executed_[cell] += sum >= kernels::kClosedBelow ? 1 : 0;
    }
  }
}

double RoutingShares::executed(size_t cell) const { return executed_[cell] / static_cast<double>(samples_); }
double RoutingShares::gate(size_t cell, size_t slot) const {
  return gates_[cell][slot] / static_cast<double>(samples_);
}

const models::DynamicRouting* routing_network(const models::Model& model) {
  return dynamic_cast<const models::DynamicRouting*>(&model);
}

const models::DynamicRouting& require_routing(const models::Model& model, const std::string& option) {
  const models::DynamicRouting* network = routing_network(model);
  if (network == nullptr)
    throw ArgumentError(option + ": expected a network with dynamic routing, " + model.name() +
                        " has no paths to show");
  return *network;
}

data::Image routing_picture(const RoutingShares& shares) {
  if (shares.samples() == 0) throw ArgumentError("routing: no image has been routed");
  const models::Lattice& l = shares.lattice();
  Canvas canvas(2 * kMargin + (models::Lattice::kRows - 1) * kRow, 2 * kMargin + l.layers * kColumn);
  const auto x_of = [](int layer) { return static_cast<double>(kMargin + layer * kColumn); };
  const auto y_of = [](int row) { return static_cast<double>(kMargin + row * kRow); };

  struct Path {
    int layer, row, to_row;
    double gate;
  };
  std::vector<Path> paths;
  for (int layer = 0; layer < l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) {
      const auto cell = static_cast<size_t>(l.index(layer, row));
      size_t slot = 0;
      const auto add = [&](int to_row) { paths.push_back({layer, row, to_row, shares.gate(cell, slot++)}); };
      add(row);
      if (l.goes_up(layer, row)) add(row - 1);
      if (l.goes_down(layer, row)) add(row + 1);
    }
  // Light paths first, so that crossings show the strong ones.
  std::stable_sort(paths.begin(), paths.end(), [](const Path& a, const Path& b) { return a.gate < b.gate; });
  for (const Path& p : paths) {
    const double share = std::clamp(p.gate, 0.0, 1.0);
    canvas.line(y_of(p.row), x_of(p.layer), y_of(p.to_row), x_of(p.layer + 1), share > 0 ? 1 + 3 * share : 0.6,
                share > 0 ? mix(kHairline, kPath, 0.2 + 0.8 * share) : kHairline);
  }
  for (int layer = 0; layer <= l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) {
      const double y = y_of(row), x = x_of(layer), share = shares.executed(static_cast<size_t>(l.index(layer, row)));
      canvas.disc(y, x, kRadius, share > 0 ? mix(kRing, kCell, share) : kRing);
      canvas.disc(y, x, kRadius - 1.5, mix(kPaper, kCell, share));
    }
  return canvas.take();
}

}  // namespace segrt::train
