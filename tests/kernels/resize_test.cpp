#include "kernels/resize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <string_view>

#include "core/parallel.h"
#include "core/safetensors.h"
#include "tests/kernels/reference_resize.h"
#include "tests/support/source_dir.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
using kernels::Coordinates;
using kernels::NearestRounding;
using kernels::ResizeMode;
using kernels::ResizeOptions;

struct Sizes {
  Shape x;
  int64_t height, width;
};
const Sizes kSizes[] = {{{1, 1, 1, 1}, 1, 1}, {{2, 3, 5, 19}, 7, 5}, {{1, 4, 6, 16}, 8, 12}, {{1, 9, 7, 3}, 4, 2},
                        {{1, 2, 3, 8}, 1, 1}, {{2, 1, 1, 33}, 3, 2}, {{1, 5, 4, 1}, 5, 4},   {{1, 6, 3, 4}, 17, 20}};

double rounded(double p, NearestRounding rounding) {
  switch (rounding) {
    case NearestRounding::floor: return std::floor(p);
    case NearestRounding::ceil: return std::ceil(p);
    case NearestRounding::half_down: return std::ceil(p - 0.5);
    default: return std::floor(p + 0.5);
  }
}

AxisMatrix nearest_matrix(int64_t in, int64_t out, const ResizeOptions& o, double scale) {
  AxisMatrix m(out, in);
  for (int64_t i = 0; i < out; ++i) {
    // The references' positions have two roundings: 1e-9 keeps exact integers and halves on their side of the tie.
    const double p = source_position(i, in, out, o.coordinates, scale);
    const double on_grid = std::round(2 * p) / 2;
    const double r = rounded(std::abs(p - on_grid) < 1e-9 ? on_grid : p, o.rounding);
    m.at(i, static_cast<int64_t>(std::min(std::max(r, 0.0), static_cast<double>(in - 1)))) = 1;
  }
  return m;
}

AxisMatrix matrix_of(const ResizeOptions& o, int64_t in, int64_t out, double scale) {
  return o.mode == ResizeMode::bilinear ? bilinear_matrix(in, out, o.coordinates, scale)
                                        : nearest_matrix(in, out, o, scale);
}

std::vector<ResizeOptions> all_options() {
  std::vector<ResizeOptions> options;
  for (const Coordinates c : {Coordinates::half_pixel, Coordinates::align_corners, Coordinates::asymmetric}) {
    options.push_back({.mode = ResizeMode::bilinear, .coordinates = c});
    for (const NearestRounding r :
         {NearestRounding::floor, NearestRounding::ceil, NearestRounding::half_down, NearestRounding::half_up})
      options.push_back({.mode = ResizeMode::nearest, .coordinates = c, .rounding = r});
  }
  options.push_back({.mode = ResizeMode::bilinear, .scale_h = 1.7, .scale_w = 0.6});
  options.push_back(
      {.mode = ResizeMode::nearest, .coordinates = Coordinates::asymmetric, .scale_h = 1.3, .scale_w = 0.7});
  return options;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

TEST_CASE("resize and its transpose agree with dense matrices in every mode") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Sizes& s : kSizes)
        for (const ResizeOptions& o : all_options()) {
          CAPTURE(device->name());
          CAPTURE(dtype);
          CAPTURE(s.x);
          CAPTURE(static_cast<int>(o.mode));
          CAPTURE(static_cast<int>(o.coordinates));
          CAPTURE(static_cast<int>(o.rounding));
          const AxisMatrix rows = matrix_of(o, s.x[1], s.height, o.scale_h),
                           columns = matrix_of(o, s.x[2], s.width, o.scale_w);
          const Shape y_shape{s.x[0], s.height, s.width, s.x[3]};
          // Bilinear weights are float32 for every dtype; nearest copies.
          const bool copies = o.mode == ResizeMode::nearest;
          const double forward = copies ? 0 : tolerance(dtype == DType::f64 ? DType::f32 : dtype, 4);
          const double backward =
              copies ? tolerance(dtype, 64) : tolerance(dtype == DType::f64 ? DType::f32 : dtype, 64);

          const Tensor x = random_normal(s.x, dtype, *device);
          Tensor y = filled_with_nan(y_shape, dtype, *device);
          kernels::resize_forward(x, o, y);
          CHECK(relative_l2(y, resized(to_doubles(x), s.x, rows, columns)) <= forward);

          const Tensor dy = random_normal(y_shape, dtype, *device, {.seed = 2});
          Tensor dx = filled_with_nan(s.x, dtype, *device);
          kernels::resize_backward(dy, o, dx);
          CHECK(relative_l2(dx, resized(to_doubles(dy), y_shape, transposed(rows), transposed(columns))) <= backward);
        }
}

