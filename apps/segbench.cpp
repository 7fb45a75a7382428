// segbench CONFIG: times the forward pass or a training step of a network on random input.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/command_line.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "kernels/elementwise.h"
#include "kernels/vendor_choices.h"
#include "models/captured_inference.h"
#include "train/network_input.h"
#include "train/optimizer.h"
#include "train/settings.h"
#include "train/training_step.h"

namespace {
using namespace segrt;

struct Arguments {
  std::string config, mode = "forward", input = "1x512x1024", precision = "f32", json;
  int repeat = 20, warmup = 3;
  bool capture = true, explain = false;
  apps::CommonOptions common;
};

std::vector<uint8_t> random_bytes(int64_t count, int below, uint64_t stream) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  Rng rng(1, stream);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng.next_u32() % static_cast<uint32_t>(below));
  return bytes;
}

// What is timed: an image on the device to a class map or a classifier's scores (forward), or to updated weights
// (train).
class Workload {
 public:
  Workload(const Arguments& a, const std::vector<int64_t>& sizes, const Config& config, Device& device)
      : device_(device), training_(a.mode == "train"), capture_(a.capture) {
    nn::Init init(device, 1);
    model_ = models::build(config.table("model"), init);
    const Shape shape{sizes[0], sizes[1], sizes[2], 3};
    const Tensor raw = Tensor::from<uint8_t>(shape, random_bytes(shape.numel(), 256, 1), device);
    input_ = Tensor::empty(shape, parse_dtype(a.precision), device);
    kernels::normalize_u8(raw, train::input_normalization(*model_, {0.5, 0.5, 0.5}, {0.25, 0.25, 0.25}), input_);
    if (model_->task() == models::Task::classification)
      labels_ = Tensor::zeros({sizes[0]}, DType::i64, device);
    else
      labels_ = Tensor::from<uint8_t>({sizes[0], sizes[1], sizes[2]},
                                      random_bytes(sizes[0] * sizes[1] * sizes[2], model_->classes(), 2), device);
    model_->set_training(training_);
    inference_ = std::make_unique<models::CapturedInference>(*model_);
    if (training_) {
      train::Optimizer::Options options = train::train_settings(config).optimizer;
      options.schedule = {};  // the weights of a few steps on noise shall stay near where they started
      optimizer_ = train::Optimizer::create(*model_, options);
      step_ = std::make_unique<train::TrainingStep>(*model_, *optimizer_,
                                                    train::TrainingStep::Options{.capture = a.capture});
    }
  }

  void run() {
    if (!training_) {
      const NoGrad no_grad(device_);
      const models::Head head = (capture_ ? inference_->forward(input_) : model_->forward(input_)).front();
      if (model_->task() == models::Task::classification) return;
      nn::segmentation_argmax(head.scores.value(), head.up, static_cast<int>(input_.dim(1)),
                              static_cast<int>(input_.dim(2)));
      return;
    }
    step_->run(input_, labels_, 1, 2, nullptr);  // half-way: what is scheduled in a network is at work
  }

  // Why the last run was not the replay of a graph; empty if it was.
  std::string eager_reason() const {
    if (!capture_) return "--no-capture";
    return training_ ? step_->reason() : inference_->reason();
  }
  bool replays() const { return (training_ ? step_->graph() : inference_->graph()) != nullptr; }

 private:
  Device& device_;
  bool training_, capture_;
  std::unique_ptr<models::Model> model_;
  std::unique_ptr<models::CapturedInference> inference_;
  std::unique_ptr<train::Optimizer> optimizer_;
  std::unique_ptr<train::TrainingStep> step_;
  Tensor input_, labels_;
};

// Of this process so far, all of it: code, libraries, caches.
int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

// Who computes what on a GPU, and what was measured to decide it.
void explain(Device& device) {
  const std::vector<kernels::VendorChoice> choices = kernels::vendor_choices(device);
  if (choices.empty()) fmt::print("nothing was offered to a vendor library\n");
  const auto ms = [](double t) { return t > 0 ? fmt::format("{:.3f} ms", t) : std::string("not timed"); };
  for (const auto& c : choices)
    fmt::print("{}\n    {}; {} {}, without it {}, workspace {:.1f} MiB\n", c.problem,
               c.engine.empty() ? "without " + c.library : c.library + " " + c.engine, c.library, ms(c.plan_ms),
               ms(c.own_ms), static_cast<double>(c.workspace_bytes) / (1 << 20));
}

