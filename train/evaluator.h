// The test procedure: whole images, at one or several scales, optionally mirrored; argmax of the summed
// log-probabilities.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "models/model.h"
#include "train/metrics.h"

namespace segrt::train {

class Evaluator {
 public:
  struct Options {
    std::vector<double> scales = {
        1};             // the image is resized to int(side * scale) (Pillow's bicubic) and the result back (bilinear)
    bool flip = false;  // also mirrored
    DType precision = DType::f32;  // of activations
    std::array<double, 3> mean{}, std{};
  };
  // The model is put into evaluation mode.
  Evaluator(models::Model& model, Options options);

  // u8 [1,H,W] on the model's device for an RGB image of any size.
  Tensor predict(const data::Image& image);
  // f32 [1,H,W,classes]: log-probabilities summed over scales and flips, in the order of the options, unmirrored before
  // mirrored.
  Tensor log_probability_sum(const data::Image& image);

  struct Result {
    std::vector<int64_t> confusion;  // [classes,classes]
    SegmentationScores scores;
    int64_t images = 0;
    double seconds = 0;
  };
  // Called after each image, if given: its index, the sample and the prediction [H,W,1].
  using OnImage = std::function<void(int64_t index, const data::Sample& sample, const data::Image& prediction)>;
  // Predicts the first `limit` samples (0: all) and counts them against their labels. Samples without a label are
  // predicted only.
  Result evaluate(const data::Dataset& dataset, int64_t limit = 0, const OnImage& on_image = nullptr);

 private:
  Tensor packed(const data::Image& image) const;  // normalised [1,H,W,3] in the precision of the options
  Tensor log_probabilities(const Tensor& input, int height, int width);

  models::Model& model_;
  Options options_;
  Device& device_;
};

}  // namespace segrt::train
