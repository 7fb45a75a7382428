// DGMN2's attention: its kernels, and the operator made of them, against float64 scalars.
#include "kernels/deform_attention.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "kernels/position_logits.h"
#include "tests/kernels/reference_attention.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
using kernels::PositionAxis;
using reference::Values;

struct Case {
  int64_t batch, height, width, heads;
  double offset_std;
};
// Wide and high, one row, one column, all heads of the variants, taps far outside of the map.
const Case kCases[] = {{1, 1, 1, 1, 0.5}, {2, 5, 5, 2, 0.3}, {1, 7, 3, 1, 1}, {1, 2, 9, 3, 2},   {1, 1, 6, 1, 1},
                       {1, 6, 1, 2, 1},   {1, 3, 4, 5, 8},   {1, 4, 2, 8, 0}, {1, 11, 10, 1, 4}, {1, 3, 17, 1, 0.5}};

// Inputs rounded to the dtype, and the oracle on the same numbers.
struct Problem {
  Problem(const Case& c, DType dtype, Device& device) {
    const DType exact = dtype == DType::f64 ? DType::f64 : DType::f32;
    const Shape map{c.batch, c.height, c.width, 1};
    qkv = random_normal({map[0], map[1], map[2], c.heads * 192}, dtype, device, {.seed = 1});
    offset = random_normal({map[0], map[1], map[2], c.heads * 18}, dtype, device, {.seed = 2, .std = c.offset_std});
    rel_height = random_normal({c.height + 8, 64}, exact, device, {.seed = 3, .std = 0.125});
    rel_width = random_normal({c.width + 8, 64}, exact, device, {.seed = 4, .std = 0.125});
    dy = random_normal({map[0], map[1], map[2], c.heads * 64}, dtype, device, {.seed = 5});
    oracle = {c.batch,
              c.height,
              c.width,
              c.heads,
              to_doubles(qkv),
              to_doubles(offset),
              to_doubles(rel_height),
              to_doubles(rel_width)};
    statistics = exact;
  }
  Tensor qkv, offset, rel_height, rel_width, dy;
  DType statistics = DType::f32;  // of logits and probabilities
  reference::Attention oracle;
};

double largest(const Values& v) {
  double m = 0;
  for (const double x : v) m = std::max(m, std::fabs(x));
  return m;
}
// The largest difference, as a share of the largest magnitude.
double error(const Tensor& t, const Values& wanted) {
  return max_abs_difference(to_doubles(t), wanted) / std::max(largest(wanted), 1e-30);
}

// What is computed and stored in f32 or f64.
double exact_bound(DType dtype) { return dtype == DType::f64 ? 1e-12 : 1e-5; }
// The same, rounded once to the dtype.
double stored_bound(DType dtype) {
  return exact_bound(dtype) + (dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0);
}

struct Gradients {
  explicit Gradients(const Problem& p)
      : dqkv(filled_with_nan(p.qkv.shape(), p.qkv.dtype(), p.qkv.device())),
        doffset(filled_with_nan(p.offset.shape(), p.offset.dtype(), p.qkv.device())),
        dlogits(filled_with_nan(p.oracle.logits_shape(), p.statistics, p.qkv.device())) {}
  Gradients(const Problem& p, const Tensor& probabilities) : Gradients(p) {
    kernels::deform_attention_backward(p.dy, p.qkv, p.offset, p.rel_width, probabilities, dqkv, doffset, dlogits);
  }
  Tensor dqkv, doffset, dlogits;
};
}  // namespace

