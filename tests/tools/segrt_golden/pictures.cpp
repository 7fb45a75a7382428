#include "tests/tools/segrt_golden/pictures.h"

#include <cmath>

#include "core/error.h"
#include "kernels/argmax.h"
#include "train/metrics.h"

namespace segrt::golden {

data::Image picture(GoldenFile& file, const std::string& name) {
  const Tensor t = file.tensor(name);
  if (t.dtype() != DType::u8 || t.rank() < 2 || t.rank() > 3)
    throw FileError(file.path() + ": " + name + ": expected u8 [h,w] or [h,w,c], got " + describe(t));
  data::Image image(static_cast<int>(t.dim(0)), static_cast<int>(t.dim(1)),
                    t.rank() == 3 ? static_cast<int>(t.dim(2)) : 1);
  image.pixels = t.to_vector<uint8_t>();
  return image;
}

std::vector<double> pixels(const data::Image& image) { return {image.pixels.begin(), image.pixels.end()}; }

std::vector<double> to_channels_last(const std::vector<double>& x, int64_t n, int64_t c) {
  const int64_t area = static_cast<int64_t>(x.size()) / (n * c);
  std::vector<double> y(x.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < c; ++k)
      for (int64_t p = 0; p < area; ++p)
        y[static_cast<size_t>((i * area + p) * c + k)] = x[static_cast<size_t>((i * c + k) * area + p)];
  return y;
}

std::vector<double> to_channels_first(const std::vector<double>& x, int64_t n, int64_t c) {
  const int64_t area = static_cast<int64_t>(x.size()) / (n * c);
  std::vector<double> y(x.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < c; ++k)
      for (int64_t p = 0; p < area; ++p)
        y[static_cast<size_t>((i * c + k) * area + p)] = x[static_cast<size_t>((i * area + p) * c + k)];
  return y;
}

Normalisation normalisation(GoldenFile& file) {
  Fields info = file.fields("info");
  const Normalisation n{info.get<std::array<double, 3>>("mean"), info.get<std::array<double, 3>>("std")};
  info.check_used();
  return n;
}

std::vector<int64_t> confusion(const data::Image& label, const data::Image& prediction, int classes, Device& device) {
  const auto upload = [&](const data::Image& map) {
    return Tensor::from<uint8_t>({map.height, map.width}, map.pixels, device);
  };
  Tensor matrix = Tensor::zeros({classes, classes}, DType::i64, device);
  kernels::confusion_matrix(upload(label), upload(prediction), matrix);
  return matrix.to_vector<int64_t>();
}

PercentScores percent_scores(const std::vector<int64_t>& confusion, int classes) {
  const train::SegmentationScores scores = train::segmentation_scores(confusion, classes);
  PercentScores percent{{}, std::nearbyint(100 * 100 * scores.miou) / 100};
  for (const double iou : scores.iou) percent.iou.push_back(100 * iou);
  return percent;
}

}  // namespace segrt::golden
