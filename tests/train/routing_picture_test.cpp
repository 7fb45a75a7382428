// Averages of the routes that images take, and the pictures of them.
#include "train/routing_picture.h"

#include <doctest/doctest.h>

#include <set>

#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#include "train/evaluator.h"

namespace {
using namespace segrt;
using models::Routing;

// A network whose gates depend on the image without being all 0 or 1: features without trained batch norms are large.
std::unique_ptr<models::Model> small_network(Device& device) {
  const Config config = Config::parse(
      "[model]\nname = \"dynamic_raw_l16\"\nclasses = 3\nlayers = 4\nwidth = 8\nflops_size_eval = [64, 64]\n", "test");
  nn::Init init(device, 5);
  auto model = models::build(config.table("model"), init);
  uint64_t seed = 0;
  model->visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (path.find("gate_conv_beta.2.") == std::string::npos) return;
    Tensor value = p.var.value();
    const double std = path.ends_with("bias") ? 0.3 : 0.01;
    value.copy_from(test::random_normal(value.shape(), DType::f32, device, {.seed = ++seed, .std = std}));
  });
  return model;
}

class Scenes final : public data::Dataset {
 public:
  const std::string& name() const override { return name_; }
  int64_t size() const override { return 3; }
  data::Sample load(int64_t i) const override {
    const int heights[] = {32, 64, 20};
    data::Image image(heights[i], 32, 3);
    for (size_t p = 0; p < image.pixels.size(); ++p)
      image.pixels[p] = static_cast<uint8_t>(p * static_cast<size_t>(5 + 40 * i) / 7 % 256);
    return {.image = std::move(image), .label = {}, .name = std::to_string(i)};
  }
  const data::LabelTable& classes() const override { return classes_; }
  bool has_labels() const override { return false; }
  std::array<double, 3> mean() const override { return {}; }
  std::array<double, 3> std() const override { return {1, 1, 1}; }

 private:
  std::string name_ = "scenes";
  data::LabelTable classes_ = data::generic_labels(3);
};

// A route through 3 layers that is closed everywhere but for what `open` sets.
template <typename Open>
Routing route(const Open& open) {
  Routing r{.lattice = {.layers = 3}, .cells = {}, .samples = {}};
  for (int layer = 0; layer <= 3; ++layer)
    for (int row = 0; row < r.lattice.rows(layer); ++row)
      r.cells.push_back({.layer = layer, .row = row, .logits = {}, .gates = {}});
  r.samples.emplace_back(r.cells.size(), std::array<float, 3>{});
  open(r.lattice, r.samples[0]);
  return r;
}

struct At {
  double row, layer;
};
int brightness(const data::Image& picture, const At& at) {
  const uint8_t* p = picture.row(static_cast<int>(36 + 60 * at.row)) + 3 * static_cast<int>(36 + 52 * at.layer);
  return p[0] + p[1] + p[2];
}
constexpr int kWhite = 3 * 255;
}  // namespace

TEST_CASE("shares over a data set are the means of the images' own first passes, on every device") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    const auto model = small_network(*device);
    const models::DynamicRouting* network = train::routing_network(*model);
    REQUIRE(network != nullptr);
    CHECK(&train::require_routing(*model, "--routing") == network);
    train::RoutingShares shares;
    train::Evaluator::Options options{.scales = {1, 0.5}, .flip = true, .average = train::Average::logits};
    options.after_first_pass = [&] { shares.add(network->routing()); };
    train::Evaluator(*model, options).evaluate(Scenes());

    std::vector<Routing> alone;  // each image once, by itself
    train::Evaluator plain(*model, {});
    for (int64_t i = 0; i < 3; ++i) {
      plain.predict(Scenes().load(i).image);
      alone.push_back(network->routing());
    }
    REQUIRE(shares.samples() == 3);
    std::set<double> executed, gates;
    const models::Lattice& l = shares.lattice();
    for (size_t cell = 0; cell < alone[0].cells.size(); ++cell) {
      const int layer = alone[0].cells[cell].layer, row = alone[0].cells[cell].row;
      double runs = 0;
      std::array<double, 3> sums{};  // keep, up, down
      for (const Routing& r : alone) {
        runs += r.cells[cell].status == Routing::Status::executed ? 1 : 0;
        for (size_t path = 0; path < 3; ++path)  // NaN: no such path, or not looked at
          if (const float g = r.cells[cell].gates[0][path]; g > 0) sums[path] += static_cast<double>(g);
      }
      CHECK(shares.executed(cell) == doctest::Approx(runs / 3));
      executed.insert(runs);
      size_t slot = 0;
      CHECK(shares.gate(cell, slot++) == doctest::Approx(sums[0] / 3));
      if (l.goes_up(layer, row)) CHECK(shares.gate(cell, slot++) == doctest::Approx(sums[1] / 3));
      if (l.goes_down(layer, row)) CHECK(shares.gate(cell, slot++) == doctest::Approx(sums[2] / 3));
      gates.insert(shares.gate(cell, 0));
    }
    CHECK(executed.size() > 2);  // a network that never closes, or always, would make this easy
    CHECK(gates.size() > 4);
  }
}

