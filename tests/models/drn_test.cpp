// DRN's structure against the published table of variants, its names against those of published checkpoints.
#include "models/drn.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "core/error.h"
#include "models/summary.h"
#include "nn/state.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using models::Model;

struct Row {
  const char* name;
  int64_t parameters, tensors;
  double gmacs;  // classifier of 1000 classes, 224x224
  int64_t segmentation_parameters, segmentation_tensors;
  double segmentation_gmacs;  // 19 classes, 1024x2048; without the upsampling
};
constexpr Row kTable[] = {
    {"drn_a_18", 11'689'512, 122, 9.213, 11'191'123, 123, 385.36},
    {"drn_a_34", 21'797'672, 218, 17.305, 21'299'283, 219, 723.58},
    {"drn_a_50", 25'557'032, 320, 19.079, 23'551'827, 321, 798.63},
    {"drn_c_26", 21'126'584, 182, 16.971, 20'628'195, 183, 709.63},
    {"drn_c_42", 31'234'744, 278, 25.064, 30'736'355, 279, 1047.85},
    {"drn_c_58", 41'591'608, 380, 33.246, 41'093'219, 381, 1389.84},
    {"drn_d_22", 16'393'752, 152, 13.034, 15'895'363, 153, 545.07},
    {"drn_d_24", 21'114'392, 164, 16.734, 20'616'003, 165, 699.69},
    {"drn_d_38", 26'501'912, 248, 21.127, 26'003'523, 249, 883.30},
    {"drn_d_40", 31'222'552, 260, 24.826, 30'724'163, 261, 1037.92},
    {"drn_d_54", 35'809'176, 344, 28.487, 35'310'787, 345, 1190.93},
    {"drn_d_56", 40'529'816, 356, 32.186, 40'031'427, 357, 1345.55},
    {"drn_d_105", 54'801'304, 650, 43.336, 54'302'915, 651, 1811.55},
    {"drn_d_107", 59'521'944, 662, 47.035, 59'023'555, 663, 1966.17},
};

Config table(const std::string& name, const std::string& task, int classes, const std::string& options = "") {
  return Config::parse(
             fmt::format("[model]\nname = \"{}\"\ntask = \"{}\"\nclasses = {}\n{}\n", name, task, classes, options),
             "test.toml")
      .table("model");
}

struct Networks {
  std::unique_ptr<Device> device;
  explicit Networks(const char* spec = "meta") : device(Device::create(spec)) {}
  std::unique_ptr<Model> build(const std::string& name, const std::string& task, int classes,
                               const std::string& options = "") {
    nn::Init init(*device, 1);
    const Config config = table(name, task, classes, options);
    auto model = models::build(config, init);
    config.check_unused();
    return model;
  }
  std::unique_ptr<Model> classifier(const std::string& name, const std::string& options = "") {
    return build(name, "classification", 1000, options);
  }
  std::unique_ptr<Model> segmentation(const std::string& name, const std::string& options = "") {
    return build(name, "segmentation", 19, options);
  }
  Tensor image(int64_t height, int64_t width) { return Tensor::zeros({1, height, width, 3}, DType::f32, *device); }
};

// Names and shapes, [O,kh,kw,I] for convolutions.
std::map<std::string, Shape> state_of(Model& model) {
  std::map<std::string, Shape> state;
  for (const nn::Module::StateEntry& e : model.state())
    state[e.path] = e.parameter != nullptr ? e.parameter->var.shape() : e.buffer->tensor.shape();
  return state;
}

std::vector<std::string> names_of(Model& model) {
  std::vector<std::string> names;
  for (const nn::Module::StateEntry& e : model.state()) names.push_back(e.path);
  return names;
}
}  // namespace

TEST_CASE("every variant has the published parameters, state tensors and multiply-adds") {
  std::vector<std::string> names;
  for (const Row& row : kTable) {
    CAPTURE(row.name);
    names.emplace_back(row.name);
    const models::Summary c = models::summarize(table(row.name, "classification", 1000), {1, 224, 224, 3});
    CHECK(c.parameters == row.parameters);
    CHECK(c.state_tensors == row.tensors);
    CHECK(std::abs(static_cast<double>(c.multiply_adds) / 1e9 - row.gmacs) <= 0.0005001);  // three decimals
    CHECK(c.output == Shape{1, 1, 1, 1000});
    const models::Summary s = models::summarize(table(row.name, "segmentation", 19), {1, 1024, 2048, 3});
    CHECK(s.parameters == row.segmentation_parameters);
    CHECK(s.state_tensors == row.segmentation_tensors);
    CHECK(std::abs(static_cast<double>(s.multiply_adds) / 1e9 - row.segmentation_gmacs) <= 0.005001);
    CHECK(s.output == Shape{1, 128, 256, 19});
  }
  CHECK(models::drn_names() == names);
}

