// Starting from weights in the files that DRN's authors published: legacy streams, of classifiers and of segmentation
// networks with other classes.
#include <doctest/doctest.h>

#include "core/config.h"
#include "core/error.h"
#include "nn/state.h"
#include "tests/core/message_of.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/golden.h"
#include "tests/support/legacy_checkpoint.h"
#include "train/checkpoint.h"

namespace {
using namespace segrt;

struct Published {
  std::unique_ptr<Device> device = Device::create("cpu");
  TemporaryFolder folder;

  std::unique_ptr<models::Model> network(const std::string& table, uint64_t seed) const {
    nn::Init init(*device, seed);
    return models::build(Config::parse("[model]\n" + table, "test").table("model"), init);
  }
  // The state of 2017: without num_batches_tracked, which came later.
  std::vector<NamedTensor> state(models::Model& model) const {
    std::vector<NamedTensor> tensors = nn::state_dict(model, *device);
    std::erase_if(tensors, [](const NamedTensor& t) { return t.name.ends_with("num_batches_tracked"); });
    return tensors;
  }
  std::map<std::string, std::vector<float>> values(models::Model& model) const {
    std::map<std::string, std::vector<float>> result;
    for (const NamedTensor& t : state(model)) result[t.name] = t.tensor.to_vector<float>();
    return result;
  }
};

constexpr const char* kClassifier = "name = \"drn_d_22\"\ntask = \"classification\"\nclasses = 37\n";
}  // namespace

TEST_CASE_FIXTURE(Published, "a segmentation network starts from a published classifier of 2017") {
  const auto classifier = network(kClassifier, 1);
  classifier->visit_buffers([&](const std::string& path, nn::Buffer& b) {  // other than fresh ones
    if (path.ends_with("num_batches_tracked")) return;
    const std::vector<int64_t> shape(b.tensor.shape().dims().begin(), b.tensor.shape().dims().end());
    b.tensor.copy_from(Tensor::from<float>(b.tensor.shape(), golden::fill(path, shape), *device));
  });
  const std::string path = folder / "drn_d_22-4bd2f8ea.pth";
  test::write_legacy_checkpoint(path, state(*classifier), {.python2 = true, .parameters = true, .location = "cuda:0"});

  const auto network_ = network("name = \"drn_d_22\"\nclasses = 5\n", 2);
  const auto before = values(*network_);
  const std::string notice = train::load_pretrained(path, *network_);
  CHECK(notice.find(path) != std::string::npos);
  CHECK(notice.find("seg.weight") != std::string::npos);

  const auto source = values(*classifier);
  size_t compared = 0;
  for (const auto& [name, now] : values(*network_)) {
    CAPTURE(name);
    if (!name.starts_with("base.")) {
      CHECK(now == before.at(name));  // the head stays as it was initialised
      continue;
    }
    CHECK(now == source.at("layer" + name.substr(5)));
    ++compared;
  }
  CHECK(compared == source.size() - 2);
}

TEST_CASE_FIXTURE(Published, "a head of another number of classes is initialised anew, and the notice says so") {
  const auto cityscapes = network("name = \"drn_d_22\"\nclasses = 19\n", 1);
  const std::string path = folder / "drn_d_22_cityscapes.pth";
  test::write_legacy_checkpoint(path, state(*cityscapes), {});
  const auto camvid = network("name = \"drn_d_22\"\nclasses = 11\n", 2);
  const auto before = values(*camvid);
  const std::string notice = train::load_pretrained(path, *camvid);
  CHECK(notice.find("seg.weight") != std::string::npos);
  const auto now = values(*camvid), source = values(*cityscapes);
  CHECK(now.at("base.8.0.weight") == source.at("base.8.0.weight"));
  CHECK(now.at("seg.weight") == before.at("seg.weight"));
  CHECK(now.at("up.weight") == before.at("up.weight"));

  // As they are, the weights are for 19 classes: an evaluation with 11 must not begin.
  const std::string message = message_of<FileError>([&] { train::load_weights(path, *camvid); });
  CHECK(message.find("seg.weight") != std::string::npos);
  CHECK(message.find("[19,512,1,1]") != std::string::npos);
}

TEST_CASE_FIXTURE(Published, "weights of another network are refused, and none of them is taken") {
  const auto other = network("name = \"drn_d_38\"\nclasses = 19\n", 1);
  const std::string path = folder / "drn_d_38_cityscapes.pth";
  test::write_legacy_checkpoint(path, state(*other), {});
  const auto model = network("name = \"drn_d_22\"\nclasses = 19\n", 2);
  const auto before = values(*model);
  const std::string message = message_of<FileError>([&] { train::load_pretrained(path, *model); });
  CHECK(message.find("unexpected") != std::string::npos);
  CHECK(message.find("base.3.2.conv1.weight") != std::string::npos);
  CHECK(values(*model) == before);
}

TEST_CASE_FIXTURE(Published, "a published file is nothing that a training could go on from") {
  const auto model = network(kClassifier, 1);
  const std::string path = folder / "drn_d_22.pth";
  test::write_legacy_checkpoint(path, state(*model), {});
  train::Sgd optimizer(*model, {});
  const std::string message = message_of<FileError>([&] { train::load_checkpoint(path, *model, optimizer); });
  CHECK(message.find("train.pretrained") != std::string::npos);
}

TEST_CASE_FIXTURE(Published, "a DGMN2 segmentor starts from its classifier, flat or inside a training checkpoint") {
  const auto classifier = network("name = \"dgmn2_tiny\"\ntask = \"classification\"\nclasses = 37\n", 1);
  const auto source = values(*classifier);
  for (const std::string prefix : {"", "state_dict/", "model/module."}) {
    CAPTURE(prefix);
    std::vector<NamedTensor> tensors = nn::state_dict(*classifier, *device);
    for (NamedTensor& t : tensors) t.name = prefix + t.name;
    const std::string path = folder / "dgmn2_tiny_model.safetensors";
    write_safetensors(path, tensors);

    const auto segmentor = network("name = \"dgmn2_tiny_setr_naive\"\nclasses = 5\n", 2);
    const auto before = values(*segmentor);
    const std::string notice = train::load_pretrained(path, *segmentor);
    CHECK(notice.find("decode_head.conv_seg.weight") != std::string::npos);
    size_t compared = 0;
    for (const auto& [name, now] : values(*segmentor)) {
      CAPTURE(name);
      if (!name.starts_with("backbone.")) {
        CHECK(now == before.at(name));
        continue;
      }
      CHECK(now == source.at(name.substr(9)));
      ++compared;
    }
    CHECK(compared == source.size() - 2);  // all but head.weight and head.bias
  }
}
