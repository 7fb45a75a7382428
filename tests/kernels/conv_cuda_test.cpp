// What the CUDA convolutions and matrix products may get wrong beyond what conv_test.cpp asks of every device: edges of
// tiles, vector and scalar loads, the order of sums, tf32. Runs on a GPU or on its emulator.
#include <doctest/doctest.h>

#include "kernels/conv.h"
#include "kernels/cuda/conv_taps.h"
#include "kernels/cuda/divisor.h"
#include "kernels/math_mode.h"
#include "kernels/matmul.h"
#include "kernels/vendor_mode.h"
#include "tests/kernels/conv_cases.h"
#include "tests/kernels/reference_conv.h"
#include "tests/support/tensors.h"

#if __has_include("emulator/control.h")
#include "emulator/control.h"
#endif

namespace segrt::test {
namespace {
using kernels::ConvGeometry;

// With our own kernels alone; cudnn_cuda_test.cpp compares cuDNN's with them.
std::unique_ptr<Device> cuda_device() {
  if (!Device::cuda_available()) return nullptr;
  std::unique_ptr<Device> device = Device::create("cuda");
  device->state<kernels::VendorMode>().enabled = false;
  return device;
}

struct Results {
  Tensor y, dx, dw;
};

// The three convolutions of c on seeded values, into outputs full of NaN. dw is float32.
struct Problem {
  Problem(const ConvCase& c, DType dtype, Device& device)
      : s{c.x, c.w, kernels::conv2d_output_shape(c.x, c.w, c.g), c.g},
        x(random_normal(s.x, dtype, device, {.seed = 21})),
        w(random_normal(s.w, dtype, device, {.seed = 22})),
        dy(random_normal(s.y, dtype, device, {.seed = 23})) {}

  Results run() const {
    Results r{filled_with_nan(s.y, x.dtype(), x.device()), filled_with_nan(s.x, x.dtype(), x.device()),
              filled_with_nan(s.w, DType::f32, x.device())};
    kernels::conv2d_forward(x, w, {}, s.g, r.y);
    kernels::conv2d_backward_input(dy, w, s.g, r.dx);
    kernels::conv2d_backward_weight(x, dy, s.g, r.dw);
    return r;
  }
  int64_t terms() const { return std::max({s.w[1] * s.w[2] * std::max(s.w[3], s.w[0]), s.y[0] * s.y[1] * s.y[2]}); }

