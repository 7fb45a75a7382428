// The test procedure: whole images, at one or several sizes, optionally mirrored; the maps of the passes are combined
// at the resolution of the image.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/communicator.h"
#include "data/dataset.h"
#include "kernels/elementwise.h"
#include "models/captured_inference.h"
#include "models/model.h"
#include "train/metrics.h"
#include "train/settings.h"
#include "train/sliding_window.h"

namespace segrt::train {

class Evaluator {
 public:
  struct Options {
    // Passes over the image, resized to int(side * scale) by Pillow's bicubic; where there is a base size, to that
    // times the scale by OpenCV's bilinear; or, where `edges` is not empty, to each of these by Pillow's bilinear.
    std::vector<double> scales = {1};
    BaseSize base_size = {};
    std::vector<ShortestEdge> edges = {};
    ShortestEdge base = {};  // what the image is resized to before anything else
    bool flip = false;       // each pass also mirrored
    Average average = Average::log_probabilities;
    std::optional<SlidingWindow> window = {};  // each pass in windows; else as a whole
    DType precision = DType::f32;              // of activations
    std::array<double, 3> mean{}, std{};  // of the dataset, for a network that does not say how it wants its images
    // Called after the first pass over each image, while the model still holds what that pass did.
    std::function<void()> after_first_pass = nullptr;
  };
  // The model is put into evaluation mode.
  Evaluator(models::Model& model, Options options);

  // u8 [1,H,W] on the model's device for an RGB image of any size: the first argmax.
  Tensor predict(const data::Image& image);
  // f32 [1,H,W,classes] at the size of the image. Passes in the order of the options, unmirrored before mirrored, each
  // mirrored map mirrored back.
  //   log_probabilities: their sum over the passes; a map of another size is resized by Pillow's bilinear filter.
  //   logits: their mean over the passes; a map of another size is resized bilinearly, with aligned corners where the
  //   network's own upsampling has them.
  //   probabilities: their mean over the passes, each the softmax of logits resized likewise.
  // In windows, the logits of a pass are those of slide() (train/sliding_window.h), whatever is made of them.
  Tensor pixel_scores(const data::Image& image);

  // What the network measured in the first pass over the image of the last predict() or pixel_scores().
  using Measurements = std::vector<std::pair<std::string, double>>;
  const Measurements& measurements() const { return measurements_; }
  // Whether the last pass was the replay of a graph, and if not, why.
  const models::CapturedInference& inference() const { return inference_; }

  // One of the network's measurements over the images.
  struct Measured {
    std::string name;
    double mean = 0, min = 0, max = 0;
    int64_t images = 0;  // that have it
  };
  struct Result {
    std::vector<int64_t> confusion;  // [classes,classes]
    SegmentationScores scores;
    std::vector<Measured> measured;
    int64_t images = 0;
    double seconds = 0;
  };
  // Called after each image, if given: its index, the sample and the prediction [H,W,1].
  using OnImage = std::function<void(int64_t index, const data::Sample& sample, const data::Image& prediction)>;
  // Predicts the first `limit` samples (0: all) and counts them against their labels. Samples without a label are
  // predicted only.
  // With several processes each predicts every size-th sample, and sees on_image for those; all have the same result,
  // the confusion matrix to the last integer that of one process.
  Result evaluate(const data::Dataset& dataset, int64_t limit = 0, const OnImage& on_image = nullptr,
                  Communicator* processes = nullptr);

 private:
  size_t passes() const { return options_.edges.empty() ? options_.scales.size() : options_.edges.size(); }
  data::Image pass_image(const data::Image& base, size_t pass) const;
  Tensor packed(const data::Image& image) const;  // normalised [1,H,W,3] in the precision of the options
  models::Head forward(const Tensor& input);
  Tensor whole_logits(const Tensor& input);
  Tensor pass_logits(const Tensor& input);
  Tensor predict_in_windows(const Tensor& input);
  Tensor pass_log_probabilities(const Tensor& input);
  Tensor pass_map(const Tensor& input, int height, int width);
  Tensor combined(const data::Image& base, int height, int width);

  models::Model& model_;
  Options options_;
  models::CapturedInference inference_;
  Device& device_;
  kernels::Normalization normalization_;
  Measurements measurements_;
  bool first_pass_ = true;
  bool aligned_corners_ = false;  // of the last pass
};

// The procedure that [eval] describes, with one pass or (`multi_scale`) all of its scales or sizes. Precision, mean and
// std are left to the caller.
Evaluator::Options evaluation_options(const EvalSettings& settings, bool multi_scale, bool flip);

// A table a person reads: a line a measurement with mean, least and greatest value. What a name ends in is its unit:
// "real_gflops".
std::string measured_table(std::span<const Evaluator::Measured> measured);

}  // namespace segrt::train
