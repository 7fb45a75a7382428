#include "core/shape.h"

#include <ostream>

#include "core/error.h"

namespace segrt {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  if (dims.size() > kMaxRank)
    throw ArgumentError("shape: at most " + std::to_string(kMaxRank) + " dimensions, got " +
                        std::to_string(dims.size()));
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0)
      throw ArgumentError("shape: negative extent " + std::to_string(dims[i]) + " in dimension " + std::to_string(i));
    dims_[i] = dims[i];
    if (__builtin_mul_overflow(numel_, dims[i], &numel_))
      throw ArgumentError("shape: the number of elements overflows 64 bits");
  }
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += (i ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << to_string(shape); }

}  // namespace segrt
