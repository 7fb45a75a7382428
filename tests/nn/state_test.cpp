#include "nn/state.h"

#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>

#include "core/error.h"
#include "core/open_weights.h"
#include "core/torch_checkpoint.h"
#include "tests/support/tensors.h"
#include "tests/support/tiny_network.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

struct Fixture {
  std::unique_ptr<Device> cpu = Device::create("cpu");
  fs::path folder = fs::temp_directory_path() / ("segrt_state_test_" + std::to_string(getpid()));
  std::string path = (folder / "w.safetensors").string();
  Fixture() { fs::create_directories(folder); }
  ~Fixture() { fs::remove_all(folder); }
  std::unique_ptr<test::TinyNetwork> network(uint64_t seed, int classes = 4) {
    nn::Init init(*cpu, seed);
    return std::make_unique<test::TinyNetwork>(classes, init);
  }
};
}  // namespace

TEST_CASE_FIXTURE(Fixture, "state is listed in state_dict order under upstream's names") {
  std::vector<std::string> names;
  for (const auto& entry : network(1)->state()) names.push_back(entry.path);
  CHECK(names == std::vector<std::string>{"conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean",
                                          "bn1.running_var", "bn1.num_batches_tracked", "conv2.weight", "bn2.weight",
                                          "bn2.bias", "bn2.running_mean", "bn2.running_var", "bn2.num_batches_tracked",
                                          "head.weight", "head.bias"});
}

TEST_CASE_FIXTURE(Fixture, "layout: [O,kh,kw,I] here, [O,I,kh,kw] in files") {
  std::vector<double> values(2 * 3 * 5 * 7);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  const Tensor ours = test::from_doubles({2, 3, 5, 7}, values, DType::f32, *cpu);
  const Tensor theirs = nn::to_upstream_layout(ours);
  CHECK(theirs.shape() == Shape{2, 7, 3, 5});
  const std::vector<double> t = test::to_doubles(theirs);
  for (size_t o = 0; o < 2; ++o)
    for (size_t i = 0; i < 7; ++i)
      for (size_t h = 0; h < 3; ++h)
        for (size_t w = 0; w < 5; ++w) CHECK(t[((o * 7 + i) * 3 + h) * 5 + w] == values[((o * 3 + h) * 5 + w) * 7 + i]);
  CHECK(test::to_doubles(nn::from_upstream_layout(theirs)) == values);
}

TEST_CASE_FIXTURE(Fixture, "weights survive a round trip, from and to every device") {
  for (auto& device : test::test_devices()) {
    CAPTURE(device->name());
    nn::Init init(*device, 1);
    test::TinyNetwork source(4, init);
    write_safetensors(path, nn::state_dict(source, *cpu));
    auto copy = network(2);
    CHECK(nn::load_state(*copy, SafetensorsFile(path)).loaded == 14);
    const auto a = nn::state_dict(source, *cpu), b = nn::state_dict(*copy, *cpu);
    for (size_t i = 0; i < a.size(); ++i) CHECK(test::to_doubles(a[i].tensor) == test::to_doubles(b[i].tensor));
  }
}

TEST_CASE_FIXTURE(Fixture, "missing, unexpected and mis-shaped tensors are listed, and nothing is loaded") {
  auto source = network(1);
  auto tensors = nn::state_dict(*source, *cpu);
  tensors[0].name = "conv0.weight";
  tensors[12].tensor = Tensor::zeros({5, 8, 1, 1}, DType::f32, *cpu);
  write_safetensors(path, tensors);
  auto target = network(2);
  const auto before = test::to_doubles(nn::state_dict(*target, *cpu)[1].tensor);
  const std::string message = test::error_of([&] { nn::load_state(*target, SafetensorsFile(path)); });
  CHECK(message.find("missing (1): conv1.weight") != std::string::npos);
  CHECK(message.find("unexpected (1): conv0.weight") != std::string::npos);
  CHECK(message.find("head.weight (file [5,8,1,1], model [4,8,1,1])") != std::string::npos);
  CHECK(test::to_doubles(nn::state_dict(*target, *cpu)[1].tensor) == before);
}

