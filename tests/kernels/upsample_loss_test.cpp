#include "kernels/upsample_loss.h"

#include <doctest/doctest.h>

#include "core/parallel.h"
#include "core/random.h"
#include "kernels/softmax.h"
#include "tests/kernels/reference_resize.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
using kernels::Coordinates;
using kernels::UpsampleTaps;

struct Case {
  Shape scores;
  int64_t height, width;  // of the labels
  bool transposed_x8 = false;
  Coordinates coordinates = Coordinates::half_pixel;
};

// Integer and other ratios, one pixel, one class, class counts on both sides of a vector, same size, shrinking.
const Case kCases[] = {
    {{1, 1, 1, 1}, 1, 1},        {{2, 1, 1, 3}, 4, 5},
    {{1, 3, 4, 19}, 24, 32},     {{2, 2, 3, 19}, 16, 24, true},
    {{1, 1, 2, 5}, 8, 16, true}, {{1, 3, 5, 16}, 7, 13, false, Coordinates::align_corners},
    {{1, 4, 3, 17}, 4, 3},       {{1, 2, 9, 33}, 11, 35, false, Coordinates::asymmetric},
    {{1, 2, 2, 171}, 5, 9},      {{1, 7, 9, 4}, 3, 5, false, Coordinates::align_corners},
    {{1, 2, 37, 2}, 3, 290},
};

UpsampleTaps taps_of(const Case& c, Device& device) {
  const int h = static_cast<int>(c.scores[1]), w = static_cast<int>(c.scores[2]);
  if (c.transposed_x8) return kernels::transposed_x8_taps(h, w, device);
  return kernels::bilinear_taps(h, w, static_cast<int>(c.height), static_cast<int>(c.width), c.coordinates, device);
}
AxisMatrix rows_of(const Case& c) {
  return c.transposed_x8 ? transposed_x8_matrix(c.scores[1]) : bilinear_matrix(c.scores[1], c.height, c.coordinates);
}
AxisMatrix columns_of(const Case& c) {
  return c.transposed_x8 ? transposed_x8_matrix(c.scores[2]) : bilinear_matrix(c.scores[2], c.width, c.coordinates);
}
Shape full_shape(const Case& c) { return {c.scores[0], c.height, c.width, c.scores[3]}; }

// Weights are float32 in every case.
double interpolation_tolerance(DType dtype, int64_t terms) {
  return tolerance(dtype == DType::f64 ? DType::f32 : dtype, terms);
}

struct LossRun {
  Tensor scores, labels, weight;  // weight undefined: none
  Tensor loss, weight_sum, log_sum_exp, correct, dscores;
  kernels::UpsampleLossOptions options() const {
    return {.ignore_index = 255, .class_weight = weight ? &weight : nullptr};
  }
};

LossRun run_loss(const Case& c, const Tensor& scores, const Tensor& labels, const Tensor& weight, double dloss) {
  Device& device = scores.device();
  const DType sum = scores.dtype() == DType::f64 ? DType::f64 : DType::f32;
  LossRun r{scores, labels, weight, {}, {}, {}, {}, {}};
  r.loss = filled_with_nan({1}, sum, device);
  r.weight_sum = filled_with_nan({1}, sum, device);
  r.log_sum_exp = filled_with_nan({c.scores[0], c.height, c.width}, sum, device);
  r.correct = Tensor::from<int64_t>({1}, std::vector<int64_t>{-7}, device);
  r.dscores = filled_with_nan(c.scores, scores.dtype(), device);
  const UpsampleTaps taps = taps_of(c, device);
  kernels::upsample_cross_entropy_forward(scores, taps, labels, r.options(), r.loss, r.weight_sum, r.log_sum_exp,
                                          r.correct);
  const Tensor upstream = from_doubles({1}, {dloss}, sum, device);
  kernels::upsample_cross_entropy_backward(scores, taps, labels, r.options(), r.log_sum_exp, r.weight_sum, upstream,
                                           r.dscores);
  return r;
}

}  // namespace

TEST_CASE("upsampling and its transpose agree with dense matrices") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.scores);
        const UpsampleTaps taps = taps_of(c, *device);
        const Tensor x = random_normal(c.scores, dtype, *device);
        Tensor y = filled_with_nan(full_shape(c), dtype, *device);
        kernels::upsample_forward(x, taps, y);
        CHECK(relative_l2(y, resized(to_doubles(x), c.scores, rows_of(c), columns_of(c))) <=
              interpolation_tolerance(dtype, 4));

        const Tensor dy = random_normal(full_shape(c), dtype, *device, {.seed = 2});
        Tensor dx = filled_with_nan(c.scores, dtype, *device);
        kernels::upsample_backward(dy, taps, dx);
        const auto expected = resized(to_doubles(dy), full_shape(c), transposed(rows_of(c)), transposed(columns_of(c)));
        CHECK(relative_l2(dx, expected) <= interpolation_tolerance(dtype, 256));
      }
}

