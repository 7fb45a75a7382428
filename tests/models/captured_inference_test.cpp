// A recorded pass computes and routes like an eager one on every device, for images that take different ways.
#include "models/captured_inference.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "models/dynamic_routing.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"
#if __has_include("emulator/control.h")
#include "emulator/control.h"  // counts kernels
#endif

namespace segrt::models {
namespace {

int64_t kernels_run(Device& device) {
  device.synchronize();
#if __has_include("emulator/control.h")
  return static_cast<int64_t>(emulator::kernels_run());
#else
  return -1;
#endif
}

const std::set<std::string> kDeciding = {"0.1", "1.2", "2.0", "2.1"};  // cells whose gates depend on the image

// Gates of deciding cells: the mean of their maps minus the cell's threshold; the others are open.
void set_gates(DynamicRouting& model, const std::map<std::string, float>& thresholds) {
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    const size_t at = path.find(".gate_conv_beta.2.");
    if (at == std::string::npos) return;
    const std::string list = "backbone.all_cell_list.";
    const std::string cell = path.starts_with(list) ? path.substr(list.size(), at - list.size()) : "init";
    const bool decides = kDeciding.contains(cell);
    float value = path.ends_with(".weight") ? (decides ? 1.0f : 0.0f) : (decides ? 0.0f : 2.0f);
    if (decides && path.ends_with(".bias") && !thresholds.empty()) value = -thresholds.at(cell);
    Tensor t = p.var.value();
    t.copy_from(Tensor::from<float>(t.shape(), std::vector<float>(static_cast<size_t>(t.numel()), value), t.device()));
  });
}

std::unique_ptr<DynamicRouting> build(Device& device, const std::map<std::string, float>& thresholds) {
  const Config config =
      Config::parse("[model]\nname = \"dynamic_raw_l16\"\nclasses = 4\nlayers = 4\nwidth = 8\n", "test");
  nn::Init init(device, 1);
  auto model = models::build(config.table("model"), init);
  model->set_training(false);
  auto routed = std::unique_ptr<DynamicRouting>(dynamic_cast<DynamicRouting*>(model.release()));
  set_gates(*routed, thresholds);
  return routed;
}

struct Pass {
  std::vector<double> scores;
  std::vector<Routing::Status> statuses;
  std::vector<double> gates;  // NaN where there is none
  int64_t conditions = 0;     // IF nodes that the GPU comes to
};
Pass result(const DynamicRouting& model, const std::vector<Head>& heads) {
  Pass pass;
  pass.scores = test::to_doubles(heads.front().scores.value());
  for (const Routing::CellRoute& cell : model.routing().cells) {
    const Lattice& l = model.options().lattice;
    pass.statuses.push_back(cell.status);
    for (const auto& sample : cell.gates)
      for (const float g : sample) pass.gates.push_back(static_cast<double>(g));
    pass.conditions += 2;
    if (cell.status == Routing::Status::executed) pass.conditions += l.slots(cell.layer, cell.row) - 1;
  }
  return pass;
}

constexpr int kImages = 4;
Tensor image(int i, Device& device, int64_t height = 32) {
  const std::unique_ptr<Device> host = Device::create("cpu");
  return test::random_normal({1, height, 32, 3}, DType::f32, *host,
                             {.seed = static_cast<uint64_t>(i + 1), .std = 0.5 + 0.5 * i})
      .to(device);
}

// On the CPU: thresholds between what two images give, for each deciding cell another two.
std::map<std::string, float> choose_thresholds() {
  const auto device = Device::create("cpu");
  const NoGrad no_grad(*device);
  const auto model = build(*device, {});
  std::map<std::string, std::vector<float>> logits;
  for (int i = 0; i < kImages; ++i) {
    model->forward(image(i, *device));
    const Routing routing = model->routing();
    for (const std::string& cell : kDeciding)
      logits[cell].push_back(
          routing.cells[static_cast<size_t>(routing.lattice.index(cell[0] - '0' + 1, cell[2] - '0'))].logits[0][0]);
  }
  std::map<std::string, float> thresholds;
  size_t between = 0;
  for (auto& [cell, values] : logits) {
    std::sort(values.begin(), values.end());
    thresholds[cell] = (values[between] + values[between + 1]) / 2;
    between = (between + 1) % (kImages - 1);
  }
  return thresholds;
}

