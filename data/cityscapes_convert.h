// The train-id label maps that networks learn from, of what Cityscapes' download holds.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/conversion.h"

namespace segrt::data {

struct CityscapesConversion {
  enum class From : uint8_t { label_ids, polygons };

  std::filesystem::path root{};  // holds gtFine
  std::string split = "train";
  From from = From::label_ids;

  // *_gtFine_labelTrainIds.png beside every *_gtFine_labelIds.png or *_gtFine_polygons.json of the split, and the list
  // <root>/<split>.txt with a line <city>/<frame> each. Throws FileError when the split has no such files.
  Conversion plan() const;

  // Which of train, val and test have such files. Throws FileError when none has.
  static std::vector<std::string> splits_of(const std::filesystem::path& root, From from);
};

}  // namespace segrt::data
