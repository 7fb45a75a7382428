#include "data/camvid.h"

#include <fmt/format.h>

#include <charconv>
#include <unordered_map>

#include "core/error.h"
#include "data/suffix_folders.h"
#include "data/tables.h"

namespace segrt::data {
namespace {

constexpr uint8_t kIgnored = 255;

uint32_t packed(const uint8_t* rgb) { return uint32_t{rgb[0]} << 16 | uint32_t{rgb[1]} << 8 | rgb[2]; }

std::unordered_map<uint32_t, uint8_t> classes_by_colour(CamvidClasses classes) {
  const Table table = camvid_colours_table();
  std::unordered_map<uint32_t, uint8_t> map;
  for (size_t i = 0; i < table.size(); ++i) {
    const Rgb colour{static_cast<uint8_t>(table.number(i, "r")), static_cast<uint8_t>(table.number(i, "g")),
                     static_cast<uint8_t>(table.number(i, "b"))};
    map[packed(colour.data())] =
        static_cast<uint8_t>(table.number(i, classes == CamvidClasses::exact ? "train_id" : "segnet_id"));
  }
  return map;
}

}  // namespace

Image camvid_train_ids(const std::filesystem::path& path, const Image& colours, CamvidClasses classes, bool strict) {
  const std::unordered_map<uint32_t, uint8_t> map = classes_by_colour(classes);
  Image label(colours.height, colours.width, 1);
  uint32_t last = 0;  // neighbours are mostly alike
  uint8_t last_class = map.at(0);
  for (size_t i = 0; i < label.pixels.size(); ++i) {
    const uint32_t colour = packed(&colours.pixels[3 * i]);
    if (colour != last) {
      const auto found = map.find(colour);
      if (found == map.end() && strict)
        throw FileError(fmt::format("{}: colour ({}, {}, {}) at row {}, column {} is none of CamVid's {}",
                                    path.string(), colour >> 16, (colour >> 8) & 255, colour & 255,
                                    static_cast<int>(i) / label.width, static_cast<int>(i) % label.width, map.size()));
      last = colour;
      last_class = found == map.end() ? kIgnored : found->second;
    }
    label.pixels[i] = last_class;
  }
  return label;
}

// Five sequences, named by camera and time: one is test, one train, and two are cut in time.
std::string camvid_split(std::string_view frame) {
  const size_t underscore = frame.find('_');
  if (underscore == std::string_view::npos) return "";
  const std::string_view sequence = frame.substr(0, underscore);
  std::string_view digits = frame.substr(underscore + 1);
  if (digits.starts_with('f')) digits.remove_prefix(1);
  int number = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (status != std::errc{} || end != digits.data() + digits.size()) return "";
  if (sequence == "Seq05VD") return "test";
  if (sequence == "0006R0") return "train";
  if (sequence == "0001TP") return number < 8550 ? "train" : "test";
  if (sequence == "0016E5") return number % 2 == 1 && number >= 7959 && number <= 8159 ? "val" : "train";
  return "";
}

std::unique_ptr<Dataset> open_camvid(const CamvidOptions& options) {
  SuffixFolders::Options o{.root = options.root, .name = "camvid/" + options.split};
  const auto add = [&](const std::string& split) { o.folders.push_back({"images/" + split, "TrainID/" + split}); };
  if (options.split == "trainval") {
    add("train");
    add("val");
  } else {
    add(options.split);
  }
  o.image_suffix = ".png";
  o.label_suffix = "_L_TrainID.png";
  o.classes = camvid_labels();
  o.needs_info = options.needs_info;
  o.converter = "segdata camvid";
  o.problems = options.problems;
  return std::make_unique<SuffixFolders>(o);
}

}  // namespace segrt::data
