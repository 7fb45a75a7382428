// DGMN2-Tiny with Semantic FPN in windows beside the same network on whole images and on crops.
#include <doctest/doctest.h>

#include <algorithm>

#include "core/error.h"
#include "data/synthetic.h"
#include "tests/support/tensors.h"
#include "train/evaluator.h"

namespace {
using namespace segrt;
using train::Average;
using train::SlidingWindow;

// Its tiles of one size, row by row, as samples of their own.
class Tiles final : public data::Dataset {
 public:
  Tiles(const data::Dataset& whole, int height, int width) : whole_(whole), height_(height), width_(width) {
    const data::Sample first = whole.load(0);
    rows_ = first.image.height / height;
    columns_ = first.image.width / width;
    REQUIRE(rows_ * height == first.image.height);
    REQUIRE(columns_ * width == first.image.width);
  }
  const std::string& name() const override { return name_; }
  int64_t size() const override { return whole_.size() * rows_ * columns_; }
  data::Sample load(int64_t index) const override {
    const int64_t tile = index % (rows_ * columns_);
    const int top = static_cast<int>(tile / columns_) * height_, left = static_cast<int>(tile % columns_) * width_;
    data::Sample s = whole_.load(index / (rows_ * columns_));
    s.image = part(s.image, top, left);
    s.label = part(s.label, top, left);
    return s;
  }
  const data::LabelTable& classes() const override { return whole_.classes(); }
  std::array<double, 3> mean() const override { return whole_.mean(); }
  std::array<double, 3> std() const override { return whole_.std(); }

  int rows() const { return rows_; }
  int columns() const { return columns_; }

 private:
  data::Image part(const data::Image& image, int top, int left) const {
    data::Image out(height_, width_, image.channels);
    for (int y = 0; y < height_; ++y)
      std::copy_n(image.row(top + y) + static_cast<ptrdiff_t>(left) * image.channels, out.row_bytes(), out.row(y));
    return out;
  }

  const data::Dataset& whole_;
  int height_, width_, rows_ = 0, columns_ = 0;
  std::string name_ = "tiles";
};

struct Fixture {
  std::unique_ptr<Device> device = Device::create("cpu");
  std::unique_ptr<models::Model> model;
  data::SyntheticStreets streets{{.size = 2, .height = 64, .width = 96}};

  Fixture() {
    nn::Init init(*device, 3);
    model =
        models::build(Config::parse("[model]\nname = \"dgmn2_tiny_fpn\"\nclasses = 19\n", "test").table("model"), init);
    // Statistics of some images, so that activations are as large as in a trained network.
    const NoGrad no_grad(*device);
    model->set_training(true);
    for (uint64_t seed = 1; seed <= 8; ++seed)
      model->forward(test::random_normal({2, 64, 96, 3}, DType::f32, *device, {.seed = seed}));
  }
  train::Evaluator evaluator(const std::optional<SlidingWindow>& window, Average average) const {
    return {*model, {.average = average, .window = window}};
  }
  std::vector<double> scores(const std::optional<SlidingWindow>& window, Average average,
                             const data::Image& image) const {
    return test::to_doubles(evaluator(window, average).pixel_scores(image));
  }
  std::vector<int64_t> confusion(const std::optional<SlidingWindow>& window, const data::Dataset& dataset) const {
    const train::Evaluator::Result result = evaluator(window, Average::logits).evaluate(dataset);
    // More than one class is predicted: a comparison of confusion matrices has something to compare.
    int predicted = 0;
    for (size_t c = 0; c < 19; ++c) {
      int64_t pixels = 0;
      for (size_t truth = 0; truth < 19; ++truth) pixels += result.confusion[truth * 19 + c];
      predicted += pixels > 0;
    }
    CHECK(predicted > 2);
    return result.confusion;
  }
};

double spread(const std::vector<double>& values) {
  const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
  return *greatest - *least;
}
}  // namespace

TEST_CASE_FIXTURE(Fixture, "a window that covers the image once scores as the whole image does") {
  const data::Image image = streets.load(0).image;
  const std::vector<double> logits = scores({}, Average::logits, image);
  REQUIRE(spread(logits) > 0.1);
  const std::vector<int64_t> counted = confusion({}, streets);
  // As large as the image; larger in one axis and in both: such a window ends where the image does.
  for (const SlidingWindow& w :
       {SlidingWindow{.height = 64, .width = 96, .stride_height = 64, .stride_width = 96},
        SlidingWindow{.height = 64, .width = 200, .stride_height = 13, .stride_width = 7},
        SlidingWindow{.height = 769, .width = 769, .stride_height = 513, .stride_width = 513, .batch = 1}}) {
    CAPTURE(w.height);
    CAPTURE(w.width);
    CHECK(scores(w, Average::logits, image) == logits);
    for (const Average average : {Average::log_probabilities, Average::probabilities})
      CHECK(test::max_abs_difference(scores(w, average, image), scores({}, average, image)) <= 1e-6 * spread(logits));
    CHECK(confusion(w, streets) == counted);
  }
}

TEST_CASE_FIXTURE(Fixture, "windows side by side score as the crops they are, each on its own") {
  const Tiles tiles(streets, 32, 48);
  REQUIRE(tiles.size() == 8);
  const data::Image image = streets.load(0).image;
  for (const int batch : {1, 2}) {
    CAPTURE(batch);
    const SlidingWindow w{.height = 32, .width = 48, .stride_height = 32, .stride_width = 48, .batch = batch};
    const std::vector<double> together = scores(w, Average::logits, image);
    CHECK(together != scores({}, Average::logits, image));  // a window sees nothing beyond itself
    double worst = 0;
    for (int64_t t = 0; t < 4; ++t) {
      const std::vector<double> alone = scores({}, Average::logits, tiles.load(t).image);
      const size_t top = static_cast<size_t>(t / 2) * 32, left = static_cast<size_t>(t % 2) * 48;
      for (size_t y = 0; y < 32; ++y)
        for (size_t x = 0; x < 48 * 19; ++x)
          worst = std::max(worst, std::abs(together[(top + y) * 96 * 19 + left * 19 + x] - alone[y * 48 * 19 + x]));
    }
    // Products of a batch of two may be summed in another order than those of one.
    CHECK(worst <= (batch == 1 ? 0 : 1e-6) * spread(together));
    CHECK(confusion(w, streets) == confusion({}, tiles));
  }
}