TEST_CASE("transposed_x8 attenuates the outermost four rows and columns") {
  for (const auto& device : test_devices()) {
    const Tensor ones = from_doubles({1, 2, 3, 1}, std::vector<double>(6, 1.0), DType::f32, *device);
    Tensor y = filled_with_nan({1, 16, 24, 1}, DType::f32, *device);
    kernels::upsample_forward(ones, kernels::transposed_x8_taps(2, 3, *device), y);
    const std::vector<double> values = to_doubles(y);
    const double edge[] = {9.0 / 16, 11.0 / 16, 13.0 / 16, 15.0 / 16};
    const auto factor = [&](int64_t i, int64_t size) {
      return i < 4 ? edge[i] : size - 1 - i < 4 ? edge[size - 1 - i] : 1.0;
    };
    for (int64_t i = 0; i < 16; ++i)
      for (int64_t j = 0; j < 24; ++j) CHECK(values[static_cast<size_t>(i * 24 + j)] == factor(i, 16) * factor(j, 24));
  }
}

TEST_CASE("the fused loss agrees with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases)
        for (const bool weighted : {false, true}) {
          CAPTURE(device->name());
          CAPTURE(dtype);
          CAPTURE(c.scores);
          CAPTURE(weighted);
          const int64_t classes = c.scores[3];
          const Tensor scores = random_normal(c.scores, dtype, *device, {.seed = 3, .std = 2});
          const Tensor labels = random_labels({c.scores[0], c.height, c.width}, DType::u8, *device,
                                              static_cast<int>(classes), c.height * c.width > 3 ? 5 : 0);
          const Tensor weight = weighted ? random_uniform({classes}, DType::f32, *device, 0.5, 2) : Tensor();
          const LossRun r = run_loss(c, scores, labels, weight, 1.5);
          const LossReference expected(resized(to_doubles(scores), c.scores, rows_of(c), columns_of(c)),
                                       to_doubles(labels), classes, 255,
                                       weighted ? to_doubles(weight) : std::vector<double>());
          // Scores enter in their dtype, all else is float32: no dtype has a looser bound than float32's.
          const double mean = expected.total / expected.weight_sum;
          CHECK(std::abs(r.loss.item() - mean) <= 1e-6 * std::max(mean, 0.1));
          CHECK(std::abs(r.weight_sum.item() - expected.weight_sum) <= 1e-6 * expected.weight_sum);
          CHECK(r.correct.item() == static_cast<double>(expected.correct));
          CHECK(relative_l2(r.log_sum_exp, expected.log_sum_exp) <= 1e-6);

          std::vector<double> dlogits = expected.gradient;
          for (double& d : dlogits) d *= 1.5 / expected.weight_sum;
          const auto gradient = resized(dlogits, full_shape(c), transposed(rows_of(c)), transposed(columns_of(c)));
          if (classes == 1)
            CHECK(max_abs_difference(to_doubles(r.dscores), gradient) <= 1e-7);  // exactly 0 in real arithmetic
          else
            CHECK(relative_l2(r.dscores, gradient) <= interpolation_tolerance(dtype, 256));
        }
}

TEST_CASE("the fused loss equals upsampling, cross-entropy and mean as separate kernels") {
  const auto device = Device::create("cpu");
  const Case c{{2, 3, 4, 19}, 11, 14};
  const Tensor scores = random_normal(c.scores, DType::f64, *device, {.std = 3});
  const Tensor labels = random_labels({2, 11, 14}, DType::u8, *device, 19);
  const LossRun fused = run_loss(c, scores, labels, {}, 1.0);

  const UpsampleTaps taps = taps_of(c, *device);
  Tensor logits = filled_with_nan(full_shape(c), DType::f64, *device), dlogits = Tensor::like(logits);
  Tensor loss = filled_with_nan(labels.shape(), DType::f64, *device);
  Tensor weight_sum = filled_with_nan({1}, DType::f64, *device);
  kernels::upsample_forward(scores, taps, logits);
  kernels::cross_entropy_forward(logits, labels, {}, loss, weight_sum);
  double total = 0;
  for (const double l : to_doubles(loss)) total += l;
  CHECK(std::abs(fused.loss.item() - total / weight_sum.item()) <= 1e-13);

  kernels::cross_entropy_backward(logits, labels, {}, from_doubles({1}, {1 / weight_sum.item()}, DType::f64, *device),
                                  dlogits);
  Tensor dscores = filled_with_nan(c.scores, DType::f64, *device);
  kernels::upsample_backward(dlogits, taps, dscores);
  CHECK(relative_l2(fused.dscores, dscores) <= 1e-13);
}

