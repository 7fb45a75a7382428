#include "train/network_input.h"

#include "core/error.h"
#include "kernels/batch_augment.h"

namespace segrt::train {
namespace {
// Rows [begin, begin + count) of one image of x [N,H,W,C], as [count, W*C]: a row is one vector of channels then, so
// that the kernels that copy slices of channels copy parts of rows.
Tensor rows(const Tensor& x, int64_t image, int64_t count) {
  return x.reshape({x.dim(0) * x.dim(1), x.dim(2) * x.dim(3)}).slice(image * x.dim(1), count);
}

// Sets what lies below and to the right of the first rows and columns of image n of x [N,H,W,C] to 0.
void zero_padding(const Tensor& x, int64_t n, data::ImageSize content) {
  const int64_t below = x.dim(1) - content.height, right = x.dim(2) - content.width;
  if (below > 0) {
    Tensor padding = x.reshape({x.dim(0) * x.dim(1), x.dim(2) * x.dim(3)}).slice((n + 1) * x.dim(1) - below, below);
    kernels::fill(padding, 0);
  }
  if (right > 0 && content.height > 0) {
    Tensor target = rows(x, n, content.height);
    kernels::copy_into_channels(Tensor::zeros({content.height, right * x.dim(3)}, x.dtype(), x.device()), target,
                                content.width * x.dim(3));
  }
}

UploadRing::Part images_of(const data::Batch& batch) {
  return {batch.images.data(), {batch.size, batch.height, batch.width, 3}, DType::u8};
}

UploadRing::Part labels_of(const data::Batch& batch) {
  if (!batch.classes.empty()) return {batch.classes.data(), {batch.size}, DType::i64};
  return {batch.labels.data(), {batch.size, batch.height, batch.width}, DType::u8};
}

Tensor on_device(const UploadRing::Part& part, Device& device) {
  Tensor t = Tensor::empty(part.shape, part.dtype, device);
  device.copy_from_host(t.raw(), part.source, t.nbytes());
  return t;
}

Tensor normalised(const Tensor& raw, const std::vector<data::ImageSize>& content,
                  const kernels::Normalization& normalization, DType precision) {
  Tensor x = Tensor::empty(raw.shape(), precision, raw.device());
  kernels::normalize_u8(raw, normalization, x);
  for (size_t n = 0; n < content.size(); ++n)
    if (content[n] != data::ImageSize{}) zero_padding(x, static_cast<int64_t>(n), content[n]);
  return x;
}
// The share goes to the device as an argument of the kernel that stores it, so nothing waits.
void mix_batch(const data::Batch& batch, const BatchAugmentation& augmentation, NetworkInput& input) {
  const data::BatchMix mix =
      data::draw_mix(augmentation.mix, augmentation.seed, batch.epoch, batch.index, batch.height, batch.width);
  if (mix.cut)
    kernels::swap_with_reversed(mix.box.y, mix.box.x, mix.box.height, mix.box.width, input.x);
  else
    kernels::blend_with_reversed(mix.share, input.x);
  input.own_share = Tensor::empty({1}, DType::f32, input.x.device());
  kernels::fill(input.own_share, mix.share);
}
}  // namespace

kernels::Normalization input_normalization(const models::Model& model, const std::array<double, 3>& mean,
                                           const std::array<double, 3>& std) {
  const models::Preprocessing p =
      model.preprocessing().value_or(models::Preprocessing{.bgr = false, .unit = 255, .mean = mean, .std = std});
  kernels::Normalization n{};
  n.bgr = p.bgr;
  n.unit = static_cast<float>(p.unit);
  for (size_t c = 0; c < 3; ++c) {
    n.mean[c] = static_cast<float>(p.mean[c]);
    n.std[c] = static_cast<float>(p.std[c]);
  }
  return n;
}

Tensor upload_images(const data::Batch& batch, const kernels::Normalization& normalization, DType precision,
                     Device& device) {
  return normalised(on_device(images_of(batch), device), batch.content, normalization, precision);
}

Tensor upload_labels(const data::Batch& batch, Device& device) { return on_device(labels_of(batch), device); }

NetworkInput upload(const std::shared_ptr<const data::Batch>& batch, const kernels::Normalization& normalization,
                    DType precision, UploadRing& ring, const BatchAugmentation& augmentation) {
  std::vector<UploadRing::Part> parts{images_of(*batch), labels_of(*batch)};
  if (!batch->erasures.empty()) parts.push_back({batch->erasures.data(), {batch->size, 5}, DType::i64});
  const std::vector<Tensor> raw = ring.upload(parts, batch);
  NetworkInput input{normalised(raw[0], batch->content, normalization, precision), raw[1]};
  if (raw.size() > 2) kernels::erase_rectangles(raw[2], augmentation.seed, input.x);
  if (augmentation.mix.any()) mix_batch(*batch, augmentation, input);
  return input;
}

Tensor padded_to_multiple(const Tensor& x, int multiple) {
  const auto rounded_up = [multiple](int64_t n) { return (n + multiple - 1) / multiple * multiple; };
  const int64_t height = rounded_up(x.dim(1)), width = rounded_up(x.dim(2));
  if (height == x.dim(1) && width == x.dim(2)) return x;
  const Tensor padded = Tensor::zeros({x.dim(0), height, width, x.dim(3)}, x.dtype(), x.device());
  for (int64_t n = 0; n < x.dim(0); ++n) {
    Tensor target = rows(padded, n, x.dim(1));
    kernels::copy_into_channels(rows(x, n, x.dim(1)), target, 0);
  }
  return padded;
}

Tensor top_left(const Tensor& x, int64_t height, int64_t width) {
  if (height > x.dim(1) || width > x.dim(2))
    throw ArgumentError("top_left: expected at most the size of x " + to_string(x.shape()) + ", got " +
                        std::to_string(height) + "x" + std::to_string(width));
  if (height == x.dim(1) && width == x.dim(2)) return x;
  const Tensor part = Tensor::empty({x.dim(0), height, width, x.dim(3)}, x.dtype(), x.device());
  for (int64_t n = 0; n < x.dim(0); ++n) {
    Tensor target = rows(part, n, height);
    kernels::copy_from_channels(rows(x, n, height), 0, target);
  }
  return part;
}

}  // namespace segrt::train