TEST_CASE_FIXTURE(Fixture, "num_batches_tracked may be absent; other buffers may not") {
  auto source = network(1);
  auto tensors = nn::state_dict(*source, *cpu);
  std::erase_if(tensors, [](const NamedTensor& t) { return t.name.ends_with("num_batches_tracked"); });
  write_safetensors(path, tensors);
  CHECK(nn::load_state(*network(2), SafetensorsFile(path)).loaded == 12);
  std::erase_if(tensors, [](const NamedTensor& t) { return t.name == "bn1.running_var"; });
  write_safetensors(path, tensors);
  CHECK(test::error_of([&] { nn::load_state(*network(2), SafetensorsFile(path)); }).find("bn1.running_var") !=
        std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "weights go to PyTorch's format and back without a change of layout or bit") {
  auto source = network(1);
  write_safetensors(path, nn::state_dict(*source, *cpu));
  write_torch_checkpoint((folder / "w.pth").string(), SafetensorsFile(path));
  const auto weights = open_weights((folder / "w.pth").string());
  CHECK(weights->entry("conv1.weight").shape == std::vector<int64_t>{8, 3, 3, 3});
  CHECK(weights->entry("head.weight").shape == std::vector<int64_t>{4, 8, 1, 1});
  auto copy = network(2);
  CHECK(nn::load_state(*copy, *weights).loaded == 14);
  const auto a = nn::state_dict(*source, *cpu), b = nn::state_dict(*copy, *cpu);
  for (size_t i = 0; i < a.size(); ++i) CHECK(test::to_doubles(a[i].tensor) == test::to_doubles(b[i].tensor));
}

TEST_CASE_FIXTURE(Fixture, "not strict: what fits is loaded, the rest is listed and left as it was") {
  auto source = network(1);
  auto tensors = nn::state_dict(*source, *cpu);
  tensors[0].name = "conv0.weight";
  tensors[12].tensor = Tensor::zeros({5, 8, 1, 1}, DType::f32, *cpu);
  write_safetensors(path, tensors);
  auto target = network(2);
  const auto before = nn::state_dict(*target, *cpu);
  const nn::LoadReport report = nn::load_state(*target, SafetensorsFile(path), {.strict = false});
  CHECK(report.loaded == 12);
  CHECK(report.missing == std::vector<std::string>{"conv1.weight"});
  CHECK(report.unexpected == std::vector<std::string>{"conv0.weight"});
  CHECK(report.misshaped == std::vector<std::string>{"head.weight (file [5,8,1,1], model [4,8,1,1])"});
  CHECK(!report.fits());
  const auto after = nn::state_dict(*target, *cpu), from = nn::state_dict(*source, *cpu);
  for (size_t i = 0; i < after.size(); ++i) {
    CAPTURE(after[i].name);
    const bool is_kept = after[i].name == "conv1.weight" || after[i].name == "head.weight";
    CHECK(test::to_doubles(after[i].tensor) == test::to_doubles((is_kept ? before : from)[i].tensor));
  }
  for (NamedTensor& t : tensors) t.name += ".other";
  write_safetensors(path, tensors);
  CHECK(test::error_of([&] {
          nn::load_state(*target, SafetensorsFile(path), {.strict = false});
        }).find("none of these weights fits") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "weights in half and double precision are converted; integers are not taken for weights") {
  const auto source = network(1), target = network(2);
  std::vector<NamedTensor> tensors = nn::state_dict(*source, *cpu);
  for (NamedTensor& t : tensors) {
    if (t.name == "conv1.weight")
      t.tensor = test::from_doubles(t.tensor.shape(), test::to_doubles(t.tensor), DType::f16, *cpu);
    if (t.name == "bn1.weight")
      t.tensor = test::from_doubles(t.tensor.shape(), test::to_doubles(t.tensor), DType::bf16, *cpu);
    if (t.name == "head.weight")
      t.tensor = test::from_doubles(t.tensor.shape(), test::to_doubles(t.tensor), DType::f64, *cpu);
  }
  write_safetensors(path, tensors);
  nn::load_state(*target, SafetensorsFile(path));
  const std::vector<NamedTensor> loaded = nn::state_dict(*target, *cpu);
  for (size_t i = 0; i < tensors.size(); ++i) {
    CAPTURE(tensors[i].name);
    CHECK(test::to_doubles(loaded[i].tensor) == test::to_doubles(tensors[i].tensor));  // exact: f32 holds both halves
  }
  for (NamedTensor& t : tensors)
    if (t.name == "head.bias") t.tensor = Tensor::zeros(t.tensor.shape(), DType::i32, *cpu);
  write_safetensors(path, tensors);
  CHECK_THROWS_WITH_AS(nn::load_state(*target, SafetensorsFile(path)),
                       doctest::Contains("head.bias: expected F32, got I32"), FileError);
}
