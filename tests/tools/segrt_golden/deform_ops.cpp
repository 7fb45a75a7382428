#include "tests/tools/segrt_golden/deform_ops.h"

#include <array>
#include <map>

#include "autograd/deform.h"
#include "autograd/elementwise.h"
#include "core/error.h"
#include "nn/deform_conv.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/dgmn2.h"
#include "tests/tools/segrt_golden/maps.h"

namespace segrt::golden {
namespace {
// Of the largest magnitude, outputs and gradients alike; in float64 the file's own rounding, with room.
constexpr double kStated = 1e-5, kExact = 2e-6;

constexpr std::string_view kUnfold = "deform_unfold", kConv = "deform_conv ", kPack = "modulated deform conv pack";

std::string op(GoldenFile& file) { return file.has("op") ? file.text("op") : ""; }

// Maps and weights stand in the file as [A,B,...], and here with B last.
Tensor channels_last(const std::vector<double>& values, const std::vector<int64_t>& s, DType dtype, Device& device) {
  const auto inner = static_cast<size_t>(s[2] * s[3]), channels = static_cast<size_t>(s[1]);
  std::vector<double> moved(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t a = i / inner / channels, c = i / inner % channels, pixel = i % inner;
    moved[(a * inner + pixel) * channels + c] = values[i];
  }
  return test::from_doubles({s[0], s[2], s[3], s[1]}, moved, dtype, device);
}
std::vector<double> channels_first(const Tensor& t) {
  const auto inner = static_cast<size_t>(t.dim(1) * t.dim(2)), channels = static_cast<size_t>(t.dim(3));
  const std::vector<double> values = test::to_doubles(t);
  std::vector<double> moved(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t a = i / inner / channels, c = i / inner % channels, pixel = i % inner;
    moved[i] = values[(a * inner + pixel) * channels + c];
  }
  return moved;
}

// One run of a file's operator in one type on one device.
class Run {
 public:
  Run(GoldenFile& file, DType dtype, Device& device) : file_(file), dtype_(dtype), device_(device) {}

  Results results() {
    const Var y = forward();
    // Columns stand in the file as [N, C*K, P*Q], channel c*K + t: [N,P,Q,K,C] with its channels to the front and its
    // taps behind them.
    const bool columns = y.shape().rank() == 5;
    const int64_t taps = columns ? y.dim(3) : 1, positions = columns ? y.dim(1) * y.dim(2) : 0;
    const Shape as_map = columns ? Shape{y.dim(0), positions, taps, y.dim(4)} : y.shape();
    const std::vector<int64_t> stored = file_.shape("grad_out");
    const std::vector<double> d = file_.values("grad_out");
    const Tensor seed = columns ? columns_of(d, as_map)
                                : channels_last(d, {stored[0], stored[1], stored[2], stored[3]}, dtype_, device_);
    backward(autograd::sum(autograd::mul(autograd::reshape(y, as_map), seed)));
    Results r;
    r["out"] = columns ? columns_stored(y.value().reshape(as_map)) : channels_first(y.value());
    for (auto& [name, leaf] : leaves_)
      r["grad." + name] = leaf.shape().rank() == 4 ? channels_first(leaf.grad()) : test::to_doubles(leaf.grad());
    return r;
  }

 private:
  // An input of the file, whose gradient is compared; undefined where the file has none.
  Var leaf(const std::string& name) {
    if (!file_.contains(name)) return {};
    const std::vector<int64_t> shape = file_.shape(name);
    const std::vector<double> values = file_.values(name);
    const Var v = Var::parameter(shape.size() == 4 ? channels_last(values, shape, dtype_, device_)
                                                   : test::from_doubles({shape[0]}, values, dtype_, device_));
    leaves_[name] = v;
    return v;
  }
  std::array<int, 2> pair(const std::string& key) { return file_.get<std::array<int, 2>>(key); }

