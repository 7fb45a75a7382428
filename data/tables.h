// Facts of published data sets, kept in data/tables/*.tsv and compiled in: a header line, then a row a line, fields
// separated by tabs.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace segrt::data {

class Table {
 public:
  explicit Table(std::string_view tsv);  // text that outlives the table

  size_t size() const { return rows_.size(); }
  std::string_view text(size_t row, std::string_view column) const;
  int number(size_t row, std::string_view column) const;

 private:
  size_t column_of(std::string_view column) const;

  std::vector<std::string_view> columns_;
  std::vector<std::vector<std::string_view>> rows_;
};

// name, r, g, b; train_id: the class whose colour it is in DABNet's conversion, 255 where it is none; segnet_id: the
// class it belongs to in SegNet's labels of 11 classes.
Table camvid_colours_table();
// raw: value of S in annotations/*.mat; stored: value in the label map; train_id; name.
Table coco_stuff10k_table();
// raw: value in annotations/*.png; train_id; name.
Table coco_stuff164k_table();
// train_id, name, r, g, b of the 171 classes of both.
Table coco_stuff_classes_table();

}  // namespace segrt::data
