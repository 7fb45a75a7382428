#include "models/dynamic_routing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/dynamic_routing.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"

namespace segrt::golden {
namespace {
using models::DynamicRouting;
using models::Lattice;
using models::Routing;

bool owns(GoldenFile& file) { return file.has("family") && file.text("family") == "dynamic"; }

// The variant follows from the options and from the number of layers of cell.status.
std::string model_table(GoldenFile& file) {
  Fields options = file.fields("options");
  Fields budget(options.raw("budget"), file.path() + ": options: budget");
  const bool constrained = budget.get<bool>("CONSTRAIN");
  const auto sizes = [&](const char* key) {
    const auto size = options.get<std::vector<int>>(key);
    return fmt::format("[{}, {}]", size.at(0), size.at(1));
  };
  std::string toml = fmt::format(
      "[model]\nname = \"dynamic_raw_l16\"\nclasses = {}\nlayers = {}\ngated = {}\nsmall_gate = {}\n"
      "budget_weight = {}\nbudget_mu = {}\nbudget_total = {}\ndrop_path = {}\nflops_size = {}\nflops_size_eval = {}\n",
      file.get<int>("num_classes"), file.shape("cell.status").at(0) - 1, options.get<bool>("gate_on"),
      options.get<bool>("small_gate"), constrained ? budget.get<double>("LOSS_WEIGHT") : 0.0,
      budget.get<double>("LOSS_MU"), budget.get<double>("FLOPS_ALL"), options.get<double>("drop_path"),
      sizes("train_flops_size"), sizes("eval_flops_size"));
  return toml;
}

std::map<std::string, float> no_factors(GoldenFile&, models::Model&) { return {}; }
TrainingPlan no_plan(Fields&) { return {}; }
constexpr NetworkRules kRules{model_table, no_factors, no_plan};

int64_t stride_of(GoldenFile& file, const std::string& name) {
  return file.fields("strides").get<int64_t>(name, int64_t{1});
}

// [1+L, 4, (keep, up, down), N], NaN where absent or not evaluated.
std::vector<double> gate_grid(const Routing& r, bool values) {
  std::vector<double> grid;
  const auto batch = static_cast<int64_t>(r.samples.size());
  for (int layer = 0; layer <= r.lattice.layers; ++layer)
    for (int row = 0; row < Lattice::kRows; ++row)
      for (size_t path = 0; path < 3; ++path)
        for (int64_t n = 0; n < batch; ++n) {
          double v = std::nan("");
          if (row < r.lattice.rows(layer)) {
            const auto& cell = r.cells[static_cast<size_t>(r.lattice.index(layer, row))];
            v = static_cast<double>((values ? cell.gates : cell.logits)[static_cast<size_t>(n)][path]);
          }
          grid.push_back(v);
        }
  return grid;
}

std::vector<double> status_grid(const Routing& r) {
  std::vector<double> grid;
  for (int layer = 0; layer <= r.lattice.layers; ++layer)
    for (int row = 0; row < Lattice::kRows; ++row)
      grid.push_back(row < r.lattice.rows(layer)
                         ? static_cast<int>(r.cells[static_cast<size_t>(r.lattice.index(layer, row))].status)
                         : 0);
  return grid;
}

// [1+L, 4, N] MFLOPs by receiving cell.
template <typename ByCell>
std::vector<double> cell_grid(const Routing& r, const ByCell& by_cell) {
  std::vector<std::vector<double>> samples;
  for (const models::SampleGates& gates : r.samples) samples.push_back(by_cell(gates));
  std::vector<double> grid;
  for (int layer = 0; layer <= r.lattice.layers; ++layer)
    for (int row = 0; row < Lattice::kRows; ++row)
      for (const std::vector<double>& sample : samples)
        grid.push_back(row < r.lattice.rows(layer) ? sample[static_cast<size_t>(r.lattice.index(layer, row))] : 0.0);
  return grid;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

// Equal where one is NaN, and elsewhere the largest difference, relative where the expected value is beyond 1.
void nan_max_abs(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                 double tolerance, Report& report) {
  if (got.size() != expected.size()) return report.fail(name, "another number of values");
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) != std::isnan(expected[i]))
      return report.fail(name, fmt::format("entry {}: {}, expected {}", i, got[i], expected[i]));
    if (!std::isnan(got[i]))
      worst = std::max(worst, std::abs(got[i] - expected[i]) / std::max(1.0, std::abs(expected[i])));
  }
  report.error(name, "max error", worst, tolerance);
}