TEST_CASE("resize backward is the transpose of forward to float64 rounding") {
  const auto device = Device::create("cpu");
  for (const Sizes& s : kSizes)
    for (const ResizeOptions& o : all_options()) {
      const Tensor x = random_normal(s.x, DType::f64, *device);
      Tensor y = filled_with_nan({s.x[0], s.height, s.width, s.x[3]}, DType::f64, *device);
      const Tensor dy = random_normal(y.shape(), DType::f64, *device, {.seed = 2});
      Tensor dx = filled_with_nan(s.x, DType::f64, *device);
      kernels::resize_forward(x, o, y);
      kernels::resize_backward(dy, o, dx);
      const double length = std::sqrt(dot(to_doubles(y), to_doubles(y)) * dot(to_doubles(dy), to_doubles(dy)));
      CHECK(std::abs(dot(to_doubles(y), to_doubles(dy)) - dot(to_doubles(dx), to_doubles(x))) <= 1e-14 * length);
    }
}

TEST_CASE("nearest floor reads integer ratios exactly") {
  const auto device = Device::create("cpu");
  for (int64_t in = 1; in <= 40; ++in)
    for (int64_t out = 1; out <= 90; ++out) {
      std::vector<double> values(static_cast<size_t>(in));
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
      Tensor y = filled_with_nan({1, 1, out, 1}, DType::f32, *device);
      kernels::resize_forward(from_doubles({1, 1, in, 1}, values, DType::f32, *device),
                              {.mode = ResizeMode::nearest, .coordinates = Coordinates::asymmetric}, y);
      const std::vector<double> read = to_doubles(y);
      for (int64_t i = 0; i < out; ++i)
        CHECK(read[static_cast<size_t>(i)] == static_cast<double>(i * in / out));  // integer floor
    }
}

TEST_CASE("resize_backward of an empty gradient is zero") {
  const auto device = Device::create("cpu");
  Tensor dx = filled_with_nan({1, 2, 3, 4}, DType::f32, *device);
  kernels::resize_backward(Tensor::zeros({1, 0, 5, 4}, DType::f32, *device), {}, dx);
  for (const double v : to_doubles(dx)) CHECK(v == 0);
}

TEST_CASE("flip_horizontal mirrors columns of every dtype") {
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::u8, DType::i32, DType::i64})
      for (const Shape& shape : {Shape{2, 3, 5, 3}, Shape{1, 2, 4, 16}, Shape{1, 1, 1, 1}, Shape{2, 0, 3, 1}}) {
        const Tensor x = random_uniform(shape, dtype, *device, 0, 100);
        Tensor y = Tensor::zeros(shape, dtype, *device);
        kernels::flip_horizontal(x, y);
        const std::vector<double> from = to_doubles(x), to = to_doubles(y);
        const auto width = static_cast<size_t>(shape[2]), channels = static_cast<size_t>(shape[3]);
        for (size_t i = 0; i < from.size(); ++i) {
          const size_t column = i / channels % width;
          CHECK(to[i] == from[i + (width - 1 - 2 * column) * channels]);
        }
      }
}

namespace {

// golden.image(name, 1, height, width, channels): uniforms u(name, i) = (mix(fnv1a64(name) + (i+1) g) >> 40) / 2^24.
std::vector<double> uniforms(std::string_view name, size_t count) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) {
    uint64_t x = hash + (i + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    x ^= x >> 31;
    values[i] = static_cast<double>(x >> 40) / 16777216.0;
  }
  return values;
}
// [height,width,channels]; the formula runs over channels, height, width.
std::vector<double> golden_maps(const std::string& name, size_t height, size_t width, size_t channels) {
  const size_t block_rows = (height + 15) / 16, block_columns = (width + 15) / 16;
  const auto blocks = uniforms(name + ".blocks", channels * block_rows * block_columns);
  const auto noise = uniforms(name + ".noise", channels * height * width);
  std::vector<double> maps(noise.size());
  for (size_t c = 0; c < channels; ++c)
    for (size_t y = 0; y < height; ++y)
      for (size_t x = 0; x < width; ++x)
        maps[(y * width + x) * channels + c] =
            3.0 * (blocks[(c * block_rows + y / 16) * block_columns + x / 16] - 0.5) +
            (noise[(c * height + y) * width + x] - 0.5);
  return maps;
}

}  // namespace

