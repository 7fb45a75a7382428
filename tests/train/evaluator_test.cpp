// The test procedure against float64 formulas: what enters the network, how padding is cut off, how passes are
// combined.
#include "train/evaluator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "data/geometry.h"
#include "data/label_table.h"
#include "tests/kernels/reference_resize.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#include "train/network_input.h"

namespace {
using namespace segrt;
using kernels::Coordinates;

constexpr models::Preprocessing kBytesBgr{.bgr = true, .unit = 1, .mean = {103.530, 116.280, 123.675}};

// One convolution of kernel = stride and no padding, upsampled to the size of its input; remembers what it was given.
class PatchNetwork final : public models::Model {
 public:
  struct Rules {
    int classes = 3, stride = 4, pad = 1;
    std::optional<models::Preprocessing> preprocessing = {};
  };
  PatchNetwork(const Rules& rules, nn::Init& init)
      : Model("patches", models::Task::segmentation, rules.classes),
        rules_(rules),
        conv_(child<nn::Conv2d>(
            "conv", {.in = 3, .out = rules.classes, .kernel = rules.stride, .stride = rules.stride, .bias = true},
            init)) {}

  std::vector<models::Head> forward(const Var& image) override {
    inputs.push_back(image.value().clone());
    return {{.scores = conv_.forward(image),
             .up = {.rule = nn::Upsampling::Rule::bilinear_half_pixel,
                    .height = static_cast<int>(image.dim(1)),
                    .width = static_cast<int>(image.dim(2)),
                    .kernel = {}}}};
  }
  int pad_multiple() const override { return rules_.pad; }
  std::optional<models::Preprocessing> preprocessing() const override { return rules_.preprocessing; }
  void begin_step(int64_t step, int64_t total) override { begun.emplace_back(step, total); }
  std::vector<std::pair<std::string, double>> evaluation_metrics() override {
    return {{"rows", static_cast<double>(inputs.back().dim(1))}, {"pass", static_cast<double>(inputs.size())}};
  }

  std::vector<Tensor> inputs;
  std::vector<std::pair<int64_t, int64_t>> begun;
  const nn::Conv2d& conv() const { return conv_; }
  const Rules& rules() const { return rules_; }