TEST_CASE("the fused loss's gradient is its central difference") {
  const auto device = Device::create("cpu");
  for (const Case& c : {Case{{1, 2, 3, 5}, 7, 8}, Case{{1, 2, 2, 4}, 16, 16, true}}) {
    const Tensor weight = random_uniform({c.scores[3]}, DType::f32, *device, 0.5, 2);
    const Tensor labels = random_labels({1, c.height, c.width}, DType::u8, *device, static_cast<int>(c.scores[3]));
    const std::vector<double> at = to_doubles(random_normal(c.scores, DType::f64, *device));
    const auto run = [&](const std::vector<double>& s) {
      return run_loss(c, from_doubles(c.scores, s, DType::f64, *device), labels, weight, 1.0);
    };
    const std::vector<double> gradient = to_doubles(run(at).dscores);
    std::vector<double> numeric(at.size());
    for (size_t i = 0; i < at.size(); ++i) {
      std::vector<double> up = at, down = at;
      up[i] += 1e-5;
      down[i] -= 1e-5;
      numeric[i] = (run(up).loss.item() - run(down).loss.item()) / 2e-5;
    }
    CHECK(relative_l2(gradient, numeric) <= 1e-8);
  }
}

TEST_CASE("with count_ignored the mean is over all pixels") {
  const Case c{{2, 3, 4, 19}, 24, 32};
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor scores = random_normal(c.scores, DType::f32, *device, {.std = 2});
    const Tensor labels = random_labels({2, 24, 32}, DType::u8, *device, 19);  // every seventh is ignored
    const LossRun over_labels = run_loss(c, scores, labels, {}, 1);
    const UpsampleTaps taps = taps_of(c, *device);
    const kernels::UpsampleLossOptions o{.count_ignored = true};
    LossRun all = over_labels;
    for (Tensor* t : {&all.loss, &all.weight_sum, &all.dscores}) *t = filled_with_nan(t->shape(), DType::f32, *device);
    kernels::upsample_cross_entropy_forward(scores, taps, labels, o, all.loss, all.weight_sum, all.log_sum_exp,
                                            all.correct);
    Tensor one = from_doubles({1}, {1}, DType::f32, *device);
    kernels::upsample_cross_entropy_backward(scores, taps, labels, o, all.log_sum_exp, all.weight_sum, one,
                                             all.dscores);
    const double pixels = 2 * 24 * 32, share = over_labels.weight_sum.item() / pixels;
    CHECK(share < 0.9);
    CHECK(all.weight_sum.item() == pixels);
    CHECK(all.loss.item() == doctest::Approx(over_labels.loss.item() * share).epsilon(1e-6));
    CHECK(all.correct.to_vector<int64_t>() == over_labels.correct.to_vector<int64_t>());
    std::vector<double> scaled = to_doubles(over_labels.dscores);
    for (double& v : scaled) v *= share;
    CHECK(relative_l2(all.dscores, scaled) < 1e-6);
  }
}

TEST_CASE("a batch without labels has loss 0 and gradient 0") {
  for (const auto& device : test_devices())
    for (const int64_t batch : {1, 0}) {
      const Case c{{batch, 2, 2, 5}, 6, 6};
      const Tensor labels =
          from_doubles({batch, 6, 6}, std::vector<double>(static_cast<size_t>(batch) * 36, 255.0), DType::u8, *device);
      const LossRun r = run_loss(c, random_normal(c.scores, DType::f32, *device), labels, {}, 1.0);
      CHECK(r.loss.item() == 0);
      CHECK(r.weight_sum.item() == 0);
      CHECK(r.correct.item() == 0);
      for (const double d : to_doubles(r.dscores)) CHECK(d == 0);
    }
}

