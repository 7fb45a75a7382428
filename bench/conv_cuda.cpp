// Times every distinct convolution of the shipped configurations on a GPU: our kernel and cuDNN's best plan for the
// same problem, beside what the GPU could do at best. For each: milliseconds (median between CUDA events), TFLOP/s,
// GB/s, and the share of the floor, max(operations / peak, bytes / bandwidth), each tensor moved once.
//
//   bench_conv_cuda [--models FOLDER] [--filter TEXT] [--dtype bf16|f16|f32] [--runs N] [--tiles] [--json FILE]
//
// --tiles times each tile of ours instead of the one that choose_tile estimates as the fastest. --smoke runs one small
// convolution, for builds on the emulator. Without a GPU it says so and exits with status 77.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/cuda/check.h"
#include "core/cuda/cuda_device.h"
#include "core/random.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/tile_choice.h"
#include "tests/support/model_convolutions.h"
#if SEGRT_HAS_CUDNN
#include "core/cuda/library_handles.h"
#include "kernels/vendor/cudnn/plan_choice.h"
#endif

namespace segrt {
namespace {
using test::ConvOp;
using test::ConvProblem;

struct Options {
  std::string models = "models", filter, dtype = "bf16", json;
  int warm_ups = 20, runs = 100;
  bool tiles = false, smoke = false;
};

// What a GPU reaches at best, not what its data sheet says: dense 16-bit products at sustained clocks, and bandwidth.
struct Peaks {
  double tflops, tbytes;
};
std::optional<Peaks> peaks_of(const std::string& gpu, DType dtype) {
  const double tflops = dtype == DType::f32 ? 60 : 790;
  if (gpu.find("H200") != std::string::npos) return Peaks{tflops, 4.3};
  if (gpu.find("H100") != std::string::npos) return Peaks{tflops, 3.0};
  return std::nullopt;
}

struct Operands {
  Tensor x, w, y, bias, residual;
};

// Random values, repeated: numbers matter to power and so to clocks, their order does not.
template <typename T>
Tensor random_values(const Shape& shape, Device& device, uint64_t seed) {
  Rng rng(seed, 0);
  std::vector<T> pattern(1 << 16), values(static_cast<size_t>(shape.numel()));
  for (T& v : pattern) v = static_cast<T>(static_cast<float>(rng.uniform(-1, 1)));
  for (size_t i = 0; i < values.size(); i += pattern.size())
    std::copy_n(pattern.begin(), std::min(pattern.size(), values.size() - i), values.begin() + static_cast<int64_t>(i));
  return Tensor::from<T>(shape, values, device);
}
Tensor random_values(const Shape& shape, DType dtype, Device& device, uint64_t seed) {
  if (dtype == DType::f32) return random_values<float>(shape, device, seed);
  return dtype == DType::bf16 ? random_values<bf16>(shape, device, seed) : random_values<f16>(shape, device, seed);
}

Operands operands_of(const ConvProblem& p, Device& device) {
  Operands o{random_values(p.x, p.dtype, device, 1),
             random_values(p.w, p.dtype, device, 2),
             random_values(p.y, p.dtype, device, 3),
             {},
             {}};
  if (p.fusion.bias) o.bias = random_values<float>({p.y[3]}, device, 4);
  if (p.fusion.residual) o.residual = random_values(p.y, p.dtype, device, 5);
  return o;
}

void run_own(const ConvProblem& p, Operands& o) {
  switch (p.op) {
    case ConvOp::forward:
      kernels::cuda::conv2d_forward(o.x, o.w,
                                    {.bias = p.fusion.bias ? &o.bias : nullptr,
                                     .residual = p.fusion.residual ? &o.residual : nullptr,
                                     .relu = p.fusion.relu},
                                    p.g, o.y);
      break;
    case ConvOp::backward_input: kernels::cuda::conv2d_backward_input(o.y, o.w, p.g, o.x); break;
    case ConvOp::backward_weight: kernels::cuda::conv2d_backward_weight(o.x, o.y, p.g, o.w); break;
  }
}

class Stopwatch {
 public:
  explicit Stopwatch(Device& device) : device_(cuda_device(device)), begin_(make_event()), end_(make_event()) {}

