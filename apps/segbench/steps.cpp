// segbench --mode forward and train: single steps, host clock around each.
#include <fmt/format.h>

#include <chrono>

#include "apps/segbench/report.h"
#include "kernels/elementwise.h"
#include "models/captured_inference.h"
#include "train/network_input.h"
#include "train/optimizer.h"
#include "train/settings.h"
#include "train/training_step.h"

namespace segrt::apps {
namespace {

// What is timed: an image on the device to a class map or a classifier's scores (forward), or to updated weights
// (train).
class Workload {
 public:
  Workload(const BenchArguments& a, BenchNetwork& network)
      : device_(*network.device), model_(*network.model), training_(a.mode == "train"), capture_(a.capture) {
    const std::vector<int64_t>& sizes = network.sizes;
    const Shape shape{sizes[0], sizes[1], sizes[2], 3};
    const Tensor raw = Tensor::from<uint8_t>(shape, random_bytes(shape.numel(), 256, 1), device_);
    input_ = Tensor::empty(shape, network.precision, device_);
    kernels::normalize_u8(raw, train::input_normalization(model_, {0.5, 0.5, 0.5}, {0.25, 0.25, 0.25}), input_);
    if (model_.task() == models::Task::classification)
      labels_ = Tensor::zeros({sizes[0]}, DType::i64, device_);
    else
      labels_ = Tensor::from<uint8_t>({sizes[0], sizes[1], sizes[2]},
                                      random_bytes(sizes[0] * sizes[1] * sizes[2], model_.classes(), 2), device_);
    model_.set_training(training_);
    inference_ = std::make_unique<models::CapturedInference>(model_);
    if (training_) {
      const train::TrainSettings settings = train::train_settings(network.config);
      train::Optimizer::Options options = settings.optimizer;
      options.schedule = {};  // the weights of a few steps on noise shall stay near where they started
      optimizer_ = train::Optimizer::create(model_, options);
      if (settings.ema_decay > 0) average_ = std::make_unique<train::WeightAverage>(model_, settings.ema_decay);
      step_ = std::make_unique<train::TrainingStep>(
          model_, *optimizer_, train::TrainingStep::Options{.capture = a.capture}, nullptr, average_.get());
    }
  }

  void run() {
    if (!training_) {
      const NoGrad no_grad(device_);
      const models::Head head = (capture_ ? inference_->forward(input_) : model_.forward(input_)).front();
      if (model_.task() == models::Task::classification) return;
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
  models::Model& model_;
  bool training_, capture_;
  std::unique_ptr<models::CapturedInference> inference_;
  std::unique_ptr<train::Optimizer> optimizer_;
  std::unique_ptr<train::WeightAverage> average_;
  std::unique_ptr<train::TrainingStep> step_;
  Tensor input_, labels_;
};

void profile(const BenchArguments& a, Device& device, Workload& workload) {
  workload.run();  // makes what an eager run keeps
  OpProfile profile(device);
  for (int i = 0; i < a.profile.runs; ++i) workload.run();
  report_profile(profile, a.profile.runs, a.profile, device);
}
}  // namespace

int bench_steps(const BenchArguments& a) {
  BenchNetwork network = open_network(a);
  Device& device = *network.device;
  Workload workload(a, network);
  network.config.check_unused();
  for (int i = 0; i < a.warmup; ++i) workload.run();
  device.synchronize();
  device.reset_peak();
  std::vector<double> ms;
  for (int i = 0; i < a.repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    workload.run();
    device.synchronize();
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  const Times times(ms);
  const double rate = 1000 * static_cast<double>(network.sizes[0]) / times.median;
  const int64_t peak = device.memory().peak_bytes;
  fmt::print("{}: median {:.2f} ms, min {:.2f}, p95 {:.2f}, {:.2f} images/s, peak {:.1f} MiB ({} runs{})\n",
             bench_header(a, network), times.median, times.min, times.p95, rate, static_cast<double>(peak) / (1 << 20),
             a.repeat, workload.replays() ? ", by replay of a graph" : "");
  if (a.explain) explain_choices(device);
  nlohmann::json json = bench_json(a, network);
  json.update({{"replayed", workload.replays()},
               {"eager_reason", workload.eager_reason()},
               {"median_ms", times.median},
               {"min_ms", times.min},
               {"p95_ms", times.p95},
               {"images_per_s", rate},
               {"peak_bytes", peak},
               {"rss_bytes", peak_resident_bytes()},
               {"all_ms", ms}});
  write_json(a, json);
  if (!a.profile.file.empty()) profile(a, device, workload);
  return 0;
}

}  // namespace segrt::apps
