#include "data/label_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/cityscapes.h"
#include "data/tables.h"

namespace segrt::data {
namespace {

struct Entry {
  const char* name;
  Rgb colour;
};

constexpr Entry kCamvid[] = {
    {"Sky", {128, 128, 128}},  {"Building", {128, 0, 0}},   {"Pole", {192, 192, 128}},       {"Road", {128, 64, 128}},
    {"Pavement", {0, 0, 192}}, {"Tree", {128, 128, 0}},     {"SignSymbol", {192, 128, 128}}, {"Fence", {64, 64, 128}},
    {"Car", {64, 0, 128}},     {"Pedestrian", {64, 64, 0}}, {"Bicyclist", {0, 128, 192}},
};

void require_class_count(size_t classes) {
  if (classes < 1 || classes > 255)
    throw ArgumentError(fmt::format("label table: expected 1 to 255 classes, got {}", classes));
}

// Hues a golden-ratio turn apart never come close for neighbouring classes; saturation and value alternate so that the
// nearest hues of a long list differ in lightness.
Rgb generic_colour(int index) {
  constexpr double kGoldenRatio = 0.6180339887498949;
  constexpr double kSaturation[] = {0.80, 0.55, 0.95}, kValue[] = {0.90, 0.60};
  const double turn = 0.02 + kGoldenRatio * index;
  const double hue = 6.0 * (turn - std::floor(turn));
  const double saturation = kSaturation[(index / 2) % 3], value = kValue[index % 2];
  auto channel = [&](double shift) {  // HSV to RGB: one trapezoid over the hue circle a channel
    const double k = std::fmod(shift + hue, 6.0);
    const double ramp = std::clamp(std::min(k, 4.0 - k), 0.0, 1.0);
    return static_cast<uint8_t>(std::lround(255.0 * value * (1.0 - saturation * ramp)));
  };
  return {channel(5.0), channel(3.0), channel(1.0)};
}

void require_channels(const char* op, const char* name, const Image& image, int channels) {
  if (image.channels != channels)
    throw ArgumentError(fmt::format("{}: {} expects {} channel(s), got {}x{} with {}", op, name, channels, image.height,
                                    image.width, image.channels));
}

}  // namespace

LabelTable cityscapes_labels() {
  LabelTable table;
  for (const CityscapesLabel& label : cityscapes_label_list()) {  // train ids rise with the ids
    if (label.train_id != table.size()) continue;
    table.names.emplace_back(label.name);
    table.colours.push_back(label.colour);
  }
  return table;
}

LabelTable camvid_labels() {
  LabelTable table;
  for (const Entry& entry : kCamvid) {
    table.names.emplace_back(entry.name);
    table.colours.push_back(entry.colour);
  }
  return table;
}

LabelTable coco_stuff_labels() {
  const Table rows = coco_stuff_classes_table();
  LabelTable table;
  for (size_t i = 0; i < rows.size(); ++i) {
    table.names.emplace_back(rows.text(i, "name"));
    table.colours.push_back({static_cast<uint8_t>(rows.number(i, "r")), static_cast<uint8_t>(rows.number(i, "g")),
                             static_cast<uint8_t>(rows.number(i, "b"))});
  }
  return table;
}

LabelTable triplet_labels() {
  return {.names = {"class 0", "class 1", "class 2"}, .colours = {{0, 0, 0}, {217, 83, 79}, {91, 192, 222}}};
}

LabelTable generic_labels(int classes) {
  require_class_count(classes < 0 ? 0 : static_cast<size_t>(classes));
  LabelTable table;
  for (int k = 0; k < classes; ++k) {
    table.names.push_back(fmt::format("class {}", k));
    table.colours.push_back(generic_colour(k));
  }
  return table;
}

LabelTable named_labels(std::vector<std::string> names) {
  require_class_count(names.size());
  for (const LabelTable& known : {cityscapes_labels(), camvid_labels(), coco_stuff_labels()})
    if (known.names == names) return known;
  LabelTable table = generic_labels(static_cast<int>(names.size()));
  table.names = std::move(names);
  return table;
}

LabelTable class_names(std::vector<std::string> names) {
  if (names.empty()) throw ArgumentError("class names: the list is empty");
  return {.names = std::move(names), .colours = {}, .ignore_index = -1};
}

Image reduce_zero_label(Image label, uint8_t ignore_index) {
  if (label.channels != 1)
    throw ArgumentError(fmt::format("reduce_zero_label: expected a label map of 1 channel, got {}", label.channels));
  for (uint8_t& v : label.pixels) v = v == 0 || v == ignore_index ? ignore_index : static_cast<uint8_t>(v - 1);
  return label;
}

Image colourise(const Image& label, const LabelTable& table) {
  require_channels("colourise", "label", label, 1);
  std::array<Rgb, 256> colours{};  // black
  std::copy(table.colours.begin(), table.colours.end(), colours.begin());
  if (table.ignore_index >= 0 && table.ignore_index < 256) colours[static_cast<size_t>(table.ignore_index)] = {};
  Image picture(label.height, label.width, 3);
  for (size_t i = 0; i < label.pixels.size(); ++i)
    std::copy_n(colours[label.pixels[i]].begin(), 3, picture.pixels.begin() + static_cast<std::ptrdiff_t>(3 * i));
  return picture;
}

Image colourise_rgba(const Image& label, const LabelTable& table) {
  const Image rgb = colourise(label, table);
  Image picture(label.height, label.width, 4);
  for (size_t i = 0; i < label.pixels.size(); ++i) {
    std::copy_n(rgb.pixels.begin() + static_cast<std::ptrdiff_t>(3 * i), 3,
                picture.pixels.begin() + static_cast<std::ptrdiff_t>(4 * i));
    picture.pixels[4 * i + 3] = 255;
  }
  return picture;
}

Image overlay(const Image& image, const Image& label, const LabelTable& table, double alpha) {
  require_channels("overlay", "image", image, 3);
  require_channels("overlay", "label", label, 1);
  if (image.height != label.height || image.width != label.width)
    throw ArgumentError(fmt::format("overlay: label expects {}x{} like the image, got {}x{}", image.height, image.width,
                                    label.height, label.width));
  if (!(alpha >= 0 && alpha <= 1)) throw ArgumentError(fmt::format("overlay: alpha expects [0, 1], got {}", alpha));
  Image picture = colourise(label, table);
  const int line =
      std::max(1, (image.width + 512) / 1024);  // a pixel per 1024, so that a shrunk picture still shows it
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* classes = label.row(y);
    const uint8_t* below = label.row(std::min(y + line, image.height - 1));
    const uint8_t* photo = image.row(y);
    uint8_t* out = picture.row(y);
    for (int x = 0; x < image.width; ++x) {
      const bool boundary = classes[x] != below[x] || classes[x] != classes[std::min(x + line, image.width - 1)];
      const bool ignored = classes[x] == table.ignore_index || classes[x] >= table.size();
      for (int c = 0; c < 3; ++c) {
        const int i = 3 * x + c;
        const double mixed = ignored ? photo[i] : (1 - alpha) * photo[i] + alpha * out[i];
        out[i] = boundary ? uint8_t{255} : static_cast<uint8_t>(std::lround(mixed));
      }
    }
  }
  return picture;
}

}  // namespace segrt::data