TEST_CASE("state names are the published ones, in their order") {
  Networks n;
  const std::vector<std::string> d = names_of(*n.classifier("drn_d_22"));
  CHECK(std::vector(d.begin(), d.begin() + 8) ==
        std::vector<std::string>{"layer0.0.weight", "layer0.1.weight", "layer0.1.bias", "layer0.1.running_mean",
                                 "layer0.1.running_var", "layer0.1.num_batches_tracked", "layer1.0.weight",
                                 "layer1.1.weight"});
  CHECK(std::vector(d.end() - 2, d.end()) == std::vector<std::string>{"fc.weight", "fc.bias"});
  const std::vector<std::string> c = names_of(*n.segmentation("drn_c_26"));
  CHECK(std::vector(c.begin(), c.begin() + 2) == std::vector<std::string>{"base.0.weight", "base.1.weight"});
  CHECK(std::vector(c.end() - 3, c.end()) == std::vector<std::string>{"seg.weight", "seg.bias", "up.weight"});

  const auto d24 = state_of(*n.classifier("drn_d_24"));  // the second convolution of a plain stage, after a ReLU
  CHECK(d24.at("layer7.0.weight") == Shape{512, 3, 3, 512});
  CHECK(d24.at("layer7.3.weight") == Shape{512, 3, 3, 512});
  CHECK(d24.at("layer7.4.running_var") == Shape{512});
  const auto d54 = state_of(*n.classifier("drn_d_54"));
  CHECK(d54.at("layer3.0.downsample.0.weight") == Shape{256, 1, 1, 32});
  CHECK(d54.at("layer6.0.conv3.weight") == Shape{2048, 1, 1, 512});
  CHECK(d54.at("layer7.0.weight") == Shape{512, 3, 3, 2048});
  CHECK(d54.at("fc.weight") == Shape{1000, 1, 1, 512});  // a convolution in families C and D
  const auto a50 = state_of(*n.classifier("drn_a_50"));  // ResNet-50's
  CHECK(a50.at("conv1.weight") == Shape{64, 7, 7, 3});
  CHECK(a50.at("layer4.2.conv2.weight") == Shape{512, 3, 3, 512});
  CHECK(a50.at("fc.weight") == Shape{1000, 2048});
  CHECK(state_of(*n.segmentation("drn_a_50")).at("base.4.0.conv1.weight") == Shape{64, 1, 1, 64});
  CHECK(state_of(*n.segmentation("drn_c_42")).at("base.10.0.conv1.weight") == Shape{512, 3, 3, 512});
  CHECK(state_of(*n.segmentation("drn_d_22")).at("base.8.0.weight") == Shape{512, 3, 3, 512});
}

TEST_CASE("only DRN-C-58 has the dead shortcut of layer 7") {
  Networks n;
  const auto has = [&](const char* name) {
    return state_of(*n.classifier(name)).contains("layer7.0.downsample.0.weight");
  };
  CHECK(has("drn_c_58"));
  CHECK_FALSE(has("drn_c_26"));
  CHECK_FALSE(has("drn_c_42"));
  CHECK(state_of(*n.segmentation("drn_c_58")).at("base.9.0.downsample.0.weight") == Shape{512, 1, 1, 2048});
}

TEST_CASE("a classifier's weights map onto the backbone one to one, for every variant") {
  Networks n;
  for (const Row& row : kTable) {
    CAPTURE(row.name);
    const auto classifier = state_of(*n.classifier(row.name));
    const auto segmentation = n.segmentation(row.name);
    std::set<std::string> taken;
    for (const auto& [name, shape] : state_of(*segmentation)) {
      const std::string source = segmentation->pretrained_name(name);
      if (!name.starts_with("base.")) {
        CHECK(source == "");
        continue;
      }
      REQUIRE_MESSAGE(classifier.contains(source), name, " -> ", source);
      CHECK(classifier.at(source) == shape);
      CHECK(taken.insert(source).second);
    }
    CHECK(taken.size() == classifier.size() - 2);  // all but fc.weight and fc.bias
  }
  CHECK(n.segmentation("drn_d_22")->pretrained_name("base.6.1.bn2.bias") == "layer6.1.bn2.bias");
  CHECK(n.segmentation("drn_c_26")->pretrained_name("base.0.weight") == "conv1.weight");
  CHECK(n.segmentation("drn_c_26")->pretrained_name("base.3.0.bn1.weight") == "layer1.0.bn1.weight");
  CHECK(n.segmentation("drn_a_50")->pretrained_name("base.1.running_mean") == "bn1.running_mean");
  CHECK(n.segmentation("drn_a_50")->pretrained_name("base.4.0.conv1.weight") == "layer1.0.conv1.weight");
}