TEST_CASE("what runs is dark, what is closed hollow, and in between by its share") {
  train::RoutingShares shares;
  CHECK(test::error_of([&] { train::routing_picture(shares); }) == "routing: no image has been routed");
  // Both images go 0.0 -> 1.0 and 1.1, but one with half a gate; 2.1 in the second only. Slots of the initial cell and
  // of the first row: keep, down; of 1.1: keep, up, down.
  shares.add(route([](const models::Lattice& l, models::SampleGates& g) {
    g[static_cast<size_t>(l.index(0, 0))] = {1, 0.5f, 0};
    g[static_cast<size_t>(l.index(1, 0))] = {1, 0, 0};
    g[static_cast<size_t>(l.index(1, 1))] = {0, 0, 1};
  }));
  shares.add(route([](const models::Lattice& l, models::SampleGates& g) {
    g[static_cast<size_t>(l.index(0, 0))] = {1, 0.5f, 0};
    g[static_cast<size_t>(l.index(1, 1))] = {0, 1, 0};
    g[static_cast<size_t>(l.index(2, 1))] = {0.25f, 0, 0};
  }));
  const data::Image picture = train::routing_picture(shares);
  CHECK(picture.channels == 3);
  CHECK(picture.height == 2 * 36 + 3 * 60);
  CHECK(picture.width == 2 * 36 + 3 * 52);

  const auto cell = [&](int layer, int row) {
    return brightness(picture, {static_cast<double>(row), static_cast<double>(layer)});
  };
  CHECK(cell(0, 0) == cell(1, 1));  // always
  CHECK(cell(0, 0) < cell(1, 0));   // in one of two
  CHECK(cell(1, 0) == cell(2, 1));
  CHECK(cell(1, 0) < kWhite);
  for (const auto& [layer, row] : {std::pair{2, 0}, {2, 2}, {3, 0}, {3, 1}, {3, 2}, {3, 3}})
    CHECK(cell(layer, row) == kWhite);

  const int whole = brightness(picture, {0, 0.5}), half_down = brightness(picture, {0.5, 0.5}),
            half = brightness(picture, {0, 1.5}), quarter = brightness(picture, {1, 2.5}),
            closed = brightness(picture, {2, 2.5});
  CHECK(whole < half);
  CHECK(half < quarter);  // 0.25 for one of two
  CHECK(quarter < closed);
  CHECK(closed < kWhite);  // a hairline
  CHECK(half_down < closed);
  CHECK(brightness(picture, {1, 0}) == kWhite);  // no cell there
  CHECK(brightness(picture, {3, 1.5}) == kWhite);
}

TEST_CASE("networks without routes, and of another lattice, are refused") {
  const auto device = Device::create("cpu");
  nn::Init init(*device, 1);
  const test::TinyNetwork plain(3, init);
  CHECK(train::routing_network(plain) == nullptr);
  CHECK(test::error_of([&] { train::require_routing(plain, "--routing"); }) ==
        "--routing: expected a network with dynamic routing, tiny has no paths to show");
  train::RoutingShares shares;
  shares.add(route([](const models::Lattice&, models::SampleGates&) {}));
  Routing other{.lattice = {.layers = 5}, .cells = {}, .samples = {}};
  other.cells.resize(static_cast<size_t>(other.lattice.cells()));
  CHECK(test::error_of([&] { shares.add(other); }) == "routing: averages need networks of one lattice");
}
