#include "tests/tools/segrt_golden/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/geometry.h"
#include "data/label_table.h"
#include "data/opencv_resize.h"
#include "data/photometric.h"
#include "data/polygon.h"
#include "data/scale_crop_distort.h"
#include "kernels/elementwise.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/pictures.h"
#include "train/metrics.h"

namespace segrt::golden {
namespace {

constexpr int kClasses = 19;

struct Context {
  GoldenFile& file;
  Device& device;
  Report& report;
  std::string input_name;
  int height = 0, width = 0;
  data::Image image, label;  // RGB
};

// BGR <-> RGB.
data::Image channels_reversed(data::Image x) {
  for (size_t i = 0; i + 2 < x.pixels.size(); i += 3) std::swap(x.pixels[i], x.pixels[i + 2]);
  return x;
}

// The input, BGR: 8x8 blocks of floor(256 u) plus noise floor(41 u) - 20, clipped.
data::Image regenerated(const std::string& name, int height, int width) {
  const int block_rows = (height + 7) / 8, block_columns = (width + 7) / 8;
  const std::vector<double> blocks = uniforms(name + ".blocks", int64_t{block_rows} * block_columns * 3);
  const std::vector<double> noise = uniforms(name + ".noise", int64_t{height} * width * 3);
  data::Image image(height, width, 3);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        const auto at = static_cast<size_t>((y * width + x) * 3 + c);
        const auto block = static_cast<size_t>(((y / 8) * block_columns + x / 8) * 3 + c);
        const double value = std::floor(256 * blocks[block]) + std::floor(41 * noise[at]) - 20;
        image.pixels[at] = static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
      }
  return image;
}

// Every `stride`-th row and column.
data::Image strided(const data::Image& x, int stride) {
  std::vector<int> rows, columns;
  for (int y = 0; y < x.height; y += stride) rows.push_back(y);
  for (int i = 0; i < x.width; i += stride) columns.push_back(i);
  return data::gather(x, rows, columns);
}

void check_image(Context& c, const std::string& name, const data::Image& got) {
  const data::Image expected = picture(c.file, name);
  if (got.height != expected.height || got.width != expected.width || got.channels != expected.channels)
    return c.report.fail(name, fmt::format("{}x{}x{}, expected {}x{}x{}", got.height, got.width, got.channels,
                                           expected.height, expected.width, expected.channels));
  c.report.identical(name, pixels(got), pixels(expected));
}

void check_photometric(Context& c, const std::string& name, const data::PhotometricDraws& draws) {
  data::Image image = c.image;
  data::distort(image, {c.height, c.width}, draws);
  check_image(c, name, channels_reversed(image));
}

// photo.<step>.<number>: the draw; photo.all: in words, two files.
void run_photometric(Context& c, Fields& notes) {
  for (const std::string& name : notes.keys()) {
    if (!name.starts_with("photo.")) continue;
    if (name == "photo.all") {
      c.report.equal("photo.all as this program knows it",
                     notes.get<std::string>(name) ==
                         "brightness +12.5, contrast 1.25, saturation 0.8, hue -7; mode1: contrast second, mode0: "
                         "contrast last");
      data::PhotometricDraws all{
          .brightness = 12.5, .contrast = 1.25, .contrast_first = false, .saturation = 0.8, .hue = -7};
      check_photometric(c, "photo.all.mode0", all);
      all.contrast_first = true;
      check_photometric(c, "photo.all.mode1", all);
      continue;
    }
    const auto value = notes.get<double>(name);
    data::PhotometricDraws draws;
    const std::string step = name.substr(6, name.rfind('.') - 6);
    if (step == "brightness")
      draws.brightness = value;
    else if (step == "contrast")
      draws.contrast = value;
    else if (step == "saturation")
      draws.saturation = value;
    else if (step == "hue")
      draws.hue = static_cast<int>(value);
    if (draws.any())
      check_photometric(c, name, draws);
    else
      c.report.fail(name, "a step that this program does not know");
  }
}

void run_resizing(Context& c, Fields& notes) {
  for (const std::string& name : notes.keys()) {
    if (!name.starts_with("resize.")) continue;
    Fields note(notes.raw(name), c.file.path() + ": notes: " + name);
    const auto out = note.get<std::array<int, 2>>("out");
    const data::ImageSize size{out[0], out[1]};
    const auto stride = note.get<int>("stride");
    if (note.has("scale")) {  // (w, h)
      const auto scale = note.get<std::array<int, 2>>("scale");
      c.report.equal(name + " size", data::fitted_size(c.height, c.width, {scale[1], scale[0]}) == size);
    }
    note.check_used();
    check_image(c, name + ".img", strided(channels_reversed(data::opencv_resize(c.image, size)), stride));
    if (!c.file.contains(name + ".seg")) continue;
    const std::vector<int> rows = data::opencv_nearest_indices(c.height, size.height);
    const std::vector<int> columns = data::opencv_nearest_indices(c.width, size.width);
    check_image(c, name + ".seg", strided(data::gather(c.label, rows, columns), stride));
  }
}

void run_normalisation(Context& c) {
  constexpr int kStride = 2;
  const kernels::Normalization n{
      .mean = {123.675f, 116.28f, 103.53f}, .std = {58.395f, 57.12f, 57.375f}, .unit = 1, .bgr = false};
  const data::Image image = strided(c.image, kStride);
  const Tensor x = Tensor::from<uint8_t>({1, image.height, image.width, 3}, image.pixels, c.device);
  Tensor y = Tensor::empty(x.shape(), DType::f32, c.device);
  kernels::normalize_u8(x, n, y);
  c.report.max_abs("normalized_hwc_rgb", test::to_doubles(y), c.file.values("normalized_hwc_rgb"), 1e-5);
}

data::Image label_map(const std::vector<int64_t>& values, int height, int width) {
  data::Image map(height, width, 1);
  std::transform(values.begin(), values.end(), map.pixels.begin(), [](int64_t v) { return static_cast<uint8_t>(v); });
  return map;
}

// Ground truth and prediction i as the notes describe them.
data::Image truth(const Context& c, int i) {
  data::Image map =
      label_map(labels(fmt::format("{}.gt{}", c.input_name, i), 1, c.height, c.width, kClasses), c.height, c.width);
  std::replace(map.pixels.begin(), map.pixels.end(), uint8_t{18}, uint8_t{255});
  return map;
}

data::Image prediction(const Context& c, int i) {
  data::Image map =
      label_map(labels(fmt::format("{}.gt{}", c.input_name, i), 1, c.height, c.width, kClasses), c.height, c.width);
  const data::Image other =
      label_map(labels(fmt::format("{}.pred{}", c.input_name, i), 1, c.height, c.width, 18, 0), c.height, c.width);
  const std::vector<double> pick = uniforms(fmt::format("{}.pick{}", c.input_name, i), int64_t{c.height} * c.width);
  for (size_t p = 0; p < pick.size(); ++p)
    if (pick[p] < 0.4) map.pixels[p] = other.pixels[p];
  std::replace(map.pixels.begin(), map.pixels.end(), uint8_t{255}, uint8_t{3});
  std::replace(map.pixels.begin(), map.pixels.end(), uint8_t{18}, uint8_t{2});
  return map;
}

void run_metrics(Context& c, bool reduce_zero) {
  constexpr size_t k = kClasses;
  std::vector<int64_t> matrix(k * k);
  for (int i = 0; i < 3; ++i) {
    const data::Image label = reduce_zero ? data::reduce_zero_label(truth(c, i)) : truth(c, i);
    const std::vector<int64_t> one = confusion(label, prediction(c, i), kClasses, c.device);
    for (size_t j = 0; j < matrix.size(); ++j) matrix[j] += one[j];
  }
  std::vector<double> areas(4 * k);  // intersect, union, prediction, label
  for (size_t a = 0; a < k; ++a)
    for (size_t b = 0; b < k; ++b) {
      const auto count = static_cast<double>(matrix[a * k + b]);
      if (a == b) areas[a] += count;
      areas[2 * k + b] += count;
      areas[3 * k + a] += count;
    }
  for (size_t a = 0; a < k; ++a) areas[k + a] = areas[2 * k + a] + areas[3 * k + a] - areas[a];
  const std::string name = reduce_zero ? "metrics.reduce_zero" : "metrics.plain";
  c.report.identical(name + ".areas", areas, c.file.values(name + ".areas"));
  const train::SegmentationScores scores = train::segmentation_scores(matrix, kClasses);
  const auto rounded = [&](const std::string& tensor, const std::vector<double>& got) {
    // Absent classes are NaN on both sides; the others were stored in float32.
    std::vector<double> expected = c.file.values(tensor), absent_got, absent_expected, some_got, some_expected;
    for (size_t i = 0; i < expected.size() && i < got.size(); ++i) {
      absent_got.push_back(std::isnan(got[i]));
      absent_expected.push_back(std::isnan(expected[i]));
      if (std::isnan(got[i]) || std::isnan(expected[i])) continue;
      some_got.push_back(got[i]);
      some_expected.push_back(expected[i]);
    }
    c.report.equal(tensor + " length", expected.size() == got.size());
    c.report.identical(tensor + " absent", absent_got, absent_expected);
    c.report.max_abs(tensor, some_got, some_expected, 1e-7);
  };
  rounded(name + ".IoU", scores.iou);
  rounded(name + ".Acc", scores.accuracy);
  rounded(name + ".aAcc_mIoU_mAcc", {scores.aacc, scores.miou, scores.macc});
}

// Polygon i is painted with value i over those before it. (None of them has one of the sharp corners at which Pillow 9
// paints another pixel.)
void run_polygons(Context& c) {
  const std::vector<double> points = c.file.values("poly.points");
  data::Image canvas(c.height, c.width, 1);
  std::fill(canvas.pixels.begin(), canvas.pixels.end(), uint8_t{255});
  std::vector<data::PixelPoint> corners;
  for (size_t i = 0; i < points.size(); i += 3) {
    corners.push_back({static_cast<int>(points[i + 1]), static_cast<int>(points[i + 2])});
    if (i + 3 < points.size() && points[i + 3] == points[i]) continue;
    data::fill_polygon(canvas, corners, static_cast<uint8_t>(points[i]));
    corners.clear();
  }
  check_image(c, "poly.canvas", canvas);
}

}  // namespace

void run_pipeline(GoldenFile& file, Device& device, Report& report) {
  for (const char* words : {"kind", "torch", "opencv"}) file.skip(words);
  const auto size = file.get<std::array<int, 2>>("size");
  Context c{file,
            device,
            report,
            file.text("input_name"),
            size[0],
            size[1],
            channels_reversed(picture(file, "image_bgr")),
            picture(file, "label")};
  Fields notes = file.fields("notes");
  for (const char* words : {"metrics", "poly", "image"}) notes.skip(words);
  check_image(c, "image_bgr", regenerated(c.input_name, c.height, c.width));
  check_image(c, "label", label_map(labels(c.input_name, 1, c.height, c.width, kClasses), c.height, c.width));
  run_photometric(c, notes);
  run_resizing(c, notes);
  run_normalisation(c);
  run_metrics(c, false);
  run_metrics(c, true);
  run_polygons(c);
  notes.check_used();
}

}  // namespace segrt::golden