TEST_CASE("a side that is no multiple of 8 gives 8 * ceil(n/8)") {
  Networks n;
  const auto model = n.segmentation("drn_d_22");
  CHECK(model->size_multiple() == 8);
  const NoGrad no_grad(*n.device);
  const models::Head head = model->forward(n.image(97, 135)).front();
  CHECK(head.scores.shape() == Shape{1, 13, 17, 19});
  CHECK(head.up.height == 104);
  CHECK(head.up.width == 136);
}

TEST_CASE("classifiers: pooled cells, class maps, and the upsampling without weights") {
  Networks n;
  const NoGrad no_grad(*n.device);
  const auto scores = [&](const char* name, const char* options, int64_t h, int64_t w) {
    return n.classifier(name, options)->forward(n.image(h, w)).front().scores.shape();
  };
  CHECK(scores("drn_c_26", "", 456, 448) == Shape{1, 2, 2, 1000});             // a 57x56 map: two by two cells
  CHECK(scores("drn_d_22", "", 240, 232) == Shape{1, 1, 1, 1000});             // 30x29: the rest is dropped
  CHECK(scores("drn_d_22", "pool_size = 3", 48, 57) == Shape{1, 2, 2, 1000});  // 6x8
  CHECK(scores("drn_d_22", "out_map = true", 48, 57) == Shape{1, 6, 8, 1000});
  CHECK(scores("drn_a_18", "pool_size = 6", 48, 48) == Shape{1, 1, 1, 1000});
  const auto torch_up = n.segmentation("drn_d_22", "use_torch_up = true");
  CHECK(torch_up->state().size() == 152);
  CHECK(torch_up->parameter_count() == 15'895'363 - 19 * 16 * 16);
  CHECK(torch_up->forward(n.image(32, 40)).front().up.rule == nn::Upsampling::Rule::bilinear_align_corners);
}

TEST_CASE("misuse is refused in words") {
  Networks n;
  const auto message = [&](const std::string& name, const std::string& task, int classes, const std::string& options) {
    return test::error_of([&] { n.build(name, task, classes, options); });
  };
  const auto contains = [](const std::string& text, const char* part) {
    CAPTURE(text);
    CHECK(text.find(part) != std::string::npos);
  };
  contains(message("drn_d_23", "segmentation", 19, ""), "drn_d_22");
  contains(message("drn_d_22", "detection", 19, ""), "segmentation");
  contains(message("drn_d_22", "segmentation", 0, ""), "model.classes");
  contains(message("drn_d_22", "segmentation", 256, ""), "model.classes");
  contains(message("drn_d_22", "segmentation", 19, "out_map = true"), "model.out_map");
  contains(message("drn_d_22", "classification", 10, "use_torch_up = true"), "model.use_torch_up");
  contains(message("drn_a_50", "classification", 10, "out_map = true"), "model.out_map");
  contains(message("drn_d_22", "classification", 10, "pool_size = 0"), "model.pool_size");
  const auto forward = [&](const char* name, const char* options, int64_t h, int64_t w) {
    return test::error_of([&] { n.classifier(name, options)->forward(n.image(h, w)); });
  };
  contains(forward("drn_d_22", "", 216, 224), "drn_d_22: the classifier pools 28x28 cells, the map is [1,27,28,512]");
  contains(forward("drn_a_18", "pool_size = 6", 48, 56), "drn_a_18: family A classifies maps of exactly 6x6 cells");
}

