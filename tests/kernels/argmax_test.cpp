#include "kernels/argmax.h"

#include <doctest/doctest.h>

#include <limits>

#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
}  // namespace

TEST_CASE("argmax is the first maximum, a NaN counts as largest") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const std::vector<double> rows = {1, 3, 3, 2,    0,   0,   0,   0, -1,   nan,  5,    nan,
                                    0, 1, 2, 1000, nan, inf, nan, 0, -inf, -inf, -inf, -inf};
  const std::vector<double> expected = {1, 0, 1, 3, 0, 0};
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
      for (const DType result : {DType::u8, DType::i32}) {
        Tensor y = from_doubles({6}, std::vector<double>(6, 77), result, *device);
        kernels::argmax(from_doubles({6, 4}, rows, dtype, *device), y);
        CHECK(to_doubles(y) == expected);
      }
}

TEST_CASE("argmax of random rows") {
  for (const auto& device : test_devices())
    for (const Shape& shape : {Shape{2, 3, 4, 19}, Shape{5, 1}, Shape{1, 3, 171}, Shape{9, 256}, Shape{0, 3}}) {
      const Tensor x = random_normal(shape, DType::bf16, *device);  // bf16 has many ties
      const Shape positions(shape.dims().first(static_cast<size_t>(shape.rank() - 1)));
      Tensor y = Tensor::zeros(positions, DType::u8, *device);
      kernels::argmax(x, y);
      const std::vector<double> values = to_doubles(x);
      std::vector<double> expected;
      const auto n = static_cast<ptrdiff_t>(shape[-1]);
      for (auto row = values.begin(); row != values.end(); row += n)
        expected.push_back(static_cast<double>(std::max_element(row, row + n) - row));
      CHECK(to_doubles(y) == expected);
    }
}

TEST_CASE("the confusion matrix counts pairs and skips what is no class") {
  for (const auto& device : test_devices())
    for (const int classes : {1, 2, 19, 171, 256})
      for (const int64_t width : {0, 1, 15, 16, 1037}) {
        CAPTURE(device->name());
        CAPTURE(classes);
        CAPTURE(width);
        const Tensor labels = random_labels({3, width}, DType::u8, *device, classes, 5, 1);
        const Tensor predictions = random_labels({3, width}, DType::u8, *device, std::min(classes + 1, 256), 0, 2);
        std::vector<double> expected(static_cast<size_t>(classes * classes), 2.0);  // adds to what is there
        Tensor matrix = from_doubles({classes, classes}, expected, DType::i64, *device);
        kernels::confusion_matrix(labels, predictions, matrix);
        const std::vector<double> l = to_doubles(labels), p = to_doubles(predictions);
        for (size_t i = 0; i < l.size(); ++i)
          if (l[i] < classes && p[i] < classes)
            ++expected[static_cast<size_t>(l[i]) * static_cast<size_t>(classes) + static_cast<size_t>(p[i])];
        CHECK(to_doubles(matrix) == expected);
        if (width == 1037) {  // rows of an odd length: not aligned for vectors
          kernels::confusion_matrix(labels.slice(1, 1), predictions.slice(1, 1), matrix);
          for (size_t i = 1037; i < 2 * 1037; ++i)
            if (l[i] < classes && p[i] < classes)
              ++expected[static_cast<size_t>(l[i]) * static_cast<size_t>(classes) + static_cast<size_t>(p[i])];
          CHECK(to_doubles(matrix) == expected);
        }
      }
}

TEST_CASE("argmax and confusion_matrix name what is wrong") {
  const auto device = Device::create("cpu");
  Tensor y = Tensor::zeros({2}, DType::u8, *device), matrix = Tensor::zeros({3, 4}, DType::i64, *device);
  CHECK(error_of([&] {
          kernels::argmax(Tensor::zeros({2, 300}, DType::f32, *device), y);
        }) == "argmax: y: expected i32 for 300 classes, got u8");
  CHECK(error_of([&] { kernels::confusion_matrix(y, y, matrix); }) ==
        "confusion_matrix: matrix: expected [K,K] with 1 to 256 classes, got [3,4]");
}

}  // namespace segrt
