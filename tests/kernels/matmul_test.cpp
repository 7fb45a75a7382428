#include "kernels/matmul.h"

#include <doctest/doctest.h>

#include <Eigen/Core>

#include "tests/support/tensors.h"

namespace segrt::test {
namespace {
using kernels::MatmulOptions;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct Sizes {
  int64_t batch, m, n, k;  // batch 0: rank 2
};

Shape matrix_shape(const Sizes& s, int64_t rows, int64_t columns, bool transposed) {
  if (transposed) std::swap(rows, columns);
  return s.batch == 0 ? Shape{rows, columns} : Shape{s.batch, rows, columns};
}

Matrix matrix(const std::vector<double>& values, int64_t i, int64_t rows, int64_t columns, bool transposed) {
  if (transposed) std::swap(rows, columns);
  const Matrix stored = Eigen::Map<const Matrix>(values.data() + i * rows * columns, rows, columns);
  return transposed ? Matrix(stored.transpose()) : stored;
}

void check_product(const Sizes& s, DType dtype, Device& device, bool transpose_a, bool transpose_b, bool with_bias) {
  const Tensor a = random_normal(matrix_shape(s, s.m, s.k, transpose_a), dtype, device, {.seed = 1});
  const Tensor b = random_normal(matrix_shape(s, s.k, s.n, transpose_b), dtype, device, {.seed = 2});
  const Tensor bias = random_normal({s.n}, dtype == DType::f64 ? DType::f64 : DType::f32, device, {.seed = 3});
  Tensor c = filled_with_nan(matrix_shape(s, s.m, s.n, false), dtype, device);
  kernels::matmul(a, b, {transpose_a, transpose_b, with_bias ? &bias : nullptr}, c);

  const auto a_values = to_doubles(a), b_values = to_doubles(b), bias_values = to_doubles(bias);
  std::vector<double> expected;
  for (int64_t i = 0; i < std::max<int64_t>(s.batch, 1); ++i) {
    Matrix product = matrix(a_values, i, s.m, s.k, transpose_a) * matrix(b_values, i, s.k, s.n, transpose_b);
    if (with_bias) product.rowwise() += Eigen::Map<const Eigen::RowVectorXd>(bias_values.data(), s.n);
    expected.insert(expected.end(), product.data(), product.data() + product.size());
  }
  CHECK(relative_l2(c, expected) <= tolerance(dtype, s.k + 1));
}
}  // namespace

TEST_CASE("matmul agrees with float64 on every device") {
  const Sizes sizes[] = {{0, 1, 1, 1}, {0, 5, 7, 3},   {0, 33, 17, 65}, {0, 1, 40, 16}, {0, 40, 1, 16},
                         {1, 4, 4, 4}, {3, 16, 16, 1}, {2, 9, 31, 20},  {4, 65, 3, 8},  {0, 130, 19, 32}};
  for (auto& device : test_devices())
    for (const Sizes& s : sizes)
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64})
        for (const bool transpose_a : {false, true})
          for (const bool transpose_b : {false, true})
            for (const bool bias : {false, true}) {
              if (dtype == DType::f64 && device->is_cuda()) continue;
              CAPTURE(device->name());
              CAPTURE(dtype);
              CAPTURE((std::vector<int64_t>{s.batch, s.m, s.n, s.k}));
              CAPTURE(transpose_a);
              CAPTURE(transpose_b);
              CAPTURE(bias);
              check_product(s, dtype, *device, transpose_a, transpose_b, bias);
            }
}

TEST_CASE("A product of no terms is the bias, or zero") {
  for (auto& device : test_devices()) {
    CAPTURE(device->name());
    const Tensor a = Tensor::empty({3, 0}, DType::f32, *device), b = Tensor::empty({0, 2}, DType::f32, *device);
    const Tensor bias = from_doubles({2}, {1.5, -2}, DType::f32, *device);
    Tensor c = filled_with_nan({3, 2}, DType::f32, *device);
    kernels::matmul(a, b, {}, c);
    CHECK(to_doubles(c) == std::vector<double>(6, 0.0));
    kernels::matmul(a, b, {.bias = &bias}, c);
    CHECK(to_doubles(c) == std::vector<double>{1.5, -2, 1.5, -2, 1.5, -2});
    Tensor nothing = Tensor::empty({0, 2}, DType::f32, *device);
    kernels::matmul(Tensor::empty({0, 4}, DType::f32, *device), Tensor::empty({4, 2}, DType::f32, *device), {},
                    nothing);
  }
}

TEST_CASE("matmul refuses what does not fit and says why") {
  auto device = Device::create("cpu");
  const auto tensor = [&](const Shape& shape, DType dtype = DType::f32) {
    return Tensor::zeros(shape, dtype, *device);
  };
  const auto product = [&](const Tensor& a, const Tensor& b, Tensor c, const MatmulOptions& o = {}) {
    return error_of([&] { kernels::matmul(a, b, o, c); });
  };
  CHECK(product(tensor({2}), tensor({2}), tensor({1})) == "matmul: a: expected 2 or 3 dimensions, got [2]");
  CHECK(product(tensor({2, 3}), tensor({1, 3, 4}), tensor({2, 4})) == "matmul: b: expected 2 dimensions, got [1,3,4]");
  CHECK(product(tensor({2, 3}), tensor({4, 5}), tensor({2, 5})) ==
        "matmul: b: expected 3 terms a sum, as a [2,3] has, got [4,5]");
  CHECK(product(tensor({2, 3}), tensor({4, 3}), tensor({3, 4}), {.transpose_a = true, .transpose_b = true}) ==
        "matmul: b: expected 2 terms a sum, as a [2,3] transposed has, got [4,3] transposed");
  CHECK(product(tensor({2, 2, 3}), tensor({1, 3, 4}), tensor({2, 2, 4})) == "matmul: b: expected a batch of 2, got 1");
  CHECK(product(tensor({2, 3}), tensor({3, 4}), tensor({4, 2})) == "matmul: c: expected [2,4], got [4,2]");
  CHECK(product(tensor({2, 3}), tensor({3, 4}, DType::bf16), tensor({2, 4})) == "matmul: b: expected f32, got bf16");
  const Tensor bias = tensor({3}), wide_bias = tensor({4}, DType::f64);
  CHECK(product(tensor({2, 3}), tensor({3, 4}), tensor({2, 4}), {.bias = &bias}) ==
        "matmul: bias: expected [4], got [3]");
  CHECK(product(tensor({2, 3}), tensor({3, 4}), tensor({2, 4}), {.bias = &wide_bias}) ==
        "matmul: bias: expected f32, got f64");
}

}  // namespace segrt::test
