// How the classes share a part of a label map.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "data/image.h"

namespace segrt::data {

// Pixels of each value in the map label[rows[i]][columns[j]], both tables ascending: a resized and cropped label map,
// without making it.
std::array<int64_t, 256> value_counts(const Image& label, std::span<const int> rows, std::span<const int> columns);

// Whether at least two classes are there and none has `limit` or more of the pixels that count.
bool is_mixed(const std::array<int64_t, 256>& counts, uint8_t ignore_index, double limit);

}  // namespace segrt::data
