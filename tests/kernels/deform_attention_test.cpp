// DGMN2's attention: its kernels, and the operator made of them, against float64 scalars.
#include "kernels/deform_attention.h"

#include <doctest/doctest.h>

#include <cmath>

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

// f32 sums; what is stored in 16 bits is rounded once (dq twice: the height term is added to what was stored).
double bound(DType dtype) { return dtype == DType::f64 ? 1e-12 : dtype == DType::f32 ? 1e-5 : 0.0; }
double stored_bound(DType dtype, int roundings = 1) {
  const double unit = dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0;
  return std::max(bound(dtype), bound(DType::f32) * (unit > 0) + roundings * unit);
}
double exact_bound(DType dtype) { return dtype == DType::f64 ? 1e-12 : 1e-5; }
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
        Tensor dqkv = filled_with_nan(p.qkv.shape(), dtype, *device);
        Tensor doffset = filled_with_nan(p.offset.shape(), dtype, *device);
        Tensor dlogits = filled_with_nan(p.oracle.logits_shape(), p.statistics, *device);
        kernels::deform_attention_backward(p.dy, p.qkv, p.offset, p.rel_width, probabilities, dqkv, doffset, dlogits);
        CHECK(error(dqkv, grads.dqkv) <= stored_bound(dtype));
        CHECK(error(doffset, grads.doffset) <= stored_bound(dtype));
        CHECK(error(dlogits, grads.dlogits) <= exact_bound(dtype));
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

}  // namespace segrt
