#include "data/suffix_folders.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "data/dataset_info.h"
#include "data/list_folder.h"

namespace segrt::data {

namespace fs = std::filesystem;

std::vector<std::string> list_by_suffix(const fs::path& folder, const std::string& suffix) {
  if (!fs::is_directory(folder))
    throw FileError(folder.string() + (fs::exists(folder) ? ": is not a folder" : ": no such folder"));
  std::vector<std::string> keys;
  std::error_code error;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator it(folder, options, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool is_folder = it->is_directory();
    if (name.starts_with('.')) {
      if (is_folder) it.disable_recursion_pending();
      continue;
    }
    if (is_folder || name.size() <= suffix.size() || !name.ends_with(suffix)) continue;
    const std::string path = it->path().lexically_relative(folder).generic_string();
    keys.push_back(path.substr(0, path.size() - suffix.size()));
  }
  if (error) throw FileError(folder.string() + ": cannot list: " + error.message());
  std::sort(keys.begin(), keys.end());
  return keys;
}

SuffixFolders::SuffixFolders(const Options& options) : options_(options) {
  const fs::path& root = options_.root;
  if (!fs::is_directory(root))
    throw FileError(root.string() + (fs::exists(root) ? ": is not a folder" : ": no such folder"));
  for (size_t i = 0; i < options_.folders.size(); ++i) pair_up(i);
  std::stable_sort(pairs_.begin(), pairs_.end(), [](const Pair& a, const Pair& b) { return a.key < b.key; });
  const auto twice =
      std::adjacent_find(pairs_.begin(), pairs_.end(), [](const Pair& a, const Pair& b) { return a.key == b.key; });
  if (twice != pairs_.end())
    report_missing(options_.problems,
                   fmt::format("{}: {} has a file of the same name", files(twice - pairs_.begin()).front().string(),
                               (root / folders_of(*(twice + 1)).images).string()));
  const fs::path info = root / "info.json";
  if (options_.needs_info && fs::exists(info)) std::tie(mean_, std_) = read_mean_and_std(info);
}

void SuffixFolders::pair_up(size_t index) {
  const Folders& folders = options_.folders[index];
  const fs::path images = options_.root / folders.images, labels = options_.root / folders.labels;
  const std::vector<std::string> keys = list_by_suffix(images, options_.image_suffix);
  if (keys.empty())
    report_missing(options_.problems, fmt::format("{}: holds no images (*{})", images.string(), options_.image_suffix));
  std::vector<std::string> labelled;
  if (fs::is_directory(labels)) labelled = list_by_suffix(labels, options_.label_suffix);
  if (labelled.empty())
    throw FileError(fmt::format("{}: holds no label maps (*{}); `{}` makes them", labels.string(),
                                options_.label_suffix, options_.converter));
  for (const std::string& key : labelled)
    if (!std::binary_search(keys.begin(), keys.end(), key))
      report_missing(options_.problems, fmt::format("{}: label map without an image: there is no {}",
                                                    (labels / (key + options_.label_suffix)).string(),
                                                    (images / (key + options_.image_suffix)).string()));
  for (const std::string& key : keys) {
    if (std::binary_search(labelled.begin(), labelled.end(), key))
      pairs_.push_back({key, index});
    else
      report_missing(options_.problems, fmt::format("{}: image without a label map: there is no {}",
                                                    (images / (key + options_.image_suffix)).string(),
                                                    (labels / (key + options_.label_suffix)).string()));
  }
}

std::vector<fs::path> SuffixFolders::files(int64_t index) const {
  const Pair& pair = pairs_[static_cast<size_t>(index)];
  return {options_.root / folders_of(pair).images / (pair.key + options_.image_suffix),
          options_.root / folders_of(pair).labels / (pair.key + options_.label_suffix)};
}

Sample SuffixFolders::load(int64_t index) const {
  require_sample(index);
  const std::vector<fs::path> paths = files(index);
  Sample sample;
  const Pair& pair = pairs_[static_cast<size_t>(index)];
  sample.name = folders_of(pair).images + "/" + pair.key + options_.image_suffix;
  sample.image = options_.as_rgb ? read_image_as_rgb(paths[0], Orientation::upright) : read_image(paths[0]);
  sample.label = read_label(paths[1]);
  require_size_of_image(paths[1], sample.label, paths[0], sample.image);
  const LabelTable& classes = options_.classes;
  if (options_.reduce_zero_label) {
    // Checked as stored, so that the message shows what the file holds.
    check_label_values(paths[1], sample.label, classes.size() + 1, classes.ignore_index);
    sample.label = reduce_zero_label(std::move(sample.label), static_cast<uint8_t>(classes.ignore_index));
  } else {
    check_label_values(paths[1], sample.label, classes.size(), classes.ignore_index);
  }
  return sample;
}

}  // namespace segrt::data
