#include "data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "data/dataset_info.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, std::string_view cause) {
  throw FileError(fmt::format("{}: {}", path.string(), cause));
}

bool is_image(const fs::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

void require_folder(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) fail(folder, fs::exists(folder, error) ? "is not a folder" : "no such folder");
}

std::vector<std::string> class_folders(const fs::path& split) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(split, error), end; !error && it != end; it.increment(error))
    if (it->is_directory()) names.push_back(it->path().filename().string());
  if (error) fail(split, "cannot list: " + error.message());
  std::sort(names.begin(), names.end());
  return names;
}

// Images in `folder` and below, as paths below `root`, by folder and then name.
std::vector<std::string> images_below(const fs::path& folder, const fs::path& root) {
  std::vector<std::pair<std::string, std::string>> files;
  std::error_code error;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator it(folder, options, error), end; !error && it != end; it.increment(error))
    if (is_image(it->path()) && it->is_regular_file())
      files.emplace_back(it->path().parent_path().lexically_relative(root).string(), it->path().filename().string());
  if (error) fail(folder, "cannot list: " + error.message());
  std::sort(files.begin(), files.end());
  std::vector<std::string> paths;
  paths.reserve(files.size());
  for (const auto& [parent, file] : files) paths.push_back((fs::path(parent) / file).string());
  return paths;
}

// The lines "<folder> <name>" of a list of classes.
std::map<std::string, std::string> names_by_folder(const fs::path& path) {
  constexpr std::string_view kSpace = " \t\r";
  std::ifstream file(path);
  if (!file) fail(path, fs::exists(path) ? "cannot open" : "no such file");
  std::map<std::string, std::string> names;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const size_t begin = line.find_first_not_of(kSpace);
    if (begin == std::string::npos) continue;
    const size_t end = line.find_first_of(kSpace, begin);
    const size_t name = end == std::string::npos ? end : line.find_first_not_of(kSpace, end);
    if (name == std::string::npos) fail(path, fmt::format("line {}: expected \"<folder> <name>\"", number));
    const std::string folder = line.substr(begin, end - begin);
    if (!names.emplace(folder, line.substr(name, line.find_last_not_of(kSpace) - name + 1)).second)
      fail(path, fmt::format("line {}: a second name for {}", number, folder));
  }
  if (file.bad()) fail(path, "cannot read to the end");
  return names;
}

}  // namespace

ImageFolder::ImageFolder(const Options& options)
    : root_(options.root),
      split_(options.split),
      name_(fmt::format("{}/{}", fs::absolute(root_ / "").lexically_normal().parent_path().filename().string(),
                        options.split)) {
  const fs::path folder = root_ / split_;
  require_folder(root_);
  require_folder(folder);
  std::vector<std::string> folders = class_folders(folder);
  has_labels_ = !folders.empty() || split_ != "test";
  if (has_labels_) {
    if (folders.empty()) fail(folder, "holds no class: a folder of images for each is needed");
    for (const std::string& name : folders) {
      std::vector<std::string> files = images_below(folder / name, root_);
      if (files.empty()) fail(folder / name, "an empty class: no .jpg, .jpeg or .png file in it");
      image_class_.insert(image_class_.end(), files.size(), static_cast<int32_t>(&name - folders.data()));
      images_.insert(images_.end(), std::make_move_iterator(files.begin()), std::make_move_iterator(files.end()));
    }
    if (split_ != "train" && fs::is_directory(root_ / "train")) require_same_classes(folders);
  } else {
    images_ = images_below(folder, root_);
    if (images_.empty()) fail(folder, "holds no images (.jpg, .jpeg, .png)");
    const fs::path named = fs::is_directory(root_ / "train") ? root_ / "train" : root_ / "val";
    require_folder(named);
    folders = class_folders(named);
    if (folders.empty()) fail(named, "holds no class: a folder of images for each is needed");
  }
  if (options.class_names.empty())
    classes_ = class_names(std::move(folders));
  else
    classes_ = class_names(read_class_names(options.class_names, folders));
  const fs::path info = root_ / "info.json";
  if (options.needs_info && fs::exists(info)) std::tie(mean_, std_) = read_mean_and_std(info);
}

void ImageFolder::require_same_classes(const std::vector<std::string>& folders) const {
  const std::vector<std::string> expected = class_folders(root_ / "train");
  for (const std::string& name : expected)
    if (!std::binary_search(folders.begin(), folders.end(), name))
      fail(root_ / split_, fmt::format("lacks the class {}, which {} has", name, (root_ / "train").string()));
  for (const std::string& name : folders)
    if (!std::binary_search(expected.begin(), expected.end(), name))
      fail(root_ / split_ / name, fmt::format("a class that {} does not have", (root_ / "train").string()));
}

std::vector<fs::path> ImageFolder::files(int64_t index) const { return {root_ / images_[static_cast<size_t>(index)]}; }

Sample ImageFolder::load(int64_t index) const {
  require_sample(index);
  const std::string& path = images_[static_cast<size_t>(index)];
  return {.image = read_image_as_rgb(root_ / path), .label = {}, .name = path};
}

int64_t ImageFolder::class_of(int64_t index) const {
  if (!has_labels_) return Dataset::class_of(index);
  require_sample(index);
  return image_class_[static_cast<size_t>(index)];
}

std::vector<std::string> read_class_names(const fs::path& path) {
  std::vector<std::string> result;
  for (const auto& [folder, name] : names_by_folder(path)) result.push_back(name);
  return result;
}

std::vector<std::string> read_class_names(const fs::path& path, const std::vector<std::string>& folders) {
  const std::map<std::string, std::string> names = names_by_folder(path);
  std::vector<std::string> result;
  for (const std::string& folder : folders) {
    const auto found = names.find(folder);
    if (found == names.end()) fail(path, fmt::format("has no line for the class {}", folder));
    result.push_back(found->second);
  }
  return result;
}

}  // namespace segrt::data
