// The test procedure of DABNet and DGMN2 against float64: a base size, averaged probabilities, windows, padding that is
// 0 after normalisation.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "data/geometry.h"
#include "data/opencv_resize.h"
#include "nn/layers.h"
#include "tests/kernels/reference_resize.h"
#include "tests/support/tensors.h"
#include "train/evaluator.h"
#include "train/network_input.h"

namespace {
using namespace segrt;
using kernels::Coordinates;
using Rule = nn::Upsampling::Rule;

// A convolution of kernel = stride = 4, upsampled to the size of its input. Wants multiples of 8.
class Patches final : public models::Model {
 public:
  Patches(Rule rule, nn::Init& init)
      : Model("patches", models::Task::segmentation, 3),
        rule_(rule),
        conv_(child<nn::Conv2d>("conv", {.in = 3, .out = 3, .kernel = 4, .stride = 4, .bias = true}, init)) {}

  std::vector<models::Head> forward(const Var& image) override {
    batches.push_back(image.value().shape());
    return {{.scores = conv_.forward(image),
             .up = {.rule = rule_,
                    .height = static_cast<int>(image.dim(1)),
                    .width = static_cast<int>(image.dim(2)),
                    .kernel = {}}}};
  }
  int pad_multiple() const override { return 8; }
  std::optional<models::Preprocessing> preprocessing() const override {
    return models::Preprocessing{.bgr = false, .unit = 1, .mean = kMean, .std = kStd};
  }

  static constexpr std::array<double, 3> kMean{123.675, 116.28, 103.53}, kStd{58.395, 57.12, 57.375};
  std::vector<Shape> batches;
  Coordinates coordinates() const {
    return rule_ == Rule::bilinear_align_corners ? Coordinates::align_corners : Coordinates::half_pixel;
  }

  // Logits [h,w,3] of an image at its own size: normalise, pad with zeros, convolve, upsample, cut.
  std::vector<double> reference(const data::Image& image) const {
    const int64_t ph = (image.height + 7) / 8 * 8, pw = (image.width + 7) / 8 * 8;
    std::vector<double> x(static_cast<size_t>(ph * pw * 3));
    for (int i = 0; i < image.height; ++i)
      for (int j = 0; j < image.width; ++j)
        for (size_t c = 0; c < 3; ++c)
          x[static_cast<size_t>(i * pw + j) * 3 + c] = (image.row(i)[3 * j + static_cast<int>(c)] - kMean[c]) / kStd[c];
    const std::vector<double> w = test::to_doubles(conv_.weight().value()), b = test::to_doubles(conv_.bias().value());
    const Shape low{1, ph / 4, pw / 4, 3};
    std::vector<double> scores(static_cast<size_t>(low.numel()));
    for (int64_t i = 0; i < low[1]; ++i)
      for (int64_t j = 0; j < low[2]; ++j)
        for (int64_t k = 0; k < 3; ++k) {
          double sum = b[static_cast<size_t>(k)];
          for (int64_t r = 0; r < 4; ++r)
            for (int64_t s = 0; s < 12; ++s)
              sum += w[static_cast<size_t>((k * 4 + r) * 12 + s)] *
                     x[static_cast<size_t>(((i * 4 + r) * pw + j * 4) * 3 + s)];
          scores[static_cast<size_t>((i * low[2] + j) * 3 + k)] = sum;
        }
    const std::vector<double> up = test::resized(scores, low, test::bilinear_matrix(low[1], ph, coordinates()),
                                                 test::bilinear_matrix(low[2], pw, coordinates()));
    std::vector<double> cut;
    for (int64_t i = 0; i < image.height; ++i)
      cut.insert(cut.end(), up.begin() + i * pw * 3, up.begin() + (i * pw + image.width) * 3);
    return cut;
  }

