#include "models/dynamic_routing.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/elementwise.h"
#include "autograd/routing.h"
#include "core/error.h"
#include "core/random.h"
#include "kernels/elementwise.h"

namespace segrt::models {
namespace {
using autograd::RoutedTerm;
using kernels::CellFlag;

struct Variant {
  const char* name;
  int layers;
  bool gated, small_gate;
  double budget_weight, budget_mu, drop_path;
};
constexpr Variant kVariants[] = {
    {"dynamic_a", 16, true, true, 0.8, 0.1, 0},           {"dynamic_b", 16, true, true, 0.5, 0.1, 0},
    {"dynamic_c", 16, true, true, 0.5, 0.2, 0},           {"dynamic_raw_l16", 16, true, false, 0, 0, 0},
    {"dynamic_raw_l16_long", 16, true, false, 0, 0, 0.3}, {"dynamic_raw_l33", 33, true, false, 0, 0, 0},
    {"dynamic_fix_l16", 16, false, false, 0, 0, 0},       {"dynamic_fix_l33", 33, false, false, 0, 0, 0},
};
constexpr double kBudgetStart = 0.4, kBudgetRamp = 0.02;  // shares of the training

std::array<int, 2> size_of(const Config& options, const std::string& key, std::vector<int64_t> fallback) {
  const std::vector<int64_t> size =
      options.integers(key, {.fallback = fallback, .min = 32, .max = 1 << 16, .count = 2});
  return {static_cast<int>(size[0]), static_cast<int>(size[1])};
}
}  // namespace

DynamicRouting::DynamicRouting(const std::string& name, Task task, int classes, const Options& options, nn::Init& init)
    : Model(name, task, classes), options_(options) {
  const Lattice& lattice = options_.lattice;
  const int w = lattice.width;
  nn::Module& backbone = child<nn::Sequence>("backbone");
  nn::Module& stem = backbone.child<nn::Sequence>("stem");
  nn::Conv2d::Options first = convolution(3, w, 3, 2);
  first.padding = 0;
  stem1_ = ConvUnit::make(stem, "stem_1", first, init);
  nn::Module& second = stem.child<nn::Sequence>("stem_2");
  stem2_depthwise_ = &second.child<nn::Conv2d>("0", convolution(w, w, 3, 1, w), init);
  stem2_ = ConvUnit::make(second, "1", convolution(w, w, 1), init);
  nn::Module& third = stem.child<nn::Sequence>("stem_3");
  stem3_depthwise_ = &third.child<nn::Conv2d>("0", convolution(w, w, 3, 2, w), init);
  stem3_ = ConvUnit::make(third, "1", convolution(w, w, 1), init);

  const auto cell_options = [&](int layer, int row) {
    return Cell::Options{.channels = lattice.channels(row),
                         .up = lattice.goes_up(layer, row),
                         .down = lattice.goes_down(layer, row),
                         .gated = lattice.gated,
                         .small_gate = lattice.small_gate};
  };
  cells_.push_back(nullptr);  // the initial cell comes first in running, last in the state
  nn::Module& layers = backbone.child<nn::Sequence>("all_cell_list");
  for (int layer = 1; layer <= lattice.layers; ++layer) {
    nn::Module& list = layers.child<nn::Sequence>(std::to_string(layer - 1));
    for (int row = 0; row < lattice.rows(layer); ++row)
      cells_.push_back(&list.child<Cell>(std::to_string(row), cell_options(layer, row), init));
  }
  cells_.front() = &backbone.child<Cell>("init_layer", cell_options(0, 0), init);

  if (task == Task::segmentation)
    head_ = &child<DynamicRoutingDecoder>("sem_seg_head", lattice, classes, init);
  else
    head_ = &child<DynamicRoutingClassifier>("class_head", lattice, classes, init);
  image_flags_ =
      Tensor::from<int32_t>({kernels::kCellFlags}, std::vector<int32_t>(kernels::kCellFlags, 1), init.device());
  const auto [height, width] = options_.flops_size;
  costs_ = cost_table(lattice, counted_costs(lattice, height, width), init.device());
}

std::optional<Preprocessing> DynamicRouting::preprocessing() const {
  return Preprocessing{.bgr = true, .unit = 1, .mean = {103.530, 116.280, 123.675}, .std = {1, 1, 1}};
}

// [N,H,W,3] -> [N,H/4,W/4,width]. The first convolution has no padding; the last one's makes up for it.
Var DynamicRouting::stem(const Var& image) const {
  Var x = stem1_.forward(image);  // [N,H/2-1,W/2-1,width]
  tapped("stem_1", x);
  x = stem2_.forward_behind(*stem2_depthwise_, x);
  tapped("stem_2", x);
  x = stem3_.forward_behind(*stem3_depthwise_, x);
  tapped("stem_3", x);
  return x;
}

Cell::Input DynamicRouting::input_of(int layer, int row, const Var& stem) {
  const Lattice& l = options_.lattice;
  Cell::Input in;
  in.shape = {stem.dim(0), stem.dim(1) >> row, stem.dim(2) >> row, l.channels(row)};
  in.dtype = stem.dtype();
  const bool skips = l.gated && !training();
  if (layer == 0) {
    in.terms = {{.x = stem}};
    if (skips) in.senders = {{image_flags_, CellFlag::fed}};
    return in;
  }
  const auto receive = [&](int from_row, PathKind path) {
    cell(layer - 1, from_row).append_terms(cell_state(layer - 1, from_row), path, in.terms);
    // A skipped cell keeps its input as it is, but what it would send up or down is no tensor at all.
    if (skips)
      in.senders.push_back(
          {cell_state(layer - 1, from_row).flags, path == PathKind::keep ? CellFlag::fed : CellFlag::executed});
  };
  const int senders = l.rows(layer - 1);
  if (row > 0) receive(row - 1, PathKind::down);
  if (row < senders) receive(row, PathKind::keep);
  if (row + 1 < senders) receive(row + 1, PathKind::up);
  return in;
}

void DynamicRouting::run_lattice(const Var& stem) {
  const Lattice& l = options_.lattice;
  states_.assign(static_cast<size_t>(l.cells()), CellState());
  for (int layer = 0; layer <= l.layers; ++layer) {
    std::vector<const Cell*> cells;
    std::vector<Cell::Input> inputs;
    for (int row = 0; row < l.rows(layer); ++row) {
      cells.push_back(&cell(layer, row));
      inputs.push_back(input_of(layer, row, stem));
      if (training() && layer > 0) inputs.back().drop = drop_factor(layer, l.index(layer, row) - 1, stem.dim(0));
    }
    run_layer(layer, cells, inputs);
    for (int row = 0; tap && row < l.rows(layer); ++row) tap_outputs(layer, row);
    if (layer > 0 && !stem.needs_grad())  // what the next layers do not read may go
      for (int row = 0; row < l.rows(layer - 1); ++row) {
        CellState& s = cell_state(layer - 1, row);
        s.input = s.body = s.up = s.down = Var();
      }
  }
}

void DynamicRouting::run_layer(int layer, const std::vector<const Cell*>& cells, std::vector<Cell::Input>& inputs) {
  if (cells.front()->shares_messages()) {
    std::vector<CellState> states = Cell::forward_together(cells, inputs);
    for (size_t k = 0; k < cells.size(); ++k) cell_state(layer, static_cast<int>(k)) = std::move(states[k]);
    return;
  }
  for (size_t k = 0; k < cells.size(); ++k) {
    const Cell::Input in = std::move(inputs[k]);  // released with the cell
    cell_state(layer, static_cast<int>(k)) = cells[k]->forward(in);
  }
}

// Stochastic depth of a cell's separable convolution: 0 or 1 / keep by sample, where keep falls with depth and with the
// progress of the training. Undefined where nothing is ever dropped.
Tensor DynamicRouting::drop_factor(int layer, int cell, int64_t batch) const {
  const double keep = 1 - step_rate() * options_.drop_path * layer / options_.lattice.layers;
  if (options_.drop_path == 0 || step_rate() == 0) return {};
  std::vector<double> uniforms;
  if (drop_uniforms) {
    uniforms = drop_uniforms(cell, batch);
  } else {
    Rng rng(static_cast<uint64_t>(step_), static_cast<uint64_t>(cell));
    // One number a sample of the batch of all processes, of which this process's are kept.
    const SampleShare& share = sample_share();
    for (int64_t n = 0, at = 0; n < batch; ++n, ++at) {
      for (; at < share.first + n * share.stride; ++at) rng.uniform();
      uniforms.push_back(rng.uniform());
    }
  }
  std::vector<float> factors;
  for (const double u : uniforms) factors.push_back(u < keep ? static_cast<float>(1 / keep) : 0.0f);
  return Tensor::from<float>({batch, 1}, factors, stem1_.conv->weight().device());
}

// What the last layer keeps.
DynamicRoutingHead::Rows DynamicRouting::kept_rows(const Var& stem) {
  const int last = options_.lattice.layers;
  DynamicRoutingHead::Rows rows{.terms = {}, .first = stem.shape(), .dtype = stem.dtype(), .tap = tap};
  for (int row = 0; row < Lattice::kRows; ++row)
    cell(last, row).append_terms(cell_state(last, row), PathKind::keep, rows.terms[static_cast<size_t>(row)]);
  return rows;
}

std::vector<Head> DynamicRouting::forward(const Var& image) {
  const nn::ModuleScope scope(*this, "network", image.device());
  if (image.dim(1) % 32 != 0 || image.dim(2) % 32 != 0)
    throw ArgumentError(name() + ": image: expected sides that are multiples of 32, got " + to_string(image.shape()));
  const Var x = stem(image);  // [N,H/4,W/4,width]
  stem_shape_ = x.shape();
  run_lattice(x);
  const Var scores = head_->forward(kept_rows(x));  // [N,H/4,W/4,classes], or [N,1,1,classes]
  tapped("pred", scores);
  if (task() == Task::classification) return {{.scores = scores, .up = {}}};
  return {{.scores = scores,
           .up = {.rule = nn::Upsampling::Rule::bilinear_half_pixel,
                  .height = static_cast<int>(image.dim(1)),
                  .width = static_cast<int>(image.dim(2)),
                  .kernel = {}}}};
}

// The outputs as upstream sends them: gated, of the sender's resolution times the path's.
void DynamicRouting::tap_outputs(int layer, int row) {
  const Cell& c = cell(layer, row);
  const CellState& s = cell_state(layer, row);
  const Device& device = stem1_.conv->weight().device();
  const std::string prefix = "L" + (layer == 0 ? "init" : std::to_string(layer - 1)) + ".C" + std::to_string(row) + ".";
  const auto is_set = [&](CellFlag flag) {
    return !s.flags.defined() || device.is_meta() || s.flags.to_vector<int32_t>()[static_cast<size_t>(flag)] != 0;
  };
  const Shape& in = stem_shape_;
  const auto send = [&](PathKind path, const char* name, int to_row) {
    if (!is_set(path == PathKind::keep ? CellFlag::fed : CellFlag::executed)) return;  // a constant zero
    std::vector<RoutedTerm> terms;
    c.append_terms(s, path, terms);
    const Shape shape{in[0], in[1] >> to_row, in[2] >> to_row, options_.lattice.channels(to_row)};
    tapped(prefix + name, sum_terms(terms, shape, stem1_.conv->weight().dtype(), stem1_.conv->weight().device()));
  };
  send(PathKind::keep, "keep", row);
  if (c.options().up) send(PathKind::up, "up", row - 1);
  if (c.options().down) send(PathKind::down, "down", row + 1);
}

void DynamicRouting::begin_step(int64_t step, int64_t total_steps) {
  step_ = step;
  total_steps_ = total_steps;
}

Var DynamicRouting::expected_mflops() const {
  std::vector<Var> gates;
  for (const CellState& s : states_) gates.push_back(s.gates);
  const Var all = autograd::concat_channels(gates);  // [N,T]
  kernels::RoutingCosts costs = costs_;
  if (all.dtype() == DType::f64)  // of a network whose parameters are f64, as tests have it
    for (Tensor* t : {&costs.body, &costs.path}) {
      Tensor wide = Tensor::empty(t->shape(), DType::f64, t->device());
      kernels::cast(*t, wide);
      *t = wide;
    }
  return autograd::expected_cost(all, costs);
}

// weight * ramp * (mean E / total - mu)^2, from 40 % of the training on; the ramp takes 2 %.
std::vector<AuxiliaryLoss> DynamicRouting::auxiliary_losses() {
  const double t = step_rate();
  if (!options_.lattice.gated || options_.budget_weight == 0 || t < kBudgetStart) return {};
  const Var mflops =
      averages_over != nullptr ? autograd::mean(expected_mflops(), *averages_over) : autograd::mean(expected_mflops());
  const Var share = autograd::scale(mflops, 1 / options_.budget_total, -options_.budget_mu);
  const double ramp = std::min(1.0, (t - kBudgetStart) / kBudgetRamp);
  const double processes = averages_over != nullptr ? averages_over->size() : 1;
  return {{"budget", autograd::scale(autograd::mul(share, share), options_.budget_weight * ramp / processes)}};
}

Routing DynamicRouting::routing() const {
  const Lattice& l = options_.lattice;
  Routing routing{.lattice = l, .cells = {}, .samples = {}};
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  for (int layer = 0; layer <= l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) {
      const CellState& s = states_[static_cast<size_t>(l.index(layer, row))];
      Routing::CellRoute route;
      route.layer = layer;
      route.row = row;
      if (s.flags.defined()) {
        const std::vector<int32_t> flags = s.flags.to_vector<int32_t>();
        if (flags[static_cast<size_t>(CellFlag::fed)] == 0)
          route.status = Routing::Status::unfed;
        else if (flags[static_cast<size_t>(CellFlag::executed)] == 0)
          route.status = Routing::Status::skipped;
      }
      const bool evaluated = l.gated && route.status != Routing::Status::unfed;
      const auto slots = static_cast<size_t>(l.slots(layer, row));
      const std::vector<float> g = s.gates.value().to_vector<float>();
      const std::vector<float> z = evaluated ? s.logits.to_vector<float>() : std::vector<float>(g.size(), kNone);
      const size_t batch = g.size() / slots;
      routing.samples.resize(batch);
      for (size_t n = 0; n < batch; ++n) {
        std::array<float, 3> logits{kNone, kNone, kNone}, gates = logits, in_order{};
        for (size_t k = 0; k < slots; ++k) {
          const size_t path = k == 1 && !l.goes_up(layer, row) ? 2 : k;  // slot 1 is down where there is no up
          in_order[k] = g[n * slots + k];
          if (!evaluated) continue;
          logits[path] = z[n * slots + k];
          gates[path] = g[n * slots + k];
        }
        route.logits.push_back(logits);
        route.gates.push_back(gates);
        routing.samples[n].push_back(in_order);
      }
      routing.cells.push_back(std::move(route));
    }
  return routing;
}

double DynamicRouting::real_mflops(const SampleGates& gates, int height, int width) const {
  const Lattice& l = options_.lattice;
  double sum = stem_cost(l, height, width) + head_->mflops(height, width);
  for (const double cost : real_by_cell(l, counted_costs(l, height, width), gates)) sum += cost;
  return sum;
}

int64_t DynamicRouting::executed_multiply_adds(const Routing& r) const {
  const Lattice& l = options_.lattice;
  const int64_t batch = stem_shape_[0], height = stem_shape_[1], width = stem_shape_[2], w = l.width;
  int64_t sum = (2 * height - 1) * (2 * width - 1) * w * (27 + 9 + w) + height * width * w * (9 + w);  // stem
  for (size_t i = 0; i < r.cells.size(); ++i) {
    const Routing::CellRoute& cell = r.cells[i];
    if (cell.status == Routing::Status::unfed) continue;
    const int64_t c = l.channels(cell.row), h = height >> cell.row, v = width >> cell.row, area = h * v;
    const int64_t slots = l.slots(cell.layer, cell.row);
    if (l.gated) sum += (l.small_gate ? (h / 4) * (v / 4) : area) * c * c / 2 + c / 2 * slots;
    if (cell.status == Routing::Status::skipped) continue;
    sum += area * c * (9 + c) * 2;
    for (int64_t s = 1; s < slots; ++s) {
      const auto open = [&](const SampleGates& gates) { return gates[i][static_cast<size_t>(s)] > 0; };
      if (std::none_of(r.samples.begin(), r.samples.end(), open)) continue;
      const bool up = s == 1 && l.goes_up(cell.layer, cell.row);
      sum += up ? area * c * c / 2 : ((h + 1) / 2) * ((v + 1) / 2) * c * 2 * c;
    }
  }
  return batch * sum + head_->multiply_adds(stem_shape_);
}

std::vector<std::pair<std::string, double>> DynamicRouting::evaluation_metrics() {
  const Routing r = routing();
  const auto [height, width] = options_.flops_size_eval;
  const std::vector<CellCost> counted = counted_costs(options_.lattice, height, width);
  double real = 0, expected = 0;
  for (const SampleGates& gates : r.samples) {
    real += real_mflops(gates, height, width);
    for (const double cost : expected_by_cell(options_.lattice, counted, gates)) expected += cost;
  }
  const double scale = 1e-3 / static_cast<double>(r.samples.size());
  return {{"real_gflops", real * scale},
          {"expected_gflops", expected * scale},
          {"executed_gmacs", 1e-9 * static_cast<double>(executed_multiply_adds(r))}};
}

std::string DynamicRouting::pretrained_name(const std::string& name) const {
  const bool has_counterpart = name.starts_with("backbone.") && name.find(".gate_conv_beta.") == std::string::npos;
  return has_counterpart ? name : "";
}

bool DynamicRouting::ignores_pretrained(const std::string& file_name) const {
  return !file_name.starts_with("backbone.") || file_name.ends_with(".gate_weights_beta") ||
         file_name.find(".gate_conv_beta.") != std::string::npos;
}

std::vector<std::string> dynamic_routing_names() {
  std::vector<std::string> names;
  for (const Variant& v : kVariants) names.emplace_back(v.name);
  return names;
}

std::unique_ptr<Model> build_dynamic_routing(const std::string& name, Task task, int classes, const Config& options,
                                             nn::Init& init) {
  const Variant& v = *std::find_if(std::begin(kVariants), std::end(kVariants),
                                   [&](const Variant& variant) { return variant.name == name; });
  DynamicRouting::Options o;
  o.lattice.layers = options.integer32("layers", {.fallback = v.layers, .min = 3, .max = 200});
  o.lattice.width = options.integer32("width", {.fallback = 64, .min = 2, .max = 1024});
  o.lattice.gated = options.boolean("gated", {.fallback = v.gated});
  o.lattice.small_gate = options.boolean("small_gate", {.fallback = v.small_gate});
  o.budget_weight = options.number("budget_weight", {.fallback = v.budget_weight, .min = 0});
  o.budget_mu = options.number("budget_mu", {.fallback = v.budget_mu, .min = 0});
  o.budget_total = options.number("budget_total", {.fallback = 26300, .above = 0});
  o.drop_path = options.number("drop_path", {.fallback = v.drop_path, .min = 0, .below = 1});
  o.flops_size = size_of(options, "flops_size", {768, 768});
  o.flops_size_eval = size_of(options, "flops_size_eval", {1024, 2048});
  if (o.lattice.width % 2 != 0) throw options.error("width", "an even number", std::to_string(o.lattice.width));
  return std::make_unique<DynamicRouting>(name, task, classes, o, init);
}

}  // namespace segrt::models
