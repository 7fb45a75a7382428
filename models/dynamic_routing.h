// Dynamic Routing: "Learning Dynamic Routing for Semantic Segmentation", Li et al. 2020 (arXiv:2003.10401); state names
// are those of the published code.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/dynamic_routing_cell.h"
#include "models/dynamic_routing_flops.h"
#include "models/dynamic_routing_heads.h"
#include "models/model.h"

namespace segrt::models {

std::vector<std::string> dynamic_routing_names();

// Options of the table, each with the variant's own value as default: layers, width (channels of the first row), gated,
// small_gate, budget_weight and budget_mu (0: no budget), drop_path, budget_total (MFLOPs of the whole lattice), and
// the resolutions at which FLOPs are counted: flops_size in training, flops_size_eval in evaluation.
std::unique_ptr<Model> build_dynamic_routing(const std::string& name, Task task, int classes, const Config& options,
                                             nn::Init& init);

// What a forward pass decided, on the host.
struct Routing {
  enum class Status : uint8_t { executed = 1, skipped = 2, unfed = 3 };  // unfed: nothing but constant zeros came in
  struct CellRoute {
    int layer = 0, row = 0;  // layer 0: the initial cell
    Status status = Status::executed;
    std::vector<std::array<float, 3>> logits, gates;  // by sample: keep, up, down; NaN where there is none
  };
  Lattice lattice;
  std::vector<CellRoute> cells;      // in the order of Lattice::index
  std::vector<SampleGates> samples;  // by sample, for the FLOPs: slots in order, 0 where there is none
};

class DynamicRouting final : public Model {
 public:
  struct Options {
    Lattice lattice;
    double budget_weight = 0, budget_mu = 0, budget_total = 26300;
    double drop_path = 0;
    std::array<int, 2> flops_size{768, 768}, flops_size_eval{1024, 2048};
  };
  DynamicRouting(const std::string& name, Task task, int classes, const Options& options, nn::Init& init);

  std::vector<Head> forward(const Var& image) override;
  int size_multiple() const override { return 32; }
  int pad_multiple() const override { return 32; }
  std::optional<Preprocessing> preprocessing() const override;
  void begin_step(int64_t step, int64_t total_steps) override;
  bool follows_step() const override {  // the budget's ramp and the drop rates
    return options_.drop_path > 0 || (options_.lattice.gated && options_.budget_weight != 0);
  }
  std::vector<AuxiliaryLoss> auxiliary_losses() override;
  std::vector<std::pair<std::string, double>> evaluation_metrics() override;
  // From a network without gates (the published "Fix" classifiers), or of another task: gates and head start afresh.
  std::string pretrained_name(const std::string& name) const override;
  bool ignores_pretrained(const std::string& file_name) const override;

  const Options& options() const { return options_; }
  Routing routing() const;  // of the last forward pass; waits for it
  // Expected MFLOPs of the last forward pass, [N], at the resolution for training.
  Var expected_mflops() const;
  // Real MFLOPs of one sample of a resolution, stem and head included.
  double real_mflops(const SampleGates& gates, int height, int width) const;

  // Multiply-adds of the convolutions that the last forward pass in evaluation really ran, for its whole batch.
  int64_t executed_multiply_adds() const { return executed_multiply_adds(routing()); }

  // Uniform numbers [N] in place of the model's own for the drop path of cell i (without the initial cell); for tests.
  std::function<std::vector<double>(int cell, int64_t batch)> drop_uniforms;

 private:
  Cell& cell(int layer, int row) const { return *cells_[static_cast<size_t>(options_.lattice.index(layer, row))]; }
  CellState& cell_state(int layer, int row) { return states_[static_cast<size_t>(options_.lattice.index(layer, row))]; }
  Var stem(const Var& image) const;
  void run_lattice(const Var& stem);
  void run_layer(int layer, const std::vector<const Cell*>& cells, std::vector<Cell::Input>& inputs);
  Cell::Input input_of(int layer, int row, const Var& stem);
  Tensor drop_factor(int layer, int cell, int64_t batch) const;
  DynamicRoutingHead::Rows kept_rows(const Var& stem);
  int64_t executed_multiply_adds(const Routing& r) const;  // where `r` is the last pass's: reading it waits
  void tap_outputs(int layer, int row);

  Options options_;
  ConvUnit stem1_, stem2_, stem3_;
  nn::Conv2d *stem2_depthwise_ = nullptr, *stem3_depthwise_ = nullptr;
  std::vector<Cell*> cells_;  // in the order of Lattice::index
  DynamicRoutingHead* head_ = nullptr;
  Tensor image_flags_;           // all set: those of the sender of the initial cell
  kernels::RoutingCosts costs_;  // at the resolution for training
  std::vector<CellState> states_;
  Shape stem_shape_;
  int64_t step_ = 0, total_steps_ = 0;
  double step_rate() const {
    return total_steps_ == 0 ? 0 : static_cast<double>(step_) / static_cast<double>(total_steps_);
  }
};

}  // namespace segrt::models
