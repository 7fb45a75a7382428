#include "train/loss_window.h"

#include <algorithm>
#include <cmath>

namespace segrt::train {

LossWindow::LossWindow(Device& device, int capacity)
    : capacity_(capacity), totals_{"", Tensor::zeros({capacity}, DType::f32, device)} {}

void LossWindow::append(Series& series, const Tensor& value) {
  series.values.slice(series.steps, 1).copy_from(value);
  ++series.steps;
}

void LossWindow::add(const Tensor& total, const std::vector<models::AuxiliaryLoss>& auxiliary) {
  append(totals_, total);
  for (const models::AuxiliaryLoss& loss : auxiliary) {
    auto series =
        std::find_if(auxiliary_.begin(), auxiliary_.end(), [&](const Series& s) { return s.name == loss.name; });
    if (series == auxiliary_.end())
      series = auxiliary_.insert(series, {loss.name, Tensor::zeros({capacity_}, DType::f32, total.device())});
    append(*series, loss.value.value());
  }
}

std::vector<float> LossWindow::totals() const { return totals_.values.slice(0, totals_.steps).to_vector<float>(); }

double LossWindow::mean(const Series& series) {
  if (series.steps == 0) return 0;
  const std::vector<float> values = series.values.slice(0, series.steps).to_vector<float>();
  double sum = 0;
  int64_t finite = 0;
  for (const float v : values)
    if (std::isfinite(v)) sum += static_cast<double>(v), ++finite;
  return finite == 0 ? std::nan("") : sum / static_cast<double>(finite);
}

double LossWindow::mean_total() const { return mean(totals_); }

std::vector<std::pair<std::string, double>> LossWindow::mean_auxiliary() const {
  std::vector<std::pair<std::string, double>> means;
  for (const Series& s : auxiliary_) means.emplace_back(s.name, mean(s));
  return means;
}

}  // namespace segrt::train
