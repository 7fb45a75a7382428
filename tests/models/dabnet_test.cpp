// DABNet's structure against the published table of variants, its names, its initial values and its checks.
#include "models/dabnet.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "core/op_profile.h"
#include "models/summary.h"
#include "nn/state.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using models::Model;

struct Row {
  const char* name;
  int classes;
  int64_t parameters, inference_parameters, trained_tensors;
  double gmacs[4];  // at 1024x2048, 1024x1024, 768x960, 640x640 without auxiliary heads; 0 where patches do not fit
};
constexpr Row kTable[] = {
    {"dabnet_r_p1", 19, 16'180'121, 16'029'939, 248, {169.69, 84.85, 59.66, 33.14}},
    {"dabnet_r_p2", 19, 17'783'705, 17'633'523, 248, {164.72, 82.36, 57.91, 32.17}},
    {"dabnet_r_p4", 19, 24'198'041, 24'047'859, 248, {163.47, 81.74, 0, 31.93}},
    {"dabnet_r_p8", 19, 49'855'385, 49'705'203, 248, {163.16, 81.58, 0, 0}},
    {"dabnet_r_p16", 19, 152'484'761, 152'334'579, 248, {163.08, 81.54, 0, 0}},
    {"dabnet_e", 19, 9'002'993, 8'852'811, 478, {63.85, 31.93, 22.45, 12.47}},
    {"dabnet_baseline", 19, 13'379'161, 13'228'979, 117, {128.35, 64.18, 45.12, 25.07}},
    {"dabnet_fcn", 19, 13'287'193, 13'137'011, 105, {117.11, 58.56, 41.17, 22.87}},
    {"dabnet_image", 19, 13'482'201, 13'332'019, 120, {130.90, 65.45, 46.02, 25.57}},
    {"dabnet_pce", 19, 17'588'697, 17'438'515, 233, {150.93, 75.47, 53.06, 29.48}},
    {"dabnet_pce0", 19, 13'651'993, 13'501'811, 152, {143.68, 71.84, 50.51, 28.06}},
    {"dabnet_pce01", 19, 14'329'497, 14'179'315, 184, {156.46, 78.23, 55.01, 30.56}},
    {"dabnet_pce02", 19, 15'531'801, 15'381'619, 216, {162.09, 81.05, 56.99, 31.66}},
    {"dabnet_channel", 19, 17'710'105, 17'559'923, 224, {164.45, 82.23, 57.82, 32.12}},
    {"dabnet_spatial", 19, 16'106'521, 15'956'339, 224, {159.47, 79.74, 56.06, 31.15}},
    {"dabnet_r_p2", 171, 17'842'529, 17'672'587, 248, {165.99, 83.00, 58.36, 32.42}},
    {"dabnet_e", 171, 9'061'817, 8'891'875, 478, {65.13, 32.56, 22.90, 12.72}},
};
constexpr int kSizes[][2] = {{1024, 2048}, {1024, 1024}, {768, 960}, {640, 640}};

Config table(const std::string& name, int classes = 19, const std::string& options = "") {
  return Config::parse(fmt::format("[model]\nname = \"{}\"\nclasses = {}\n{}\n", name, classes, options), "test.toml")
      .table("model");
}

struct Networks {
  std::unique_ptr<Device> device;
  explicit Networks(const char* spec = "meta") : device(Device::create(spec)) {}
  std::unique_ptr<Model> build(const std::string& name, int classes = 19, const std::string& options = "") {
    nn::Init init(*device, 1);
    const Config config = table(name, classes, options);
    auto model = models::build(config, init);
    config.check_unused();
    return model;
  }
  Tensor image(int64_t batch, int64_t height, int64_t width) {
    return Tensor::zeros({batch, height, width, 3}, DType::f32, *device);
  }
};

std::vector<std::string> names_of(Model& model) {
  std::vector<std::string> names;
  for (const nn::Module::StateEntry& e : model.state()) names.push_back(e.path);
  return names;
}

