#include "models/dynamic_routing.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "models/summary.h"
#include "tests/support/tensors.h"

namespace segrt::models {
namespace {

struct Networks {
  std::unique_ptr<Device> device;
  explicit Networks(const char* spec = "meta") : device(Device::create(spec)) {}
  std::unique_ptr<DynamicRouting> build(const std::string& name, const std::string& options = "", int classes = 19) {
    const Config config = Config::parse(
        "[model]\nname = \"" + name + "\"\nclasses = " + std::to_string(classes) + "\n" + options, "test");
    nn::Init init(*device, 1);
    auto model = models::build(config.table("model"), init);
    config.check_unused();
    return std::unique_ptr<DynamicRouting>(dynamic_cast<DynamicRouting*>(model.release()));
  }
  Tensor image(int64_t n, int64_t height, int64_t width, uint64_t seed = 3) {
    return test::random_normal({n, height, width, 3}, DType::f32, *device, {.seed = seed});
  }
};

// Sets the biases of the gates of cells by "<layer>.<row>" of all_cell_list, or "init"; the rest get `others`.
void set_gate_biases(DynamicRouting& model, float others, const std::map<std::string, float>& of_cells = {}) {
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    const size_t at = path.find(".gate_conv_beta.2.");
    if (at == std::string::npos) return;
    Tensor value = p.var.value();
    if (path.ends_with(".weight")) return value.fill_zero();  // the bias alone decides
    const std::string list = "backbone.all_cell_list.";
    const std::string cell = path.starts_with(list) ? path.substr(list.size(), at - list.size()) : "init";
    const auto found = of_cells.find(cell);
    const std::vector<float> bias(static_cast<size_t>(value.numel()), found == of_cells.end() ? others : found->second);
    value.copy_from(Tensor::from<float>(value.shape(), bias, value.device()));
  });
}

struct Evaluation {
  std::vector<double> scores;
  Routing routing;
};
Evaluation evaluate(DynamicRouting& model, const Tensor& x) {
  const NoGrad no_grad(x.device());
  model.set_training(false);
  Evaluation e;
  e.scores = test::to_doubles(model.forward(x).front().scores.value());
  e.routing = model.routing();
  return e;
}

// Norms that shift: without that, a map of zeros stays one on its way through a cell.
void set_norm_biases(DynamicRouting& model) {
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (!path.ends_with("norm.bias")) return;
    Tensor value = p.var.value();
    const std::vector<float> shift(static_cast<size_t>(value.numel()), 0.25f);
    value.copy_from(Tensor::from<float>(value.shape(), shift, value.device()));
  });
}

Routing::Status status(const Routing& r, int layer, int row) {
  return r.cells[static_cast<size_t>(r.lattice.index(layer, row))].status;
}
constexpr float kOpen = 2, kClosed = -2;
}  // namespace

TEST_CASE("parameters, state entries and norms of the published table") {
  struct Row {
    const char* name;
    int64_t parameters, gates;
    size_t entries, parameter_tensors, norms;
  };
  for (const Row& row :
       {Row{"dynamic_a", 17784968, 2523125, 1932, 1092, 280},
        Row{"dynamic_raw_l16", 17784968, 2523125, 1932, 1092, 280},
        Row{"dynamic_raw_l33", 38871666, 5518559, 4040, 2282, 586}, Row{"dynamic_fix_l16", 15261843, 0, 1498, 782, 218},
        Row{"dynamic_fix_l33", 33353107, 0, 3130, 1632, 456}}) {
    CAPTURE(row.name);
    Networks n;
    const auto model = n.build(row.name);
    CHECK(model->parameter_count() == row.parameters);
    int64_t gates = 0;
    size_t tensors = 0, norms = 0;
    model->visit_parameters([&](const std::string& path, nn::Parameter& p) {
      ++tensors;
      norms += path.ends_with("norm.weight") ? 1 : 0;
      if (path.find("gate_conv_beta") != std::string::npos) gates += p.var.value().numel();
    });
    CHECK(gates == row.gates);
    CHECK(tensors == row.parameter_tensors);
    CHECK(norms == row.norms);
    CHECK(model->state().size() == row.entries);
  }
}