std::vector<double> defined(const std::vector<double>& values) {
  std::vector<double> found;
  for (const double v : values)
    if (!std::isnan(v)) found.push_back(v);
  return found;
}

void check_same(const Pass& got, const Pass& expected) {
  CHECK(test::relative_l2(got.scores, expected.scores) < 1e-5);
  CHECK(got.statuses == expected.statuses);
  CHECK(test::relative_l2(defined(got.gates), defined(expected.gates)) < 1e-5);
}
}  // namespace

TEST_CASE("on a CPU a pass is a pass") {
  const auto device = Device::create("cpu");
  const NoGrad no_grad(*device);
  nn::Init init(*device, 1);
  test::TinyNetwork model(3, init);
  model.set_training(false);
  CapturedInference inference(model);
  const Tensor x = image(0, *device);
  for (int i = 0; i < 3; ++i) {
    CHECK(test::to_doubles(inference.forward(x).front().scores.value()) ==
          test::to_doubles(model.forward(x).front().scores.value()));
    CHECK(inference.reason() == "on cpu there are no graphs");
    CHECK(inference.graph() == nullptr);
  }
}

TEST_CASE("replays route each image its own way, and closed cells launch nothing") {
  if (!Device::cuda_available()) return;
  const std::map<std::string, float> thresholds = choose_thresholds();
  const auto cpu = Device::create("cpu"), cuda = Device::create("cuda");
  const NoGrad no_grad_cpu(*cpu), no_grad_cuda(*cuda);
  const auto reference = build(*cpu, thresholds), eager = build(*cuda, thresholds), replayed = build(*cuda, thresholds);
  for (int i = 0; i < kImages; ++i) eager->forward(image(i, *cuda));  // layers fold their weights in the first pass
  CapturedInference inference(*replayed);
  inference.forward(image(0, *cuda));
  CHECK(inference.reason() == "pass 1 of [1,32,32,3], pass 2 is recorded");
  inference.forward(image(0, *cuda));
  REQUIRE(inference.reason() == "");
  std::set<std::vector<Routing::Status>> routes;
  std::map<int64_t, int64_t> kernels_by_executed;  // cells
  for (const int i : {0, 1, 2, 3, 1, 0}) {
    CAPTURE(i);
    const Pass expected = result(*reference, reference->forward(image(i, *cpu)));
    routes.insert(expected.statuses);
    const Tensor x = image(i, *cuda);
    const int64_t start = kernels_run(*cuda);
    const std::vector<Head> eager_heads = eager->forward(x);
    const int64_t after_eager = kernels_run(*cuda);
    const std::vector<Head> heads = inference.forward(x);
    const int64_t after_replay = kernels_run(*cuda);
    CHECK(inference.reason() == "");
    check_same(result(*eager, eager_heads), expected);
    const Pass got = result(*replayed, heads);
    check_same(got, expected);
    if (start >= 0) CHECK(after_replay - after_eager == after_eager - start + got.conditions);
    kernels_by_executed[std::count(got.statuses.begin(), got.statuses.end(), Routing::Status::executed)] =
        after_replay - after_eager;
  }
  CHECK(routes.size() >= 3);
  REQUIRE(kernels_by_executed.size() >= 2);
  if (kernels_run(*cuda) >= 0)
    for (auto next = std::next(kernels_by_executed.begin()); next != kernels_by_executed.end(); ++next)
      CHECK(next->second > std::prev(next)->second);
  const Lattice& l = replayed->options().lattice;
  int conditions = 0;
  for (int layer = 0; layer <= l.layers; ++layer)
    for (int row = 0; row < l.rows(layer); ++row) conditions += 2 + l.slots(layer, row) - 1;
  CHECK(inference.graph()->conditions() == conditions);
}