  double median_ms(int warm_ups, int runs, const std::function<void()>& work) {
    for (int i = 0; i < warm_ups; ++i) work();
    std::vector<double> ms;
    for (int i = 0; i < runs; ++i) ms.push_back(once_ms(work));
    std::nth_element(ms.begin(), ms.begin() + runs / 2, ms.end());
    return ms[static_cast<size_t>(runs / 2)];
  }

 private:
  static CudaEvent make_event() {
    cudaEvent_t raw = nullptr;
    check(cudaEventCreateWithFlags(&raw, cudaEventDefault), "cudaEventCreateWithFlags");
    return CudaEvent(raw);
  }
  double once_ms(const std::function<void()>& work) {
    check(cudaEventRecord(begin_.get(), device_.stream()), "cudaEventRecord");
    work();
    check(cudaEventRecord(end_.get(), device_.stream()), "cudaEventRecord");
    check(cudaEventSynchronize(end_.get()), "cudaEventSynchronize");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin_.get(), end_.get()), "cudaEventElapsedTime");
    return static_cast<double>(ms);
  }

  CudaDevice& device_;
  CudaEvent begin_, end_;
};

#if SEGRT_HAS_CUDNN
// cuDNN's fastest plan, or nothing where it has none. Plans are compared in few runs, the best is timed in all.
std::optional<double> cudnn_ms(const ConvProblem& p, const Operands& o, const Options& options, Stopwatch& watch) {
  using namespace kernels::vendor::cudnn;
  Device& device = o.x.device();
  cudnnHandle_t handle = device.state<CudnnHandle>().get();
  require_success(cudnnSetStream(handle, cuda_device(device).stream()), "cudnnSetStream");
  std::vector<Plan::Binding> bindings{{Role::x, o.x.raw()}, {Role::w, o.w.raw()}, {Role::y, o.y.raw()}};
  if (p.fusion.bias) bindings.push_back({Role::bias, o.bias.raw()});
  if (p.fusion.residual) bindings.push_back({Role::residual, o.residual.raw()});
  const auto time = [&](const Plan& plan, int warm_ups, int runs) {
    const Tensor workspace = Tensor::empty({static_cast<int64_t>(plan.workspace_bytes()) + 1}, DType::u8, device);
    return watch.median_ms(warm_ups, runs, [&] { plan.execute(handle, bindings, workspace.raw()); });
  };
  constexpr double kNever = 1e30;  // our own kernel is not among the candidates
  const ChosenPlan best = fastest_plan(
      p, {.handle = handle}, [&](const Plan* plan, double) { return plan == nullptr ? kNever : time(*plan, 3, 9); });
  if (!best.plan) return std::nullopt;
  return time(*best.plan, options.warm_ups, options.runs);
}
#else
std::optional<double> cudnn_ms(const ConvProblem&, const Operands&, const Options&, Stopwatch&) { return {}; }
#endif

// Multiplications and additions, and the bytes of every tensor once.
double operations(const ConvProblem& p) {
  return 2.0 * static_cast<double>(p.y.numel()) * static_cast<double>(p.w[1] * p.w[2] * p.w[3]);
}
double bytes(const ConvProblem& p) {
  const int64_t elements = p.x.numel() + p.w.numel() + p.y.numel() * (p.fusion.residual ? 2 : 1);
  return static_cast<double>(elements) * static_cast<double>(size_of(p.dtype));
}

nlohmann::json figures(const ConvProblem& p, double ms, const std::optional<Peaks>& peaks) {
  nlohmann::json result = {{"ms", ms}, {"tflops", operations(p) / ms * 1e-9}, {"gbytes_per_s", bytes(p) / ms * 1e-6}};
  if (peaks) {
    const double floor_ms = std::max(operations(p) / peaks->tflops * 1e-9, bytes(p) / peaks->tbytes * 1e-9);
    result["floor_ms"] = floor_ms;
    result["share_of_floor"] = floor_ms / ms;
  }
  return result;
}
void print(const char* who, const nlohmann::json& f) {
  fmt::print("  {:16} {:9.4f} ms {:7.1f} TFLOP/s {:7.0f} GB/s", who, f["ms"].get<double>(), f["tflops"].get<double>(),
             f["gbytes_per_s"].get<double>());
  if (f.contains("share_of_floor"))
    fmt::print("  floor {:.4f} ms, {:.0f} % of it reached", f["floor_ms"].get<double>(),
               100 * f["share_of_floor"].get<double>());
  fmt::print("\n");
}