TEST_CASE("resample_bilinear equals Pillow bit for bit") {
  const auto host = Device::create("cpu");
  const SafetensorsFile golden(test::source_dir() + "/tests/golden/drn_transforms.safetensors");
  const std::vector<double> maps = golden_maps("drn/transforms.maps", 24, 40, 4);
  for (const auto& device : test_devices()) {
    const Tensor x = from_doubles({1, 24, 40, 4}, maps, DType::f32, *device);
    for (int k = 0; k < 5; ++k) {
      const Tensor expected = golden.read("ms_resize." + std::to_string(k), *host);  // [1,C,H,W]
      const int64_t height = expected.dim(2), width = expected.dim(3);
      CAPTURE(device->name());
      CAPTURE(expected.shape());
      Tensor y = filled_with_nan({1, height, width, 4}, DType::f32, *device);
      kernels::resample_bilinear(x, y);
      const std::vector<float> got = y.to_vector<float>(), want = expected.to_vector<float>();
      size_t different = 0;
      for (size_t p = 0; p < static_cast<size_t>(height * width); ++p)
        for (size_t c = 0; c < 4; ++c) different += got[p * 4 + c] != want[c * static_cast<size_t>(height * width) + p];
      CHECK(different == 0);
    }
  }
}

TEST_CASE("resample_bilinear shrinks by large factors and keeps what keeps its size") {
  for (const auto& device : test_devices()) {
    // Constant maps stay constant; the mean of a ramp stays in the middle; batches and C do not mix.
    const int64_t height = 300, width = 257, channels = 3;
    std::vector<double> ramp(static_cast<size_t>(2 * height * width * channels));
    for (size_t i = 0; i < ramp.size(); ++i) {
      const auto p = static_cast<int64_t>(i) / channels, c = static_cast<int64_t>(i) % channels;
      ramp[i] = static_cast<double>(c == 0   ? 5
                                    : c == 1 ? p / width % height
                                             : p % width) +
                1000.0 * static_cast<double>(p / (height * width));
    }
    const Tensor x = from_doubles({2, height, width, channels}, ramp, DType::f32, *device);
    Tensor y = filled_with_nan({2, 1, 1, channels}, DType::f32, *device);
    kernels::resample_bilinear(x, y);
    const std::vector<double> expected = {5, 149.5, 128, 1005, 1149.5, 1128};
    CHECK(max_abs_difference(to_doubles(y), expected) <= 1e-4);

    Tensor same = filled_with_nan(x.shape(), DType::f32, *device);
    kernels::resample_bilinear(x, same);
    CHECK(to_doubles(same) == to_doubles(x));
  }
}

TEST_CASE("resizing names what is wrong") {
  const auto device = Device::create("cpu");
  const Tensor x = Tensor::zeros({1, 2, 3, 4}, DType::f32, *device);
  Tensor y = Tensor::zeros({1, 2, 3, 5}, DType::f32, *device);
  CHECK(error_of([&] { kernels::resize_forward(x, {}, y); }) == "resize: y: expected [1,2,3,4], got [1,2,3,5]");
  Tensor ok = Tensor::zeros({1, 4, 6, 4}, DType::f32, *device);
  CHECK(error_of([&] { kernels::resize_forward(x, {.scale_h = -1}, ok); }).find("scale: expected factors >= 0") !=
        std::string::npos);
  CHECK(error_of([&] {
          kernels::resize_forward(Tensor::zeros({1, 0, 3, 4}, DType::f32, *device), {}, ok);
        }).find("expected a map with pixels, got [1,0,3,4]") != std::string::npos);
  Tensor in_place = x;
  CHECK(error_of([&] { kernels::flip_horizontal(x, in_place); }) == "flip_horizontal: y: expected other memory than x");
}

}  // namespace segrt