 private:
  Rules rules_;
  nn::Conv2d& conv_;
};

data::Image picture(int height, int width, int seed = 1) {
  data::Image image(height, width, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<uint8_t>((i * 7919 + static_cast<size_t>(seed) * 104729) / 13 % 256);
  return image;
}

// [Hp,Wp,3] in B,G,R order minus the mean, with zeros around.
std::vector<double> reference_input(const data::Image& image, int64_t padded_height, int64_t padded_width) {
  std::vector<double> x(static_cast<size_t>(padded_height * padded_width * 3));
  for (int i = 0; i < image.height; ++i)
    for (int j = 0; j < image.width; ++j)
      for (size_t c = 0; c < 3; ++c)
        x[static_cast<size_t>(i * padded_width + j) * 3 + c] =
            image.row(i)[static_cast<size_t>(3 * j) + 2 - c] - kBytesBgr.mean[c];
  return x;
}

int64_t rounded_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// A bilinear resize of one axis whose output is cut to its first `kept` values.
test::AxisMatrix cut_axis(int64_t in, int64_t out, int64_t kept) {
  const test::AxisMatrix whole = test::bilinear_matrix(in, out, Coordinates::half_pixel);
  test::AxisMatrix m(kept, in);
  for (int64_t i = 0; i < kept; ++i)
    for (int64_t j = 0; j < in; ++j) m.at(i, j) = whole.at(i, j);
  return m;
}

// The logits of one pass at the size of the original image: pad, convolve, upsample, cut, resize.
std::vector<double> reference_logits(const PatchNetwork& net, const data::Image& input, int height, int width) {
  const int64_t s = net.rules().stride, classes = net.classes();
  const int64_t ph = rounded_up(input.height, net.rules().pad), pw = rounded_up(input.width, net.rules().pad);
  const std::vector<double> x = reference_input(input, ph, pw), w = test::to_doubles(net.conv().weight().value()),
                            bias = test::to_doubles(net.conv().bias().value());
  const Shape low{1, ph / s, pw / s, classes};
  std::vector<double> scores(static_cast<size_t>(low.numel()));
  for (int64_t i = 0; i < low[1]; ++i)
    for (int64_t j = 0; j < low[2]; ++j)
      for (int64_t k = 0; k < classes; ++k) {
        double sum = bias[static_cast<size_t>(k)];
        for (int64_t a = 0; a < s; ++a)
          for (int64_t b = 0; b < 3 * s; ++b)
            sum += w[static_cast<size_t>((k * s + a) * 3 * s + b)] *
                   x[static_cast<size_t>(((i * s + a) * pw + j * s) * 3 + b)];
        scores[static_cast<size_t>((i * low[2] + j) * classes + k)] = sum;
      }
  const std::vector<double> cut =
      test::resized(scores, low, cut_axis(low[1], ph, input.height), cut_axis(low[2], pw, input.width));
  return test::resized(cut, {1, input.height, input.width, classes},
                       test::bilinear_matrix(input.height, height, Coordinates::half_pixel),
                       test::bilinear_matrix(input.width, width, Coordinates::half_pixel));
}

std::vector<double> mirrored(const std::vector<double>& map, int height, int width, int classes) {
  std::vector<double> y(map.size());
  const auto at = [&](int i, int j) { return static_cast<size_t>((i * width + j) * classes); };
  for (int i = 0; i < height; ++i)
    for (int j = 0; j < width; ++j)
      std::copy_n(map.begin() + static_cast<std::ptrdiff_t>(at(i, j)), classes,
                  y.begin() + static_cast<std::ptrdiff_t>(at(i, width - 1 - j)));
  return y;
}

class Pictures final : public data::Dataset {
 public:
  const std::string& name() const override { return name_; }
  int64_t size() const override { return 3; }
  data::Sample load(int64_t i) const override {
    const int heights[] = {20, 44, 28};
    return {.image = picture(heights[i], 24, static_cast<int>(i)), .label = {}, .name = std::to_string(i)};
  }
  const data::LabelTable& classes() const override { return classes_; }
  bool has_labels() const override { return false; }
  std::array<double, 3> mean() const override { return {0.5, 0.5, 0.5}; }
  std::array<double, 3> std() const override { return {0.2, 0.2, 0.2}; }

 private:
  std::string name_ = "pictures";
  data::LabelTable classes_ = data::generic_labels(3);
};
}  // namespace

TEST_CASE("an image is resized by its shortest edge, or not at all") {
  const auto size = [](int height, int width, const train::ShortestEdge& rule) {
    const data::Image y = train::resized(picture(height, width), rule);
    return std::pair(y.height, y.width);
  };
  CHECK(size(33, 47, {100, 0}) == std::pair(100, 142));    // 142.42; no limit
  CHECK(size(10, 900, {20, 0}) == std::pair(20, 1800));    // none however long
  CHECK(size(75, 100, {102, 120}) == std::pair(90, 120));  // 102x136 is too long
  CHECK(size(33, 47, {0, 10}) == std::pair(33, 47));       // 0: no resizing, whatever the limit
  const data::Image image = picture(9, 14);
  CHECK(train::resized(image, {9, 100}) == image);
  CHECK(train::resized(image, {5, 0}) == data::resize(image, 5, 8, data::Filter::bilinear));
}

TEST_CASE("maps are padded with zeros and cut back, each image of a batch, on every device") {
  for (auto& device : test::test_devices())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(device->name());
      const Tensor x = test::random_normal({2, 5, 7, 3}, dtype, *device);
      const Tensor padded = train::padded_to_multiple(x, 4);
      REQUIRE(padded.shape() == Shape{2, 8, 8, 3});
      const std::vector<double> a = test::to_doubles(x), b = test::to_doubles(padded);
      for (size_t n = 0; n < 2; ++n)
        for (size_t i = 0; i < 8; ++i)
          for (size_t j = 0; j < 8; ++j)
            for (size_t c = 0; c < 3; ++c)
              REQUIRE(b[((n * 8 + i) * 8 + j) * 3 + c] == (i < 5 && j < 7 ? a[((n * 5 + i) * 7 + j) * 3 + c] : 0.0));
      CHECK(test::to_doubles(train::top_left(padded, 5, 7)) == a);
      CHECK(train::padded_to_multiple(padded, 4).shares_storage(padded));
      CHECK(train::top_left(x, 5, 7).shares_storage(x));
      CHECK(test::error_of([&] { train::top_left(x, 6, 7); }) ==
            "top_left: expected at most the size of x [2,5,7,3], got 6x7");
    }
}

