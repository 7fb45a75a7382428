// Activations as golden files store them: in upstream's layout, whole or every k-th element.
#pragma once

#include "autograd/tape.h"
#include "tests/tools/segrt_golden/golden_file.h"
#include "tests/tools/segrt_golden/report.h"

namespace segrt::golden {

// {"shape": [n,c,h,w], "flat_stride": k}: elements 0, k, 2k, ... of the map in C order.
struct StoredMap {
  std::vector<int64_t> shape;
  int64_t stride = 1;
};
StoredMap stored_map(Fields fields);

Tensor nchw(const Tensor& nhwc_map, Device& host);  // [N,H,W,C] -> [N,C,H,W]; other ranks as they are
std::vector<double> subsample(const Tensor& map, int64_t stride);

// Whether a map, [N,C,H,W], has the stored shape; a classifier's [N,C,h,w] may be stored as [N,C*h*w]. Reports a
// failure where not.
bool has_shape(const std::string& name, const Tensor& map, const std::vector<int64_t>& expected, Report& report);

// The input `name` of shape [n,c,h,w] as [n,h,w,c].
Tensor golden_input(const std::string& name, const std::vector<int64_t>& shape, Device& device);

}  // namespace segrt::golden
