// DGMN2's structure against the published tables, its names, its initial values and its checks.
#include "models/dgmn2.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "models/summary.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
using models::Model;

constexpr const char* kSizes[] = {"tiny", "small", "medium", "large"};
constexpr const char* kHeads[] = {"fpn", "setr_naive", "setr_pup", "setr_mla"};

Config table(const std::string& name, const std::string& options = "") {
  return Config::parse(fmt::format("[model]\nname = \"{}\"\n{}\n", name, options), "test.toml").table("model");
}
const std::string kCityscapes = "classes = 19\n", kImageNet = "classes = 1000\ntask = \"classification\"\n";

struct Networks {
  std::unique_ptr<Device> device;
  explicit Networks(const char* spec = "meta") : device(Device::create(spec)) {}
  std::unique_ptr<Model> build(const std::string& name, const std::string& options = kCityscapes) {
    nn::Init init(*device, 1);
    const Config config = table(name, options);
    auto model = models::build(config, init);
    config.check_unused();
    return model;
  }
  Tensor image(int64_t batch, int64_t height, int64_t width) {
    return Tensor::zeros({batch, height, width, 3}, DType::f32, *device);
  }
};

int64_t parameters_below(Model& model, const std::string& prefix) {
  int64_t count = 0;
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    if (path.starts_with(prefix)) count += p.var.value().numel();
  });
  return count;
}

// In 10^9 multiply-adds.
struct Work {
  double backbone = 0, head = 0, attention = 0, position = 0, sampling = 0;
};
Work work_of(const std::string& name, const std::string& options, const Shape& image) {
  const models::Summary s = models::summarize(table(name, options), image);
  Work w;
  for (const models::LayerLine& l : s.layers) {
    if (l.kind != "conv2d" && l.kind != "linear") continue;
    const bool of_backbone = l.map.starts_with("backbone.") || l.map.find("embed") == 0 || l.map.find("block") == 0 ||
                             l.map.find("patch") == 0;
    (of_backbone ? w.backbone : w.head) += static_cast<double>(l.multiply_adds) / 1e9;
  }
  const auto other = [&](const char* kind) { return static_cast<double>(s.other_multiply_adds.at(kind)) / 1e9; };
  w.attention = other("attention");
  w.position = other("position");
  w.sampling = other("sampling");
  CHECK(w.backbone + w.head == doctest::Approx(static_cast<double>(s.multiply_adds) / 1e9));
  return w;
}

// Published with so many decimals.
void is(double got, double published, int decimals) {
  CAPTURE(published);
  CAPTURE(got);
  CHECK(std::abs(got - published) <= 0.501 * std::pow(10.0, -decimals));
}

std::map<std::string, Tensor> values_of(Model& model) {
  std::map<std::string, Tensor> values;
  model.visit_parameters([&](const std::string& path, nn::Parameter& p) { values[path] = p.var.value(); });
  return values;
}

struct Spread {
  double std, largest;
};
Spread spread(const Tensor& t) {
  double squares = 0, largest = 0;
  const std::vector<double> values = test::to_doubles(t);
  for (const double v : values) {
    squares += v * v;
    largest = std::max(largest, std::abs(v));
  }
  return {std::sqrt(squares / static_cast<double>(values.size())), largest};
}
}  // namespace

