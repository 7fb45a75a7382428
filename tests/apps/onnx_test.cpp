// Networks that ONNX has no form for, through the program.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "tests/apps/program.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

constexpr const char* kSegmentation = R"([model]
name = "dgmn2_tiny_fpn"
classes = 19
[data]
kind = "synthetic"
height = 32
width = 40
train_size = 2
val_size = 1
crop = [32, 32]
workers = 1
[train]
iterations = 1
batch = 1
)";
constexpr const char* kClassification = R"([model]
name = "dgmn2_tiny"
task = "classification"
classes = 2
[data]
kind = "synthetic_shapes"
shapes = 2
textures = 1
train_size = 2
val_size = 2
workers = 1
[train]
iterations = 1
batch = 1
)";
}  // namespace

TEST_CASE("a network with operators that ONNX lacks is refused by their names, and no file is written or lost") {
  const test::WorkFolder folder;
  struct Case {
    const char *name, *config, *input;
  };
  for (const Case& c :
       {Case{"dgmn2_tiny_fpn", kSegmentation, "1x32x40"}, Case{"dgmn2_tiny", kClassification, "1x224x224"}}) {
    const std::string name = c.name;
    CAPTURE(name);
    std::ofstream(folder.path() / (name + ".toml")) << c.config;
    const test::Outcome trained = test::run("segtrain " + name + ".toml -o " + name + " --device cpu", folder.path());
    CAPTURE(trained.output);
    REQUIRE(trained.code == 0);
    const auto files = [&] { return std::distance(fs::directory_iterator(folder.path()), {}); };
    const auto before = files();
    const std::string command = "segmodel export-onnx " + name + " out.onnx --input " + c.input;
    const test::Outcome refused = test::run(command, folder.path());
    CAPTURE(refused.output);
    if (refused.says("this build has no ONNX")) return;
    CHECK(refused.code == 1);
    CHECK(refused.says("ONNX export: " + name + " has operators without a translation: "));
    CHECK(refused.says("deform_attention"));
    CHECK(refused.says("layer_norm"));
    CHECK(std::count(refused.output.begin(), refused.output.end(), '\n') == 1);  // a sentence, no trace
    CHECK(files() == before);

    std::ofstream(folder.path() / "out.onnx") << "an older export";
    CHECK(test::run(command, folder.path()).code == 1);
    std::ifstream in(folder.path() / "out.onnx");
    CHECK(std::string(std::istreambuf_iterator<char>(in), {}) == "an older export");
    in.close();
    fs::remove(folder.path() / "out.onnx");
  }
}
