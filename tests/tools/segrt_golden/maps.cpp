#include "tests/tools/segrt_golden/maps.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "nn/state.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"

namespace segrt::golden {

StoredMap stored_map(Fields fields) {
  StoredMap map{fields.get<std::vector<int64_t>>("shape"), fields.get<int64_t>("flat_stride", 1)};
  if (map.stride < 1) throw FileError("flat_stride: expected a count, got " + std::to_string(map.stride));
  fields.skip("what");
  fields.check_used();
  return map;
}

Tensor nchw(const Tensor& nhwc_map, Device& host) { return nn::to_upstream_layout(nhwc_map.to(host)); }

std::vector<double> subsample(const Tensor& map, int64_t stride) {
  const std::vector<double> all = test::to_doubles(map);
  std::vector<double> some;
  for (size_t i = 0; i < all.size(); i += static_cast<size_t>(stride)) some.push_back(all[i]);
  return some;
}

bool has_shape(const std::string& name, const Tensor& map, const std::vector<int64_t>& expected, Report& report) {
  const Shape& got = map.shape();
  if (std::equal(got.dims().begin(), got.dims().end(), expected.begin(), expected.end())) return true;
  if (expected.size() == 2 && got.rank() == 4 && got[0] == expected[0] && got.numel() == expected[0] * expected[1])
    return true;
  report.fail(name, fmt::format("shape {}, expected {}", to_string(got), to_string(expected)));
  return false;
}

Tensor golden_input(const std::string& name, const std::vector<int64_t>& shape, Device& device) {
  if (shape.size() != 4) throw FileError("input " + name + ": expected the shape [n,c,h,w], got " + to_string(shape));
  return nhwc(image(name, shape[0], shape[2], shape[3], shape[1]), shape[0], shape[2], shape[3], shape[1], device);
}

}  // namespace segrt::golden
