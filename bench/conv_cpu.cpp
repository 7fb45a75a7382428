// Times every convolution of DRN-D-22 on the CPU: forward at 1x512x1024 (f32, bf16); forward, input gradient and weight
// gradient at 2x256x512 (f32). Prints the minimum and median ms, GFLOP/s at the minimum, and totals over the network.
//
//   bench_conv_cpu [--threads N] [--repeat N] [--layer NAME] [--mode forward|bf16|train]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "core/parallel.h"
#include "core/random.h"
#include "kernels/conv.h"

namespace segrt {
namespace {
struct Layer {
  const char* name;
  int in, out, kernel, stride, dilation, shrink, count;  // the input's side is the image's divided by shrink
};

// Yu, Koltun & Funkhouser 2017, DRN-D-22; equal convolutions are listed once, with their count.
constexpr Layer kDrnD22[] = {
    {"stem", 3, 16, 7, 1, 1, 1, 1},
    {"layer1", 16, 16, 3, 1, 1, 1, 1},
    {"layer2", 16, 32, 3, 2, 1, 1, 1},
    {"layer3.0.conv1", 32, 64, 3, 2, 1, 2, 1},
    {"layer3.0.down", 32, 64, 1, 2, 1, 2, 1},
    {"layer3", 64, 64, 3, 1, 1, 4, 3},
    {"layer4.0.conv1", 64, 128, 3, 2, 1, 4, 1},
    {"layer4.0.down", 64, 128, 1, 2, 1, 4, 1},
    {"layer4", 128, 128, 3, 1, 1, 8, 3},
    {"layer5.0.conv1", 128, 256, 3, 1, 2, 8, 1},
    {"layer5.0.down", 128, 256, 1, 1, 1, 8, 1},
    {"layer5", 256, 256, 3, 1, 2, 8, 3},
    {"layer6.0.conv1", 256, 512, 3, 1, 4, 8, 1},
    {"layer6.0.down", 256, 512, 1, 1, 1, 8, 1},
    {"layer6", 512, 512, 3, 1, 4, 8, 3},
    {"layer7", 512, 512, 3, 1, 2, 8, 1},
    {"layer8", 512, 512, 3, 1, 1, 8, 1},
    {"seg", 512, 19, 1, 1, 1, 8, 1},
};

struct Options {
  int threads = 0, repeat = 7;
  std::string layer, mode;
};

Tensor random_tensor(const Shape& shape, DType dtype, Device& device, uint64_t seed) {
  Rng rng(seed, 0);
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (float& v : values) v = static_cast<float>(rng.uniform(-1, 1));
  if (dtype == DType::f32) return Tensor::from<float>(shape, values, device);
  std::vector<bf16> rounded(values.begin(), values.end());
  return Tensor::from<bf16>(shape, rounded, device);
}

// One line a layer and direction; returns nothing, adds to the totals.
class Table {
 public:
  void row(const Layer& layer, const char* pass, const Timing& t, double gflop) {
    fmt::print("{:16} x{} {:8} {:9.3f} ms min {:9.3f} ms median {:7.0f} GFLOP/s\n", layer.name, layer.count, pass,
               t.minimum_ms, t.median_ms, gflop / t.minimum_ms * 1e3);
    minimum_ms_ += layer.count * t.minimum_ms;
    gflop_ += layer.count * gflop;
  }
  void total(const char* what) const {
    fmt::print("{:28} {:9.1f} ms {:33.0f} GFLOP/s\n\n", what, minimum_ms_, gflop_ / minimum_ms_ * 1e3);
  }

 private:
  double minimum_ms_ = 0, gflop_ = 0;
};

void run(const Options& options, int batch, int height, int width, DType dtype, bool train) {
  auto device = Device::create("cpu");
  Table table[3];
  for (const Layer& l : kDrnD22) {
    if (!options.layer.empty() && options.layer != l.name) continue;
    const kernels::ConvGeometry g = kernels::ConvGeometry::square(
        {.stride = l.stride, .padding = l.dilation * (l.kernel / 2), .dilation = l.dilation});
    const Tensor x = random_tensor({batch, height / l.shrink, width / l.shrink, l.in}, dtype, *device, 1);
    const Tensor w = random_tensor({l.out, l.kernel, l.kernel, l.in}, dtype, *device, 2);
    const Shape shape = kernels::conv2d_output_shape(x.shape(), w.shape(), g);
    Tensor y = Tensor::empty(shape, dtype, *device);
    const double gflop = 2e-9 * static_cast<double>(kernels::conv2d_multiply_adds(shape, w.shape()));
    table[0].row(l, "forward", time(options.repeat, [&] { kernels::conv2d_forward(x, w, {}, g, y); }), gflop);
    if (!train) continue;
    const Tensor dy = random_tensor(shape, dtype, *device, 3);
    Tensor dx = Tensor::like(x), dw = Tensor::empty(w.shape(), DType::f32, *device);
    const auto changing = [&](const std::function<void()>& f) {  // as in training: no packed weight is of use twice
      return time(options.repeat, [&] {
        w.bump_version();
        f();
      });
    };
    table[1].row(l, "dx", changing([&] { kernels::conv2d_backward_input(dy, w, g, dx); }), gflop);
    table[2].row(l, "dw", changing([&] { kernels::conv2d_backward_weight(x, dy, g, dw); }), gflop);
  }
  table[0].total("forward, all layers");
  if (!train) return;
  table[1].total("input gradient, all layers");
  table[2].total("weight gradient, all layers");
}

int main_with(const Options& options) {
  set_threads(options.threads);
  fmt::print("threads {}\n", threads());
  if (options.mode.empty() || options.mode == "forward") {
    fmt::print("f32 forward, 1x512x1024\n");
    run(options, 1, 512, 1024, DType::f32, false);
  }
  if (options.mode.empty() || options.mode == "bf16") {
    fmt::print("bf16 forward, 1x512x1024\n");
    run(options, 1, 512, 1024, DType::bf16, false);
  }
  if (options.mode.empty() || options.mode == "train") {
    fmt::print("f32 training, 2x256x512\n");
    run(options, 2, 256, 512, DType::f32, true);
  }
  return 0;
}
}  // namespace
}  // namespace segrt

int main(int argc, char** argv) {
  segrt::Options options;
  CLI::App app("Times the convolutions of DRN-D-22 on the CPU.", "bench_conv_cpu");
  app.add_option("--threads", options.threads, "0: all cores")->capture_default_str();
  app.add_option("--repeat", options.repeat, "timed runs")->capture_default_str();
  app.add_option("--layer", options.layer, "only this one");
  app.add_option("--mode", options.mode, "only this one")->check(CLI::IsMember({"forward", "bf16", "train"}));
  CLI11_PARSE(app, argc, argv);
  return segrt::main_with(options);
}