TEST_CASE("a network is given what it asks for: B,G,R bytes minus the mean, zeros below and to the right") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 2);
    PatchNetwork net({.pad = 32, .preprocessing = kBytesBgr}, init);
    net.set_training(true);
    train::Evaluator evaluator(net, {.mean = {9, 9, 9}, .std = {9, 9, 9}});
    CHECK_FALSE(net.training());
    CHECK(net.begun == std::vector<std::pair<int64_t, int64_t>>{{0, 0}});
    const data::Image image = picture(37, 50);
    const Tensor prediction = evaluator.predict(image);
    REQUIRE(prediction.shape() == Shape{1, 37, 50});
    REQUIRE(net.inputs.size() == 1);
    REQUIRE(net.inputs[0].shape() == Shape{1, 64, 64, 3});
    CHECK(test::max_abs_difference(test::to_doubles(net.inputs[0]), reference_input(image, 64, 64)) < 1e-5);
    const std::vector<double> logits = reference_logits(net, image, 37, 50), classes = test::to_doubles(prediction);
    int64_t clear = 0;
    for (size_t p = 0; p < classes.size(); ++p) {
      std::vector<double> z(logits.begin() + static_cast<std::ptrdiff_t>(3 * p),
                            logits.begin() + static_cast<std::ptrdiff_t>(3 * p + 3));
      const auto best = std::max_element(z.begin(), z.end()) - z.begin();
      std::sort(z.begin(), z.end());
      if (z[2] - z[1] < 1e-2) continue;
      ++clear;
      REQUIRE(classes[p] == static_cast<double>(best));
    }
    CHECK(clear > 1700);
  }
}

TEST_CASE("the mean of logits over sizes by the shortest edge and mirror images equals float64, on every device") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 2);
    PatchNetwork net({.pad = 8, .preprocessing = kBytesBgr}, init);
    const data::Image image = picture(18, 27);
    const train::Evaluator::Options options{
        .edges = {{11, 0}, {20, 0}, {30, 33}}, .base = {16, 0}, .flip = true, .average = train::Average::logits};
    train::Evaluator evaluator(net, options);
    const Tensor scores = evaluator.pixel_scores(image);
    REQUIRE(scores.shape() == Shape{1, 18, 27, 3});
    REQUIRE(net.inputs.size() == 6);
    CHECK(net.inputs[4].shape() == Shape{1, 24, 40, 3});  // 30 x 45 limited to 22 x 33

    const data::Image base = data::resize(image, 16, 24, data::Filter::bilinear);
    std::vector<double> mean(static_cast<size_t>(18 * 27 * 3));
    for (const auto& [height, width] : {std::pair{11, 17}, std::pair{20, 30}, std::pair{22, 33}}) {
      const data::Image input = data::resize(base, height, width, data::Filter::bilinear);
      const std::vector<double> plain = reference_logits(net, input, 18, 27),
                                flipped =
                                    mirrored(reference_logits(net, data::flip_horizontal(input), 18, 27), 18, 27, 3);
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += (plain[i] + flipped[i]) / 6;
    }
    CHECK(test::relative_l2(scores, mean) < 1e-6);
    // The plain test: one pass at the base size, resized back.
    train::Evaluator plain(net, {.base = {16, 0}, .average = train::Average::logits});
    CHECK(test::relative_l2(plain.pixel_scores(image), reference_logits(net, base, 18, 27)) < 1e-6);
    CHECK(plain.predict(image).shape() == Shape{1, 18, 27});
  }
}