  reference::Operands s;
  Tensor x, w, dy;
};

// Against float64, with the dtype's own tolerance or a given one.
void check_values(const Problem& p, const Results& r, double looser = 0) {
  const double of_dtype = std::max(looser, tolerance(p.x.dtype(), p.terms()));
  const auto x = to_doubles(p.x), w = to_doubles(p.w), dy = to_doubles(p.dy);
  CHECK(relative_l2(r.y, reference::conv_forward(p.s, x, w)) <= of_dtype);
  CHECK(relative_l2(r.dx, reference::conv_backward_input(p.s, dy, w)) <= of_dtype);
  CHECK(relative_l2(r.dw, reference::conv_backward_weight(p.s, x, dy)) <=
        std::max(looser, tolerance(DType::f32, p.terms())));
}

bool same_bits(const Results& a, const Results& b) {
  return to_doubles(a.y) == to_doubles(b.y) && to_doubles(a.dx) == to_doubles(b.dx) &&
         to_doubles(a.dw) == to_doubles(b.dw);
}

// The values of t one element off 16-byte alignment: kernels cannot use vectors there.
Tensor misaligned(const Tensor& t) {
  std::vector<double> values = to_doubles(t);
  values.insert(values.begin(), 0.0);
  return from_doubles({t.numel() + 1}, values, t.dtype(), t.device()).slice(1, t.numel()).reshape(t.shape());
}

ConvCase pointwise(int64_t pixels, int64_t in, int64_t out) { return {"", {1, 1, pixels, in}, {out, 1, 1, in}, {}}; }

// Sums cut into parts and tiles of both widths; steps that end inside a tap.
std::vector<ConvCase> representative_cases() {
  return {
      {"3x3 in parts", {1, 20, 21, 8}, {24, 3, 3, 8}, ConvGeometry::square({.padding = 1})},
      {"3x3, stride 2, wide", {1, 9, 12, 24}, {72, 3, 3, 24}, ConvGeometry::square({.stride = 2, .padding = 1})},
      {"groups", {1, 7, 6, 16}, {32, 3, 3, 8}, ConvGeometry::square({.padding = 1, .groups = 2})},
      {"depthwise in parts", {1, 20, 21, 8}, {8, 3, 3, 1}, ConvGeometry::square({.padding = 1, .groups = 8})},
  };
}

}  // namespace

TEST_CASE("Divisor divides like / does") {
  constexpr int kMost = 0x7fffffff;
  for (const int d : {1, 2, 3, 5, 7, 19, 63, 64, 65, 1000, 65535, 65536, (1 << 30) - 1, (1 << 30) + 1, kMost}) {
    const kernels::cuda::Divisor divide(d);
    for (const int q : {0, 1, 2, 1000, kMost / d / 2, kMost / d - 1, kMost / d})
      for (const int r : {-1, 0, 1, d / 2, d - 1}) {
        const int64_t n = int64_t{q} * d + r;
        if (n < 0 || n > kMost) continue;
        CAPTURE(n);
        CAPTURE(d);
        CHECK(divide(static_cast<int>(n)) == n / d);
      }
  }
}

TEST_CASE("The taps of a pixel are those that meet it") {
  for (const int stride : {1, 2, 3, 4, 8})
    for (const int dilation : {1, 2, 3, 4, 6})
      for (const int kernel : {1, 2, 3, 5, 16})
        for (const int pad : {0, 1, 7}) {
          const kernels::cuda::GradientAxis axis({kernel, stride, pad, dilation});
          for (int h = 0; h < 25; ++h) {
            const kernels::cuda::TapLine line = axis.backward_taps(h);
            std::vector<std::pair<int, int>> found, expected;  // (tap, position in dy)
            for (int t = 0; t < line.count; ++t)
              found.emplace_back(line.first + t * line.step, line.source + t * line.source_step);
            for (int i = 0; i < kernel; ++i)
              for (int p = -100; p < 40; ++p)
                if (p * stride - pad + i * dilation == h) expected.emplace_back(i, p);
            CAPTURE(stride);
            CAPTURE(dilation);
            CAPTURE(kernel);
            CAPTURE(pad);
            CAPTURE(h);
            CHECK(found == expected);
          }
        }
}

TEST_CASE("CUDA convolutions are right at every edge of a tile") {
  const auto device = cuda_device();
  if (!device) return;
  // Tiles are 128 pixels by 64 or 128 channels by 64 bytes of depth: 16 float32, 32 bf16. In the weight gradient pixels
  // are the depth, input channels the 128.
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const int64_t depth = dtype == DType::f32 ? 16 : 32;
    std::vector<ConvCase> cases;
    for (const int64_t off : {-1, 0, 1}) {
      cases.push_back(pointwise(128 + off, depth, 8));
      cases.push_back(pointwise(8, depth + off, 64 + off));
      cases.push_back(pointwise(depth + off, 128 + off, 8));
      cases.push_back(pointwise(2 * depth + off, 2 * depth + off, 128 + off));
    }
    for (const ConvCase& c : cases) {
      CAPTURE(dtype);
      CAPTURE(c.x);
      CAPTURE(c.w);
      const Problem problem(c, dtype, *device);
      check_values(problem, problem.run());
    }
  }
}

