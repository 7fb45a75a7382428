// segbench --mode stream: images from the host, class maps to the host, everything that can overlap does.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "apps/segbench/gpu_state.h"
#include "apps/segbench/report.h"
#include "core/error.h"
#include "train/streaming.h"

namespace segrt::apps {
namespace {
namespace fs = std::filesystem;

// The photos of a folder, by name.
std::vector<fs::path> photos_in(const std::string& folder) {
  std::vector<fs::path> photos;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    std::string extension = entry.path().extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (extension == ".png" || extension == ".jpg" || extension == ".jpeg") photos.push_back(entry.path());
  }
  if (error) throw FileError(folder + ": " + error.message());
  if (photos.empty()) throw FileError(folder + ": no JPEG or PNG files");
  std::sort(photos.begin(), photos.end());
  return photos;
}
}  // namespace

int bench_stream(const BenchArguments& a) {
  if (!a.profile.file.empty()) throw ArgumentError("--profile: for --mode forward and train");
  BenchNetwork network = open_network(a);
  network.config.check_unused();
  Device& device = *network.device;
  if (network.sizes[0] != 1) throw ArgumentError("--input: --mode stream takes images one by one: expected 1xHxW");
  train::StreamingInference stream(*network.model, device,
                                   {.inference = {.precision = network.precision,
                                                  .mean = {0.5, 0.5, 0.5},
                                                  .std = {0.25, 0.25, 0.25},
                                                  .capture = a.capture},
                                    .workers = a.workers});
  const std::vector<fs::path> photos = a.images.empty() ? std::vector<fs::path>() : photos_in(a.images);
  data::Image noise(static_cast<int>(network.sizes[1]), static_cast<int>(network.sizes[2]), 3);
  noise.pixels = random_bytes(static_cast<int64_t>(noise.pixels.size()), 256, 1);
  const auto source = [&](int64_t i) {
    return photos.empty() ? noise : data::read_image(photos[static_cast<size_t>(i) % photos.size()]);
  };
  const auto sink = [](int64_t, const data::Image&, const data::Image&) {};
  if (a.warmup > 0) stream.run(a.warmup, source, sink);
  nlohmann::json json = bench_json(a, network);
  const auto stats = stream.run(a.repeat, source, sink);
  const Times latency(stats.latency_ms);
  const double rate = static_cast<double>(stats.frames) / stats.seconds;
  const double share = 100 / stats.seconds;
  fmt::print("{}: {}, {} decoding threads\n", bench_header(a, network),
             photos.empty() ? std::string("noise in host memory to class maps in host memory")
                            : fmt::format("files of {} (of their own size) to class maps in host memory", a.images),
             a.workers);
  fmt::print("  {:.2f} frames/s ({} frames in {:.2f} s)\n", rate, stats.frames, stats.seconds);
  fmt::print(
      "  latency, start of the copy to the device to map on the host: median {:.2f} ms, p95 {:.2f}, min {:.2f}\n",
      latency.median, latency.p95, latency.min);
  fmt::print(
      "  the thread that drives the device: {:.1f} % waiting for decoders, {:.1f} % waiting for the device, {:.1f} % "
      "{}\n",
      share * stats.wait_decode_s, share * stats.wait_device_s,
      std::max(0.0, 100 - share * (stats.wait_decode_s + stats.wait_device_s + stats.sink_s)),
      device.is_cpu() ? "computing" : "queueing work");
  fmt::print("  decoding: {:.2f} ms a frame and thread\n", 1000 * stats.decode_s / static_cast<double>(stats.frames));
  if (const std::string state = gpu_state(device); !state.empty()) {
    fmt::print("  GPU after: {}\n", state);
    json["gpu_after"] = state;
  }
  json.update({{"frames", stats.frames},
               {"seconds", stats.seconds},
               {"frames_per_s", rate},
               {"images", a.images},
               {"workers", a.workers},
               {"latency", {{"median_ms", latency.median}, {"p95_ms", latency.p95}, {"min_ms", latency.min}}},
               {"wait_decode_s", stats.wait_decode_s},
               {"wait_device_s", stats.wait_device_s},
               {"decode_s", stats.decode_s},
               {"rss_bytes", peak_resident_bytes()}});
  write_json(a, json);
  return 0;
}

}  // namespace segrt::apps
