// Cityscapes' labels (Cordts et al. 2016) and their two numberings: label ids 0..33 of the annotations
// (*_labelIds.png), and the train ids 0..18 of the evaluated classes, 255 for the rest, that networks learn
// (*_labelTrainIds.png).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "data/image.h"
#include "data/remap.h"

namespace segrt::data {

struct CityscapesLabel {
  int id;  // -1 for licence plates, which are in no label map
  int train_id;
  std::string_view name;  // in the annotations
  Rgb colour;
};
// All 35, by id, the licence plate last.
std::span<const CityscapesLabel> cityscapes_label_list();

// The label called `name`. A name that is none but ends in "group" is that of the thing there are several of
// ("cargroup": car; "polegroup" is a label of its own). Null where there is no such label.
const CityscapesLabel* find_cityscapes_label(std::string_view name);

// Label id -> train id; 255 where the class is not evaluated, and for values that are no label id.
LabelMap cityscapes_train_ids();

// Train id -> label id, for predictions sent to the test server; 0 (unlabeled) for values that are no train id.
LabelMap cityscapes_label_ids();

// The published colours of label ids 0..33.
std::vector<Rgb> cityscapes_label_colours();

// A map of label ids as one of train ids. Throws FileError naming `path`, the first pixel and its value where a value
// is no label id.
Image label_ids_to_train_ids(const std::filesystem::path& path, const Image& label_ids);

}  // namespace segrt::data
