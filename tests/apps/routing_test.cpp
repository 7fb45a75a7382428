// Routes of a small dynamic network and predictions for Cityscapes' test server, through the programs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/mapped_file.h"
#include "core/random.h"
#include "core/safetensors.h"
#include "core/zip_file.h"
#include "data/cityscapes.h"
#include "data/image.h"
#include "tests/apps/program.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

constexpr const char* kConfig = R"([model]
name = "dynamic_raw_l16"
classes = 19
layers = 4
width = 4
[data]
kind = "synthetic"
height = 64
width = 96
val_size = 3
train_size = 2
crop = 32
workers = 0
[train]
iterations = 1
batch = 2
lr = 0.01
[validate]
every = 0
[eval]
average = "logits"
scales = [0.5, 1.0]
)";

data::Image noise(int height, int width, uint64_t seed) {
  data::Image image(height, width, 3);
  Rng rng(seed, 0);
  for (uint8_t& v : image.pixels) v = static_cast<uint8_t>(rng.integer(0, 255));
  return image;
}

// A trained network, and its weights once more with gates that do not look at the image: a gate's bias is `open`, but
// -1 in the cells of `closed` (by name).
struct Fixture {
  static constexpr float kOpen = 0.75f;
  test::WorkFolder folder;
  fs::path at(const std::string& name) const { return folder.path() / name; }
  test::Outcome operator()(const std::string& command) const { return test::run(command, folder.path()); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(at(name)) << text; }

  Fixture() {
    write("tiny.toml", kConfig);
    const test::Outcome trained = (*this)("segtrain tiny.toml -o run --device cpu");
    INFO(trained.output);
    REQUIRE(trained.code == 0);
  }

  void set_gates(const std::vector<std::string>& closed) const {
    const auto device = Device::create("cpu");
    const SafetensorsFile file(at("run/checkpoints/latest.safetensors").string());
    std::vector<NamedTensor> tensors;
    for (const SafetensorsEntry& e : file.entries()) {
      if (e.name.starts_with("train/")) continue;
      Tensor value = file.read(e.name, *device);
      if (e.name.ends_with("gate_conv_beta.2.weight")) value.fill_zero();
      if (e.name.ends_with("gate_conv_beta.2.bias")) {
        bool is_closed = false;
        for (const std::string& cell : closed) is_closed |= e.name.find(cell + ".gate_conv") != std::string::npos;
        const std::vector<float> bias(static_cast<size_t>(value.numel()), is_closed ? -1.0f : kOpen);
        value = Tensor::from<float>(value.shape(), bias, *device);
      }
      tensors.push_back({e.name, value});
    }
    write_safetensors(at("gates.safetensors").string(), tensors);
  }

  nlohmann::json json(const std::string& name) const { return nlohmann::json::parse(std::ifstream(at(name))); }
};
}  // namespace

TEST_CASE_FIXTURE(Fixture, "segeval draws the mean lattice and lists its cells") {
  set_gates({"all_cell_list.1.2"});  // alone in feeding 2.3, which then has no input
  const test::Outcome scored =
      (*this)("segeval gates.safetensors --config tiny.toml --device cpu --limit 2 --routing r/mean.png --json s.json");
  CAPTURE(scored.output);
  REQUIRE(scored.code == 0);
  CHECK(scored.says("\nreal  "));
  CHECK(scored.says("  GFLOPs\n"));
  const data::Image picture = data::read_image(at("r/mean.png"));
  CHECK(picture.width == 2 * 36 + 4 * 52);
  CHECK(picture.height == 2 * 36 + 3 * 60);

  const nlohmann::json scores = json("s.json"), &routing = scores["routing"];
  CHECK(scores["measured"]["real_gflops"]["mean"].get<double>() > 0);
  CHECK(routing["images"] == 2);
  const std::map<std::string, int> rows{{"init", 1}, {"0", 2}, {"1", 3}, {"2", 4}, {"3", 4}};
  size_t cells = 0;
  for (const auto& [layer, count] : rows)
    for (int row = 0; row < count; ++row, ++cells) {
      const std::string name = layer + "." + std::to_string(row);
      CAPTURE(name);
      const nlohmann::json& cell = routing["cells"][name];
      const bool closed = name == "1.2" || name == "2.3";
      CHECK(cell["executed"] == (closed ? 0 : 1));
      const bool last = layer == "3";
      const std::array<bool, 3> exists{true, row > 0 && !last, row < 3 && !last};
      for (size_t path = 0; path < 3; ++path) {
        REQUIRE(cell["gates"][path].is_null() == !exists[path]);
        if (exists[path])
          CHECK(cell["gates"][path].get<double>() == doctest::Approx(closed ? 0 : std::tanh(kOpen)).epsilon(1e-6));
      }
    }
  CHECK(routing["cells"].size() == cells);

  // Passes after the first add nothing: three images, each counted once.
  const test::Outcome all = (*this)(
      "segeval gates.safetensors --config tiny.toml --device cpu --ms --flip --routing all.png --json all.json");
  CAPTURE(all.output);
  CHECK(all.code == 0);
  CHECK(json("all.json")["routing"]["images"] == 3);
  CHECK(data::read_image(at("all.png")) == picture);  // these gates are the same for every image
}

