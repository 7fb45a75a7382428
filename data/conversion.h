// Turning a data set as it is published into files that are trained on: many files, each made from one other, on all
// threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/image.h"

namespace segrt::data {

enum class ImageCopy : uint8_t { link, copy };  // link: a hard link where the file system can, else a copy

// One split of a data set, ready to be converted: which files are made, and of what.
struct Conversion {
  struct LabelMap {
    std::filesystem::path source, made;
    // The label map of `source`; throws Error. The same for all label maps of a conversion, but it may depend on more
    // than the path.
    std::function<Image(const std::filesystem::path& source)> convert;
  };
  struct Photo {
    std::filesystem::path source, made;
  };

  std::string split;
  std::vector<LabelMap> label_maps{};
  std::vector<Photo> photos{};  // to be where the label maps are looked for
  ImageCopy image_copy = ImageCopy::link;
  std::filesystem::path list{};  // a file that names what was converted, if any
  std::vector<std::string> list_lines{};
  std::vector<std::string> warnings{};  // e.g. that files are missing of which the published data set has more

  struct Result {
    int64_t written = 0, up_to_date = 0;  // label maps
    int64_t photos_placed = 0, photos_up_to_date = 0;
    std::vector<std::string> errors;  // one a file that could not be made, in their order
  };
  using Progress = std::function<void(int64_t done, int64_t total)>;

  // Makes what is missing, older than its source (or, of photos, of another size), or everything with `force`. A file
  // appears under its name only when it is complete, so that a conversion that was interrupted goes on where it was. A
  // bad file is put down in the result, and the others are converted. `progress` is called after each file, from one
  // thread at a time, if given.
  Result run(bool force, const Progress& progress = nullptr) const;
};

// Throws FileError unless `folder` is one.
void require_folder(const std::filesystem::path& folder);

}  // namespace segrt::data