TEST_CASE("every size and head has the published parameters") {
  constexpr int64_t kPublished[4][5] = {{12'101'464, 15'838'211, 11'598'211, 13'954'947, 13'369'731},
                                        {20'968'360, 24'705'107, 20'465'107, 22'821'843, 22'236'627},
                                        {35'811'712, 39'548'459, 35'308'459, 37'665'195, 37'079'979},
                                        {48'286'762, 52'023'509, 47'783'509, 50'140'245, 49'555'029}};
  constexpr int64_t kBackbones[] = {11'588'464, 20'455'360, 35'298'712, 47'773'762};
  constexpr size_t kStateOfTiny[] = {224, 166, 187, 214};
  Networks n;
  for (size_t s = 0; s < 4; ++s) {
    const std::string size = std::string("dgmn2_") + kSizes[s];
    CHECK(n.build(size, kImageNet)->parameter_count() == kPublished[s][0]);
    for (size_t h = 0; h < 4; ++h) {
      CAPTURE(size);
      CAPTURE(kHeads[h]);
      const auto model = n.build(size + "_" + kHeads[h]);
      CHECK(model->parameter_count() == kPublished[s][h + 1]);
      CHECK(parameters_below(*model, "backbone.") == kBackbones[s]);
      if (s == 0) CHECK(model->state().size() == kStateOfTiny[h]);
    }
  }
  const auto model = n.build("dgmn2_tiny_fpn");
  CHECK(parameters_below(*model, "backbone.patch_embed1.") == 28'768);
  CHECK(parameters_below(*model, "backbone.patch_embed4.") == 1'475'584);
  constexpr int64_t kBlocks[] = {92'370, 335'634, 1'236'946, 3'155'474};
  for (int s = 0; s < 4; ++s) CHECK(parameters_below(*model, fmt::format("backbone.block{}.1.", s + 1)) == kBlocks[s]);
  CHECK(parameters_below(*model, "neck.") == 2'623'488);
  CHECK(parameters_below(*model, "decode_head.") == 1'626'259);
}

TEST_CASE("classifiers of 224x224 images have the published multiply-adds") {
  constexpr Work kPublished[] = {{2.219, 0, 0.014, 0.073, 0.056},
                                 {4.119, 0, 0.026, 0.125, 0.105},
                                 {7.023, 0, 0.040, 0.158, 0.159},
                                 {10.235, 0, 0.057, 0.212, 0.229}};
  for (size_t s = 0; s < 4; ++s) {
    CAPTURE(kSizes[s]);
    const Work w = work_of(std::string("dgmn2_") + kSizes[s], kImageNet, {1, 224, 224, 3});
    is(w.backbone + w.head, kPublished[s].backbone, 3);
    is(w.attention, kPublished[s].attention, 3);
    is(w.position, kPublished[s].position, 3);
    is(w.sampling, kPublished[s].sampling, 3);
  }
}

TEST_CASE("segmentation networks have the published multiply-adds, on a crop and on a whole image") {
  struct Row {
    int64_t height, width;
    Work fpn[4], setr[4];  // the head's is that of kHeads
    double heads[4];
  };
  const Row rows[] = {{769,
                       769,
                       {{26.95, 0, 0.17, 2.64, 0.67},
                        {50.08, 0, 0.32, 4.48, 1.26},
                        {85.65, 0, 0.48, 5.53, 1.93},
                        {124.75, 0, 0.69, 7.33, 2.77}},
                       {{115.22, 0, 0.41, 5.71, 1.64},
                        {200.67, 0, 0.80, 10.72, 3.20},
                        {340.06, 0, 1.45, 18.30, 5.80},
                        {457.02, 0, 2.03, 25.00, 8.10}},
                       {48.50, 0.09, 125.02, 24.27}},
                      {1024,
                       2048,
                       {{92.71, 0, 0.59, 17.83, 2.34},
                        {172.14, 0, 1.09, 30.06, 4.38},
                        {293.50, 0, 1.66, 36.61, 6.64},
                        {427.77, 0, 2.39, 48.23, 9.55}},
                       {{401.59, 0, 1.43, 38.32, 5.74},
                        {699.30, 0, 2.79, 71.74, 11.17},
                        {1184.75, 0, 5.06, 122.07, 20.23},
                        {1592.09, 0, 7.06, 166.53, 28.24}},
                       {169.37, 0.32, 832.15, 89.93}}};
  for (const Row& row : rows)
    for (size_t s = 0; s < 4; ++s)
      for (size_t h = 0; h < 4; ++h) {
        CAPTURE(row.height);
        CAPTURE(kSizes[s]);
        CAPTURE(kHeads[h]);
        const Work& published = h == 0 ? row.fpn[s] : row.setr[s];
        const Work w =
            work_of(fmt::format("dgmn2_{}_{}", kSizes[s], kHeads[h]), kCityscapes, {1, row.height, row.width, 3});
        is(w.backbone, published.backbone, 2);
        is(w.head, row.heads[h], 2);
        is(w.attention, published.attention, 2);
        is(w.position, published.position, 2);
        is(w.sampling, published.sampling, 2);
      }
}

TEST_CASE("the parts of the state stand in the published order") {
  Networks n;
  const auto names = [&](const char* name, const std::string& options, const std::string& prefix) {
    std::vector<std::string> found;
    for (const nn::Module::StateEntry& e : n.build(name, options)->state())
      if (e.path.starts_with(prefix)) found.push_back(e.path.substr(prefix.size()));
    return found;
  };
  const std::string block = "backbone.block2.1.";
  CHECK(names("dgmn2_tiny_fpn", kCityscapes, block) ==
        std::vector<std::string>{"norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight",
                                 "attn.proj.bias", "attn.conv_offset.weight", "attn.conv_offset.bias",
                                 "attn.pos_emb.rel_height", "attn.pos_emb.rel_width", "norm2.weight", "norm2.bias",
                                 "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"});
  // The names up to the second dot, without repetition.
  const auto parts = [&](const char* name, const std::string& options) {
    std::vector<std::string> found;
    for (const std::string& path : names(name, options, "")) {
      const std::string part = path.substr(0, path.find('.', path.find('.') + 1));
      if (found.empty() || found.back() != part) found.push_back(part);
    }
    return found;
  };
  const std::vector<std::string> backbone{"backbone.patch_embed1", "backbone.patch_embed2", "backbone.patch_embed3",
                                          "backbone.patch_embed4", "backbone.block1",       "backbone.block2",
                                          "backbone.block3",       "backbone.block4"};
  const std::map<std::string, std::vector<std::string>> heads{
      {"dgmn2_tiny_fpn", {"neck.lateral_convs", "neck.fpn_convs", "decode_head.conv_seg", "decode_head.scale_heads"}},
      {"dgmn2_tiny_setr_naive", {"decode_head.conv_seg"}},
      {"dgmn2_tiny_setr_pup",
       {"decode_head.conv_seg", "decode_head.conv_0", "decode_head.conv_1", "decode_head.conv_2",
        "decode_head.syncbn_fc_0", "decode_head.syncbn_fc_1", "decode_head.syncbn_fc_2"}},
      {"dgmn2_tiny_setr_mla", {"decode_head.conv_seg", "decode_head.mlahead"}}};
  for (const auto& [name, rest] : heads) {
    std::vector<std::string> expected = backbone;
    expected.insert(expected.end(), rest.begin(), rest.end());
    CHECK(parts(name.c_str(), kCityscapes) == expected);
  }
  CHECK(parts("dgmn2_tiny", kImageNet).back() == "head.bias");
  CHECK(parts("dgmn2_tiny", kImageNet).front() == "patch_embed1.conv1");
}

TEST_CASE("an ImageNet classifier gives the backbone and nothing else") {
  Networks n;
  const auto model = n.build("dgmn2_small_setr_mla");
  CHECK(model->pretrained_name("backbone.block3.5.attn.pos_emb.rel_width") == "block3.5.attn.pos_emb.rel_width");
  CHECK(model->pretrained_name("decode_head.conv_seg.weight").empty());
  for (const char* name : {"head.weight", "head.bias"}) CHECK(model->ignores_pretrained(name));
  CHECK_FALSE(model->ignores_pretrained("block1.0.norm1.weight"));
  // Every name of the classifier but its head's is asked for.
  std::vector<std::string> asked, given;
  for (const auto& e : model->state())
    if (const std::string name = model->pretrained_name(e.path); !name.empty()) asked.push_back(name);
  for (const auto& e : n.build("dgmn2_small", kImageNet)->state())
    if (!model->ignores_pretrained(e.path)) given.push_back(e.path);
  CHECK(asked == given);
}

TEST_CASE("initial values are those of the constructors") {
  Networks n("cpu");
  const auto fpn = n.build("dgmn2_tiny_fpn"), pup = n.build("dgmn2_tiny_setr_pup");
  const auto f = values_of(*fpn), p = values_of(*pup);
  const auto has_std = [](const Tensor& t, double std) { CHECK(spread(t).std == doctest::Approx(std).epsilon(0.05)); };
  const auto is_uniform = [](const Tensor& t, double bound) {
    CHECK(spread(t).largest <= bound);
    CHECK(spread(t).largest > 0.8 * bound);
  };
  for (const char* name : {"attn.qkv", "attn.proj", "attn.conv_offset", "mlp.fc1", "mlp.fc2"}) {
    CAPTURE(name);
    has_std(f.at(fmt::format("backbone.block3.1.{}.weight", name)), 0.02);
    CHECK(spread(f.at(fmt::format("backbone.block3.1.{}.bias", name))).largest == 0);
  }
  has_std(f.at("backbone.block2.0.attn.pos_emb.rel_height"), 0.125);
  has_std(f.at("backbone.block1.0.attn.pos_emb.rel_width"), 0.125);
  CHECK(f.at("backbone.block2.0.attn.pos_emb.rel_height").shape() == Shape{36, 64});
  is_uniform(f.at("backbone.patch_embed3.conv.weight"), 1 / std::sqrt(9.0 * 128));
  has_std(f.at("neck.lateral_convs.2.conv.weight"), std::sqrt(2.0 / 256));
  has_std(f.at("neck.fpn_convs.0.conv.weight"), std::sqrt(2.0 / (9 * 256)));
  CHECK(spread(f.at("neck.fpn_convs.0.conv.bias")).largest == 0);
  has_std(f.at("decode_head.scale_heads.3.2.conv.weight"), std::sqrt(2.0 / (9 * 128)));
  for (const char* leaf : {"weight", "bias"}) {
    is_uniform(f.at(fmt::format("decode_head.conv_seg.{}", leaf)), 1 / std::sqrt(128.0));
    is_uniform(p.at(fmt::format("decode_head.conv_1.{}", leaf)), 1 / std::sqrt(9.0 * 256));
  }
}

TEST_CASE("scores have the heads' geometry, whatever the image's") {
  Networks n;
  const NoGrad no_grad(*n.device);
  const auto head_of = [&](const std::string& head, int64_t height, int64_t width, const std::string& options = "") {
    return n.build("dgmn2_tiny_" + head, kCityscapes + options)->forward(n.image(1, height, width)).at(0);
  };
  const auto shape = [&](const auto&... arguments) { return head_of(arguments...).scores.shape(); };
  CHECK(shape("fpn", 769, 769) == Shape{1, 193, 193, 19});
  CHECK(shape("fpn", 512, 769) == Shape{1, 128, 193, 19});
  // One resizing to the image where the constant is its side, else one to the constant first.
  CHECK(shape("setr_naive", 769, 769) == Shape{1, 97, 97, 19});
  CHECK(shape("setr_naive", 512, 769) == Shape{1, 769, 769, 19});
  CHECK(shape("setr_naive", 65, 65, "image_size = 65") == Shape{1, 9, 9, 19});
  CHECK(shape("setr_mla", 769, 769) == Shape{1, 388, 388, 19});
  CHECK(shape("setr_mla", 56, 65, "image_size = 48") == Shape{1, 48, 48, 19});
  CHECK(shape("setr_pup", 769, 769) == Shape{1, 1552, 1552, 19});
  CHECK(shape("setr_pup", 512, 769) == Shape{1, 1552, 1552, 19});  // squares from the width
  const models::Head head = head_of("setr_pup", 50, 70);
  CHECK(head.up.height == 50);
  CHECK(head.up.width == 70);
  CHECK(head.up.rule == nn::Upsampling::Rule::bilinear_align_corners);
  CHECK(head.count_ignored);
}

TEST_CASE("a classifier takes 224x224 alone") {
  Networks n;
  const auto model = n.build("dgmn2_tiny", kImageNet);
  CHECK(model->forward(n.image(2, 224, 224)).at(0).scores.shape() == Shape{2, 1, 1, 1000});
  const std::string message = test::error_of([&] { model->forward(n.image(1, 256, 224)); });
  CHECK(message.find("dgmn2_tiny: image: expected [N,224,224,3]") != std::string::npos);
  CHECK(message.find("[1,256,224,3]") != std::string::npos);
}

TEST_CASE("options are checked") {
  Networks n;
  CHECK_FALSE(test::error_of([&] { n.build("dgmn2_tiny"); }).empty());                 // a classifier
  CHECK_FALSE(test::error_of([&] { n.build("dgmn2_tiny_fpn", kImageNet); }).empty());  // segments
  CHECK_FALSE(test::error_of([&] { n.build("dgmn2_tiny_fpn", kCityscapes + "image_size = 97"); }).empty());
  CHECK_FALSE(test::error_of([&] { n.build("dgmn2_tiny_setr_pup", kCityscapes + "image_size = 97"); }).empty());
  CHECK_FALSE(test::error_of([&] { n.build("dgmn2_tiny_setr_mla", kCityscapes + "dropout = 0.1"); }).empty());
  CHECK_FALSE(test::error_of([&] { n.build("dgmn2_tiny_fpn", kCityscapes + "drop_path = 1.0"); }).empty());
}

TEST_CASE("drop path begins when its share of the training has passed; drops are those of the passes so far") {
  Networks n("cpu");
  const Tensor image = test::random_normal({2, 32, 32, 3}, DType::f32, *n.device);
  const auto scores = [&](const std::string& options, int passes, int64_t step) {
    const auto model = n.build("dgmn2_tiny_fpn", "classes = 3\ndropout = 0\n" + options);
    model->set_training(true);
    model->begin_step(step, 90);
    const NoGrad no_grad(*n.device);
    std::vector<double> last;
    for (int pass = 0; pass < passes; ++pass) last = test::to_doubles(model->forward(image).front().scores.value());
    return last;
  };
  const std::vector<double> none = scores("", 1, 0);
  CHECK(scores("drop_path = 0.5", 1, 0) != none);
  CHECK(scores("drop_path = 0.5\ndrop_path_after = 0.3334", 1, 30) == none);
  CHECK(scores("drop_path = 0.5\ndrop_path_after = 0.3334", 1, 31) == scores("drop_path = 0.5", 1, 0));
  CHECK(scores("drop_path = 0.5", 2, 0) == scores("drop_path = 0.5", 2, 0));
  CHECK(scores("", 2, 0) == none);  // batch statistics do not depend on earlier passes
  CHECK(scores("drop_path = 0.5", 2, 0) != scores("drop_path = 0.5", 1, 0));
  const auto model = n.build("dgmn2_tiny_fpn", "classes = 3\ndrop_path = 0.5\ndrop_path_after = 0.5");
  CHECK(model->follows_step());
  model->begin_step(45, 90);
  CHECK_FALSE(model->follows_step());
  CHECK_FALSE(n.build("dgmn2_tiny_fpn")->follows_step());
}

TEST_CASE("maps that are not square: devices agree") {
  if (!Device::cuda_available()) return;
  Networks cpu("cpu"), gpu("cuda");
  const auto scores = [&](Networks& n) {
    const auto model = n.build("dgmn2_tiny_setr_naive", "classes = 3\nimage_size = 8\n");
    model->set_training(false);
    const NoGrad no_grad(*n.device);
    const models::Head h = model->forward(test::random_normal({1, 9, 13, 3}, DType::f32, *n.device)).front();
    return test::to_doubles(nn::upsampled_scores(h.scores, h.up).value());
  };
  CHECK(test::relative_l2(scores(gpu), scores(cpu)) <= 2e-5);
}
