// Makes the train-id label maps that networks learn from what Cityscapes' download holds.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace segrt::data {

struct CityscapesConversion {
  enum class From : uint8_t { label_ids, polygons };

  std::filesystem::path root{};  // holds gtFine
  std::string split = "train";
  From from = From::label_ids;
  bool force = false;  // also files that are up to date
  // Called after each file, from one thread at a time, if given.
  std::function<void(int64_t done, int64_t total)> progress{};

  struct Result {
    int64_t written = 0, up_to_date = 0;
    std::vector<std::string> errors;  // one a file that could not be converted, in the order of the files
  };
  // Writes *_gtFine_labelTrainIds.png beside every *_gtFine_labelIds.png or *_gtFine_polygons.json of the split, on all
  // threads. A file appears under its name only when it is complete, and one at least as new as what it is made from
  // is left alone, so that a conversion that was interrupted goes on where it was. Throws FileError when
  // the split has no such files; a bad file is put down in the result, and the others are converted.
  Result run() const;

  // Which of train, val and test have such files. Throws FileError when none has.
  static std::vector<std::string> splits_of(const std::filesystem::path& root, From from);
};

}  // namespace segrt::data