int bench(const Arguments& a) {
  const std::vector<int64_t> sizes = apps::parse_sizes("--input", a.input, 3);
  const std::unique_ptr<Device> device = apps::open_device(a.common);
  const Config config = Config::load(a.config, a.common.set);
  for (const char* table : {"data", "train", "validate", "eval"})
    if (a.mode != "train" || std::string_view(table) != "train") config.ignore(table);
  Workload workload(a, sizes, config, *device);
  config.check_unused();
  for (int i = 0; i < a.warmup; ++i) workload.run();
  device->synchronize();
  device->reset_peak();
  std::vector<double> ms;
  for (int i = 0; i < a.repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    workload.run();
    device->synchronize();
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double q) { return ms[static_cast<size_t>(q * static_cast<double>(ms.size() - 1) + 0.5)]; };
  const double median = ms.size() % 2 == 1 ? ms[ms.size() / 2] : (ms[ms.size() / 2 - 1] + ms[ms.size() / 2]) / 2;
  const double rate = 1000 * static_cast<double>(sizes[0]) / median;
  const int64_t peak = device->memory().peak_bytes;
  fmt::print(
      "{} {} {} {} on {}, {} threads: median {:.2f} ms, min {:.2f}, p95 {:.2f}, {:.2f} images/s, peak {:.1f} MiB ({} "
      "runs{})\n",
      config.table("model").text("name"), a.mode, a.input, a.precision, device->description(), threads(), median,
      ms.front(), at(0.95), rate, static_cast<double>(peak) / (1 << 20), a.repeat,
      workload.replays() ? ", by replay of a graph" : "");
  if (a.explain) explain(*device);
  if (a.json.empty()) return 0;
  const nlohmann::json json{{"config", a.config},
                            {"set", a.common.set},
                            {"mode", a.mode},
                            {"input", a.input},
                            {"precision", a.precision},
                            {"device", device->name()},
                            {"device_description", device->description()},
                            {"threads", threads()},
                            {"warmup", a.warmup},
                            {"repeat", a.repeat},
                            {"replayed", workload.replays()},
                            {"eager_reason", workload.eager_reason()},
                            {"median_ms", median},
                            {"min_ms", ms.front()},
                            {"p95_ms", at(0.95)},
                            {"images_per_s", rate},
                            {"peak_bytes", peak},
                            {"rss_bytes", peak_resident_bytes()},
                            {"all_ms", ms}};
  std::ofstream out(a.json);
  out << json.dump(2) << '\n';
  if (!out.flush()) throw FileError(a.json + ": cannot write");
  return 0;
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times a network on random input: image on the device to class map, or one training step.", "segbench");
  Arguments a;
  app.add_option("config", a.config, "configuration, e.g. models/drn_d_22.toml")->required();
  app.add_option("--mode", a.mode, "forward or train")
      ->capture_default_str()
      ->check(CLI::IsMember({"forward", "train"}));
  app.add_option("--input", a.input, "NxHxW")->capture_default_str();
  app.add_option("--precision", a.precision, "f32, bf16 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  app.add_option("--repeat", a.repeat, "timed runs")->capture_default_str()->check(CLI::Range(1, 100000));
  app.add_option("--warmup", a.warmup, "runs before them")->capture_default_str()->check(CLI::Range(0, 1000));
  app.add_flag("!--no-capture", a.capture, "on CUDA: run operator by operator in place of replaying a graph");
  app.add_option("--json", a.json, "write the figures and all that is needed to repeat them to this file");
  app.add_flag("--explain", a.explain,
               "on a GPU: who computes each convolution and matrix product, and what was measured");
  apps::add_device_options(app, a.common);
  apps::add_set_option(app, a.common);
  return apps::run_program(app, argc, argv, [&] { return bench(a); });
}