TEST_CASE("large scores neither overflow nor lose the loss") {
  for (const auto& device : test_devices()) {
    const Case c{{1, 2, 2, 19}, 16, 16, true};
    const Tensor scores = random_normal(c.scores, DType::f32, *device, {.std = 1e4});
    const Tensor labels = random_labels({1, 16, 16}, DType::u8, *device, 19);
    const LossRun r = run_loss(c, scores, labels, {}, 1.0);
    const LossReference expected(resized(to_doubles(scores), c.scores, rows_of(c), columns_of(c)), to_doubles(labels),
                                 19, 255);
    CHECK(std::abs(r.loss.item() - expected.total / expected.weight_sum) <= 1e-6 * r.loss.item());
  }
}

TEST_CASE("a label that is no class is an error on the CPU and a NaN loss on CUDA") {
  for (const auto& device : test_devices()) {
    const Case c{{2, 2, 2, 19}, 4, 6};
    std::vector<double> values(48, 1.0);
    values[24 + 2 * 6 + 5] = 77;
    const Tensor labels = from_doubles({2, 4, 6}, values, DType::u8, *device);
    const Tensor scores = random_normal(c.scores, DType::f32, *device);
    if (device->is_cpu())
      CHECK(error_of([&] { run_loss(c, scores, labels, {}, 1.0); }) ==
            "upsample_cross_entropy: labels: expected a class in [0, 19) or ignore_index 255, got 77 at [1,2,5]");
    else
      CHECK(std::isnan(run_loss(c, scores, labels, {}, 1.0).loss.item()));
  }
}

TEST_CASE("the fused loss has the same bits for any number of threads") {
  const auto device = Device::create("cpu");
  const Case c{{3, 9, 5, 19}, 72, 40};
  const Tensor scores = random_normal(c.scores, DType::f32, *device);
  const Tensor labels = random_labels({3, 72, 40}, DType::u8, *device, 19);
  const int before = threads();
  std::vector<double> loss, gradient;
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    const LossRun r = run_loss(c, scores, labels, {}, 1.0);
    if (count > 1) {
      CHECK(to_doubles(r.loss) == loss);
      CHECK(to_doubles(r.dscores) == gradient);
    }
    loss = to_doubles(r.loss);
    gradient = to_doubles(r.dscores);
  }
  set_threads(before);
}

TEST_CASE("upsample_argmax is the first argmax of the upsampled scores") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.scores);
        const Tensor scores = random_normal(c.scores, dtype, *device, {.seed = 5});
        Tensor prediction = Tensor::zeros({c.scores[0], c.height, c.width}, DType::u8, *device);
        kernels::upsample_argmax(scores, taps_of(c, *device), prediction);
        const auto logits = resized(to_doubles(scores), c.scores, rows_of(c), columns_of(c));
        const auto predicted = prediction.to_vector<uint8_t>();
        for (size_t p = 0; p < predicted.size(); ++p) {
          const auto classes = static_cast<size_t>(c.scores[3]);
          const auto* z = logits.data() + p * classes;
          const double top = *std::max_element(z, z + classes);
          REQUIRE(predicted[p] < classes);
          CHECK(z[predicted[p]] >= top - 1e-5);  // near-ties may fall either way in float32
        }
      }
}

TEST_CASE("upsample_argmax takes the first of equal scores") {
  for (const auto& device : test_devices()) {
    const Tensor scores = from_doubles({1, 1, 1, 20}, std::vector<double>(20, -3.0), DType::f32, *device);
    Tensor prediction = from_doubles({1, 8, 8}, std::vector<double>(64, 9), DType::u8, *device);
    kernels::upsample_argmax(scores, kernels::transposed_x8_taps(1, 1, *device), prediction);
    for (const uint8_t c : prediction.to_vector<uint8_t>()) CHECK(c == 0);
  }
}

TEST_CASE("the fused loss names what is wrong") {
  const auto device = Device::create("cpu");
  const Case c{{1, 2, 2, 5}, 4, 4};
  const Tensor scores = random_normal(c.scores, DType::f32, *device);
  CHECK(error_of([&] {
          run_loss(c, scores, random_labels({1, 4, 4}, DType::i32, *device, 5), {}, 1.0);
        }).find("labels: expected u8, got i32") != std::string::npos);
  CHECK(error_of([&] {
          run_loss(c, scores, random_labels({1, 4, 5}, DType::u8, *device, 5), {}, 1.0);
        }).find("labels: expected [1,4,4], got [1,4,5]") != std::string::npos);
  CHECK(error_of([&] { kernels::bilinear_taps(0, 2, 4, 4, Coordinates::half_pixel, *device); }).find("0 -> 4") !=
        std::string::npos);
}

}  // namespace segrt
