// segbench --mode latency: how long one image takes.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "apps/segbench/gpu_state.h"
#include "apps/segbench/report.h"
#include "core/device_marks.h"
#include "core/error.h"
#include "train/fasterseg_protocol.h"
#include "train/image_to_map.h"
#include "train/network_input.h"

namespace segrt::apps {
namespace {
// More bytes than the last-level cache holds: writing them evicts what was there.
int64_t eviction_bytes(const Device& device) {
  constexpr int64_t kMiB = 1 << 20;
  if (device.is_cuda()) return 256 * kMiB;  // L2 of 50 MiB (H100), 126 (B200)
  const int64_t last_level = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::clamp(2 * last_level, 64 * kMiB, 2048 * kMiB);
}

// ms of each run between two marks of the device; with `evict`, its caches are flushed before each, untimed.
std::vector<double> timed(kernels::ReplayedWork& work, int repeat, Device& device, const Tensor* evict) {
  DeviceMarks marks(device);
  std::vector<double> ms;
  for (int i = 0; i < repeat; ++i) {
    if (evict != nullptr) device.fill_bytes(evict->raw(), i, evict->nbytes());
    const size_t start = marks.mark();
    work.run();
    const size_t end = marks.mark();
    device.synchronize();
    ms.push_back(marks.ms(start, end));
    marks.clear();
  }
  return ms;
}

nlohmann::json times_json(const Times& times, const std::vector<double>& all) {
  return {{"median_ms", times.median}, {"min_ms", times.min}, {"p95_ms", times.p95}, {"all_ms", all}};
}

std::string line_of(const Times& t) {
  return fmt::format("median {:.3f} ms, p95 {:.3f}, min {:.3f}", t.median, t.p95, t.min);
}

void note_state(const std::string& when, const Device& device, nlohmann::json& json) {
  const std::string state = gpu_state(device);
  if (state.empty()) return;
  json["gpu_" + when] = state;
  fmt::print("  GPU {}: {}\n", when, state);
}

std::string how(const kernels::ReplayedWork& work) {
  return work.replays() ? "one replay of a graph" : "operator by operator (" + work.reason() + ")";
}

// Single runs, u8 image to u8 class map.
void by_median(const BenchArguments& a, BenchNetwork& network, nlohmann::json& json) {
  Device& device = *network.device;
  train::ImageToMap map(
      *network.model, device,
      {.precision = network.precision, .mean = {0.5, 0.5, 0.5}, .std = {0.25, 0.25, 0.25}, .capture = a.capture});
  const Shape shape{network.sizes[0], network.sizes[1], network.sizes[2], 3};
  kernels::ReplayedWork& work = map.prepare(shape);
  map.input().copy_from(Tensor::from<uint8_t>(shape, random_bytes(shape.numel(), 256, 1), device));
  for (int i = 0; i < a.warmup; ++i) work.run();
  device.synchronize();
  fmt::print(
      "{}: u8 image on the device to u8 class map on the device, batch {}, {}; copies to and from the host and "
      "decoding are not included\n",
      bench_header(a, network), shape[0], how(work));
  note_state("before", device, json);
  device.reset_peak();
  const std::vector<double> warm_ms = timed(work, a.repeat, device, nullptr);
  const int64_t peak = device.memory().peak_bytes;
  const Tensor evict = Tensor::empty({eviction_bytes(device)}, DType::u8, device);
  const std::vector<double> cold_ms = timed(work, a.repeat, device, &evict);
  note_state("after", device, json);
  const Times warm(warm_ms), cold(cold_ms);
  const double fps = 1000 * static_cast<double>(shape[0]) / warm.median;
  fmt::print("  warm caches: {} ({} runs after {})\n  cold caches: {} ({} MiB written between runs, untimed)\n",
             line_of(warm), a.repeat, a.warmup, line_of(cold), evict.nbytes() >> 20);
  fmt::print("  FPS as papers state it (1000 / median warm ms{}): {:.2f}, batch {}, {}x{}, {}\n",
             shape[0] > 1 ? " x batch" : "", fps, shape[0], shape[1], shape[2], a.precision);
  json.update({{"protocol", "median"},
               {"replayed", work.replays()},
               {"eager_reason", work.reason()},
               {"median_ms", warm.median},
               {"min_ms", warm.min},
               {"p95_ms", warm.p95},
               {"warm", times_json(warm, warm_ms)},
               {"cold", times_json(cold, cold_ms)},
               {"evicted_bytes", evict.nbytes()},
               {"fps", fps},
               {"includes", "u8 image on the device to u8 class map on the device"},
               {"peak_bytes", peak},
               {"rss_bytes", peak_resident_bytes()}});
}

// ms of one loop.
double loop_ms(kernels::ReplayedWork& work, int64_t iterations, Device& device) {
  DeviceMarks marks(device);
  device.synchronize();
  const size_t start = marks.mark();
  for (int64_t i = 0; i < iterations; ++i) work.run();
  const size_t end = marks.mark();
  device.synchronize();
  return marks.ms(start, end);
}

// By train::measure_as_fasterseg. What runs is the network with its logits resized to the size of the input, from a
// normalised input, without softmax and argmax.
void by_fasterseg(const BenchArguments& a, BenchNetwork& network, nlohmann::json& json) {
  Device& device = *network.device;
  models::Model& model = *network.model;
  model.set_training(false);
  model.begin_step(0, 0);
  const Shape shape{network.sizes[0], network.sizes[1], network.sizes[2], 3};
  Tensor input = Tensor::empty(shape, network.precision, device);
  kernels::normalize_u8(Tensor::from<uint8_t>(shape, random_bytes(shape.numel(), 256, 1), device),
                        train::input_normalization(model, {0.5, 0.5, 0.5}, {0.25, 0.25, 0.25}), input);
  const Tensor padded = train::padded_to_multiple(input, model.pad_multiple());
  kernels::ReplayedWork work(
      device,
      [&] {
        const NoGrad no_grad(device);
        const models::Head head = model.forward(padded).front();
        return nn::upsampled_scores(head.scores, head.up).value();
      },
      a.capture);
  fmt::print("{}: normalised image on the device to logits at input size, batch {}, {}\n", bench_header(a, network),
             shape[0], how(work));
  note_state("before", device, json);
  const auto result = train::measure_as_fasterseg([&](int64_t runs) { return loop_ms(work, runs, device); });
  note_state("after", device, json);
  fmt::print("  FasterSeg protocol (DABNet paper): latency {:.3f} ms, FPS {:.2f}: the mean of {} runs timed as one\n",
             result.latency_ms, result.fps(), result.iterations);
  json.update({{"protocol", "fasterseg"},
               {"replayed", work.replays()},
               {"eager_reason", work.reason()},
               {"latency_ms", result.latency_ms},
               {"fps", result.fps()},
               {"iterations", result.iterations},
               {"calibrated_rate", result.calibrated_rate},
               {"includes", "normalised image on the device to logits at input size"}});
}

}  // namespace

int bench_latency(const BenchArguments& a) {
  if (!a.profile.file.empty()) throw ArgumentError("--profile: for --mode forward and train");
  BenchNetwork network = open_network(a);
  network.config.check_unused();
  if (network.model->task() != models::Task::segmentation)
    throw ArgumentError("--mode latency: for segmentation networks; " + network.model->name() + " is a classifier");
  nlohmann::json json = bench_json(a, network);
  a.protocol == "fasterseg" ? by_fasterseg(a, network, json) : by_median(a, network, json);
  if (a.explain) explain_choices(*network.device);
  write_json(a, json);
  return 0;
}

}  // namespace segrt::apps
