#include "train/precise_bn.h"

#include "kernels/elementwise.h"
#include "nn/layers.h"

namespace segrt::train {
namespace {
// While it lives, a batch norm's running statistics are those of its last batch, and averages of them are kept here.
class StatisticsCollector {
 public:
  explicit StatisticsCollector(nn::BatchNorm& norm)
      : norm_(norm),
        momentum_(norm.options().momentum),
        mean_(norm.running_mean().clone()),
        var_(norm.running_var().clone()) {
    norm_.set_momentum(1);
  }
  StatisticsCollector(const StatisticsCollector&) = delete;
  StatisticsCollector& operator=(const StatisticsCollector&) = delete;
  ~StatisticsCollector() { norm_.set_momentum(momentum_); }

  void before_batch() {
    // running += 1 * (batch - running) gives the batch's value to the last bit only where running is 0.
    for (Tensor running : {norm_.running_mean(), norm_.running_var()}) {
      running.fill_zero();
      running.bump_version();
    }
    version_ = norm_.running_mean().version();
  }
  void after_batch() {
    if (norm_.running_mean().version() == version_) return;  // the network did not use this layer
    ++batches_;
    const double share = 1.0 / static_cast<double>(batches_);
    kernels::add_scaled(mean_, 1 - share, norm_.running_mean(), share, mean_);
    kernels::add_scaled(var_, 1 - share, norm_.running_var(), share, var_);
  }
  bool finish() {
    Tensor mean = norm_.running_mean(), var = norm_.running_var();
    mean.copy_from(mean_);  // of a layer that was not used: what it had
    var.copy_from(var_);
    return batches_ > 0;
  }

 private:
  nn::BatchNorm& norm_;
  double momentum_;
  Tensor mean_, var_;
  int64_t batches_ = 0;
  uint64_t version_ = 0;
};
}  // namespace

int64_t precise_batch_norm(models::Model& model, int batches, const std::function<Tensor()>& next_input) {
  std::vector<std::unique_ptr<StatisticsCollector>> collectors;
  model.visit_modules([&](const std::string&, nn::Module& module) {
    if (auto* norm = dynamic_cast<nn::BatchNorm*>(&module))
      collectors.push_back(std::make_unique<StatisticsCollector>(*norm));
  });
  model.set_training(true);
  model.begin_step(0, 0);
  for (int i = 0; i < batches && !collectors.empty(); ++i) {
    const Tensor input = next_input();
    const NoGrad no_grad(input.device());
    for (const auto& collector : collectors) collector->before_batch();
    model.forward(input);
    for (const auto& collector : collectors) collector->after_batch();
  }
  int64_t renewed = 0;
  for (const auto& collector : collectors) renewed += collector->finish();
  return renewed;
}

}  // namespace segrt::train
