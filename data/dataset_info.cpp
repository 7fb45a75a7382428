#include "data/dataset_info.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "data/json_file.h"

namespace segrt::data {
namespace {

using Json = nlohmann::json;

std::array<double, 3> read_triple(const std::filesystem::path& path, const Json& info, const char* key, bool positive) {
  const auto fail = [&](const std::string& cause) { throw FileError(path.string() + ": " + cause); };
  if (!info.is_object() || !info.contains(key)) fail(fmt::format("\"{}\" is missing", key));
  const Json& found = info.at(key);
  std::array<double, 3> values{};
  bool good = found.is_array() && found.size() == 3;
  for (size_t c = 0; good && c < 3; ++c) {
    good = found[c].is_number();
    if (!good) break;
    values[c] = found[c].get<double>();
    good = values[c] >= 0 && values[c] <= 1 && (!positive || values[c] > 0);
  }
  if (!good)
    fail(fmt::format("\"{}\": expected three numbers {} 1 (red, green, blue), got {}", key,
                     positive ? "above 0 and at most" : "from 0 to", found.dump()));
  return values;
}

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::pair<std::array<double, 3>, std::array<double, 3>> read_mean_and_std(const std::filesystem::path& path) {
  const Json info = read_json(path);
  return {read_triple(path, info, "mean", false), read_triple(path, info, "std", true)};
}

std::string dataset_info(const Dataset& dataset, const DatasetStatistics& s) {
  constexpr const char* kChannels[] = {"red", "green", "blue"};
  for (size_t c = 0; c < 3; ++c)
    if (!(s.std[c] > 0))
      throw Error(fmt::format("{}: every {} value of its {} images is {:.4g}: nothing to normalise by", dataset.name(),
                              kChannels[c], s.images, s.mean[c]));
  nlohmann::ordered_json info;
  info["mean"] = s.mean;
  info["std"] = s.std;
  info["dataset"] = dataset.name();
  info["images"] = dataset.size();
  info["images_measured"] = s.images;
  if (!dataset.has_labels()) return info.dump(1) + '\n';
  const std::vector<int64_t>& counts = dataset.is_classification() ? s.images_with : s.pixels;
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  if (!dataset.is_classification()) info["ignored_pixels"] = s.ignored;
  info["classes"] = nlohmann::ordered_json::array();
  for (size_t k = 0; k < counts.size(); ++k) {
    nlohmann::ordered_json entry{{"id", k}, {"name", dataset.classes().names[k]}};
    if (!dataset.is_classification()) entry["pixels"] = s.pixels[k];
    entry["share"] = share(counts[k], total);
    entry["images"] = s.images_with[k];
    info["classes"].push_back(entry);
  }
  return info.dump(1) + '\n';
}

}  // namespace segrt::data
