#include "data/list_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>

#include "core/error.h"
#include "data/dataset_info.h"
#include "data/json_file.h"

namespace segrt::data {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, std::string_view cause) {
  throw FileError(fmt::format("{}: {}", path.string(), cause));
}

std::ifstream open(const fs::path& path) {
  if (fs::is_directory(path)) fail(path, "is a folder");
  std::ifstream file(path);
  if (!file) fail(path, fs::exists(path) ? "cannot open" : "no such file");
  return file;
}

std::string strip(const std::string& line) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t begin = line.find_first_not_of(kSpace);
  return begin == std::string::npos ? "" : line.substr(begin, line.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string> read_list(const fs::path& path) {
  std::ifstream file = open(path);
  std::vector<std::string> lines;
  size_t first_empty = 0, number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    std::string entry = strip(line);
    if (entry.empty()) {  // allowed at the end only: elsewhere it would pair images with the wrong labels
      if (first_empty == 0) first_empty = number;
      continue;
    }
    if (first_empty != 0) fail(path, fmt::format("line {} is empty", first_empty));
    const fs::path normal = fs::path(entry).lexically_normal();
    if (normal.is_absolute() || *normal.begin() == "..")
      fail(path, fmt::format("line {}: \"{}\" is not a path inside the data folder", number, entry));
    lines.push_back(std::move(entry));
  }
  if (file.bad()) fail(path, "cannot read to the end");
  if (lines.empty()) fail(path, "lists no files");
  return lines;
}

}  // namespace

LabelTable read_classes_json(const fs::path& path) {
  const Json json = read_json(path);
  const auto list = json.is_object() ? json.find("classes") : json.end();
  if (!json.is_object() || list == json.end() || !list->is_array() || list->empty() || list->size() > 255)
    fail(path, "\"classes\": expected a list of 1 to 255 classes");
  std::vector<std::string> names;
  std::vector<Rgb> colours;
  for (const Json& entry : *list) {
    const auto k = names.size();
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string())
      fail(path, fmt::format("\"classes\"[{}]: expected an object with a \"name\"", k));
    if (entry.contains("id") && entry["id"] != k)
      fail(path, fmt::format("\"classes\"[{}]: expected \"id\" {}, got {}", k, k, entry["id"].dump()));
    names.push_back(entry["name"].get<std::string>());
    if (!entry.contains("color")) continue;
    const Json& colour = entry["color"];
    bool good = colour.is_array() && colour.size() == 3;
    for (size_t c = 0; good && c < 3; ++c)
      good = colour[c].is_number_integer() && colour[c].get<int64_t>() >= 0 && colour[c].get<int64_t>() <= 255;
    if (!good)
      fail(path, fmt::format("\"classes\"[{}]: \"color\": expected three integers 0..255, got {}", k, colour.dump()));
    colours.push_back({colour[0].get<uint8_t>(), colour[1].get<uint8_t>(), colour[2].get<uint8_t>()});
  }
  if (!colours.empty() && colours.size() != names.size())
    fail(path, "some classes have a \"color\" and some have none");
  LabelTable table = named_labels(std::move(names));
  if (!colours.empty()) table.colours = std::move(colours);
  if (const auto ignore = json.find("ignore_label"); ignore != json.end()) {
    if (!ignore->is_number_integer() || ignore->get<int64_t>() < table.size() || ignore->get<int64_t>() > 255)
      fail(path,
           fmt::format("\"ignore_label\": expected an integer from {} to 255, got {}", table.size(), ignore->dump()));
    table.ignore_index = ignore->get<int>();
  }
  return table;
}

void check_label_values(const fs::path& path, const Image& label, int classes, int ignore_index) {
  int bad = 0;  // no early exit: this way the loop is a vector compare
  for (const uint8_t v : label.pixels) bad |= static_cast<int>(v >= classes) & static_cast<int>(v != ignore_index);
  if (bad == 0) return;
  const auto first = std::find_if(label.pixels.begin(), label.pixels.end(),
                                  [&](uint8_t v) { return v >= classes && v != ignore_index; });
  const auto at = static_cast<int64_t>(first - label.pixels.begin());
  fail(path, fmt::format("label value {} at row {}, column {} is neither a class (0..{}) nor the ignore index {}",
                         *first, at / label.width, at % label.width, classes - 1, ignore_index));
}

ListFolder::ListFolder(const Options& options)
    : folder_(options.folder), reduce_zero_label_(options.reduce_zero_label) {
  if (!fs::is_directory(folder_)) fail(folder_, fs::exists(folder_) ? "is not a folder" : "no such folder");
  const fs::path lists = options.list_folder.empty() ? folder_ : options.list_folder;
  // Labels counted from another number make other samples, which a cache tells apart by the name.
  name_ = fmt::format("{}/{}{}", fs::absolute(folder_ / "").lexically_normal().parent_path().filename().string(),
                      options.phase, reduce_zero_label_ ? ", labels from 1" : "");

  const fs::path image_list = lists / (options.phase + "_images.txt"),
                 label_list = lists / (options.phase + "_labels.txt");
  images_ = read_list(image_list);
  if (fs::exists(label_list)) {
    labels_ = read_list(label_list);
    if (labels_.size() != images_.size())
      fail(label_list, fmt::format("lists {} files, but {} lists {}: line {} has no partner", labels_.size(),
                                   image_list.string(), images_.size(), std::min(labels_.size(), images_.size()) + 1));
  }

  if (options.needs_info) std::tie(mean_, std_) = read_mean_and_std(folder_ / "info.json");

  const fs::path classes_file = folder_ / "classes.json";
  if (options.classes)
    classes_ = *options.classes;
  else if (fs::exists(classes_file))
    classes_ = read_classes_json(classes_file);
  else
    fail(classes_file, "no such file, and no classes were given otherwise");
}

std::vector<fs::path> ListFolder::files(int64_t index) const {
  const auto i = static_cast<size_t>(index);
  std::vector<fs::path> paths{folder_ / images_[i]};
  if (!labels_.empty()) paths.push_back(folder_ / labels_[i]);
  return paths;
}

Sample ListFolder::load(int64_t index) const {
  require_sample(index);
  const std::vector<fs::path> paths = files(index);
  Sample sample;
  sample.name = images_[static_cast<size_t>(index)];
  sample.image = read_image(paths[0]);
  if (labels_.empty()) return sample;
  sample.label = read_label(paths[1]);
  require_size_of_image(paths[1], sample.label, paths[0], sample.image);
  if (reduce_zero_label_)
    sample.label = reduce_zero_label(std::move(sample.label), static_cast<uint8_t>(classes_.ignore_index));
  check_label_values(paths[1], sample.label, classes_.size(), classes_.ignore_index);
  return sample;
}

}  // namespace segrt::data