// The names up to the second or third dot, without repetition: the order of the parts.
std::vector<std::string> parts_of(Model& model) {
  std::vector<std::string> parts;
  for (const std::string& name : names_of(model)) {
    const std::string part = name.substr(0, name.find('.', name.find('.') + 1));
    if (parts.empty() || parts.back() != part) parts.push_back(part);
  }
  return parts;
}

struct Spread {
  double mean, std, largest;
};
Spread spread(const Tensor& t) {
  const std::vector<double> values = test::to_doubles(t);
  double sum = 0, squares = 0, largest = 0;
  for (const double v : values) {
    sum += v;
    squares += v * v;
    largest = std::max(largest, std::abs(v));
  }
  const auto n = static_cast<double>(values.size());
  return {sum / n, std::sqrt(squares / n - sum * sum / n / n), largest};
}
}  // namespace

TEST_CASE("every variant has the published parameters and multiply-adds") {
  Networks n;
  for (const Row& row : kTable) {
    CAPTURE(row.name);
    CAPTURE(row.classes);
    const auto model = n.build(row.name, row.classes);
    int64_t trained = 0;
    model->visit_parameters([&](const std::string&, nn::Parameter& p) { trained += p.trained ? 1 : 0; });
    CHECK(model->parameter_count() == row.parameters);
    CHECK(trained == row.trained_tensors);
    CHECK(n.build(row.name, row.classes, "auxiliary = false")->parameter_count() == row.inference_parameters);
    for (size_t k = 0; k < 4; ++k) {
      const auto [height, width] = kSizes[k];
      CAPTURE(height);
      if (row.gmacs[k] == 0) {
        CHECK((height % model->size_multiple() != 0 || width % model->size_multiple() != 0));
        continue;
      }
      const models::Summary s = models::summarize(table(row.name, row.classes), {1, height, width, 3});
      CHECK(std::abs(static_cast<double>(s.multiply_adds) / 1e9 - row.gmacs[k]) <= 0.00501);  // two decimals
      CHECK(s.output == Shape{1, height / 8, width / 8, row.classes});
    }
  }
}

TEST_CASE("the parts of the state stand in the published order") {
  Networks n;
  CHECK(parts_of(*n.build("dabnet_r_p2")) ==
        std::vector<std::string>{"backbone.backbone", "backbone.ffm", "backbone.arm16", "backbone.arm32",
                                 "backbone.conv_head32", "backbone.conv_head16", "backbone.sp_0", "backbone.sp_1",
                                 "backbone.sp_2", "backbone.SIM_0", "backbone.SIM_1", "backbone.SIM_2",
                                 "backbone.SIM_3", "backbone.cp_1", "backbone.cp_2", "decode_head.conv_seg",
                                 "decode_head.convs", "auxiliary_head.0", "auxiliary_head.1"});
  CHECK(parts_of(*n.build("dabnet_baseline", 19, "auxiliary = false")) ==
        std::vector<std::string>{"backbone.backbone", "backbone.ffm", "backbone.arm16", "backbone.arm32",
                                 "backbone.conv_head32", "backbone.conv_head16", "backbone.sp_0", "backbone.sp_1",
                                 "backbone.sp_2", "backbone.sp_3", "decode_head.conv_seg", "decode_head.convs"});
}

TEST_CASE("an ImageNet classifier gives the trunk and nothing else") {
  Networks n;
  const auto r = n.build("dabnet_r_p2"), e = n.build("dabnet_e");
  CHECK(r->pretrained_name("backbone.backbone.layer1.0.conv1.weight") == "layer1.0.conv1.weight");
  CHECK(r->pretrained_name("backbone.SIM_0.h2l_0.weight").empty());
  CHECK(r->ignores_pretrained("fc.weight"));
  CHECK_FALSE(r->ignores_pretrained("layer1.0.bn2.weight"));
  CHECK(e->pretrained_name("backbone.backbone.bn1.weight") == "bn1.weight");
  for (const char* name : {"conv_head.weight", "bn2.weight", "bn2.running_mean", "classifier.bias"})
    CHECK(e->ignores_pretrained(name));
  for (const char* name : {"bn1.weight", "blocks.1.0.bn2.weight"}) CHECK_FALSE(e->ignores_pretrained(name));
}

