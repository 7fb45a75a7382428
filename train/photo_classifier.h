// Classifies single photos, and says where in them it saw a class.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/random_resized_crop.h"
#include "models/model.h"

namespace segrt::train {

class PhotoClassifier {
 public:
  struct Options {
    data::CentreCrop::Options centre_crop = {};
    DType precision = DType::f32;         // of activations
    std::array<double, 3> mean{}, std{};  // of the dataset, for a network that does not say how it wants its images
  };
  // Puts the model into evaluation mode; it must outlive this object. Throws ArgumentError for a model that is no
  // classifier, and a crop that is no multiple of what it asks for.
  PhotoClassifier(models::Model& model, const Options& options);

  // A score for each class, of the centre crop. A network of class activation maps (class_map_stride) is averaged over
  // its map, which is what the same network with pooling gives, as pooling and its last layer are linear.
  std::vector<float> scores(const data::Image& photo);

  // The class activation map of `label` (Zhou et al. 2016, arXiv:1512.04150) at the photo's resolution, row by row: the
  // whole photo with its shorter side at scale_size goes through the network, and the map is resized by Pillow's
  // bilinear filter. Throws ArgumentError for a network without such maps, or a class that it does not have.
  std::vector<float> class_map(const data::Image& photo, int64_t label);

 private:
  Tensor forward(const data::Image& image);  // f32 [1,h,w,classes]

  models::Model& model_;
  Options options_;
  Device* device_ = nullptr;
};

}  // namespace segrt::train
