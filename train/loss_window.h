// The losses of the last steps. They stay on the device until somebody reads them, so that a step need not wait for its
// loss.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/model.h"

namespace segrt::train {

class LossWindow {
 public:
  LossWindow(Device& device, int capacity);  // steps

  // total: f32 [1]. Of the auxiliary losses that are part of it, those of this step are given.
  void add(const Tensor& total, const std::vector<models::AuxiliaryLoss>& auxiliary);

  int64_t steps() const { return totals_.steps; }
  // These wait for the device.
  std::vector<float> totals() const;
  // Means are over the finite losses: others belong to steps that loss scaling skipped. 0 without a step, NaN where
  // none is finite.
  double mean_total() const;
  // The mean of each auxiliary loss over the steps that had it, in order of first appearance.
  std::vector<std::pair<std::string, double>> mean_auxiliary() const;

 private:
  struct Series {
    std::string name;
    Tensor values;  // f32 [capacity]
    int64_t steps = 0;
  };
  static void append(Series& series, const Tensor& value);
  static double mean(const Series& series);

  int capacity_;
  Series totals_;
  std::vector<Series> auxiliary_;
};

}  // namespace segrt::train
