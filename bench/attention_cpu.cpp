// One attention of DGMN2, forward and backward, at the shapes of Tiny's four stages for a 512x512 image: keys and
// values sampled where they are needed (autograd/deform_attention.h), against the unfolded formulation: keys and values
// of all taps are stored, and what follows is made of the engine's ordinary operators. Both with their linear layers;
// position logits are given to the unfolded one as a constant, so its figures are on the low side. Time and the memory
// that a pass takes beside its input and weights. Unfolded on the CPU and in f32 alone.
//
//   bench_attention_cpu [--device cpu|cuda] [--dtype f32|bf16|f16] [--batch N] [--threads N] [--repeat N] [--json FILE]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "autograd/conv.h"
#include "autograd/deform_attention.h"
#include "autograd/elementwise.h"
#include "autograd/loss.h"
#include "bench/timing.h"
#include "bench/unfolded_samples.h"
#include "core/parallel.h"
#include "core/random.h"

namespace segrt {
namespace {
namespace ag = autograd;

struct Options {
  std::string device = "cpu", dtype = "f32", json;
  int batch = 1, threads = 0, repeat = 11;
};
struct Stage {
  int side, heads;
};
constexpr Stage kStages[] = {{128, 1}, {64, 2}, {32, 5}, {16, 8}};

struct Weights {
  Var q, k, v, qkv, offset, proj, rel_height, rel_width;
};

Tensor random_tensor(const Shape& shape, double std, DType dtype, Device& device, uint64_t seed) {
  Rng rng(seed, 0);
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (float& v : values) v = static_cast<float>(std * rng.normal());
  const Tensor exact = Tensor::from<float>(shape, values, device);
  if (dtype == DType::f32) return exact;
  Tensor rounded = Tensor::empty(shape, dtype, device);
  kernels::cast(exact, rounded);
  return rounded;
}

// As the constructor initialises them.
Weights weights_of(const Stage& stage, DType dtype, Device& device) {
  const int64_t c = stage.heads * 64;
  const auto parameter = [&](const Shape& shape, double std, DType type, uint64_t seed) {
    return Var::parameter(random_tensor(shape, std, type, device, seed));
  };
  return {parameter({c, c}, 0.02, dtype, 1),
          parameter({c, c}, 0.02, dtype, 2),
          parameter({c, c}, 0.02, dtype, 3),
          parameter({3 * c, c}, 0.02, dtype, 4),
          parameter({18, 64}, 0.02, dtype, 5),
          parameter({c, c}, 0.02, dtype, 6),
          parameter({stage.side + 8, 64}, 0.125, DType::f32, 7),
          parameter({stage.side + 8, 64}, 0.125, DType::f32, 8)};
}

Var offsets_of(const Var& x, const Weights& w, int heads) {
  const Var by_head = ag::reshape(x, {x.dim(0), x.dim(1), x.dim(2) * heads, 64});
  return ag::reshape(ag::linear(by_head, w.offset, {}), {x.dim(0), x.dim(1), x.dim(2), int64_t{heads} * 18});
}

Var fused(const Var& x, const Weights& w, int heads) {
  const Var y =
      ag::deform_attention(ag::linear(x, w.qkv, {}), offsets_of(x, w, heads), w.rel_height, w.rel_width, heads);
  return ag::linear(y, w.proj, {});
}

Var unfolded(const Var& x, const Weights& w, const Var& position, const Var& ones, int heads) {
  const Var offset = offsets_of(x, w, heads);
  const int64_t queries = x.dim(0) * x.dim(1) * x.dim(2) * heads;
  const Var q = ag::reshape(ag::linear(x, w.q, {}), {queries, 1, 64});
  const Var keys = bench::unfold_samples(ag::linear(x, w.k, {}), offset, heads);  // [queries,9,64]
  const Var products = ag::linear(ag::mul(keys, q), ones, {});                    // [queries,9,1]
  const Var logits = ag::add(ag::scale(ag::reshape(products, {queries, 9}), 0.125), position);
  const Var probabilities = ag::reshape(ag::softmax(logits), {queries, 1, 9});
  const Var values = bench::unfold_samples(ag::linear(x, w.v, {}), offset, heads);
  return ag::linear(ag::reshape(ag::matmul(probabilities, values), x.shape()), w.proj, {});
}

struct Cost {
  Timing time;
  int64_t bytes;
};
Cost cost_of(const Options& options, Device& device, const std::function<void()>& pass) {
  const Timing timing = time(options.repeat, [&] {
    pass();
    device.synchronize();
  });
  const int64_t before = device.memory().current_bytes;
  device.reset_peak();
  pass();
  device.synchronize();
  return {timing, device.memory().peak_bytes - before};
}

nlohmann::json run(const Options& options, const Stage& stage, Device& device) {
  const DType dtype = parse_dtype(options.dtype);
  const Weights w = weights_of(stage, dtype, device);
  const Shape shape{options.batch, stage.side, stage.side, stage.heads * 64};
  const int64_t queries = shape.numel() / 64;
  const Var x = Var::parameter(random_tensor(shape, 1, dtype, device, 9));
  const auto pass = [&](const std::function<Var()>& f) {
    return [&, f] {
      backward(ag::mean(f()));
      for (const Var* v : {&x, &w.q, &w.k, &w.v, &w.qkv, &w.offset, &w.proj, &w.rel_height, &w.rel_width})
        Var(*v).clear_grad();
    };
  };
  const Cost a = cost_of(options, device, pass([&] { return fused(x, w, stage.heads); }));
  nlohmann::json result{
      {"side", stage.side},
      {"heads", stage.heads},
      {"fused", {{"min_ms", a.time.minimum_ms}, {"median_ms", a.time.median_ms}, {"bytes", a.bytes}}}};
  fmt::print("  {:3}x{:<3} {} heads: fused {:8.2f} ms {:7.1f} MB", stage.side, stage.side, stage.heads,
             a.time.minimum_ms, static_cast<double>(a.bytes) * 1e-6);
  if (!device.is_cpu() || dtype != DType::f32) {
    fmt::print("\n");
    return result;
  }
  const Var ones = Tensor::from<float>({1, 64}, std::vector<float>(64, 1.0f), device);
  const Var position = random_tensor({queries, 9}, 0.1, dtype, device, 10);
  const Cost b = cost_of(options, device, pass([&] { return unfolded(x, w, position, ones, stage.heads); }));
  const double faster = b.time.minimum_ms / a.time.minimum_ms;
  const double smaller = static_cast<double>(b.bytes) / static_cast<double>(a.bytes);
  fmt::print("   unfolded {:8.2f} ms {:7.1f} MB   {:.2f}x time, {:.2f}x memory\n", b.time.minimum_ms,
             static_cast<double>(b.bytes) * 1e-6, faster, smaller);
  result["unfolded"] = {{"min_ms", b.time.minimum_ms}, {"median_ms", b.time.median_ms}, {"bytes", b.bytes}};
  result["times_faster"] = faster;
  result["times_smaller"] = smaller;
  return result;
}
}  // namespace
}  // namespace segrt

