// What cuBLASLt computes, against our own kernels, algorithm by algorithm. Needs a GPU.
#if SEGRT_HAS_CUBLASLT
#include <doctest/doctest.h>

#include <cstdlib>

#include "core/cuda/library_handles.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/matmul.h"
#include "kernels/device_graph.h"
#include "kernels/reduce.h"
#include "kernels/vendor/cublaslt/matmul_library.h"
#include "kernels/vendor_mode.h"
#include "tests/support/tensors.h"

namespace segrt::kernels::vendor::cublaslt {
namespace {
Shape stored(int64_t batch, int64_t rows, int64_t columns, bool transposed) {
  if (transposed) std::swap(rows, columns);
  return batch == 1 ? Shape{rows, columns} : Shape{batch, rows, columns};
}

// Every algorithm that the heuristics offer. Returns their number.
int compare_plans(Device& device, const MatmulProblem& p) {
  const Tensor a = test::random_normal(stored(p.batch, p.m, p.k, p.transpose_a), p.dtype, device, {.seed = 1});
  const Tensor b = test::random_normal(stored(p.batch, p.k, p.n, p.transpose_b), p.dtype, device, {.seed = 2});
  const Tensor bias = p.bias ? test::random_normal({p.n}, DType::f32, device, {.seed = 3}) : Tensor();
  Tensor expected = Tensor::empty(stored(p.batch, p.m, p.n, false), p.dtype, device);
  cuda::matmul(a, b, {p.transpose_a, p.transpose_b, p.bias ? &bias : nullptr}, expected);
  if (p.activation == LinearActivation::relu)
    cuda::linear_forward(a, b, {.bias = p.bias ? &bias : nullptr, .activation = p.activation}, expected);
  Tensor sums = Tensor::empty({p.m}, DType::f32, device);
  if (p.bias_gradient) sum_to(a, sums);
  const MatmulLibrary library(device);
  int count = 0;
  for_each_plan(device.state<CublasLtHandle>().get(), p, [&](const Candidate<Plan>& candidate) {
    CAPTURE(to_string(p));
    CAPTURE(candidate.engine);
    const Tensor c = test::filled_with_nan(expected.shape(), p.dtype, device);
    const Tensor db = p.bias_gradient ? test::filled_with_nan({p.m}, DType::f32, device) : Tensor();
    library.run(candidate.plan, {a, b, c, bias, db});
    const double bound = 3 * test::tolerance(p.dtype, p.k);  // both round, and cuBLASLt the bias as well
    CHECK(test::relative_l2(c, expected) <= bound);
    if (db.defined()) CHECK(test::relative_l2(db, sums) <= bound);
    ++count;
    return true;
  });
  return count;
}
}  // namespace

TEST_CASE("cublaslt: every algorithm computes what our own kernels compute") {
  if (!Device::cuda_available()) return;
  const auto device = Device::create("cuda");
  int compared = 0;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{256, 128, 64}, {129, 65, 40}, {1, 7, 19}}) {
      MatmulProblem p;
      p.dtype = dtype;
      p.m = m;
      p.n = n;
      p.k = k;
      for (const int64_t batch : {1, 3})
        for (const bool transpose_a : {false, true})
          for (const bool transpose_b : {false, true}) {
            MatmulProblem plain = p;
            plain.batch = batch;
            plain.transpose_a = transpose_a;
            plain.transpose_b = transpose_b;
            compared += compare_plans(*device, plain);
          }
      MatmulProblem layer = p;
      layer.transpose_b = layer.bias = true;
      compared += compare_plans(*device, layer);
      layer.activation = LinearActivation::relu;
      compared += compare_plans(*device, layer);
      MatmulProblem weight = p;
      weight.transpose_a = weight.bias_gradient = true;
      compared += compare_plans(*device, weight);
    }
  CHECK(compared > 100);
}

TEST_CASE("cublaslt: a product is decided once, and not at all when switched off or captured") {
  if (!Device::cuda_available()) return;
  ::setenv("SEGRT_CACHE", "", 1);
  const auto device = Device::create("cuda");
  ::unsetenv("SEGRT_CACHE");
  const Tensor x = test::random_normal({300, 256}, DType::bf16, *device),
               w = test::random_normal({128, 256}, DType::bf16, *device);
  Tensor y = test::filled_with_nan({300, 128}, DType::bf16, *device), pre = Tensor::like(y), dx = Tensor::like(x);
  device->state<VendorMode>().enabled = false;
  linear_forward(x, w, {.activation = LinearActivation::gelu, .pre = &pre}, y);
  CHECK(vendor_choices(*device).empty());
  const Tensor expected = y;
  device->state<VendorMode>().enabled = true;
  Tensor decided = test::filled_with_nan(y.shape(), DType::bf16, *device);
  for (int i = 0; i < 2; ++i) linear_forward(x, w, {.activation = LinearActivation::gelu, .pre = &pre}, decided);
  REQUIRE(vendor_choices(*device).size() == 1);
  CHECK(vendor_choices(*device)[0].own_ms > 0);
  CHECK(test::relative_l2(decided, expected) <= 3 * test::tolerance(DType::bf16, 256));
  Tensor replayed = test::filled_with_nan(y.shape(), DType::bf16, *device);
  DeviceGraph graph(*device, [&] {
    linear_forward(x, w, {.activation = LinearActivation::gelu, .pre = &pre}, replayed);
    linear_backward_input(y, w, nullptr, dx);  // not met before: our own kernel
  });
  graph.replay();
  CHECK(vendor_choices(*device).size() == 1);
  CHECK(test::relative_l2(replayed, expected) <= 3 * test::tolerance(DType::bf16, 256));
}

}  // namespace segrt::kernels::vendor::cublaslt
#endif
