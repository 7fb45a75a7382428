// Inference as a user means it: an 8-bit image to a class map, both on the device.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "kernels/elementwise.h"
#include "kernels/replayed_work.h"
#include "models/model.h"

namespace segrt::train {

// Normalisation, network, upsampling and argmax in one; recorded as one graph on devices that have that. The weights of
// the network must not change while this object lives.
class ImageToMap {
 public:
  struct Options {
    DType precision = DType::f32;
    std::array<double, 3> mean{}, std{};  // of the dataset, for a network that does not say how it wants its images
    bool capture = true;
  };
  // The model is put into evaluation mode. Throws ArgumentError for a classifier.
  ImageToMap(models::Model& model, Device& device, const Options& options);

  // u8 [N,H,W,3] RGB -> u8 [N,H,W], first argmax. Overwritten by the next run. The second image of a shape in a row is
  // recorded.
  Tensor run(const Tensor& image);

  // The recorded (or, without graphs, the eager) work for images of `shape`; it reads input().
  kernels::ReplayedWork& prepare(const Shape& shape);
  Tensor& input() { return input_; }

 private:
  Tensor map_of(const Tensor& image);

  models::Model& model_;
  Device& device_;
  Options options_;
  kernels::Normalization normalization_;
  Shape shape_;       // of the latest images
  int in_a_row_ = 0;  // of that shape
  Tensor input_;
  std::unique_ptr<kernels::ReplayedWork> work_;
};

}  // namespace segrt::train