TEST_CASE("initial values follow the published rules") {
  Networks n("cpu");
  const auto r = n.build("dabnet_r_p2"), e = n.build("dabnet_e");
  std::map<std::string, Tensor> of_r, of_e;
  r->visit_parameters([&](const std::string& path, nn::Parameter& p) { of_r[path] = p.var.value(); });
  e->visit_parameters([&](const std::string& path, nn::Parameter& p) { of_e[path] = p.var.value(); });
  const auto has_std = [](const Tensor& t, double std) { CHECK(spread(t).std == doctest::Approx(std).epsilon(0.05)); };
  has_std(of_r.at("backbone.backbone.layer2.0.conv1.weight"), std::sqrt(2.0 / (9 * 128)));
  CHECK(spread(of_r.at("backbone.backbone.layer2.0.bn2.weight")).largest == 0);
  CHECK(spread(of_r.at("backbone.backbone.layer2.0.bn1.weight")).mean == 1);
  has_std(of_r.at("backbone.ffm.conv1.conv.weight"), std::sqrt(2.0 / 256));
  has_std(of_r.at("decode_head.conv_seg.weight"), 0.01);
  CHECK(spread(of_r.at("decode_head.conv_seg.bias")).largest == 0);
  const double bound = 1 / std::sqrt(9.0 * 64 * 4);  // of h2l_0, which sees patches of 2x2
  for (const char* leaf : {"weight", "bias"}) {
    const Spread s = spread(of_r.at(fmt::format("backbone.SIM_0.h2l_0.{}", leaf)));
    CHECK(s.largest <= bound);
    CHECK(s.largest > 0.8 * bound);
  }
  has_std(of_r.at("backbone.SIM_0.h2l_0.weight"), bound / std::sqrt(3.0));
  has_std(of_e.at("backbone.backbone.blocks.2.1.conv_dw.weight"), std::sqrt(2.0 / 25));
  has_std(of_e.at("backbone.backbone.blocks.2.1.conv_pwl.weight"), std::sqrt(2.0 / 40));
  CHECK(spread(of_e.at("backbone.backbone.blocks.2.1.se.conv_reduce.bias")).largest == 0);
}

TEST_CASE("sizes that patches do not divide are refused, with the number they must be multiples of") {
  Networks n;
  const NoGrad no_grad(*n.device);
  const auto message = [&](const char* name, int64_t height, int64_t width) {
    const auto model = n.build(name);
    return test::error_of([&] { model->forward(n.image(1, height, width)); });
  };
  const auto mentions = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(mentions(message("dabnet_r_p2", 96, 128),
                 "dabnet_r_p2: image: expected [N,H,W,3] with sides that are multiples of 64, got [1,96,128,3]"));
  CHECK(mentions(message("dabnet_r_p16", 256, 512), "multiples of 512"));
  CHECK(mentions(message("dabnet_r_p1", 48, 64), "multiples of 32"));
  CHECK(mentions(message("dabnet_pce0", 36, 64), "multiples of 8"));
  CHECK(mentions(message("dabnet_image", 45, 64), "multiples of 2"));
  CHECK(message("dabnet_baseline", 45, 61).empty());  // any size
  CHECK(message("dabnet_fcn", 33, 47).empty());
  CHECK(message("dabnet_image", 46, 62).empty());
  CHECK(message("dabnet_pce01", 48, 80).empty());
  CHECK(n.build("dabnet_r_p8")->pad_multiple() == 256);
}

TEST_CASE("training on one image is refused: batch norms of pooled maps would see one value") {
  Networks n;
  const auto model = n.build("dabnet_r_p2");
  model->set_training(true);
  const std::string message = test::error_of([&] { model->forward(n.image(1, 64, 64)); });
  CHECK(message.find("dabnet_r_p2: image: expected 2 images or more in training, got [1,64,64,3]") !=
        std::string::npos);
  CHECK(model->forward(n.image(2, 64, 64)).size() == 3);
  model->set_training(false);
  CHECK(model->forward(n.image(1, 64, 64)).size() == 1);
}

