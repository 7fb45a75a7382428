#include "data/class_shares.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace segrt::data {
namespace {

// The end of the run of equal bytes that starts at `begin`.
size_t run_end(const uint8_t* row, size_t begin, size_t end) {
  const uint64_t repeated = row[begin] * uint64_t{0x0101010101010101};
  size_t at = begin + 1;
  for (uint64_t eight = 0; at + sizeof(eight) <= end; at += sizeof(eight)) {
    std::memcpy(&eight, row + at, sizeof(eight));
    if (eight != repeated) break;
  }
  while (at < end && row[at] == row[begin]) ++at;
  return at;
}

}  // namespace

std::array<int64_t, 256> value_counts(const Image& label, std::span<const int> rows, std::span<const int> columns) {
  std::array<int64_t, 256> counts{};
  if (rows.empty() || columns.empty()) return counts;
  // Label maps are runs of equal values: a run of the source counts for as many columns as read from it.
  const auto first = static_cast<size_t>(columns.front()), end = static_cast<size_t>(columns.back()) + 1;
  std::vector<int64_t> columns_before(end - first + 1);
  for (const int x : columns) ++columns_before[static_cast<size_t>(x) - first + 1];
  for (size_t i = 1; i < columns_before.size(); ++i) columns_before[i] += columns_before[i - 1];
  for (size_t i = 0; i < rows.size();) {
    size_t next = i + 1;
    while (next < rows.size() && rows[next] == rows[i]) ++next;
    const auto repeats = static_cast<int64_t>(next - i);
    const uint8_t* row = label.row(rows[i]);
    for (size_t x = first; x < end;) {
      const size_t run = run_end(row, x, end);
      counts[row[x]] += repeats * (columns_before[run - first] - columns_before[x - first]);
      x = run;
    }
    i = next;
  }
  return counts;
}

bool is_mixed(const std::array<int64_t, 256>& counts, uint8_t ignore_index, double limit) {
  int64_t sum = 0, largest = 0;
  int classes = 0;
  for (size_t value = 0; value < counts.size(); ++value) {
    if (value == ignore_index || counts[value] == 0) continue;
    ++classes;
    sum += counts[value];
    largest = std::max(largest, counts[value]);
  }
  return classes > 1 && static_cast<double>(largest) / static_cast<double>(sum) < limit;
}

}  // namespace segrt::data