int main(int argc, char** argv) {
  segrt::Options options;
  CLI::App app("Times DGMN2's attention against its unfolded formulation.", "bench_attention_cpu");
  app.add_option("--device", options.device, "cpu, or cuda for the first GPU")->capture_default_str();
  app.add_option("--dtype", options.dtype, "f32, bf16 or f16")->capture_default_str();
  app.add_option("--batch", options.batch, "images")->capture_default_str();
  app.add_option("--threads", options.threads, "0: all cores")->capture_default_str();
  app.add_option("--repeat", options.repeat, "timed passes")->capture_default_str();
  app.add_option("--json", options.json, "write the figures there");
  CLI11_PARSE(app, argc, argv);
  segrt::set_threads(options.threads);
  const auto device = segrt::Device::create(options.device);
  fmt::print("{}, {}, {} threads, batch {}\n", device->name(), options.dtype, segrt::threads(), options.batch);
  nlohmann::json stages = nlohmann::json::array();
  for (const segrt::Stage& stage : segrt::kStages) stages.push_back(segrt::run(options, stage, *device));
  if (options.json.empty()) return 0;
  std::ofstream(options.json) << nlohmann::json{{"benchmark", "attention"}, {"device", device->name()},
                                                {"dtype", options.dtype},   {"threads", segrt::threads()},
                                                {"batch", options.batch},   {"image", 512},
                                                {"stages", stages}}
                                     .dump(1)
                              << "\n";
}
