#include "data/cityscapes_files.h"

#include <algorithm>
#include <system_error>

#include "core/error.h"

namespace segrt::data {

namespace fs = std::filesystem;

std::vector<CityscapesFrame> list_cityscapes(const fs::path& folder, std::string_view suffix) {
  if (!fs::is_directory(folder))
    throw FileError(folder.string() + (fs::exists(folder) ? ": is not a folder" : ": no such folder"));
  std::vector<CityscapesFrame> frames;
  try {
    for (const fs::directory_entry& city : fs::directory_iterator(folder)) {
      const std::string city_name = city.path().filename().string();
      if (!city.is_directory() || city_name.starts_with('.')) continue;
      for (const fs::directory_entry& file : fs::directory_iterator(city.path())) {
        const std::string name = file.path().filename().string();
        if (name.starts_with('.') || name.size() <= suffix.size() || !name.ends_with(suffix)) continue;
        frames.push_back({city_name, name.substr(0, name.size() - suffix.size())});
      }
    }
  } catch (const fs::filesystem_error& e) {
    throw FileError(folder.string() + ": cannot list " + e.path1().string() + ": " + e.code().message());
  }
  std::sort(frames.begin(), frames.end());
  return frames;
}

}  // namespace segrt::data
