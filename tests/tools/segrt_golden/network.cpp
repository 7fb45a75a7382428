#include "tests/tools/segrt_golden/network.h"

#include "core/error.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"
#include "tests/tools/segrt_golden/training.h"

namespace segrt::golden {
namespace {

struct Forward {
  models::Head head;
  std::map<std::string, Var> maps;
};

Forward forward(models::Model& model, const Tensor& input) {
  const NoGrad no_grad(input.device());
  Forward result;
  model.set_training(false);
  model.tap = [&](std::string_view name, const Var& value) { result.maps[std::string(name)] = value; };
  result.head = model.forward(input).front();
  model.tap = nullptr;
  if (model.task() == models::Task::segmentation)
    result.maps["up"] = nn::upsampled_scores(result.head.scores, result.head.up);
  return result;
}

void check_logits(GoldenFile& file, models::Model& model, const Forward& result, Report& report) {
  if (!file.has("logits") || !file.contains("logits"))
    throw FileError(file.path() + ": a network's file needs the tensor logits and its description");
  const bool segmentation = model.task() == models::Task::segmentation;
  const StoredMap stored = stored_map(file.fields("logits"));
  const NoGrad no_grad(result.head.scores.device());
  const Var logits = segmentation ? nn::log_probabilities(result.head.scores, result.head.up) : result.head.scores;
  const Tensor map = nchw(logits.value(), file.host());
  if (has_shape("logits", map, stored.shape, report))
    report.max_abs("logits", subsample(map, stored.stride), file.values("logits"), kForwardTolerance);
}

void check_scores(GoldenFile& file, const Forward& result, Report& report) {
  if (file.has("scores") != file.contains("scores"))
    throw FileError(file.path() + ": scores: the tensor without its description, or the reverse");
  if (!file.has("scores")) return;
  file.skip("scores");
  const Tensor map = nchw(result.head.scores.value(), file.host());
  if (has_shape("scores", map, file.shape("scores"), report))
    report.relative_l2("scores", test::to_doubles(map), file.values("scores"), kForwardTolerance);
}

void check_features(GoldenFile& file, const Forward& result, Report& report) {
  if (!file.has("feat")) return;
  Fields features = file.fields("feat");
  for (const std::string& name : features.keys()) {
    const std::string row = "feat." + name;
    const StoredMap stored = stored_map(Fields(features.raw(name), file.path() + ": feat: " + name));
    const auto found = result.maps.find(name);
    if (found == result.maps.end()) {
      report.fail(row, "the network has no such map");
      continue;
    }
    const Tensor map = nchw(found->second.value(), file.host());
    if (has_shape(row, map, stored.shape, report))
      report.relative_l2(row, subsample(map, stored.stride), file.values(row), kForwardTolerance);
  }
}
}  // namespace

Results network_results(GoldenFile& file, models::Model& model, const Tensor& input) {
  const NoGrad no_grad(input.device());
  const Forward pass = forward(model, input);
  Results results;
  const auto keep = [&](const std::string& name, const Tensor& map, int64_t stride) {
    results[name] = subsample(nchw(map, file.host()), stride);
  };
  if (file.has("feat")) {
    Fields features = file.fields("feat");
    for (const std::string& name : features.keys())
      keep("feat." + name, pass.maps.at(name).value(),
           stored_map(Fields(features.raw(name), file.path() + ": feat: " + name)).stride);
  }
  if (file.has("scores")) keep("scores", pass.head.scores.value(), 1);
  const bool segmentation = model.task() == models::Task::segmentation;
  const Var logits = segmentation ? nn::log_probabilities(pass.head.scores, pass.head.up) : pass.head.scores;
  keep("logits", logits.value(), stored_map(file.fields("logits")).stride);
  return results;
}

Tensor network_input(GoldenFile& file, Device& device) {
  Fields input = file.fields("input");
  const Tensor x = golden_input(input.get<std::string>("image"), input.get<std::vector<int64_t>>("shape"), device);
  input.check_used();
  return x;
}

void run_network(GoldenFile& file, const NetworkRules& rules, Device& device, Report& report) {
  for (const char* words : {"torch", "upstream", "note", "mode", "float64_check"}) file.skip(words);
  {
    const std::unique_ptr<models::Model> model = build_model(file, rules, device);
    check_structure(file, *model, report);
    const Forward result = forward(*model, network_input(file, device));
    check_features(file, result, report);
    check_scores(file, result, report);
    check_logits(file, *model, result, report);
  }
  if (file.has("train_recipe"))
    run_training(file, rules, device, report);
  else
    file.skip("ignore_index");  // of the training part
}

}  // namespace segrt::golden