TEST_CASE("FLOPs with everything open are the published sums") {
  const auto sums = [](Lattice lattice, int height, int width) {
    const auto counted = counted_costs(lattice, height, width);
    SampleGates open;
    for (int layer = 0; layer <= lattice.layers; ++layer)
      for (int row = 0; row < lattice.rows(layer); ++row) {
        std::array<float, 3> gates{};
        for (int s = 0; s < lattice.slots(layer, row); ++s) gates[static_cast<size_t>(s)] = 1;
        open.push_back(gates);
      }
    double expected = 0, real = stem_cost(lattice, height, width) + head_cost(lattice, height, width, 19);
    for (const double v : expected_by_cell(lattice, counted, open)) expected += v;
    for (const double v : real_by_cell(lattice, counted, open)) real += v;
    return std::pair{expected, real};
  };
  CHECK(sums({.layers = 16}, 1024, 2048).first == doctest::Approx(95614.927).epsilon(1e-8));
  CHECK(sums({.layers = 16}, 768, 768).first == doctest::Approx(26891.698).epsilon(1e-7));
  CHECK(sums({.layers = 16}, 1024, 2048).second == doctest::Approx(118085.140).epsilon(1e-8));
  CHECK(sums({.layers = 16, .small_gate = true}, 1024, 2048).second == doctest::Approx(102269.993).epsilon(1e-8));
}

TEST_CASE("a dry run counts the multiply-adds of the published table") {
  const auto macs = [](const std::string& name) {
    const Config config = Config::parse("[model]\nname = \"" + name + "\"\nclasses = 19\n", "test");
    return static_cast<double>(summarize(config.table("model"), {1, 1024, 2048, 3}).multiply_adds);
  };
  // In G, to three decimals; the 1x1 convolutions behind the gates' pooling (0.00004 G) are no layer of the dry run.
  CHECK(std::abs(macs("dynamic_a") / 1e9 - 102.306) < 6e-4);
  CHECK(std::abs(macs("dynamic_raw_l16") / 1e9 - 117.909) < 6e-4);
  CHECK(std::abs(macs("dynamic_raw_l33") / 1e9 - 241.370) < 6e-4);
  CHECK(std::abs(macs("dynamic_fix_l16") / 1e9 - 101.266) < 6e-4);
  CHECK(std::abs(macs("dynamic_fix_l33") / 1e9 - 206.474) < 6e-4);
}