TEST_CASE("deform_attention agrees with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.height);
        CAPTURE(c.width);
        CAPTURE(c.heads);
        const Problem p(c, dtype, *device);
        const Tensor logits = random_normal(p.oracle.logits_shape(), p.statistics, *device, {.seed = 6});
        const auto wanted = p.oracle.forward(to_doubles(logits));
        Tensor y = filled_with_nan(p.oracle.output_shape(), dtype, *device);
        Tensor probabilities = filled_with_nan(p.oracle.logits_shape(), p.statistics, *device);
        kernels::deform_attention_forward(p.qkv, p.offset, p.rel_width, logits, y, &probabilities);
        CHECK(error(y, wanted.y) <= stored_bound(dtype));
        CHECK(error(probabilities, wanted.probabilities) <= exact_bound(dtype));
        Tensor alone = filled_with_nan(p.oracle.output_shape(), dtype, *device);
        kernels::deform_attention_forward(p.qkv, p.offset, p.rel_width, logits, alone, nullptr);
        CHECK(to_doubles(alone) == to_doubles(y));

        const auto grads = p.oracle.backward(to_doubles(p.dy), wanted.probabilities);
        const Gradients got(p, probabilities);
        CHECK(error(got.dqkv, grads.dqkv) <= stored_bound(dtype));
        CHECK(error(got.doffset, grads.doffset) <= stored_bound(dtype));
        CHECK(error(got.dlogits, grads.dlogits) <= exact_bound(dtype));
        const Gradients again(p, probabilities);  // the emulator runs threads in another order each time
        CHECK(to_doubles(again.dqkv) == to_doubles(got.dqkv));
      }
}

TEST_CASE("position logits and their gradients agree with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : kCases) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.height);
        CAPTURE(c.width);
        CAPTURE(c.heads);
        const Problem p(c, dtype, *device);
        Tensor logits = filled_with_nan(p.oracle.transposed_shape(), p.statistics, *device);
        kernels::height_logits_forward(p.qkv, p.rel_height, logits);
        CHECK(error(logits, p.oracle.height_logits()) <= exact_bound(dtype));

        const Tensor dtransposed = random_normal(p.oracle.transposed_shape(), p.statistics, *device, {.seed = 7});
        const Tensor dlogits = random_normal(p.oracle.logits_shape(), p.statistics, *device, {.seed = 8});
        Tensor dqkv = random_normal(p.qkv.shape(), dtype, *device, {.seed = 9});
        Values sum = to_doubles(dqkv);
        p.oracle.add_height_backward(to_doubles(dtransposed), sum);
        kernels::height_logits_backward(dtransposed, p.rel_height, dqkv);
        CHECK(error(dqkv, sum) <= stored_bound(dtype));

        Tensor dheight = filled_with_nan(p.rel_height.shape(), p.statistics, *device);
        Tensor dwidth = filled_with_nan(p.rel_width.shape(), p.statistics, *device);
        kernels::position_table_backward(p.qkv, dtransposed, PositionAxis::height, dheight);
        kernels::position_table_backward(p.qkv, dlogits, PositionAxis::width, dwidth);
        CHECK(error(dheight, p.oracle.dheight(to_doubles(dtransposed))) <= exact_bound(dtype));
        CHECK(error(dwidth, p.oracle.dwidth(to_doubles(dlogits))) <= exact_bound(dtype));
      }
}

// Several bands of rows (cpu/deform_attention_backward.cpp), which the taps of many queries reach from far away.
TEST_CASE("deform_attention: the CPU's gradients do not depend on the number of threads") {
  const auto device = Device::create("cpu");
  const int before = threads();
  for (const double offset_std : {0.3, 12.0}) {
    CAPTURE(offset_std);
    const Problem p({1, 75, 33, 1, offset_std}, DType::f32, *device);
    const Tensor logits = random_normal(p.oracle.logits_shape(), DType::f32, *device, {.seed = 6});
    const auto wanted = p.oracle.forward(to_doubles(logits));
    const Tensor probabilities = from_doubles(p.oracle.logits_shape(), wanted.probabilities, DType::f32, *device);
    const auto grads = p.oracle.backward(to_doubles(p.dy), wanted.probabilities);
    set_threads(1);
    const Gradients one(p, probabilities);
    CHECK(error(one.dqkv, grads.dqkv) <= 1e-5);
    for (const int count : {2, 5}) {
      set_threads(count);
      const Gradients several(p, probabilities);
      CHECK(to_doubles(several.dqkv) == to_doubles(one.dqkv));
      CHECK(to_doubles(several.doffset) == to_doubles(one.doffset));
    }
  }
  set_threads(before);
}