TEST_CASE("caches filled by a capture are not those of bodies that did not run") {
  if (!Device::cuda_available()) return;
  const std::map<std::string, float> thresholds = choose_thresholds();
  const auto cpu = Device::create("cpu"), cuda = Device::create("cuda");
  const NoGrad no_grad_cpu(*cpu), no_grad_cuda(*cuda);
  auto closed = thresholds;
  for (auto& [cell, threshold] : closed) threshold = 1e6f;
  const auto reference = build(*cpu, closed), model = build(*cuda, closed);
  CapturedInference inference(*model);
  for (int i = 0; i < 3; ++i) inference.forward(image(i, *cuda));
  CHECK(inference.reason() == "");
  check_same(result(*model, inference.forward(image(1, *cuda))),
             result(*reference, reference->forward(image(1, *cpu))));
  // The same layers, now open, by an eager pass over another shape; the change of weights alone drops the graph, too.
  auto open = thresholds;
  for (auto& [cell, threshold] : open) threshold = -1e6f;
  for (DynamicRouting* m : {reference.get(), model.get()}) set_gates(*m, open);
  for (const int64_t height : {32, 64}) {
    const Pass got = result(*model, inference.forward(image(2, *cuda, height)));
    CHECK(inference.reason().starts_with("pass 1 of "));
    check_same(got, result(*reference, reference->forward(image(2, *cpu, height))));
  }
  const Pass recorded = result(*model, inference.forward(image(3, *cuda, 64)));
  CHECK(inference.reason() == "");
  check_same(recorded, result(*reference, reference->forward(image(3, *cpu, 64))));
}

TEST_CASE("a plain network is replayed, and what it returns survives the next pass") {
  if (!Device::cuda_available()) return;
  const auto cpu = Device::create("cpu"), cuda = Device::create("cuda");
  const NoGrad no_grad_cpu(*cpu), no_grad_cuda(*cuda);
  const auto build_drn = [](Device& device) {
    nn::Init init(device, 1);
    const Config config = Config::parse("[model]\nname = \"drn_d_22\"\nclasses = 3\n", "test");
    auto model = models::build(config.table("model"), init);
    model->set_training(false);
    return model;
  };
  const auto reference = build_drn(*cpu), model = build_drn(*cuda);
  CapturedInference inference(*model, {.eager_passes = 0});
  const auto input = [](int i, Device& device) { return image(i, device, 8).reshape({1, 16, 16, 3}); };
  std::vector<Tensor> kept;
  for (int i = 0; i < 2; ++i) {
    kept.push_back(inference.forward(input(i, *cuda)).front().scores.value());
    CHECK(inference.reason() == "");
  }
  for (int i = 0; i < 2; ++i)
    CHECK(test::relative_l2(kept[static_cast<size_t>(i)], reference->forward(input(i, *cpu)).front().scores.value()) <
          1e-5);
}

TEST_CASE("what stands against a replay is said") {
  if (!Device::cuda_available()) return;
  struct Reader final : test::TinyNetwork {
    using TinyNetwork::TinyNetwork;
    bool reads = true;
    std::vector<Head> forward(const Var& x) override {
      std::vector<Head> heads = TinyNetwork::forward(x);
      if (reads) heads.front().scores.value().to_vector<float>();
      return heads;
    }
  };
  const auto device = Device::create("cuda");
  nn::Init init(*device, 1);
  Reader model(3, init);
  model.set_training(false);
  CapturedInference inference(model);
  const Tensor x = image(0, *device);
  inference.forward(x);
  CHECK(inference.reason() == "gradients are recorded");
  const NoGrad no_grad(*device);
  const std::vector<double> expected = test::to_doubles(model.forward(x).front().scores.value());
  for (int i = 0; i < 4; ++i) {
    CHECK(test::to_doubles(inference.forward(x).front().scores.value()) == expected);
    CHECK(inference.reason() == (i == 0 ? "pass 1 of [1,32,32,3], pass 2 is recorded"
                                        : "cannot be captured: cuda:0: a copy of 3072 bytes to the host cannot be "
                                          "captured into a graph"));
  }
  model.tap = [](std::string_view, const Var&) {};
  inference.forward(x);
  CHECK(inference.reason() == "somebody looks at every layer");
  model.tap = nullptr;
  model.reads = false;
  for (int i = 0; i < 2; ++i) CHECK(test::to_doubles(inference.forward(x).front().scores.value()) == expected);
  CHECK(inference.reason() == "");
  model.set_training(true);
  inference.forward(x);
  CHECK(inference.reason() == "the model is in training mode");
}

}  // namespace segrt::models