 private:
  Rule rule_;
  nn::Conv2d& conv_;
};

data::Image picture(int height, int width) {
  data::Image image(height, width, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7919 / 13 % 256);
  return image;
}

std::vector<double> softmax(std::vector<double> logits) {
  for (size_t p = 0; p < logits.size(); p += 3) {
    double sum = 0;
    for (size_t k = 0; k < 3; ++k) sum += logits[p + k] = std::exp(logits[p + k]);
    for (size_t k = 0; k < 3; ++k) logits[p + k] /= sum;
  }
  return logits;
}

std::vector<double> mirrored(const std::vector<double>& map, int height, int width) {
  std::vector<double> y;
  for (int i = 0; i < height; ++i)
    for (int j = width - 1; j >= 0; --j)
      for (int k = 0; k < 3; ++k) y.push_back(map[static_cast<size_t>((i * width + j) * 3 + k)]);
  return y;
}

std::vector<double> resized(const std::vector<double>& map, data::ImageSize from, int height, int width,
                            Coordinates coordinates) {
  return test::resized(map, {1, from.height, from.width, 3}, test::bilinear_matrix(from.height, height, coordinates),
                       test::bilinear_matrix(from.width, width, coordinates));
}
}  // namespace

TEST_CASE("the mean of probabilities over ratios of a base size and mirror images equals float64, on every device") {
  for (auto& device : test::test_devices())
    for (const Rule rule : {Rule::bilinear_half_pixel, Rule::bilinear_align_corners})
      for (const bool keep_ratio : {true, false}) {
        CAPTURE(device->name());
        CAPTURE(keep_ratio);
        nn::Init init(*device, 2);
        Patches net(rule, init);
        const data::Image image = picture(18, 27);
        train::Evaluator evaluator(net, {.scales = {1, 0.5, 1.3},
                                         .base_size = {{24, 33}, keep_ratio},
                                         .flip = true,
                                         .average = train::Average::probabilities});
        const Tensor map = evaluator.pixel_scores(image);
        REQUIRE(map.shape() == Shape{1, 18, 27, 3});
        // 24x33, 12x16, 31x42; with the image's proportions 22x33, 11x16 (10.67), 28x42
        const std::vector<data::ImageSize> sizes = keep_ratio
                                                       ? std::vector<data::ImageSize>{{22, 33}, {11, 16}, {28, 42}}
                                                       : std::vector<data::ImageSize>{{24, 33}, {12, 16}, {31, 42}};
        std::vector<double> mean(18 * 27 * 3);
        for (const data::ImageSize size : sizes) {
          const data::Image input = data::opencv_resize(image, size);
          const std::vector<double> plain = softmax(resized(net.reference(input), size, 18, 27, net.coordinates()));
          const std::vector<double> other = mirrored(
              softmax(resized(net.reference(data::flip_horizontal(input)), size, 18, 27, net.coordinates())), 18, 27);
          for (size_t i = 0; i < mean.size(); ++i) mean[i] += (plain[i] + other[i]) / 6;
        }
        CHECK(test::relative_l2(map, mean) < 1e-6);
        const std::vector<double> classes = test::to_doubles(evaluator.predict(image));
        for (size_t p = 0; p < classes.size(); ++p)
          REQUIRE(mean[3 * p + static_cast<size_t>(classes[p])] >
                  *std::max_element(mean.begin() + static_cast<std::ptrdiff_t>(3 * p),
                                    mean.begin() + static_cast<std::ptrdiff_t>(3 * p + 3)) -
                      1e-5);
      }
}

TEST_CASE("one window over all is the whole image, in every bit and for every average") {
  for (auto& device : test::test_devices())
    for (const train::Average average :
         {train::Average::probabilities, train::Average::logits, train::Average::log_probabilities}) {
      CAPTURE(device->name());
      nn::Init init(*device, 2);
      Patches net(Rule::bilinear_half_pixel, init);
      const data::Image image = picture(18, 27);
      train::Evaluator::Options options{.scales = {1, 0.75}, .flip = true, .average = average};
      train::Evaluator whole(net, options);
      options.window = train::SlidingWindow{.height = 30, .width = 27, .stride_height = 10, .stride_width = 10};
      train::Evaluator windows(net, options);
      CHECK(test::to_doubles(whole.pixel_scores(image)) == test::to_doubles(windows.pixel_scores(image)));
      options.scales = {1};
      options.flip = false;
      train::Evaluator one_pass(net, options);
      options.window.reset();
      CHECK(test::to_doubles(one_pass.predict(image)) ==
            test::to_doubles(train::Evaluator(net, options).predict(image)));
    }
}