// Expected FLOPs are gates times costs (up to 1300 MFLOPs, and three paths), so their error is that of the gates.
void check_flops(GoldenFile& file, const DynamicRouting& model, const Routing& r, const std::string& suffix,
                 double gate_error, Report& report) {
  const auto [height, width] = model.options().flops_size_eval;
  const std::vector<models::CellCost> counted = models::counted_costs(r.lattice, height, width);
  const auto expected_cells = cell_grid(r, [&](const auto& g) { return expected_by_cell(r.lattice, counted, g); });
  const auto real_cells = cell_grid(r, [&](const auto& g) { return real_by_cell(r.lattice, counted, g); });
  report.max_abs("flops.expt_cell" + suffix, expected_cells, file.values("flops.expt_cell" + suffix), 2e3 * gate_error);
  report.max_abs("flops.real_cell" + suffix, real_cells, file.values("flops.real_cell" + suffix), 1e-3);
  std::vector<double> expected, real;
  for (const models::SampleGates& gates : r.samples) {
    real.push_back(model.real_mflops(gates, height, width));
    double sum = 0;
    for (const double v : expected_by_cell(r.lattice, counted, gates)) sum += v;
    expected.push_back(sum);
  }
  report.entries("flops.expt_image" + suffix, expected, file.values("flops.expt_image" + suffix), gate_error, {});
  report.entries("flops.real_image" + suffix, real, file.values("flops.real_image" + suffix), 2e-6, {});
  report.entries("flops.expt" + suffix, {mean(expected)}, file.values("flops.expt" + suffix), gate_error, {});
  report.entries("flops.real" + suffix, {mean(real)}, file.values("flops.real" + suffix), 2e-6, {});
}

void check_cell_costs(GoldenFile& file, const DynamicRouting& model, Report& report) {
  const Lattice& l = model.options().lattice;
  const auto [height, width] = model.options().flops_size_eval;
  Fields table = file.fields("cell_flops_eval_size");
  table.skip("order");
  const std::vector<models::CellCost> costs = models::cell_costs(l, height, width);
  std::vector<double> got{models::stem_cost(l, height, width), models::head_cost(l, height, width, model.classes())},
      expected{table.get<double>("stem"), table.get<double>("head")};
  for (int layer = 0; layer <= l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) {
      const models::CellCost& c = costs[static_cast<size_t>(l.index(layer, row))];
      const bool up = l.goes_up(layer, row), down = l.goes_down(layer, row);
      for (const double v : {c.body, c.path[0], up ? c.path[1] : 0.0, down ? c.path[up ? 2 : 1] : 0.0, c.gate})
        got.push_back(v);
      const std::string key = layer == 0 ? "init.0" : fmt::format("{}.{}", layer - 1, row);
      for (const double v : table.get<std::vector<double>>(key)) expected.push_back(v);
    }
  table.check_used();
  report.max_abs("cell_flops_eval_size", got, expected, 1e-9);
}

// Deviations of the reference's own float32 run, or 0 where the file has none.
double deviation(GoldenFile& file, const std::string& key) {
  return file.has("float32_deviation") ? file.fields("float32_deviation").get<double>(key, 0.0) : 0.0;
}

double std_of(const std::vector<double>& x) {
  const double m = mean(x);
  double sum = 0;
  for (const double v : x) sum += (v - m) * (v - m);
  return std::sqrt(sum / static_cast<double>(x.size()));
}

void check_features(GoldenFile& file, const std::map<std::string, Var>& maps, const std::string& suffix,
                    Report& report) {
  Fields shapes(file.fields("notes").raw("feat_shape" + suffix), file.path() + ": notes: feat_shape" + suffix);
  for (const std::string& name : shapes.keys()) {
    const std::string row = "feat." + name + suffix;
    if (!file.contains(row)) continue;
    const auto found = maps.find(name);
    if (found == maps.end()) {
      report.fail(row, "the network sent no such map");
      continue;
    }
    const Tensor map = nchw(found->second.value(), file.host());
    if (!has_shape(row, map, shapes.get<std::vector<int64_t>>(name), report)) continue;
    const std::vector<double> expected = file.values(row), got = subsample(map, stride_of(file, row));
    const bool zeros = std::all_of(expected.begin(), expected.end(), [](double v) { return v == 0; });
    if (zeros)
      report.max_abs(row, got, expected, 0);
    else
      report.relative_l2(row, got, expected, 1e-4);
  }
}

struct Evaluated {
  Results values;
  Routing routing;
  std::map<std::string, Var> maps;
};
Evaluated evaluate(GoldenFile& file, models::Model& model, const Tensor& x, const std::string& suffix) {
  const NoGrad no_grad(x.device());
  model.set_training(false);
  model.begin_step(0, 0);
  Evaluated e;
  model.tap = [&](std::string_view name, const Var& value) { e.maps[std::string(name)] = value; };
  const models::Head head = model.forward(x).front();
  model.tap = nullptr;
  e.routing = dynamic_cast<DynamicRouting&>(model).routing();
  const Tensor logits = nchw(nn::upsampled_scores(head.scores, head.up).value(), file.host());
  e.values["logits"] = subsample(logits, stride_of(file, "logits" + suffix));
  e.values["pred"] = subsample(nchw(head.scores.value(), file.host()), stride_of(file, "pred" + suffix));
  e.values["gate.pre"] = gate_grid(e.routing, false);
  e.values["gate.value"] = gate_grid(e.routing, true);
  return e;
}

