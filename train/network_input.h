// From 8-bit images to the input of a network.
#pragma once

#include <array>
#include <memory>

#include "core/upload_ring.h"
#include "data/batch.h"
#include "data/batch_mix.h"
#include "kernels/elementwise.h"
#include "models/model.h"

namespace segrt::train {

// What the network asks for; else the dataset's own mean and std (RGB, in units of [0,1]).
kernels::Normalization input_normalization(const models::Model& model, const std::array<double, 3>& mean,
                                           const std::array<double, 3>& std);

// A batch on the device: images normalised in `precision` [N,H,W,3], padding (Batch::content) 0; labels u8 [N,H,W], or
// the images' classes i64 [N].
Tensor upload_images(const data::Batch& batch, const kernels::Normalization& normalization, DType precision,
                     Device& device);
Tensor upload_labels(const data::Batch& batch, Device& device);

// The same without the host waiting for the device: labels are overwritten by the upload after the next.
struct NetworkInput {
  Tensor x, labels;
  Tensor own_share = {};  // f32 [1], of a batch mixed with its reverse; else undefined
};
// What happens to a training batch on the device: rectangles that its samples ask for become noise (from `seed`), then
// it is mixed with its reverse.
struct BatchAugmentation {
  uint64_t seed = 1;
  data::MixOptions mix = {};
};
NetworkInput upload(const std::shared_ptr<const data::Batch>& batch, const kernels::Normalization& normalization,
                    DType precision, UploadRing& ring, const BatchAugmentation& augmentation = {});

// x [N,H,W,C] with zeros below and to the right, up to multiples of `multiple`; x itself where nothing is missing.
Tensor padded_to_multiple(const Tensor& x, int multiple);
// The first `height` rows and `width` columns of x [N,H,W,C]; x itself where that is all of it. Throws ArgumentError.
Tensor top_left(const Tensor& x, int64_t height, int64_t width);

}  // namespace segrt::train