TEST_CASE("the fixed upsampling attenuates the border, and a loaded kernel is used as it is") {
  Networks n("cpu");
  const auto model = n.build("drn_d_22", "segmentation", 2);
  const NoGrad no_grad(*n.device);
  model->set_training(false);
  nn::Upsampling up = model->forward(n.image(24, 24)).front().up;
  CHECK(up.rule == nn::Upsampling::Rule::transposed_x8);
  const Tensor ones = test::from_doubles({1, 3, 3, 2}, std::vector<double>(18, 1.0), DType::f32, *n.device);
  const auto factor = [](int i) {  // of a row or column of 24: one tap alone reaches the outermost four
    const int from_edge = std::min(i, 23 - i);
    return from_edge < 4 ? (9 + 2 * from_edge) / 16.0 : 1.0;
  };
  const std::vector<double> y = test::to_doubles(nn::upsampled_scores(ones, up).value());
  for (int i = 0; i < 24; ++i)
    for (int j = 0; j < 24; ++j)
      CHECK(y[static_cast<size_t>((24 * i + j) * 2)] == doctest::Approx(factor(i) * factor(j)));

  model->visit_parameters([](const std::string& path, nn::Parameter& p) {
    if (path != "up.weight") return;
    CHECK_FALSE(p.trained);
    std::vector<double> doubled = test::to_doubles(p.var.value());
    for (double& v : doubled) v *= 2;
    Tensor weight = p.var.value();
    weight.copy_from(test::from_doubles(weight.shape(), doubled, DType::f32, weight.device()));
  });
  up = model->forward(n.image(24, 24)).front().up;
  CHECK(up.rule == nn::Upsampling::Rule::custom_transposed_x8);
  const std::vector<double> twice = test::to_doubles(nn::upsampled_scores(ones, up).value());
  for (size_t i = 0; i < y.size(); ++i) CHECK(twice[i] == doctest::Approx(2 * y[i]));
}

TEST_CASE("the dead shortcut of DRN-C-58 counts its statistics but gets no gradient") {
  Networks n("cpu");
  const auto model = n.build("drn_c_58", "segmentation", 2);
  model->set_training(true);
  const Tensor x = test::random_normal({2, 16, 24, 3}, DType::f32, *n.device);
  const models::Head head = model->forward(x).front();
  const Tensor labels = test::random_labels({2, 16, 24}, DType::u8, *n.device, 2);
  backward(nn::segmentation_loss(head.scores, head.up, labels).loss);
  model->visit_buffers([](const std::string& path, nn::Buffer& b) {
    if (path == "base.9.0.downsample.1.num_batches_tracked") CHECK(b.tensor.item() == 1);
    if (path == "base.9.0.downsample.1.running_mean")
      CHECK(test::to_doubles(b.tensor) != std::vector<double>(512, 0.0));
  });
  model->visit_parameters([](const std::string& path, nn::Parameter& p) {
    CAPTURE(path);
    CHECK(p.var.grad().defined() == (p.trained && !path.starts_with("base.9.0.downsample.")));
  });
}

TEST_CASE("CUDA agrees with the CPU in inference and in a training step") {
  if (!Device::cuda_available()) return;
  struct Result {
    std::vector<double> log_probabilities, loss, statistics;
    std::map<std::string, std::vector<double>> gradients;
  };
  const auto run = [](const char* spec) {
    Networks n(spec);
    const auto model = n.build("drn_d_22", "segmentation", 5);
    const std::unique_ptr<Device> host = Device::create("cpu");
    const Tensor x = test::random_normal({1, 16, 24, 3}, DType::f32, *host).to(*n.device);
    const Tensor labels = test::random_labels({1, 16, 24}, DType::u8, *host, 5).to(*n.device);
    Result r;
    {
      const NoGrad no_grad(*n.device);
      model->set_training(false);
      const models::Head head = model->forward(x).front();
      r.log_probabilities = test::to_doubles(nn::log_probabilities(head.scores, head.up).value());
    }
    model->set_training(true);
    const models::Head head = model->forward(x).front();
    const Var loss = nn::segmentation_loss(head.scores, head.up, labels).loss;
    backward(loss);
    r.loss = test::to_doubles(loss.value());
    model->visit_buffers([&](const std::string&, nn::Buffer& b) {
      for (const double v : test::to_doubles(b.tensor)) r.statistics.push_back(v);
    });
    model->visit_parameters([&](const std::string& path, nn::Parameter& p) {
      if (p.trained) r.gradients[path] = test::to_doubles(p.var.grad());
    });
    return r;
  };
  const Result cpu = run("cpu"), cuda = run("cuda");
  // Relative: untrained statistics normalise nothing, so the scores of this network are large.
  CHECK(test::relative_l2(cuda.log_probabilities, cpu.log_probabilities) <= 1e-5);
  CHECK(test::relative_l2(cuda.loss, cpu.loss) <= 1e-5);
  CHECK(test::relative_l2(cuda.statistics, cpu.statistics) <= 5e-5);
  // Six positions a channel at the last maps: a norm there divides rounding noise by a small deviation.
  for (const auto& [name, gradient] : cpu.gradients) {
    CAPTURE(name);
    CHECK(test::relative_l2(cuda.gradients.at(name), gradient) <= 5e-3);
  }
}