TEST_CASE_FIXTURE(Fixture, "segpredict draws the route of each image") {
  data::write_png(at("a.png"), noise(33, 47, 1));
  data::write_png(at("b.png"), noise(40, 64, 2));
  const auto predict = [&](const std::string& folder_name) {
    const test::Outcome outcome = (*this)("segpredict gates.safetensors --config tiny.toml a.png b.png --routing -o " +
                                          folder_name + " --device cpu");
    CAPTURE(outcome.output);
    REQUIRE(outcome.code == 0);
    CHECK(outcome.says(folder_name + "/b_overlay.png, " + folder_name + "/b_routing.png  real_gflops "));
    CHECK(data::read_image(at(folder_name + "/a_routing.png")) == data::read_image(at(folder_name + "/b_routing.png")));
    return data::read_image(at(folder_name + "/a_routing.png"));
  };
  set_gates({});
  const data::Image open = predict("open");
  set_gates({"all_cell_list.1.2"});
  const data::Image partly = predict("partly");
  REQUIRE(open.pixels.size() == partly.pixels.size());
  const auto centre = [](const data::Image& p, int layer, int row) {
    return p.row(36 + 60 * row) + 3 * (36 + 52 * layer);
  };
  CHECK(centre(open, 2, 2)[1] < 128);  // layer 0 of the picture is the initial cell
  CHECK(centre(partly, 2, 2)[1] == 255);
  CHECK(centre(partly, 3, 3)[1] == 255);
  CHECK(centre(partly, 2, 1)[1] == centre(open, 2, 1)[1]);
  const test::Outcome without = (*this)("segpredict run a.png -o without --device cpu");
  CHECK(without.code == 0);
  CHECK(!fs::exists(at("without/a_routing.png")));
}

TEST_CASE_FIXTURE(Fixture, "predictions for the test server are label ids, flat, at the size of the image") {
  for (const char* frame : {"berlin/berlin_000000_000019", "bonn/bonn_000001_000019"})
    data::write_png(at("city/leftImg8bit/test/" + std::string(frame) + "_leftImg8bit.png"),
                    noise(37, 50, frame[1] == 'e' ? 3 : 4));
  write("city.toml",
        "[model]\nname = \"dynamic_raw_l16\"\nclasses = 19\nlayers = 4\nwidth = 4\n[data]\nkind = "
        "\"cityscapes\"\nroot = \"city\"\ncrop = 32\n[train]\niterations = 1\nbatch = 1\nlr = 0.1\n");
  set_gates({});
  const std::string network = " gates.safetensors --config city.toml --device cpu";
  const test::Outcome sent =
      (*this)("segeval --split test --save-predictions sent --save-overlays overlays --json s.json" + network);
  CAPTURE(sent.output);
  REQUIRE(sent.code == 0);
  CHECK(sent.says("no labels: 2 predictions"));
  const nlohmann::json scores = json("s.json");
  CHECK(scores["images"] == 2);
  CHECK(scores["miou"].is_null());
  CHECK(scores["classes"].size() == 19);
  CHECK(std::distance(fs::recursive_directory_iterator(at("sent")), {}) == 2);
  CHECK(fs::exists(at("overlays/leftImg8bit/test/bonn/bonn_000001_000019_leftImg8bit.png")));

  // The same as an archive to upload: flat, and the very files.
  const test::Outcome zipped = (*this)("segeval --split test --save-predictions submission.zip" + network);
  CAPTURE(zipped.output);
  REQUIRE(zipped.code == 0);
  const MappedFile archive(at("submission.zip").string());
  const ZipFile zip("submission.zip", archive.bytes());
  REQUIRE(zip.records().size() == 2);
  for (const ZipRecord& record : zip.records()) {
    const MappedFile file((at("sent") / record.name).string());
    CHECK(std::ranges::equal(record.data, file.bytes()));
    CHECK(file.text().find("PLTE") != std::string::npos);
  }

  // segpredict paints the classes of the same images in their published colours.
  std::set<int> ids;
  for (const char* frame : {"berlin/berlin_000000_000019", "bonn/bonn_000001_000019"}) {
    const std::string image = std::string(frame) + "_leftImg8bit";
    const test::Outcome painted = (*this)("segpredict gates.safetensors --config tiny.toml city/leftImg8bit/test/" +
                                          image + ".png -o painted --device cpu");
    CAPTURE(painted.output);
    REQUIRE(painted.code == 0);
    const std::string file = fs::path(image).filename().string();
    const data::Image sent_ids = data::read_label(at("sent/" + file + ".png"));
    const data::Image colours = data::read_image(at("painted/" + file + "_color.png"));
    REQUIRE(sent_ids.height == 37);
    REQUIRE(sent_ids.width == 50);
    for (size_t p = 0; p < sent_ids.pixels.size(); ++p) {
      const data::CityscapesLabel& label = data::cityscapes_label_list()[sent_ids.pixels[p]];
      REQUIRE(label.train_id < 19);
      REQUIRE(data::Rgb{colours.pixels[3 * p], colours.pixels[3 * p + 1], colours.pixels[3 * p + 2]} == label.colour);
      ids.insert(label.id);
    }
  }
  CHECK(ids.size() > 3);
}

TEST_CASE("routes of a network that has none are refused before anything is read") {
  const test::WorkFolder folder;
  std::ofstream(folder.path() / "drn.toml")
      << "[model]\nname = \"drn_d_22\"\nclasses = 19\n[data]\nkind = \"synthetic\"\nheight = 32\nwidth = 32\n"
         "train_size = 1\nval_size = 1\ncrop = 16\nworkers = 0\n[train]\niterations = 1\nbatch = 1\nlr = 0.01\n"
         "[validate]\nevery = 0\n";
  REQUIRE(test::run("segtrain drn.toml -o drn --device cpu", folder.path()).code == 0);
  for (const char* command : {"segpredict drn nowhere.png --routing -o out --device cpu",
                              "segeval drn --routing r.png --device cpu --set data.root=nowhere"}) {
    const test::Outcome refused = test::run(command, folder.path());
    CAPTURE(refused.output);
    CHECK(refused.code == 1);
    CHECK(refused.says("error: --routing: expected a network with dynamic routing, drn_d_22 has no paths to show"));
  }
}
