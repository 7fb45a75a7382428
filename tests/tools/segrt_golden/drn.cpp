#include <fmt/format.h>

#include <set>

#include "core/error.h"
#include "tests/tools/segrt_golden/families.h"
#include "tests/tools/segrt_golden/model_state.h"
#include "tests/tools/segrt_golden/network.h"
#include "tests/tools/segrt_golden/test_procedure.h"
#include "tests/tools/segrt_golden/training.h"

namespace segrt::golden {
namespace {

bool owns(GoldenFile& file) { return file.has("model") && file.text("model").starts_with("drn_"); }

std::string toml_value(const std::string& key, const Json& value) {
  if (value.is_boolean() || value.is_number()) return value.dump();
  if (value.is_string()) return value.dump();
  throw FileError("build_options: " + key + ": expected true, false, a number or text, got " + value.dump());
}

std::string model_table(GoldenFile& file) {
  const std::string task = file.text("task");
  if (task != "seg" && task != "cls") throw FileError(file.path() + ": task: expected seg or cls, got " + task);
  std::string toml = fmt::format("[model]\nname = \"{}\"\ntask = \"{}\"\nclasses = {}\n", file.text("model"),
                                 task == "seg" ? "segmentation" : "classification", file.get<int64_t>("num_classes"));
  if (!file.has("build_options")) return toml;
  const Json options = file.json("build_options");
  if (!options.is_object()) throw FileError(file.path() + ": build_options: expected an object");
  for (const auto& [key, value] : options.items()) {
    if (key == "out_middle") continue;  // intermediate maps are what Model::tap is told
    toml += fmt::format("{} = {}\n", key, toml_value(key, value));
  }
  return toml;
}

// "base.9.0.bn2.weight" -> 7 in family C; 0 where the name has no layer.
int layer_of(const std::string& model, const std::string& path) {
  const bool numbered = path.starts_with("base.");
  if (!numbered && !path.starts_with("layer")) return 0;
  const int number = std::stoi(path.substr(5));
  if (!numbered) return number;
  return number - (model.starts_with("drn_d") ? 0 : model.starts_with("drn_c") ? 2 : 3);
}

// The damped parameters of a DRN: the last norm scale of each residual branch, that is bn3.weight of bottlenecks and
// bn2.weight of basic blocks with a shortcut (layers 7 and 8 of family C have none). Undamped, deep random networks
// magnify rounding too much to compare two runs.
std::map<std::string, float> damping(models::Model& model) {
  constexpr float kFactor = 0.125f;
  std::map<std::string, float> factors;
  std::set<std::string> bottlenecks;  // their paths with the dot at the end
  model.visit_parameters([&](const std::string& path, nn::Parameter&) {
    if (path.ends_with("bn3.weight")) {
      factors[path] = kFactor;
      bottlenecks.insert(path.substr(0, path.size() - std::string("bn3.weight").size()));
    }
  });
  model.visit_parameters([&](const std::string& path, nn::Parameter&) {
    if (!path.ends_with("bn2.weight")) return;
    if (bottlenecks.contains(path.substr(0, path.size() - std::string("bn2.weight").size()))) return;
    if (model.name().starts_with("drn_c") && layer_of(model.name(), path) > 6) return;
    factors[path] = kFactor;
  });
  return factors;
}

std::map<std::string, float> fill_factors(GoldenFile& file, models::Model& model) {
  if (!file.has("fill_scale")) return damping(model);
  Fields scale = file.fields("fill_scale");
  std::set<std::string> known;
  model.visit_parameters([&](const std::string& path, nn::Parameter&) { known.insert(path); });
  std::map<std::string, float> factors;
  const auto factor = scale.get<float>("factor");
  for (const auto& key : scale.get<std::vector<std::string>>("keys")) {
    if (!known.contains(key)) throw FileError(file.path() + ": fill_scale: the network has no parameter " + key);
    factors[key] = factor;
  }
  scale.skip("what");
  scale.check_used();
  return factors;
}

// Rates change by the epoch, and each update of a file stands for one epoch: lr * 0.1^(epoch / step), lr * (1 -
// epoch/epochs)^0.9, or for classifiers lr * step_ratio^(epoch / 30).
TrainingPlan training_plan(Fields& recipe) {
  using Kind = kernels::LrSchedule::Kind;
  TrainingPlan plan;
  kernels::LrSchedule& schedule = plan.optimizer.schedule;
  schedule.base = recipe.get<double>("lr");
  schedule.total = recipe.get<int64_t>("epochs");
  if (recipe.has("step_ratio")) {
    schedule.kind = Kind::step;
    schedule.gamma = recipe.get<double>("step_ratio");
    schedule.step_size = recipe.get<int64_t>("step", 30);
  } else {
    const auto mode = recipe.get<std::string>("lr_mode");
    if (mode != "step" && mode != "poly") throw FileError("train_recipe: lr_mode: expected step or poly, got " + mode);
    schedule.kind = mode == "step" ? Kind::step : Kind::poly;
    schedule.step_size = recipe.get<int64_t>("step", 200);
  }
  plan.optimizer.sgd.momentum = recipe.get<float>("momentum");
  plan.optimizer.weight_decay = recipe.get<double>("weight_decay");
  plan.schedule_steps = recipe.get<std::vector<int64_t>>("epoch_of_step");
  recipe.check_used();
  return plan;
}

constexpr NetworkRules kRules{model_table, fill_factors, training_plan};

void run(GoldenFile& file, Device& device, Report& report) {
  if (file.has("images"))
    run_test_procedure(file, kRules, device, report);
  else
    run_network(file, kRules, device, report);
}

std::unique_ptr<models::Model> build_network(GoldenFile& file, Device& device) {
  return build_model(file, kRules, device);
}

double loss_before_training(GoldenFile& file, Device& device, DType precision) {
  return first_loss(file, kRules, device, precision);
}
}  // namespace

const Family kDrn{"drn", owns, run, build_network, network_input, network_results, loss_before_training};

}  // namespace segrt::golden