std::vector<ConvProblem> problems_of(const Options& options) {
  std::vector<ConvProblem> problems;
  if (options.smoke) {
    for (const ConvOp op : {ConvOp::forward, ConvOp::backward_input, ConvOp::backward_weight})
      problems.push_back({.op = op,
                          .x = {1, 6, 7, 16},
                          .w = {24, 3, 3, 16},
                          .y = {1, 6, 7, 24},
                          .g = kernels::ConvGeometry::square({.padding = 1})});
    return problems;
  }
  for (const auto& [key, problem] : test::shipped_convolutions(options.models)) problems.push_back(problem);
  return problems;
}

void run(Device& device, const Options& options) {
  const std::string gpu = cuda_device(device).properties().name;
  const DType dtype = options.dtype == "f32" ? DType::f32 : options.dtype == "f16" ? DType::f16 : DType::bf16;
  const std::optional<Peaks> peaks = peaks_of(gpu, dtype);
  fmt::print("{}, {}: {} runs after {}\n", gpu, options.dtype, options.runs, options.warm_ups);
  if (!peaks) fmt::print("no peaks are known for this GPU: no floors\n");
  Stopwatch watch(device);
  nlohmann::json rows = nlohmann::json::array();
  for (ConvProblem p : problems_of(options)) {
    p.dtype = dtype;
    const std::string text = to_string(p);
    if (text.find(options.filter) == std::string::npos) continue;
    fmt::print("{}\n", text);
    Operands o = operands_of(p, device);
    nlohmann::json row = {{"problem", text}};
    const auto own = [&](const char* name) {
      const double ms = watch.median_ms(options.warm_ups, options.runs, [&] { run_own(p, o); });
      row[name] = figures(p, ms, peaks);
      print(name, row[name]);
    };
    own("own");
    auto& preferred = device.state<kernels::cuda::TilePreference>().tile;
    for (const auto& tile : kernels::cuda::kTileShapes) {
      if (!options.tiles || test::is_depthwise(p)) break;
      preferred = tile;
      own(fmt::format("own {}x{}", tile.rows, tile.columns).c_str());
    }
    preferred.reset();
    if (const std::optional<double> ms = cudnn_ms(p, o, options, watch)) {
      row["cudnn"] = figures(p, *ms, peaks);
      print("cudnn", row["cudnn"]);
    }
    rows.push_back(std::move(row));
    device.release_cached();
  }
  if (!options.json.empty())
    std::ofstream(options.json) << nlohmann::json{{"gpu", gpu}, {"dtype", options.dtype}, {"rows", rows}}.dump(1)
                                << '\n';
}

}  // namespace
}  // namespace segrt

int main(int argc, char** argv) {
  segrt::Options options;
  CLI::App app("Times the convolutions of the shipped models on a GPU, ours and cuDNN's.");
  app.add_option("--models", options.models, "Folder of the configurations")->check(CLI::ExistingDirectory);
  app.add_option("--filter", options.filter, "Only problems whose line contains this text");
  app.add_option("--dtype", options.dtype)->check(CLI::IsMember({"bf16", "f16", "f32"}));
  app.add_option("--runs", options.runs, "Timed runs")->check(CLI::PositiveNumber);
  app.add_option("--warm-ups", options.warm_ups)->check(CLI::NonNegativeNumber);
  app.add_flag("--tiles", options.tiles, "Each tile of our kernels as well");
  app.add_flag("--smoke", options.smoke, "One small convolution, two runs");
  app.add_option("--json", options.json, "Write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  if (options.smoke) options.warm_ups = 1, options.runs = 2;
  if (!segrt::Device::cuda_available()) {
    fmt::print(stderr, "bench_conv_cuda: no GPU: nothing was measured\n");
    return 77;
  }
  segrt::run(*segrt::Device::create("cuda"), options);
  return 0;
}