TEST_CASE("a cell fed by skipped cells alone is not run, unless another sample of the batch keeps a sender alive") {
  Networks n("cpu");
  const auto model = n.build("dynamic_raw_l16", "layers = 4\nwidth = 8\n", 5);
  // Cell (2,3) of the lattice has one sender, cell (1,2).
  set_gate_biases(*model, kOpen, {{"1.2", kClosed}});
  const Tensor one = n.image(1, 64, 96, 3), other = n.image(1, 64, 96, 4);
  const Evaluation alone = evaluate(*model, one);
  CHECK(status(alone.routing, 2, 2) == Routing::Status::skipped);
  CHECK(status(alone.routing, 3, 3) == Routing::Status::unfed);
  CHECK(status(alone.routing, 4, 3) == Routing::Status::executed);  // its other sender is open
  CHECK(std::isnan(alone.routing.cells[static_cast<size_t>(alone.routing.lattice.index(3, 3))].gates[0][0]));

  // A batch in which nothing differs between samples in routing gives each the result it has alone.
  Tensor both = Tensor::empty({2, 64, 96, 3}, DType::f32, *n.device);
  both.slice(0, 1).copy_from(one);
  both.slice(1, 1).copy_from(other);
  const Evaluation batched = evaluate(*model, both);
  const std::vector<double> first(batched.scores.begin(),
                                  batched.scores.begin() + static_cast<int64_t>(alone.scores.size()));
  CHECK(test::relative_l2(first, alone.scores) < 1e-5);

  // The gate of (1,2) depends on the sample: closed for the first, open for the second.
  const auto mixed = n.build("dynamic_raw_l16", "layers = 4\nwidth = 8\n", 5);
  set_gate_biases(*mixed, kOpen);
  set_norm_biases(*mixed);
  double low = 0, high = 0;
  const Tensor* closed_one = &one;
  {
    mixed->visit_parameters([&](const std::string& path, nn::Parameter& p) {
      Tensor value = p.var.value();
      if (path == "backbone.all_cell_list.1.2.gate_conv_beta.2.weight")
        value.copy_from(Tensor::from<float>(value.shape(), std::vector<float>(static_cast<size_t>(value.numel()), 1.0f),
                                            value.device()));
    });
    const auto logit = [&](const Tensor& x) {
      const Evaluation e = evaluate(*mixed, x);
      return static_cast<double>(e.routing.cells[static_cast<size_t>(e.routing.lattice.index(2, 2))].logits[0][0]);
    };
    const double a = logit(one), b = logit(other);
    REQUIRE(std::abs(a - b) > 1e-4);
    low = std::min(a, b);
    high = std::max(a, b);
    closed_one = a < b ? &one : &other;
    mixed->visit_parameters([&](const std::string& path, nn::Parameter& p) {
      if (path != "backbone.all_cell_list.1.2.gate_conv_beta.2.bias") return;
      Tensor value = p.var.value();
      const std::vector<float> bias(static_cast<size_t>(value.numel()), static_cast<float>(kOpen - (low + high) / 2));
      value.copy_from(Tensor::from<float>(value.shape(), bias, value.device()));
    });
  }
  const Evaluation single = evaluate(*mixed, *closed_one), pair = evaluate(*mixed, both);
  CHECK(status(single.routing, 3, 3) == Routing::Status::unfed);
  CHECK(status(pair.routing, 3, 3) == Routing::Status::executed);
  const bool first_closed = closed_one == &one;
  const auto begin = pair.scores.begin() + (first_closed ? 0 : static_cast<int64_t>(single.scores.size()));
  CHECK(test::relative_l2(std::vector<double>(begin, begin + static_cast<int64_t>(single.scores.size())),
                          single.scores) > 1e-4);
}

TEST_CASE("with every gate closed the stem's map reaches the decoder unchanged") {
  Networks n("cpu");
  const auto model = n.build("dynamic_raw_l16", "layers = 3\nwidth = 4\n", 3);
  set_gate_biases(*model, kClosed);
  std::map<std::string, Var> maps;
  model->tap = [&](std::string_view name, const Var& v) { maps[std::string(name)] = v; };
  const Evaluation e = evaluate(*model, n.image(1, 32, 64));
  CHECK(test::to_doubles(maps.at("L2.C0.keep").value()) == test::to_doubles(maps.at("stem_3").value()));
  CHECK(maps.count("L2.C1.keep") == 0);  // a constant zero is not sent
  std::set<Routing::Status> lower;
  for (const Routing::CellRoute& c : e.routing.cells) {
    if (c.row == 0) CHECK(c.status == Routing::Status::skipped);
    if (c.row > 0) lower.insert(c.status);
  }
  CHECK(lower == std::set<Routing::Status>{Routing::Status::unfed});
  for (const double v : e.scores) CHECK(std::isfinite(v));
}

TEST_CASE("what is closed is not computed") {
  Networks n("cpu");
  const auto model = n.build("dynamic_raw_l16", "layers = 6\nwidth = 8\n", 5);
  int64_t work = 0;
  n.device->observer = [&](const LayerEvent& e) { work += e.multiply_adds; };
  const auto measured = [&](float others, const std::map<std::string, float>& cells) {
    set_gate_biases(*model, others, cells);
    work = 0;
    const Evaluation e = evaluate(*model, n.image(1, 64, 64));
    int64_t gate_outputs = 0;  // the 1x1 convolutions behind the gates' pooling, which are no layer of their own
    for (const Routing::CellRoute& c : e.routing.cells)
      if (c.status != Routing::Status::unfed)
        gate_outputs += e.routing.lattice.channels(c.row) / 2 * e.routing.lattice.slots(c.layer, c.row);
    CHECK(model->executed_multiply_adds() == work + gate_outputs);
    return work;
  };
  const int64_t open = measured(kOpen, {}), one_closed = measured(kOpen, {{"3.0", kClosed}}),
                closed = measured(kClosed, {});
  // Cell (3,0): two depthwise and two pointwise convolutions of 8 channels and the way down, on a map of 16x16.
  CHECK(open - one_closed == 16 * 16 * (2 * 8 * 9 + 2 * 64) + 8 * 8 * 8 * 16);
  CHECK(closed < open / 2);
}