  Var forward() {
    const auto [kernel_h, kernel_w] = pair("kernel");
    const auto [stride_h, stride_w] = pair("stride");
    const auto [pad_h, pad_w] = pair("padding");
    const auto [dilation_h, dilation_w] = pair("dilation");
    const int groups = file_.get<int>("groups"), deform_groups = file_.get<int>("deformable_groups");
    const kernels::DeformGeometry g{kernel_h, kernel_w, stride_h,   stride_w,   pad_h,        pad_w,
                                    pad_h,    pad_w,    dilation_h, dilation_w, deform_groups};
    const Var x = leaf("x");
    if (op(file_) == kUnfold) return autograd::deform_unfold(x, leaf("offset"), leaf("mask"), g);
    if (op(file_).starts_with(kConv)) {
      const Var offset = leaf("offset"), mask = leaf("mask"), weight = leaf("weight");
      return autograd::deform_conv2d(x, offset, mask, weight, leaf("bias"), {g, groups});
    }
    // The layer itself, its parameters by their names.
    nn::Init init(device_, 1);
    const std::vector<int64_t> weight = file_.shape("weight");
    pack_ = std::make_unique<nn::ModulatedDeformConvPack>(nn::DeformConvOptions{.in = static_cast<int>(x.dim(3)),
                                                                                .out = static_cast<int>(weight[0]),
                                                                                .kernel = kernel_h,
                                                                                .stride = stride_h,
                                                                                .padding = pad_h,
                                                                                .dilation = dilation_h,
                                                                                .groups = groups,
                                                                                .deform_groups = deform_groups},
                                                          init);
    pack_->visit_parameters([&](const std::string& path, nn::Parameter& p) { p.var = leaf(path); });
    return pack_->forward(x);
  }

  // Element (n, c*K + t, position) of a file belongs at (n, position, t, c).
  template <typename F>
  static void for_columns(const Shape& s, const F& f) {
    const auto n = static_cast<size_t>(s[0]), positions = static_cast<size_t>(s[1]), taps = static_cast<size_t>(s[2]),
               channels = static_cast<size_t>(s[3]);
    for (size_t i = 0; i < n * positions * taps * channels; ++i) {
      const size_t c = i % channels, t = i / channels % taps, rest = i / channels / taps;
      f(i, ((rest / positions * channels + c) * taps + t) * positions + rest % positions);
    }
  }
  Tensor columns_of(const std::vector<double>& stored, const Shape& s) const {
    std::vector<double> moved(stored.size());
    for_columns(s, [&](size_t ours, size_t theirs) { moved.at(ours) = stored.at(theirs); });
    return test::from_doubles(s, moved, dtype_, device_);
  }
  static std::vector<double> columns_stored(const Tensor& columns) {
    const std::vector<double> values = test::to_doubles(columns);
    std::vector<double> moved(values.size());
    for_columns(columns.shape(), [&](size_t ours, size_t theirs) { moved.at(theirs) = values.at(ours); });
    return moved;
  }

  GoldenFile& file_;
  DType dtype_;
  Device& device_;
  std::map<std::string, Var> leaves_;
  std::unique_ptr<nn::ModulatedDeformConvPack> pack_;
};

}  // namespace

bool holds_deform_op(GoldenFile& file) {
  const std::string name = op(file);
  return name == kUnfold || name.starts_with(kConv) || name.starts_with(kPack);
}

void run_deform_op(GoldenFile& file, Device& device, Report& report) {
  for (const char* words : {"family", "inputs", "fp32_vs_fp64_out_rel", "fp32_vs_fp64_grad_rel", "torch"})
    file.skip(words);
  const Results got = Run(file, DType::f32, device).results();
  const Results exact = Run(file, DType::f64, file.host()).results();
  for (const auto& [row, values] : got) {
    const std::vector<double> expected = file.values(row);
    check_of_largest(row + " (f64)", exact.at(row), expected, kExact, report);
    check_of_largest(row, values, expected, kStated, report);
  }
}

}  // namespace segrt::golden
