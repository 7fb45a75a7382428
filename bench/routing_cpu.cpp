// Times the gated sum of dynamic routing on the CPU, over the rows of the routing space for a 512x1024 image: what came
// down, what was kept and what came up (interpolated), all paths open. All of it is bound by memory, so GB/s count each
// tensor once, beside those of a copy and of an addition of two maps.
//
//   bench_routing_cpu [--threads N] [--repeat N]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "core/parallel.h"
#include "core/random.h"
#include "kernels/elementwise.h"
#include "kernels/gate.h"
#include "kernels/gated_sum.h"

namespace segrt {
namespace {
using kernels::GatedTerm;

struct Options {
  int threads = 0, repeat = 21;
};

Tensor random_tensor(const Shape& shape, DType dtype, Device& device, uint64_t seed) {
  Rng rng(seed, 0);
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (float& v : values) v = static_cast<float>(rng.uniform(0.1, 1));
  const Tensor exact = Tensor::from<float>(shape, values, device);
  if (dtype == DType::f32) return exact;
  Tensor rounded = Tensor::empty(shape, dtype, device);
  kernels::cast(exact, rounded);
  return rounded;
}

void row(const char* what, const Timing& t, size_t bytes) {
  fmt::print("  {:26} {:8.3f} ms min {:8.3f} ms median {:6.1f} GB/s\n", what, t.minimum_ms, t.median_ms,
             static_cast<double>(bytes) / t.minimum_ms * 1e-6);
}

void run(const Options& options, const Shape& shape, DType dtype, Device& device) {
  fmt::print("{} {}\n", to_string(shape), to_string(dtype));
  const Tensor down = random_tensor(shape, dtype, device, 1), keep = random_tensor(shape, dtype, device, 2);
  const Tensor up = random_tensor({shape[0], shape[1] / 2, shape[2] / 2, shape[3]}, dtype, device, 3);
  const Tensor gate = random_tensor({shape[0], 3}, DType::f32, device, 4), dy = random_tensor(shape, dtype, device, 5);
  Tensor y = Tensor::like(dy);
  row("copy", time(options.repeat, [&] { y.copy_from(dy); }), 2 * y.nbytes());
  row("addition", time(options.repeat, [&] { kernels::binary_forward(kernels::Binary::add, down, keep, y); }),
      3 * y.nbytes());

  const std::vector<GatedTerm> terms{{.x = &down, .gate = &gate, .slot = 2},
                                     {.x = &keep, .gate = &gate, .slot = 0},
                                     {.x = &up, .gate = &gate, .slot = 1, .upsample2 = true}};
  const size_t inputs = 2 * y.nbytes() + up.nbytes();
  row("gated_sum, 2 terms",
      time(options.repeat,
           [&] {
             kernels::gated_sum_forward({terms.data(), 2}, y);
           }),
      3 * y.nbytes());
  row("gated_sum, 3 terms", time(options.repeat, [&] { kernels::gated_sum_forward(terms, y); }), inputs + y.nbytes());
  Tensor ddown = Tensor::like(down), dkeep = Tensor::like(keep), dup = Tensor::like(up);
  Tensor dgate = Tensor::zeros_like(gate);
  const std::vector<kernels::GatedTermGrads> grads{{&ddown, &dgate}, {&dkeep, &dgate}, {&dup, &dgate}};
  row("gated_sum_backward", time(options.repeat, [&] { kernels::gated_sum_backward(dy, terms, grads); }),
      dy.nbytes() + 2 * inputs);

  const Tensor map = random_tensor({shape[0], shape[1], shape[2], shape[3] / 2}, dtype, device, 6);
  const Tensor weight = random_tensor({3, 1, 1, map.dim(3)}, DType::f32, device, 7),
               bias = random_tensor({3}, DType::f32, device, 8);
  Tensor pooled = Tensor::empty({shape[0], map.dim(3)}, DType::f32, device), z = Tensor::like(gate), g = z;
  row("gate", time(options.repeat, [&] { kernels::gate_forward(map, weight, bias, pooled, z, g); }), map.nbytes());
}
}  // namespace
}  // namespace segrt

int main(int argc, char** argv) {
  segrt::Options options;
  CLI::App app("Times the kernels of dynamic routing on the CPU.", "bench_routing_cpu");
  app.add_option("--threads", options.threads, "0: all cores")->capture_default_str();
  app.add_option("--repeat", options.repeat, "timed runs")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  segrt::set_threads(options.threads);
  fmt::print("threads {}\n", segrt::threads());
  const auto device = segrt::Device::create("cpu");
  for (const segrt::DType dtype : {segrt::DType::f32, segrt::DType::bf16})
    for (const int64_t stride : {4, 8, 16, 32})
      segrt::run(options, {1, 512 / stride, 1024 / stride, 16 * stride}, dtype, *device);
}
