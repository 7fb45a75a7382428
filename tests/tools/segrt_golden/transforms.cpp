#include "tests/tools/segrt_golden/transforms.h"

#include <fmt/format.h>

#include <charconv>
#include <regex>

#include "core/error.h"
#include "data/cityscapes.h"
#include "data/transform.h"
#include "kernels/elementwise.h"
#include "kernels/resize.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/pictures.h"

namespace segrt::golden {
namespace {

struct Context {
  GoldenFile& file;
  Device& device;
  Report& report;
  data::Image image, label;  // the source of every transform
  Normalisation normalisation;
};

void check_image(Context& c, const std::string& name, const data::Image& got) {
  const data::Image expected = picture(c.file, name);
  if (got.height != expected.height || got.width != expected.width || got.channels != expected.channels)
    c.report.fail(name, fmt::format("{}x{}x{}, expected {}x{}x{}", got.height, got.width, got.channels, expected.height,
                                    expected.width, expected.channels));
  else
    c.report.identical(name, pixels(got), pixels(expected));
}

void check_label_values(Context& c, const std::string& name, const data::Image& got) {
  if (c.file.shape(name) != std::vector<int64_t>{got.height, got.width})
    c.report.fail(name, "of another shape: " + to_string(c.file.shape(name)));
  else
    c.report.identical(name, pixels(got), c.file.values(name));
}

// A normalised image [h,w,3], which the file stores as [3,h,w]; once by the data code, once on the device.
void check_normalised(Context& c, const std::string& name, const data::Image& image) {
  const std::vector<float> y = data::normalise(image, c.normalisation.mean, c.normalisation.std);
  const std::vector<double> expected = c.file.values(name);
  if (c.file.shape(name) != std::vector<int64_t>{3, image.height, image.width})
    return c.report.fail(name, "of another shape: " + to_string(c.file.shape(name)));
  c.report.identical(name, to_channels_first({y.begin(), y.end()}, 1, 3), expected);
  kernels::Normalization n{};
  for (size_t k = 0; k < 3; ++k) {
    n.mean[k] = static_cast<float>(c.normalisation.mean[k]);
    n.std[k] = static_cast<float>(c.normalisation.std[k]);
  }
  const Tensor x = Tensor::from<uint8_t>({1, image.height, image.width, 3}, image.pixels, c.device);
  Tensor on_device = Tensor::empty(x.shape(), DType::f32, c.device);
  kernels::normalize_u8(x, n, on_device);
  c.report.identical(name + " on device", to_channels_first(test::to_doubles(on_device), 1, 3), expected);
}

// Transforms that are drawn, by the first part of their name ("rotate.1").
void pad_reflection(Context& c, const std::string& name, Fields& draw) {
  const data::Border border{draw.get<int>("top"), draw.get<int>("bottom"), draw.get<int>("left"),
                            draw.get<int>("right")};
  check_image(c, name, data::pad_reflection(c.image, border));
}

void rotate(Context& c, const std::string& name, Fields& draw) {
  const auto angle = draw.get<double>("angle_degrees");
  const auto largest = draw.get<double>("max_angle"), drawn = draw.get<double>("integer_draw");
  c.report.identical(name + " angle", std::vector<double>{drawn - largest}, {angle});
  check_image(c, name + ".image", data::rotate_image(c.image, angle));
  check_image(c, name + ".label", data::rotate_label(c.label, angle));
}

void scale(Context& c, const std::string& name, Fields& draw) {
  const auto ratio = draw.get<double>("ratio");
  check_image(c, name + ".image", data::scale_image(c.image, ratio));
  check_image(c, name + ".label",
              data::resize_nearest(c.label, data::scaled_length(c.label.height, ratio),
                                   data::scaled_length(c.label.width, ratio)));
}

void crop(Context& c, const std::string& name, Fields& draw) {
  const auto size = draw.get<int>("size"), y = draw.get<int>("y1"), x = draw.get<int>("x1");
  draw.skip("crop_size_or_pad_then_crop");  // without meaning
  check_image(c, name + ".image", data::crop(c.image, size, size, y, x, {.reflect = true}));
  check_image(c, name + ".label", data::crop(c.label, size, size, y, x, {.reflect = false, .value = 255}));
}

void chain(Context& c, const std::string& name, Fields& draw) {
  const auto size = draw.get<int>("crop_size");
  const data::TrainTransform transform(
      {.crop_height = size, .crop_width = size, .random_rotate = 180, .random_scale = 16});
  const data::Sample out =
      transform.apply(data::Sample{c.image, c.label, name}, {.angle_degrees = draw.get<double>("angle_degrees"),
                                                             .ratio = draw.get<double>("ratio"),
                                                             .y = draw.get<int>("y1"),
                                                             .x = draw.get<int>("x1"),
                                                             .flip = draw.get<bool>("flip")});
  check_normalised(c, name + ".image", out.image);
  check_label_values(c, name + ".label", out.label);
}

void run_draws(Context& c) {
  using Transform = void (*)(Context&, const std::string&, Fields&);
  const std::map<std::string, Transform> transforms = {
      {"pad_reflection", pad_reflection}, {"rotate", rotate}, {"scale", scale}, {"crop", crop}, {"chain", chain}};
  Fields draws = c.file.fields("draws");
  for (const std::string& name : draws.keys()) {
    const auto found = transforms.find(name.substr(0, name.find('.')));
    if (found == transforms.end()) {
      c.report.fail(name, "a transform that this program does not know");
      continue;
    }
    Fields draw(draws.raw(name), c.file.path() + ": draws: " + name);
    found->second(c, name, draw);
    draw.check_used();
  }
}

void run_fixed(Context& c) {
  if (c.file.contains("flip.image")) check_image(c, "flip.image", data::flip_horizontal(c.image));
  if (c.file.contains("flip.label")) check_image(c, "flip.label", data::flip_horizontal(c.label));
  if (c.file.contains("tensor.image")) check_normalised(c, "tensor.image", c.image);
  if (c.file.contains("tensor.label")) check_label_values(c, "tensor.label", c.label);
  const std::string prefix = "ms_image.";
  for (const std::string& name : c.file.tensors_with_prefix(prefix)) {
    double ratio = 0;
    const char* end = name.data() + name.size();
    if (std::from_chars(name.data() + prefix.size(), end, ratio).ptr != end)
      c.report.fail(name, "the name does not end in a scale");
    else
      check_image(c, name, data::scale_for_testing(c.image, ratio));
  }
}

// Float maps "golden.image('name', n, h, w, c=4)" resized to several sizes.
void run_map_resizing(Context& c) {
  if (!c.file.has("ms_resize")) return;
  Fields description = c.file.fields("ms_resize");
  const auto source = description.get<std::string>("source");
  const auto sizes = description.get<std::vector<std::array<int, 2>>>("sizes_wh");
  description.check_used();
  const std::regex pattern(R"(golden\.image\('([^']+)', (\d+), (\d+), (\d+)(?:, c=(\d+))?\))");
  std::smatch match;
  if (!std::regex_match(source, match, pattern))
    throw FileError(c.file.path() + ": ms_resize: source: this program cannot make " + source);
  const int n = std::stoi(match[2]), h = std::stoi(match[3]), w = std::stoi(match[4]);
  const int channels = match[5].matched ? std::stoi(match[5]) : 3;
  const Tensor x = nhwc(image(match[1], n, h, w, channels), n, h, w, channels, c.file.host());
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto [width, height] = sizes[i];
    const std::string name = "ms_resize." + std::to_string(i);
    if (c.file.shape(name) != std::vector<int64_t>{n, channels, height, width}) {
      c.report.fail(name, "of another shape: " + to_string(c.file.shape(name)));
      continue;
    }
    Tensor y = Tensor::empty({n, height, width, channels}, DType::f32, c.file.host());
    for (int k = 0; k < n; ++k)
      data::resize({x.slice(k, 1).data<float>(), static_cast<size_t>(x.numel() / n)}, h, w, channels,
                   {y.slice(k, 1).data<float>(), static_cast<size_t>(y.numel() / n)}, height, width,
                   data::Filter::bilinear);
    const std::vector<double> expected = c.file.values(name);
    c.report.identical(name, to_channels_first(test::to_doubles(y), n, channels), expected);
    Tensor on_device = Tensor::empty(y.shape(), DType::f32, c.device);
    kernels::resample_bilinear(x.to(c.device), on_device);
    c.report.relative_l2(name + " on device", to_channels_first(test::to_doubles(on_device), n, channels), expected,
                         1e-6);
  }
}

data::Image row_of(const std::vector<double>& values) {
  data::Image row(1, static_cast<int>(values.size()), 1);
  std::transform(values.begin(), values.end(), row.pixels.begin(), [](double v) { return static_cast<uint8_t>(v); });
  return row;
}

void run_id_maps(Context& c) {
  if (c.file.contains("id_map.label_ids"))
    c.report.identical("id_map.train_ids",
                       pixels(data::relabel(row_of(c.file.values("id_map.label_ids")), data::cityscapes_train_ids())),
                       c.file.values("id_map.train_ids"));
  if (!c.file.contains("id_map.from_train_ids")) return;
  const std::vector<double> expected = c.file.values("id_map.from_train_ids");
  data::Image train_ids(1, static_cast<int>(expected.size()), 1);  // 0, 1, 2, ...
  for (size_t i = 0; i < train_ids.pixels.size(); ++i) train_ids.pixels[i] = static_cast<uint8_t>(i);
  c.report.identical("id_map.from_train_ids", pixels(data::relabel(train_ids, data::cityscapes_label_ids())), expected);
}

// Class indices 0, 1, ... in their colours; one past the last class of Cityscapes is black.
void run_palettes(Context& c) {
  const auto indices = [](int64_t count) {
    data::Image row(1, static_cast<int>(count), 1);
    for (size_t i = 0; i < row.pixels.size(); ++i) row.pixels[i] = static_cast<uint8_t>(i);
    return row;
  };
  if (c.file.contains("palette"))
    c.report.identical("palette",
                       pixels(data::colourise(indices(c.file.shape("palette").at(0)), data::cityscapes_labels())),
                       c.file.values("palette"));
  if (c.file.contains("palette_triplet"))
    c.report.identical(
        "palette_triplet",
        pixels(data::colourise_rgba(indices(c.file.shape("palette_triplet").at(0)), data::triplet_labels())),
        c.file.values("palette_triplet"));
}

void run_iou(Context& c) {
  if (!c.file.contains("iou.hist")) return;
  const auto classes = static_cast<int>(c.file.shape("iou.hist").at(0));
  const std::vector<int64_t> matrix =
      confusion(picture(c.file, "iou.label"), picture(c.file, "iou.pred"), classes, c.device);
  c.report.identical("iou.hist", std::vector<double>(matrix.begin(), matrix.end()), c.file.values("iou.hist"));
  const PercentScores scores = percent_scores(matrix, classes);
  c.report.entries("iou.per_class", scores.iou, c.file.values("iou.per_class"), 1e-12, {});
  if (c.file.has("iou_mean_rounded"))
    c.report.error("iou_mean_rounded", "absolute",
                   std::abs(scores.mean_rounded - c.file.get<double>("iou_mean_rounded")), 1e-9);
}
}  // namespace

void run_transforms(GoldenFile& file, Device& device, Report& report) {
  for (const char* words : {"torch", "pillow", "numpy", "layout", "picture", "note"}) file.skip(words);
  Context c{file, device, report, picture(file, "image"), picture(file, "label"), normalisation(file)};
  if (file.has("size_hw"))
    report.equal("size of the picture",
                 file.get<std::vector<int>>("size_hw") == std::vector<int>{c.image.height, c.image.width});
  run_draws(c);
  run_fixed(c);
  run_map_resizing(c);
  run_id_maps(c);
  run_palettes(c);
  run_iou(c);
}

}  // namespace segrt::golden