TEST_CASE("CUDA matrix products are right at every edge of a tile, in every order of memory") {
  const auto device = cuda_device();
  if (!device) return;
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t off : {-1, 0, 1})
      for (const bool transpose_a : {false, true})
        for (const bool transpose_b : {false, true}) {
          CAPTURE(dtype);
          CAPTURE(off);
          CAPTURE(transpose_a);
          CAPTURE(transpose_b);
          const int64_t m = 128 + off, n = 64 + off, k = 32 + off;
          const Tensor a = random_normal(transpose_a ? Shape{2, k, m} : Shape{2, m, k}, dtype, *device, {.seed = 1});
          const Tensor b = random_normal(transpose_b ? Shape{2, n, k} : Shape{2, k, n}, dtype, *device, {.seed = 2});
          const auto as = to_doubles(a), bs = to_doubles(b);
          std::vector<double> expected;
          for (int64_t batch = 0; batch < 2; ++batch)
            for (int64_t i = 0; i < m; ++i)
              for (int64_t j = 0; j < n; ++j) {
                double sum = 0;
                for (int64_t l = 0; l < k; ++l)
                  sum += as[static_cast<size_t>(batch * m * k + (transpose_a ? l * m + i : i * k + l))] *
                         bs[static_cast<size_t>(batch * n * k + (transpose_b ? j * k + l : l * n + j))];
                expected.push_back(sum);
              }
          Tensor c = filled_with_nan({2, m, n}, dtype, *device);
          kernels::matmul(a, b, {.transpose_a = transpose_a, .transpose_b = transpose_b}, c);
          CHECK(relative_l2(c, expected) <= tolerance(dtype, k));
        }
}

TEST_CASE("CUDA convolutions agree with the CPU's") {
  const auto device = cuda_device();
  if (!device) return;
  const auto cpu = Device::create("cpu");
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const ConvCase& c : representative_cases()) {
      CAPTURE(dtype);
      CAPTURE(c.name);
      const double bound = dtype == DType::f32 ? 1e-5 : 1e-2;
      const Results expected = Problem(c, dtype, *cpu).run(), got = Problem(c, dtype, *device).run();
      CHECK(relative_l2(got.y, expected.y) <= bound);
      CHECK(relative_l2(got.dx, expected.dx) <= bound);
      CHECK(relative_l2(got.dw, expected.dw) <= bound);
    }
}

TEST_CASE("Vector and scalar loads give the same bits") {
  const auto device = cuda_device();
  if (!device) return;
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const ConvCase& c : representative_cases()) {
      CAPTURE(dtype);
      CAPTURE(c.name);
      Problem problem(c, dtype, *device);
      const Results vectors = problem.run();
      check_values(problem, vectors);
      // One operand at a time: a kernel may load one in vectors and another not.
      for (Tensor* operand : {&problem.x, &problem.w, &problem.dy}) {
        const Tensor aligned = *operand;
        *operand = misaligned(aligned);
        // Depthwise gradients add in another order where they move in vectors: dw cuts its sum by their width, dx comes
        // from conv_depthwise_strips.cu. They are compared with float64 alone.
        const Results scalars = problem.run();
        CHECK(to_doubles(scalars.y) == to_doubles(vectors.y));
        if (c.g.groups < 8) CHECK(to_doubles(scalars.dx) == to_doubles(vectors.dx));
        if (c.g.groups < 8) CHECK(to_doubles(scalars.dw) == to_doubles(vectors.dw));
        check_values(problem, scalars);
        *operand = aligned;
      }
    }
}

