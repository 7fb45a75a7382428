#include "tests/tools/segrt_golden/low_precision.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "kernels/elementwise.h"
#include "tests/support/tensors.h"

namespace segrt::golden {
namespace {
constexpr double kMap = 2e-2, kRoom = 2, kMost = 0.25;
// The mean over many pixels: their roundings cancel.
constexpr double kLoss = 1e-2;

Tensor cast(const Tensor& x, DType dtype) {
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  kernels::cast(x, y);
  return y;
}

Tensor rounded(const Tensor& x, DType precision) { return cast(cast(x, precision), DType::f32); }

void check_maps(GoldenFile& file, const Family& family, Device& device, DType precision, Report& report) {
  const Tensor input = family.input(file, device);
  const Results got = family.results(file, *family.network(file, device), cast(input, precision));
  const std::unique_ptr<models::Model> model = family.network(file, device);
  model->visit_parameters([&](const std::string&, nn::Parameter& p) {
    Tensor value = p.var.value();
    value.copy_from(rounded(value, precision));
  });
  const Results moved = family.results(file, *model, rounded(input, precision));
  for (const auto& [name, values] : got) {
    const std::vector<double> expected = file.values(name);
    const double by_rounding = test::relative_l2(moved.at(name), expected);
    report.error(name, "relative L2", test::relative_l2(values, expected), std::clamp(kRoom * by_rounding, kMap, kMost),
                 fmt::format("rounded weights in f32: {:.2e}", by_rounding));
  }
}
}  // namespace

void run_low_precision(GoldenFile& file, Device& device, DType precision, Report& report) {
  const Family* family = family_of(file);
  const auto leave_out = [&](const char* reason) { fmt::print("  left out, {}\n", reason); };
  if (family == nullptr || file.has("images"))
    return leave_out("all of it: only single networks are compared in a 16-bit type");
  check_maps(file, *family, device, precision, report);
  if (file.contains("loss")) {
    const double loss = family->first_loss(file, device, precision), expected = file.values("loss").at(0);
    report.entries("loss", {loss}, {expected}, kLoss, {});
  }
  leave_out("compared in f32 alone: gradients, later steps, statistics, counts");
}

}  // namespace segrt::golden
