#include "nn/state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <set>

#include "core/error.h"
#include "kernels/elementwise.h"

namespace segrt::nn {
namespace {
// y[i0,i1,i2,i3] = x with dimensions in the order `from`, element by element; host tensors.
Tensor permuted(const Tensor& x, const std::array<int, 4>& from) {
  if (!x.device().is_cpu()) throw ArgumentError("layout: expected a tensor on the CPU, got " + describe(x));
  const Shape shape{x.dim(from[0]), x.dim(from[1]), x.dim(from[2]), x.dim(from[3])};
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  std::array<int64_t, 4> stride{};
  const std::array<int64_t, 4> dense{x.dim(1) * x.dim(2) * x.dim(3), x.dim(2) * x.dim(3), x.dim(3), 1};
  for (size_t i = 0; i < 4; ++i) stride[i] = dense[static_cast<size_t>(from[i])];
  const size_t size = size_of(x.dtype());
  const char* source = static_cast<const char*>(x.raw());
  char* target = static_cast<char*>(y.raw());
  for (int64_t a = 0; a < shape[0]; ++a)
    for (int64_t b = 0; b < shape[1]; ++b)
      for (int64_t c = 0; c < shape[2]; ++c)
        for (int64_t d = 0; d < shape[3]; ++d, target += size)
          std::memcpy(
              target,
              source + size * static_cast<size_t>(a * stride[0] + b * stride[1] + c * stride[2] + d * stride[3]), size);
  return y;
}

const Tensor& tensor_of(const Module::StateEntry& entry) {
  return entry.parameter != nullptr ? entry.parameter->var.value() : entry.buffer->tensor;
}

std::string listed(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  constexpr size_t kShown = 12;
  const std::vector<std::string> shown(names.begin(),
                                       names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kShown)));
  return fmt::format("\n  {} ({}): {}{}", what, names.size(), fmt::join(shown, ", "),
                     names.size() > kShown ? ", ..." : "");
}

bool is_float_name(const std::string& dtype) {
  return dtype == "F16" || dtype == "BF16" || dtype == "F32" || dtype == "F64";
}

Tensor cast_to(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  kernels::cast(x, y);
  return y;
}

// Types are checked before the first value is copied, so that a failure leaves the module as it was. Floats are
// converted, as weights published in half precision want it.
void copy_planned(const WeightFile& file, const std::vector<std::pair<const Module::StateEntry*, std::string>>& plan) {
  const std::unique_ptr<Device> host = Device::create("cpu");
  for (const auto& [entry, name] : plan) {
    const std::string& dtype = file.entry(name).dtype;
    const DType wanted = tensor_of(*entry).dtype();
    if (dtype != safetensors_name(wanted) && !(is_float(wanted) && is_float_name(dtype)))
      throw FileError(fmt::format("{}: {}: expected {}, got {}", file.path(), name, safetensors_name(wanted), dtype));
  }
  for (const auto& [entry, name] : plan) {
    Tensor target = tensor_of(*entry);
    target.copy_from(from_upstream_layout(cast_to(file.read(name, *host), target.dtype())));
  }
}
}  // namespace

Shape upstream_shape(const Shape& s) { return s.rank() == 4 ? Shape{s[0], s[3], s[1], s[2]} : s; }
Tensor to_upstream_layout(const Tensor& t) { return t.rank() == 4 ? permuted(t, {0, 3, 1, 2}) : t; }
Tensor from_upstream_layout(const Tensor& t) { return t.rank() == 4 ? permuted(t, {0, 2, 3, 1}) : t; }

std::vector<NamedTensor> state_dict(Module& module, Device& host) {
  std::vector<NamedTensor> tensors;
  for (const Module::StateEntry& entry : module.state())
    tensors.push_back({entry.path, to_upstream_layout(tensor_of(entry).to(host))});
  return tensors;
}

std::string LoadReport::differences() const {
  return listed("missing", missing) + listed("unexpected", unexpected) + listed("wrong shape", misshaped);
}

LoadReport load_state(Module& module, const WeightFile& file, const LoadOptions& options) {
  LoadReport report;
  std::set<std::string> used;
  std::vector<std::pair<const Module::StateEntry*, std::string>> plan;
  const std::vector<Module::StateEntry> state = module.state();
  for (const Module::StateEntry& entry : state) {
    const std::string name = options.file_name ? options.file_name(entry.path) : entry.path;
    if (name.empty()) {
      report.kept.push_back(entry.path);
      continue;
    }
    const std::string full = options.prefix + name;
    used.insert(full);
    if (!file.contains(full)) {
      if (entry.buffer == nullptr || !entry.buffer->optional) report.missing.push_back(full);
      continue;
    }
    const Shape expected = upstream_shape(tensor_of(entry).shape());
    const std::vector<int64_t>& found = file.entry(full).shape;
    if (!std::equal(expected.dims().begin(), expected.dims().end(), found.begin(), found.end())) {
      if (options.may_mismatch && options.may_mismatch(entry.path))
        report.kept.push_back(entry.path);
      else
        report.misshaped.push_back(
            fmt::format("{} (file [{}], model {})", full, fmt::join(found, ","), to_string(expected)));
      continue;
    }
    plan.emplace_back(&entry, full);
  }
  for (const WeightEntry& entry : file.entries())
    if (entry.name.starts_with(options.prefix) && !used.contains(entry.name) &&
        !(options.ignore && options.ignore(entry.name)))
      report.unexpected.push_back(entry.name);
  if (options.strict && !report.fits())
    throw FileError(file.path() + ": these weights do not fit the model:" + report.differences());
  if (plan.empty() && !state.empty())
    throw FileError(file.path() + ": none of these weights fits the model:" + report.differences());
  copy_planned(file, plan);
  report.loaded = static_cast<int64_t>(plan.size());
  return report;
}

}  // namespace segrt::nn
