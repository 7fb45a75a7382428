// Names and display colours of a dataset's classes, and pictures of label maps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"

namespace segrt::data {

// Class k has names[k] and colours[k]; both have the same length, at most 255. `ignore_index` is no class. The classes
// of whole images (classification) are a list of names of any length: no colours, and ignore_index -1, which ignores
// none.
struct LabelTable {
  std::vector<std::string> names;
  std::vector<Rgb> colours;
  int ignore_index = 255;

  int size() const { return static_cast<int>(names.size()); }
  bool operator==(const LabelTable&) const = default;
};

// The 19 evaluated classes of Cityscapes by train id, in the colours of its published label table (Cordts et al. 2016).
LabelTable cityscapes_labels();

// The 11 classes of CamVid in SegNet's order (Badrinarayanan et al. 2017), in CamVid's colours (Brostow et al. 2009).
LabelTable camvid_labels();

// The 171 classes of COCO-Stuff (Caesar et al. 2018) by train id.
LabelTable coco_stuff_labels();

// Three classes in the opaque colours in which DRN's published testing paints them: black, red, blue.
LabelTable triplet_labels();

// `classes` classes "class 0", "class 1", ... in distinct colours. Throws ArgumentError unless 1 <= classes <= 255.
LabelTable generic_labels(int classes);

// Classes of whole images, which nobody paints. Throws ArgumentError for an empty list.
LabelTable class_names(std::vector<std::string> names);

// generic_labels with given names: the colours of Cityscapes, CamVid or COCO-Stuff where the names are those, else
// generic ones.
LabelTable named_labels(std::vector<std::string> names);

// Label maps whose 0 is "unlabelled" and whose classes count from 1: 0 becomes the ignore index, k becomes k - 1, the
// ignore index stays. Throws ArgumentError unless label has one channel.
Image reduce_zero_label(Image label, uint8_t ignore_index = 255);

// label [h,w,1] -> [h,w,3] in the table's colours; values outside the table (ignore_index too) are black.
// Throws ArgumentError unless label has one channel.
Image colourise(const Image& label, const LabelTable& table);
// The same with an opaque alpha channel, [h,w,4].
Image colourise_rgba(const Image& label, const LabelTable& table);

// image [h,w,3], label [h,w,1] -> [h,w,3]: `alpha` of the class colour over the image (0: image, 1: class colour;
// ignored pixels keep the image), white lines between segments. Throws ArgumentError on other shapes or alpha outside
// [0, 1].
Image overlay(const Image& image, const Image& label, const LabelTable& table, double alpha = 0.5);

}  // namespace segrt::data
