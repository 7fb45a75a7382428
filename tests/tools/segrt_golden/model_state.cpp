#include "tests/tools/segrt_golden/model_state.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "kernels/elementwise.h"
#include "nn/layers.h"
#include "nn/state.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "train/checkpoint.h"

namespace segrt::golden {
namespace {

// [O,kh,kw,I] -> [O,I,kh,kw]
std::vector<int64_t> upstream_shape(const Shape& s) {
  if (s.rank() == 4) return {s[0], s[3], s[1], s[2]};
  return {s.dims().begin(), s.dims().end()};
}

Tensor& tensor_of(nn::Module::StateEntry& entry, Tensor& holder) {
  if (entry.buffer != nullptr) return entry.buffer->tensor;
  holder = entry.parameter->var.value();
  return holder;
}

void set(Tensor& target, const std::vector<double>& upstream_values, const std::vector<int64_t>& shape, Device& host) {
  const Tensor upstream = test::from_doubles(Shape(shape), upstream_values, target.dtype(), host);
  target.copy_from(nn::from_upstream_layout(upstream));
}

void fill_model(GoldenFile& file, models::Model& model, const std::map<std::string, float>& factors) {
  std::set<std::string> known;
  for (nn::Module::StateEntry& entry : model.state()) {
    Tensor holder;
    Tensor& target = tensor_of(entry, holder);
    const std::vector<int64_t> shape = upstream_shape(target.shape());
    const std::string stored = "state." + entry.path;
    known.insert(stored);
    if (file.contains(stored)) {
      if (file.shape(stored) != shape)
        throw FileError(fmt::format("{}: {}: expected {}, got {}", file.path(), stored, to_string(shape),
                                    to_string(file.shape(stored))));
      set(target, file.values(stored), shape, file.host());
      continue;
    }
    if (entry.parameter != nullptr && !entry.parameter->trained) continue;
    const std::vector<float> filled = fill(entry.path, shape);
    std::vector<double> values(filled.begin(), filled.end());
    if (const auto found = factors.find(entry.path); found != factors.end())
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(filled[i] * found->second);
    set(target, values, shape, file.host());
  }
  for (const std::string& name : file.tensors_with_prefix("state."))
    if (!known.contains(name)) throw FileError(file.path() + ": " + name + ": the network has no such tensor");
}

std::vector<std::string> described_state(models::Model& model) {
  std::vector<std::string> lines;
  for (nn::Module::StateEntry& entry : model.state()) {
    Tensor holder;
    lines.push_back(entry.path + " " + to_string(upstream_shape(tensor_of(entry, holder).shape())));
  }
  return lines;
}

// The same weights in another network that has read them from a file of 2017: without num_batches_tracked, which is
// younger. Its own initial weights are those of another seed.
std::unique_ptr<models::Model> through_published_file(GoldenFile& file, models::Model& model, const Config& config,
                                                      Device& device) {
  std::vector<NamedTensor> tensors = nn::state_dict(model, file.host());
  std::erase_if(tensors, [](const NamedTensor& t) { return t.name.ends_with("num_batches_tracked"); });
  const TemporaryFolder folder;
  const std::string path = folder / "published.pth";
  test::write_legacy_checkpoint(path, tensors, *file.published_as);
  nn::Init init(device, 1);
  std::unique_ptr<models::Model> reader = models::build(config.table("model"), init);
  train::load_weights(path, *reader);
  return reader;
}
}  // namespace

std::unique_ptr<models::Model> build_model(GoldenFile& file, const NetworkRules& rules, Device& device,
                                           std::span<const std::string> overrides) {
  const Config config = Config::parse(rules.model_table(file), file.path(), overrides);
  nn::Init init(device, 0);
  std::unique_ptr<models::Model> model = models::build(config.table("model"), init);
  config.check_unused();
  fill_model(file, *model, rules.fill_factors(file, *model));
  return file.published_as ? through_published_file(file, *model, config, device) : std::move(model);
}

std::vector<std::string> trained_names(models::Model& model) {
  std::vector<std::string> names;
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (p.trained) names.push_back(path);
  });
  return names;
}

std::vector<std::string> statistic_names(models::Model& model) {
  std::vector<std::string> names;
  model.visit_buffers([&](const std::string& path, nn::Buffer&) {
    if (!path.ends_with("num_batches_tracked")) names.push_back(path);
  });
  return names;
}

void check_structure(GoldenFile& file, models::Model& model, Report& report) {
  if (file.has("state_shapes")) {
    std::vector<std::string> expected;
    for (const auto& [name, shape] :
         file.get<std::vector<std::pair<std::string, std::vector<int64_t>>>>("state_shapes"))
      expected.push_back(name + " " + to_string(shape));
    report.identical("state_shapes", described_state(model), expected);
  }
  if (file.has("params_total"))
    report.identical("params_total", std::vector<double>{static_cast<double>(model.parameter_count())},
                     {file.get<double>("params_total")});
  if (file.has("fixed_params")) {
    std::vector<std::string> fixed;
    model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
      if (!p.trained) fixed.push_back(path);
    });
    report.identical("fixed_params", fixed, file.get<std::vector<std::string>>("fixed_params"));
  }
  if (file.has("param_order"))
    report.identical("param_order", trained_names(model), file.get<std::vector<std::string>>("param_order"));
  if (file.has("buffer_order"))
    report.identical("buffer_order", statistic_names(model), file.get<std::vector<std::string>>("buffer_order"));
}

std::vector<double> gradient_norms(models::Model& model) {
  std::vector<double> norms;
  model.visit_parameters([&](const std::string&, nn::Parameter& p) {
    double sum = 0;
    if (p.var.grad().defined())
      for (const double v : test::to_doubles(p.var.grad())) sum += v * v;
    norms.push_back(std::sqrt(sum));
  });
  return norms;
}

void calibrate(models::Model& model, const Tensor& image) {
  model.set_training(true);
  model.visit_modules([](const std::string&, nn::Module& m) {
    if (auto* norm = dynamic_cast<nn::BatchNorm*>(&m)) norm->set_momentum(1);
  });
  const NoGrad no_grad(image.device());
  model.forward(image);
}

void make_float64(models::Model& model) {
  const auto wide = [](const Tensor& t) {
    Tensor copy = Tensor::empty(t.shape(), DType::f64, t.device());
    kernels::cast(t, copy);
    return copy;
  };
  model.visit_parameters([&](const std::string&, nn::Parameter& p) { p.var = Var::parameter(wide(p.var.value())); });
  model.visit_buffers([&](const std::string&, nn::Buffer& b) {
    if (b.tensor.dtype() == DType::f32) b.tensor = wide(b.tensor);
  });
}

}  // namespace segrt::golden