TEST_CASE("evaluation equals what training would compute with the same statistics, when nothing is skipped") {
  Networks n("cpu");
  const auto model = n.build("dynamic_a", "layers = 3\nwidth = 8\n", 4);
  const Tensor x = n.image(2, 128, 128);
  const Evaluation skipping = evaluate(*model, x);
  // With gradients recorded, norms are not folded into convolutions.
  model->set_training(false);
  const std::vector<double> recorded = test::to_doubles(model->forward(x).front().scores.value());
  CHECK(test::relative_l2(skipping.scores, recorded) < 1e-5);
}

TEST_CASE("sizes that do not fit are refused") {
  Networks n("cpu");
  const auto raw = n.build("dynamic_raw_l16", "layers = 3\nwidth = 4\n", 3);
  CHECK(test::error_of([&] { evaluate(*raw, n.image(1, 48, 64)); }).find("multiples of 32") != std::string::npos);
  const auto small = n.build("dynamic_a", "layers = 3\nwidth = 4\n", 3);
  CHECK(test::error_of([&] { evaluate(*small, n.image(1, 96, 128)); }).find("128x128") != std::string::npos);
  CHECK(test::error_of([&] { n.build("dynamic_a", "layers = 2\n"); }).find("model.layers") != std::string::npos);
  CHECK(test::error_of([&] { n.build("dynamic_a", "width = 7\n"); }).find("model.width") != std::string::npos);
  CHECK(test::error_of([&] { n.build("dynamic_a", "smallgate = true\n"); }).find("small_gate") != std::string::npos);
}

TEST_CASE("the classifier adds the rows up on the way down") {
  Networks n("cpu");
  const auto model = n.build("dynamic_fix_l16", "task = \"classification\"\nlayers = 4\nwidth = 8\n", 10);
  int64_t work = 0;
  n.device->observer = [&](const LayerEvent& e) { work += e.multiply_adds; };
  std::map<std::string, Shape> maps;
  model->tap = [&](std::string_view name, const Var& v) { maps[std::string(name)] = v.shape(); };
  const Tensor x = n.image(2, 64, 96);
  const Evaluation e = evaluate(*model, x);
  CHECK(maps.at("aggregator0") == Shape{2, 8, 12, 16});
  CHECK(maps.at("aggregator1") == Shape{2, 4, 6, 32});
  CHECK(maps.at("aggregator2") == Shape{2, 2, 3, 64});
  CHECK(maps.at("aggregator3") == Shape{2, 2, 3, 64});
  CHECK(maps.at("pred") == Shape{2, 1, 1, 10});
  CHECK(model->executed_multiply_adds() == work);
  CHECK(std::set<double>(e.scores.begin(), e.scores.end()).size() == e.scores.size());

  // What it counts, by hand for a map of 16x24: convolutions, 3 a value for norm and ReLU, and the pooling.
  const double expected = stem_cost(model->options().lattice, 64, 96) +
                          (8 * 12 * 16 * (8 + 3) + 4 * 6 * 32 * (16 + 3) + 2 * 3 * 64 * (32 + 3) +
                           2 * 3 * 64 * (64 + 3) + 2 * 3 * 64 + 64 * 10) /
                              1e6;
  CHECK(model->real_mflops(SampleGates(static_cast<size_t>(model->options().lattice.cells())), 64, 96) ==
        doctest::Approx(expected).epsilon(1e-9));
}