TEST_CASE("options are checked") {
  Networks n;
  CHECK(n.build("dabnet_r_p2", 19, "patch = 8")->parameter_count() == 49'855'385);
  CHECK_FALSE(test::error_of([&] { n.build("dabnet_r_p2", 19, "drop_path = 0.1"); }).empty());  // of dabnet_e alone
  CHECK_FALSE(test::error_of([&] { n.build("dabnet_fcn", 19, "patch = 4"); }).empty());
  CHECK_FALSE(test::error_of([&] { n.build("dabnet_r_p2", 19, "task = \"classification\""); }).empty());
  CHECK(n.build("dabnet_e", 19, "drop_path = 0.2")->parameter_count() == 9'002'993);
}

TEST_CASE("in inference both paths end in the fusion's input, with the values of a concatenation") {
  for (const char* spec : {"cpu", "cuda"}) {
    if (std::string_view(spec) == "cuda" && !Device::cuda_available()) continue;
    Networks n(spec);
    const NoGrad no_grad(*n.device);
    // Both kinds of spatial path, and none. Without cross-scale blocks, which have no part in this.
    for (const char* name : {"dabnet_image", "dabnet_baseline", "dabnet_fcn"})
      for (const DType dtype : {DType::f32, DType::bf16}) {
        if (n.device->is_cuda() && (std::string_view(name) != "dabnet_image" || dtype == DType::f32)) continue;  // slow
        CAPTURE(spec);
        CAPTURE(name);
        CAPTURE(dtype);
        const auto model = n.build(name, 5);
        model->set_training(false);
        const Tensor image = test::random_normal({1, 32, 48, 3}, dtype, *n.device);
        int slices = 0;
        const auto scores = [&] {
          OpProfile profile(*n.device);
          const std::vector<double> values = test::to_doubles(model->forward(image).front().scores.value());
          profile.stop();
          slices = 0;
          for (const ProfileSpan& s : profile.spans()) slices += s.name == "conv2d_slice" ? 1 : 0;
          return values;
        };
        const std::vector<double> in_slices = scores();
        CHECK(slices == (std::string_view(name) == "dabnet_fcn" ? 0 : 2));
        // Who listens to the maps gets them one by one.
        std::vector<std::string> maps;
        model->tap = [&](std::string_view map, const Var&) { maps.emplace_back(map); };
        const std::vector<double> apart = scores();
        CHECK(slices == 0);
        CHECK(std::count(maps.begin(), maps.end(), "backbone.conv_head16") == 1);
        CHECK(std::count_if(maps.begin(), maps.end(),
                            [](const std::string& map) { return map.starts_with("backbone.sp_"); }) ==
              (std::string_view(name) == "dabnet_fcn"     ? 0
               : std::string_view(name) == "dabnet_image" ? 3
                                                          : 4));
        CHECK(test::relative_l2(in_slices, std::vector<double>(in_slices.size())) > 0);
        CHECK(in_slices == apart);
        // All heads: one of them reads conv_head16.
        model->tap = nullptr;
        auto& dabnet = dynamic_cast<models::DabNet&>(*model);
        const std::vector<models::Head> heads = dabnet.forward(image, /*auxiliary=*/true);
        REQUIRE(heads.size() == 3);
        CHECK(test::to_doubles(heads[0].scores.value()) == in_slices);
      }
  }
}

TEST_CASE("dropout and drop path draw by the passes so far, as a resumed training would") {
  Networks n("cpu");
  const Tensor image = test::random_normal({2, 64, 64, 3}, DType::f32, *n.device);
  const auto scores = [&](int passes) {
    const auto model = n.build("dabnet_e", 4, "dropout = 0.5\ndrop_path = 0.5");
    model->visit_modules([&](const std::string&, nn::Module& m) {
      if (auto* norm = dynamic_cast<nn::BatchNorm*>(&m)) norm->set_momentum(0);
    });
    model->set_training(true);
    const NoGrad no_grad(*n.device);
    std::vector<double> last;
    for (int pass = 0; pass < passes; ++pass) last = test::to_doubles(model->forward(image).front().scores.value());
    return last;
  };
  const std::vector<double> first = scores(1), second = scores(2);
  CHECK(first != second);
  CHECK(scores(2) == second);
}