Tensor input_of(Fields& input, Device& device) {
  return golden_input(input.get<std::string>("name"), input.get<std::vector<int64_t>>("shape"), device);
}

Tensor first_input(GoldenFile& file, Device& device) {
  Fields inputs = file.fields("eval_inputs");
  Fields input(inputs.raw(inputs.keys().front()), file.path() + ": eval_inputs");
  return input_of(input, device);
}

void check_evaluation(GoldenFile& file, const BuildNetwork& build, const std::string& suffix, Device& device,
                      Report& report) {
  Fields input(file.fields("eval_inputs").raw(suffix), file.path() + ": eval_inputs: " + suffix);
  const Tensor x = input_of(input, device);
  const std::unique_ptr<models::Model> model = build();
  const Evaluated e = evaluate(file, *model, x, suffix);
  const Sensitivity::Compute compute = [&](models::Model& m) { return evaluate(file, m, x, suffix).values; };
  Sensitivity s(build, compute, e.values);
  const std::vector<double> expected = file.values("logits" + suffix);
  // The reference's own float32 run strays by `deviation` standard deviations.
  const double stated = std::max(5e-5, 3 * deviation(file, "logits" + suffix)) * std_of(expected);
  nan_max_abs("logits" + suffix, e.values.at("logits"), expected, s.max_error("logits", expected, stated, 1e-2),
              report);
  report.relative_l2("pred" + suffix, e.values.at("pred"), file.values("pred" + suffix),
                     s.relative_l2("pred", file.values("pred" + suffix), 5e-5, 1e-3));
  for (const auto& [name, bound] : {std::pair{"gate.pre", 2e-5}, {"gate.value", 1e-5}})
    nan_max_abs(name + suffix, e.values.at(name), file.values(name + suffix),
                s.max_error(name, file.values(name + suffix), bound, 1e-3), report);
  report.identical("cell.status" + suffix, status_grid(e.routing), file.values("cell.status" + suffix));
  check_flops(file, dynamic_cast<DynamicRouting&>(*model), e.routing, suffix,
              s.max_error("gate.value", file.values("gate.value" + suffix), 1e-5, 1e-3), report);
  check_features(file, e.maps, suffix, report);
}

// In the file's state; what the file leaves out of it follows from names, but for the constant gates.
std::unique_ptr<models::Model> build_network(GoldenFile& file, Device& device) {
  std::unique_ptr<models::Model> model = build_model(file, kRules, device);
  model->visit_buffers([&](const std::string& path, nn::Buffer& b) {
    if (!path.ends_with("gate_weights_beta") || file.contains("state." + path)) return;
    const std::vector<float> ones(static_cast<size_t>(b.tensor.numel()), 1.0f);
    b.tensor.copy_from(Tensor::from<float>(b.tensor.shape(), ones, device));
  });
  return model;
}

Results results(GoldenFile& file, models::Model& model, const Tensor& input) {
  const std::string suffix = file.fields("eval_inputs").keys().front();
  const Evaluated e = evaluate(file, model, input, suffix);
  Results named;
  for (const char* name : {"logits", "pred", "gate.value"}) named[name + suffix] = e.values.at(name);
  Fields shapes(file.fields("notes").raw("feat_shape" + suffix), file.path() + ": notes: feat_shape" + suffix);
  for (const std::string& name : shapes.keys()) {
    const std::string row = "feat." + name + suffix;
    if (!file.contains(row)) continue;
    const auto found = e.maps.find(name);
    if (found == e.maps.end()) throw FileError(row + ": the network sent no such map");
    named[row] = subsample(nchw(found->second.value(), file.host()), stride_of(file, row));
  }
  return named;
}

void run(GoldenFile& file, Device& device, Report& report) {
  for (const char* words : {"torch", "upstream_config", "precision", "state_rule", "tweaks", "layout", "gate_margin"})
    file.skip(words);
  file.skip("model");  // a label
  const BuildNetwork build = [&] { return build_network(file, device); };
  const std::unique_ptr<models::Model> model = build();
  check_structure(file, *model, report);
  auto& network = dynamic_cast<DynamicRouting&>(*model);
  report.identical("total_params", std::vector<double>{static_cast<double>(network.parameter_count())},
                   {file.get<double>("total_params")});
  check_cell_costs(file, network, report);
  for (const std::string& suffix : file.fields("eval_inputs").keys())
    check_evaluation(file, build, suffix, device, report);
  run_dynamic_training(file, build, device, report);
}
}  // namespace

std::vector<double> routing_grid(const Routing& routing, bool values) { return gate_grid(routing, values); }
void compare_with_gaps(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                       double tolerance, Report& report) {
  nan_max_abs(name, got, expected, tolerance, report);
}

const Family kDynamicRouting{"dynamic", owns, run, build_network, first_input, results, first_dynamic_loss};

}  // namespace segrt::golden
