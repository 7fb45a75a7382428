#include "data/tables.h"

#include <algorithm>
#include <cassert>
#include <charconv>

#include "data/table_texts.h"  // made from data/tables/*.tsv when the build is configured

namespace segrt::data {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

Table::Table(std::string_view tsv) {
  for (const std::string_view line : split(tsv, '\n')) {
    if (line.empty()) continue;
    if (columns_.empty())
      columns_ = split(line, '\t');
    else
      rows_.push_back(split(line, '\t'));
    assert(rows_.empty() || rows_.back().size() == columns_.size());
  }
}

size_t Table::column_of(std::string_view column) const {
  const auto found = std::find(columns_.begin(), columns_.end(), column);
  assert(found != columns_.end());
  return static_cast<size_t>(found - columns_.begin());
}

std::string_view Table::text(size_t row, std::string_view column) const { return rows_[row][column_of(column)]; }

int Table::number(size_t row, std::string_view column) const {
  const std::string_view digits = text(row, column);
  int value = 0;
  [[maybe_unused]] const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  assert(end.ec == std::errc{} && end.ptr == digits.data() + digits.size());
  return value;
}

Table camvid_colours_table() { return Table(kCamvidColours); }
Table coco_stuff10k_table() { return Table(kCocoStuff10kRemap); }
Table coco_stuff164k_table() { return Table(kCocoStuff164kRemap); }
Table coco_stuff_classes_table() { return Table(kCocoStuff171); }

}  // namespace segrt::data
