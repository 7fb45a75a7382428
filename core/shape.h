// The extents of a tensor, outermost first. Rank 0 is a scalar (one element); at most 6 dimensions.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>
#include <string>

namespace segrt {

class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(
      std::span<const int64_t> dims);  // throws ArgumentError on a negative extent, rank > 6 or an overflowing product

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i < 0 ? i + rank_ : i)]; }  // -1 is the last
  int64_t numel() const { return numel_; }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  bool operator==(const Shape&) const = default;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
  int64_t numel_ = 1;
};

std::string to_string(const Shape& shape);  // "[2,512,1024,64]"
std::ostream& operator<<(std::ostream&, const Shape& shape);

}  // namespace segrt