TEST_CASE("windows: the mean of their logits, resized to the image, then softmax, on every device") {
  for (auto& device : test::test_devices())
    for (const bool at_base_size : {false, true}) {
      CAPTURE(device->name());
      nn::Init init(*device, 2);
      Patches net(Rule::bilinear_align_corners, init);
      const data::Image image = picture(22, 37);
      const data::ImageSize size = at_base_size ? data::ImageSize{23, 39} : data::ImageSize{22, 37};
      train::Evaluator evaluator(net,
                                 {.base_size = {at_base_size ? size : data::ImageSize{}, false},
                                  .average = train::Average::probabilities,
                                  .window = train::SlidingWindow{
                                      .height = 16, .width = 20, .stride_height = 5, .stride_width = 13, .batch = 2}});
      const Tensor map = evaluator.pixel_scores(image);
      CHECK(net.batches.front() == Shape{2, 16, 24, 3});  // padded to multiples of 8

      const data::Image input = data::opencv_resize(image, size);
      std::vector<double> sum(static_cast<size_t>(size.height * size.width * 3)), count(sum.size());
      for (const int top : {0, 5, size.height - 16})
        for (const int left : {0, 13, size.width - 20}) {
          const std::vector<double> logits = net.reference(data::crop(input, 16, 20, top, left, {}));
          for (int i = 0; i < 16; ++i)
            for (int j = 0; j < 60; ++j) {
              const auto at = static_cast<size_t>((top + i) * size.width * 3 + left * 3 + j);
              sum[at] += logits[static_cast<size_t>(i * 60 + j)];
              count[at] += 1;
            }
        }
      for (size_t i = 0; i < sum.size(); ++i) sum[i] /= count[i];
      const std::vector<double> logits = resized(sum, size, 22, 37, Coordinates::align_corners);
      CHECK(test::relative_l2(map, softmax(logits)) < 1e-6);
      const std::vector<double> classes = test::to_doubles(evaluator.predict(image));
      REQUIRE(classes.size() == 22 * 37);
      for (size_t p = 0; p < classes.size(); ++p)
        REQUIRE(logits[3 * p + static_cast<size_t>(classes[p])] >
                *std::max_element(logits.begin() + static_cast<std::ptrdiff_t>(3 * p),
                                  logits.begin() + static_cast<std::ptrdiff_t>(3 * p + 3)) -
                    1e-4);
    }
}

TEST_CASE("padding of a batch is 0 after normalisation, on every device") {
  for (auto& device : test::test_devices())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(device->name());
      std::vector<uint8_t> bytes(4 * 5 * 6 * 3);
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 31 + 5);
      data::Batch batch;
      batch.size = 4;
      batch.height = 5;
      batch.width = 6;
      batch.images = bytes;
      const kernels::Normalization n{.mean = {3, 4, 5}, .std = {2, 2, 2}, .unit = 1};
      const std::vector<double> all = test::to_doubles(train::upload_images(batch, n, dtype, *device));
      batch.content = {{5, 6}, {3, 4}, {0, 0}, {5, 1}};
      const std::vector<double> x = test::to_doubles(train::upload_images(batch, n, dtype, *device));
      for (size_t i = 0; i < 4; ++i)
        for (int y = 0; y < 5; ++y)
          for (int c = 0; c < 18; ++c) {
            const data::ImageSize content = i == 2 ? data::ImageSize{5, 6} : batch.content[i];
            const size_t at = (i * 5 + static_cast<size_t>(y)) * 18 + static_cast<size_t>(c);
            REQUIRE(x[at] == (y < content.height && c < content.width * 3 ? all[at] : 0.0));
          }
    }
}