TEST_CASE("one pass predicts the same through summed log-probabilities, averaged logits and the fused argmax") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 2);
  PatchNetwork net({.classes = 5, .pad = 8, .preprocessing = kBytesBgr}, init);
  const data::Image image = picture(21, 30);
  std::vector<std::vector<double>> predictions;
  for (const train::Average average : {train::Average::log_probabilities, train::Average::logits}) {
    train::Evaluator evaluator(net, {.average = average});
    predictions.push_back(test::to_doubles(evaluator.predict(image)));
    const std::vector<double> scores = test::to_doubles(evaluator.pixel_scores(image));
    predictions.emplace_back();
    for (size_t p = 0; p < scores.size(); p += 5)
      predictions.back().push_back(
          static_cast<double>(std::max_element(scores.begin() + static_cast<std::ptrdiff_t>(p),
                                               scores.begin() + static_cast<std::ptrdiff_t>(p) + 5) -
                              scores.begin() - static_cast<std::ptrdiff_t>(p)));
  }
  for (const auto& other : predictions) CHECK(other == predictions[0]);
}

TEST_CASE("what a network measures is that of the first pass, and comes as mean, least and greatest over the images") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 2);
  PatchNetwork net({}, init);
  train::Evaluator evaluator(net, {.scales = {1, 0.5}, .flip = true, .mean = {0.5, 0.5, 0.5}, .std = {0.2, 0.2, 0.2}});
  std::vector<double> rows;
  const auto result = evaluator.evaluate(Pictures(), 0, [&](int64_t, const data::Sample&, const data::Image&) {
    rows.push_back(evaluator.measurements().front().second);
  });
  CHECK(rows == std::vector<double>{20, 44, 28});
  REQUIRE(result.measured.size() == 2);
  CHECK(result.measured[0].name == "rows");
  CHECK(result.measured[0].mean == doctest::Approx(92.0 / 3));
  CHECK(result.measured[0].min == 20);
  CHECK(result.measured[0].max == 44);
  CHECK(result.measured[0].images == 3);
  CHECK(result.measured[1].max == 9);  // four passes an image: the first of the third is the ninth
}

TEST_CASE("after the first pass over each image, and then alone, the caller may look at the network") {
  auto device = Device::create("cpu");
  nn::Init init(*device, 2);
  PatchNetwork net({}, init);
  std::vector<size_t> forwards;
  train::Evaluator::Options options{.scales = {1, 0.5}, .flip = true, .mean = {0.5, 0.5, 0.5}, .std = {0.2, 0.2, 0.2}};
  options.after_first_pass = [&] { forwards.push_back(net.inputs.size()); };
  train::Evaluator(net, options).evaluate(Pictures());
  CHECK(forwards == std::vector<size_t>{1, 5, 9});
  options.scales = {1};
  options.flip = false;
  train::Evaluator(net, options).predict(picture(20, 24));  // the way without a map of scores
  CHECK(forwards == std::vector<size_t>{1, 5, 9, 13});
}

TEST_CASE("measurements as a table with their units") {
  CHECK(
      train::measured_table(std::vector<train::Evaluator::Measured>{
          {"real_gflops", 52.3, 40.12, 100, 3}, {"executed_gmacs", 0.00125, 0.001, 0.002, 3}, {"rows", 7, 7, 7, 3}}) ==
      "an image             mean        min        max\n"
      "real               52.300     40.120     100.00  GFLOPs\n"
      "executed        0.0012500  0.0010000  0.0020000  GMACs\n"
      "rows               7.0000     7.0000     7.0000\n");
}