TEST_CASE("the budget loss appears, ramps and stays") {
  Networks n("cpu");
  const auto model = n.build("dynamic_a", "layers = 3\nwidth = 4\nbudget_total = 40\n", 3);
  model->set_training(true);
  const NoGrad no_grad(*n.device);
  model->forward(n.image(2, 128, 128));
  const auto loss = [&](int64_t step) {
    model->begin_step(step, 1000);
    const auto losses = model->auxiliary_losses();
    return losses.empty() ? -1.0 : losses.front().value.value().item();
  };
  double expected = 0;
  for (const double e : test::to_doubles(model->expected_mflops().value())) expected += e / 2;
  const double full = 0.8 * (expected / 40 - 0.1) * (expected / 40 - 0.1);
  CHECK(loss(399) == -1);
  CHECK(loss(400) == 0);
  CHECK(loss(410) == doctest::Approx(full / 2).epsilon(1e-5));
  CHECK(loss(420) == doctest::Approx(full).epsilon(1e-5));
  CHECK(loss(999) == doctest::Approx(full).epsilon(1e-5));
}

TEST_CASE("drop path drops whole samples of a branch and scales the rest") {
  Networks n("cpu");
  const auto model = n.build("dynamic_raw_l16", "layers = 3\nwidth = 4\ndrop_path = 0.5\n", 3);
  model->set_training(true);
  const NoGrad no_grad(*n.device);
  const Tensor x = n.image(2, 64, 64);
  std::set<int> drawn;
  model->drop_uniforms = [&](int cell, int64_t batch) {
    drawn.insert(cell);
    return std::vector<double>(static_cast<size_t>(batch), 0.0);  // none is dropped
  };
  model->begin_step(0, 10);
  const std::vector<double> before = test::to_doubles(model->forward(x).front().scores.value());
  CHECK(drawn.empty());  // at the start of the training nothing is drawn
  model->begin_step(9, 10);
  const std::vector<double> scaled = test::to_doubles(model->forward(x).front().scores.value());
  CHECK(drawn.size() == 2 + 3 + 4);
  CHECK(test::relative_l2(scaled, before) > 1e-3);
  model->drop_uniforms = nullptr;
  CHECK(test::to_doubles(model->forward(x).front().scores.value()) ==
        test::to_doubles(model->forward(x).front().scores.value()));  // the step decides
}

TEST_CASE("CUDA routes and computes like the CPU") {
  if (!Device::cuda_available()) return;
  const auto run = [](const char* spec) {
    Networks n(spec);
    const auto model = n.build("dynamic_raw_l16", "layers = 3\nwidth = 8\n", 4);
    set_gate_biases(*model, kOpen, {{"0.1", kClosed}, {"1.2", kClosed}});
    const std::unique_ptr<Device> host = Device::create("cpu");
    const Tensor x = test::random_normal({2, 32, 32, 3}, DType::f32, *host).to(*n.device);
    Evaluation e = evaluate(*model, x);
    model->set_training(true);
    const Head head = model->forward(x).front();
    const Tensor labels = test::random_labels({2, 32, 32}, DType::u8, *host, 4).to(*n.device);
    backward(nn::segmentation_loss(head.scores, head.up, labels).loss);
    std::map<std::string, std::vector<double>> gradients;
    model->visit_parameters(
        [&](const std::string& path, nn::Parameter& p) { gradients[path] = test::to_doubles(p.var.grad()); });
    return std::pair{e, gradients};
  };
  const auto [cpu, cpu_gradients] = run("cpu");
  const auto [cuda, cuda_gradients] = run("cuda");
  CHECK(test::relative_l2(cuda.scores, cpu.scores) < 1e-5);
  for (size_t i = 0; i < cpu.routing.cells.size(); ++i)
    CHECK(cuda.routing.cells[i].status == cpu.routing.cells[i].status);
  // Few positions a channel at the lower rows: a norm there divides rounding noise by a small deviation. And a gradient
  // that is nothing but rounding has no relative error.
  double total = 0;
  for (const auto& [name, gradient] : cpu_gradients)
    for (const double v : gradient) total += v * v;
  for (const auto& [name, gradient] : cpu_gradients) {
    CAPTURE(name);
    double own = 0, difference = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      own += gradient[i] * gradient[i];
      difference += std::pow(cuda_gradients.at(name)[i] - gradient[i], 2);
    }
    CHECK(std::sqrt(difference) <= 5e-3 * std::sqrt(own) + 1e-6 * std::sqrt(total));
  }
}

}  // namespace segrt::models
