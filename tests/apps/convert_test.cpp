// Weights that leave for PyTorch and come back, and files that are no weights, through the programs.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/open_weights.h"
#include "core/safetensors.h"
#include "tests/apps/program.h"
#include "tests/support/source_dir.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

constexpr const char* kConfig = R"([model]
name = "drn_d_22"
classes = 19
[data]
kind = "synthetic"
height = 32
width = 40
train_size = 2
val_size = 2
crop = [32, 40]
workers = 1
[train]
iterations = 1
batch = 1
)";

struct Fixture {
  test::WorkFolder folder;
  std::string golden = segrt::test::source_dir() + "/tests/golden/checkpoints/";
  Fixture() { std::ofstream(at("tiny.toml")) << kConfig; }
  fs::path at(const std::string& name) const { return folder.path() / name; }
  std::string bytes(const std::string& name) const {
    std::ifstream in(at(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  test::Outcome operator()(const std::string& command) const {
    test::Outcome outcome = segrt::test::run(command, folder.path());
    CAPTURE(outcome.output);
    return outcome;
  }
  nlohmann::json scores(const std::string& arguments) const {
    const test::Outcome o = (*this)("segeval " + arguments + " --device cpu --json scores.json");
    CAPTURE(o.output);
    REQUIRE(o.code == 0);
    nlohmann::json json = nlohmann::json::parse(std::ifstream(at("scores.json")));
    json.erase("checkpoint");
    json.erase("seconds");
    return json;
  }
};
}  // namespace

TEST_CASE_FIXTURE(Fixture, "trained weights go to PyTorch's format and back, and score the same in every form") {
  REQUIRE((*this)("segtrain tiny.toml -o run --device cpu").code == 0);
  const test::Outcome out = (*this)("segmodel convert run/checkpoints/latest.safetensors w.pth");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  REQUIRE((*this)("segmodel convert w.pth back.safetensors").code == 0);
  REQUIRE((*this)("segmodel convert run/checkpoints/latest.safetensors alone.safetensors").code == 0);

  const SafetensorsFile trained(fs::canonical(at("run/checkpoints/latest.safetensors")).string()),
      back(at("back.safetensors").string());
  size_t weights = 0;
  for (const WeightEntry& e : trained.entries()) {
    if (e.name.starts_with("train/")) continue;
    ++weights;
    CAPTURE(e.name);
    REQUIRE(back.contains(e.name));
    CHECK(back.entry(e.name).shape == e.shape);
    const auto a = trained.bytes(e.name), b = back.bytes(e.name);
    CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  }
  CHECK(weights == back.entries().size());
  CHECK(back.entry("base.0.0.weight").shape == std::vector<int64_t>{16, 3, 7, 7});  // [out, in, kh, kw]

  const nlohmann::json expected = scores("run");
  CHECK(scores("w.pth --config tiny.toml") == expected);
  CHECK(scores("back.safetensors --config tiny.toml") == expected);
  CHECK(scores("alone.safetensors") == expected);  // keeps the configuration
  const test::Outcome bare = (*this)("segeval w.pth --device cpu");
  CHECK(bare.code == 1);
  CHECK(bare.says("--config"));

  const test::Outcome tuned = (*this)("segtrain tiny.toml -o tuned --device cpu --set train.pretrained=w.pth");
  CAPTURE(tuned.output);
  CHECK(tuned.code == 0);
  CHECK(tuned.says("started from w.pth"));

  fs::remove(at("run/checkpoints/latest.safetensors"));
  fs::copy_file(at("w.pth"), at("run/checkpoints/latest.safetensors"));
  const test::Outcome resumed = (*this)("segtrain tiny.toml -o run --device cpu --resume");
  CAPTURE(resumed.output);
  CHECK(resumed.code == 1);
  CHECK(resumed.says("is a PyTorch file"));
  CHECK(resumed.says("train.pretrained"));

  // One tensor fewer, and one more.
  const auto cpu = Device::create("cpu");
  std::vector<NamedTensor> tensors;
  for (const WeightEntry& e : back.entries())
    tensors.push_back({e.name == "seg.bias" ? "seg.bais" : e.name, back.read(e.name, *cpu)});
  write_safetensors(at("odd.safetensors").string(), tensors);
  const test::Outcome strict = (*this)("segeval odd.safetensors --config tiny.toml --device cpu");
  CHECK(strict.code == 1);
  CHECK(strict.says("missing (1): seg.bias"));
  CHECK(strict.says("unexpected (1): seg.bais"));
  const test::Outcome lax = (*this)("segeval odd.safetensors --config tiny.toml --device cpu --no-strict");
  CAPTURE(lax.output);
  CHECK(lax.code == 0);
  CHECK(lax.says("missing (1): seg.bias"));
  CHECK((*this)("segtrain tiny.toml -o s --device cpu --set train.pretrained=odd.safetensors").code == 1);
  CHECK((*this)("segtrain tiny.toml -o l --device cpu --set train.pretrained=odd.safetensors --no-strict").code == 0);
}

TEST_CASE_FIXTURE(Fixture, "segmodel convert --all keeps paths and plain values") {
  const test::Outcome out = (*this)("segmodel convert --all " + golden + "legacy_nested.pth all.safetensors");
  CAPTURE(out.output);
  REQUIRE(out.code == 0);
  const SafetensorsFile all(at("all.safetensors").string());
  CHECK(all.contains("state_dict/module.conv1.weight"));
  CHECK(all.contains("optimizer/state/0/momentum_buffer"));
  const nlohmann::json scalars = nlohmann::json::parse(all.metadata().at("scalars"));
  CHECK(scalars["epoch"] == 3);
  CHECK(scalars["none"].is_null());
  CHECK(all.metadata().at("weights_root") == "state_dict");
  CHECK(all.metadata().at("key_prefix") == "module.");
  // What was flattened is still found.
  CHECK(open_weights(at("all.safetensors").string())->contains("conv1.weight"));
}

TEST_CASE_FIXTURE(Fixture, "segmodel convert refuses by name, and leaves the files as they are") {
  std::ofstream(at("old.safetensors")) << "old";
  fs::copy_file(golden + "zip_basic.pth", at("in.pth"));
  const std::string before = bytes("in.pth");
  fs::create_symlink(at("in.pth"), at("link.pth"));
  struct Case {
    std::string arguments, message;
  };
  for (const Case& c :
       {Case{"in.pth in.pth", "is the file to convert"}, Case{"in.pth link.pth", "is the file to convert"},
        Case{"in.pth out.onnx", "expected a name that ends in .safetensors"},
        Case{"absent.pth old.safetensors", "absent.pth: cannot open"},
        Case{"tiny.toml old.safetensors", "tiny.toml: is no weight file"},
        Case{golden + "reject_os_system.pth old.safetensors", "os.system"},
        Case{golden + "reject_truncated_zip.pth old.safetensors", "may be cut short"},
        Case{golden + "reject_truncated_legacy.pth old.safetensors", "takes 20 bytes"},
        Case{golden + "reject_html.pth old.safetensors", "<!DOCTYPE html>"},
        Case{"in.pth no/such/folder/w.pth", "no/such/folder/w.pth: cannot write"}}) {
    CAPTURE(c.arguments);
    const test::Outcome o = (*this)("segmodel convert " + c.arguments);
    CAPTURE(o.output);
    CHECK(o.code == 1);
    CHECK(o.says(c.message));
  }
  CHECK(bytes("in.pth") == before);
  CHECK(bytes("old.safetensors") == "old");
  CHECK(!fs::exists(at("PICKLE_SIDE_EFFECT")));
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 4);
}