TEST_CASE("Outputs and residuals off 16-byte alignment are written the same") {
  const auto device = cuda_device();
  if (!device) return;
  for (const ConvCase& c : representative_cases()) {
    CAPTURE(c.name);
    const Problem problem(c, DType::bf16, *device);
    const Tensor residual = random_normal(problem.s.y, DType::bf16, *device, {.seed = 24}), off = misaligned(residual);
    const Tensor bias = random_normal({problem.s.y[3]}, DType::f32, *device, {.seed = 25});
    Tensor y = filled_with_nan(problem.s.y, DType::bf16, *device), y_off = misaligned(y), y_mixed = y.clone();
    kernels::conv2d_forward(problem.x, problem.w, {&bias, &residual, true}, c.g, y);
    kernels::conv2d_forward(problem.x, problem.w, {&bias, &residual, true}, c.g, y_off);
    kernels::conv2d_forward(problem.x, problem.w, {&bias, &off, true}, c.g, y_mixed);
    auto expected = reference::conv_forward(problem.s, to_doubles(problem.x), to_doubles(problem.w));
    const auto biases = to_doubles(bias), residuals = to_doubles(residual);
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] = std::max(0.0, expected[i] + biases[i % biases.size()] + residuals[i]);
    CHECK(relative_l2(y, expected) <= tolerance(DType::bf16, problem.terms()));
    CHECK(to_doubles(y_off) == to_doubles(y));
    CHECK(to_doubles(y_mixed) == to_doubles(y));

    Tensor dx = filled_with_nan(problem.s.x, DType::bf16, *device), dx_off = misaligned(dx);
    kernels::conv2d_backward_input(problem.dy, problem.w, c.g, dx);
    kernels::conv2d_backward_input(problem.dy, problem.w, c.g, dx_off);
    CHECK(to_doubles(dx_off) == to_doubles(dx));
  }
}

TEST_CASE("CUDA convolutions give the same bits in every run, whatever the order of threads") {
  const auto device = cuda_device();
  if (!device) return;
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const ConvCase& c : representative_cases()) {
      CAPTURE(dtype);
      CAPTURE(c.name);
      const Problem problem(c, dtype, *device);
      const Results first = problem.run();
#if __has_include("emulator/control.h")
      const uint64_t seed = emulator::seed();
#endif
      for (uint64_t run = 1; run <= 3; ++run) {
        device->synchronize();
#if __has_include("emulator/control.h")
        emulator::set_seed(seed + run);
#endif
        CHECK(same_bits(problem.run(), first));
      }
#if __has_include("emulator/control.h")
      emulator::set_seed(seed);
#endif
    }
}

TEST_CASE("tf32 is used when asked for, and rounds operands only") {
  const auto device = cuda_device();
  if (!device) return;
  const ConvCase c = {"", {1, 9, 15, 20}, {24, 3, 3, 20}, ConvGeometry::square({.stride = 2, .padding = 1})};
  Problem problem(c, DType::f32, *device);
  device->state<kernels::MathMode>().tf32 = true;
  const Results rounded = problem.run();
  // Two operands rounded to 11 bits: 2^-12 each on average at most; and visibly not float32.
  check_values(problem, rounded, 0x1p-11);
  const auto exact = reference::conv_forward(problem.s, to_doubles(problem.x), to_doubles(problem.w));
  CHECK(relative_l2(rounded.y, exact) > 1e-5);
  // Operands that tf32 holds exactly give float32's accuracy.
  for (Tensor* operand : {&problem.x, &problem.w, &problem.dy})
    *operand = from_doubles(operand->shape(),
                            to_doubles(from_doubles(operand->shape(), to_doubles(*operand), DType::bf16, *device)),
                            DType::f32, *device);
  check_values(problem, problem.run());

  const Tensor a = random_normal({33, 40}, DType::f32, *device), b = random_normal({40, 20}, DType::f32, *device);
  Tensor product = Tensor::empty({33, 20}, DType::f32, *device), product_tf32 = Tensor::like(product);
  kernels::matmul(a, b, {}, product_tf32);
  device->state<kernels::MathMode>().tf32 = false;
  kernels::matmul(a, b, {}, product);
  CHECK(relative_l2(product_tf32, product) <= 0x1p-11);
  CHECK(relative_l2(product_tf32, product) > 1e-5);
}

}  // namespace segrt::test