TEST_CASE("deform_attention: taps that lie nowhere give nothing and get nothing") {
  for (const auto& device : test_devices())
    for (const double nowhere : {1e30, -1e30, std::numeric_limits<double>::quiet_NaN()}) {
      CAPTURE(device->name());
      Problem p({1, 3, 4, 2, 1}, DType::f32, *device);
      p.offset =
          from_doubles(p.offset.shape(), Values(static_cast<size_t>(p.offset.numel()), nowhere), DType::f32, *device);
      const Tensor logits = random_normal(p.oracle.logits_shape(), DType::f32, *device, {.seed = 6});
      Tensor y = filled_with_nan(p.oracle.output_shape(), DType::f32, *device);
      Tensor probabilities = Tensor::like(logits);
      kernels::deform_attention_forward(p.qkv, p.offset, p.rel_width, logits, y, &probabilities);
      const Gradients got(p, probabilities);
      for (const Tensor& t : {y, got.dqkv, got.doffset, got.dlogits}) CHECK(largest(to_doubles(t)) == 0);
    }
}

TEST_CASE("deform_attention refuses what does not fit") {
  const auto device = Device::create("cpu");
  const Problem p({1, 3, 4, 2, 1}, DType::f32, *device);
  const Tensor logits = Tensor::zeros(p.oracle.logits_shape(), DType::f32, *device);
  Tensor y = Tensor::zeros(p.oracle.output_shape(), DType::f32, *device);
  const auto message = [&](const Tensor& qkv, const Tensor& offset, const Tensor& rel_width) {
    return error_of([&] { kernels::deform_attention_forward(qkv, offset, rel_width, logits, y, nullptr); });
  };
  CHECK(message(Tensor::zeros({1, 3, 4, 128}, DType::f32, *device), p.offset, p.rel_width) ==
        "deform_attention: qkv: expected queries, keys and values in heads of 64 channels, got [1,3,4,128]");
  CHECK(message(p.qkv, Tensor::zeros({1, 3, 4, 18}, DType::f32, *device), p.rel_width) ==
        "deform_attention: offset: expected [1,3,4,36], got [1,3,4,18]");
  CHECK(message(p.qkv, p.offset, p.rel_height) == "deform_attention: rel_width: expected [12,64], got [11,64]");
  CHECK(message(p.qkv, p.offset, Tensor::zeros({12, 64}, DType::bf16, *device)) ==
        "deform_attention: rel_width: expected f32, got bf16");
  Tensor small = Tensor::zeros({1, 4, 3, 9}, DType::f32, *device);
  CHECK(error_of([&] { kernels::height_logits_forward(p.qkv, p.rel_height, small); }) ==
        "height_logits: logits: expected [1,4,3,18], got [1,4,3,9]");
}

TEST_CASE("deform_attention: a map without pixels") {
  for (const auto& device : test_devices()) {
    const Problem p({0, 3, 4, 1, 1}, DType::f32, *device);
    Tensor logits = Tensor::empty(p.oracle.logits_shape(), DType::f32, *device);
    Tensor y = Tensor::empty(p.oracle.output_shape(), DType::f32, *device);
    kernels::deform_attention_forward(p.qkv, p.offset, p.rel_width, logits, y, nullptr);
    const Gradients got(p, logits);
    Tensor dtable = filled_with_nan(p.rel_width.shape(), DType::f32, *device);
    kernels::position_table_backward(p.qkv, logits, PositionAxis::width, dtable);
    CHECK(largest(to_doubles(dtable)) == 0);
  }
}

}  // namespace segrt
