// The comparison with golden files itself: damaged files must fail and say where, and so must what it cannot run.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/safetensors.h"
#include "tests/support/source_dir.h"
#include "tests/support/tensors.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

struct Outcome {
  int code;
  std::string output;
  bool fails(const std::string& row) const { return output.find("  FAIL " + row + " ") != std::string::npos; }
  bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

Outcome run(const std::string& arguments) {
  const std::string command = std::string(SEGRT_PROGRAM_DIR "/segrt_golden ") + arguments + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome result{0, {}};
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof buffer, pipe)) result.output.append(buffer, n);
  const int status = pclose(pipe);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

// A golden file of the repository, to be changed and written elsewhere.
class Copy {
  std::unique_ptr<Device> device_ = Device::create("cpu");  // first, for it must outlive the tensors

 public:
  explicit Copy(const std::string& name) {
    std::string folder = (fs::temp_directory_path() / "segrt_golden_XXXXXX").string();
    REQUIRE(mkdtemp(folder.data()) != nullptr);
    folder_ = folder;
    const SafetensorsFile file(
        (fs::path(segrt::test::source_dir()) / "tests/golden" / (name + ".safetensors")).string());
    metadata = file.metadata();
    for (const SafetensorsEntry& e : file.entries()) tensors.push_back({e.name, file.read(e.name, *device_)});
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  ~Copy() { fs::remove_all(folder_); }

  // Moves the middle value away by a fiftieth of the largest magnitude: far beyond any tolerance, and little to the
  // eye. Integers move by one.
  void damage(NamedTensor& t) const {
    std::vector<double> values = test::to_doubles(t.tensor);
    double largest = 0;
    for (const double v : values)
      if (!std::isnan(v)) largest = std::max(largest, std::abs(v));
    double& v = values[values.size() / 2];
    if (std::isnan(v))
      v = 0;
    else if (is_float(t.tensor.dtype()))
      v += 0.02 * (largest > 0 ? largest : 1);
    else
      v += v >= 255 ? -1 : 1;
    t.tensor = test::from_doubles(t.tensor.shape(), values, t.tensor.dtype(), *device_);
  }
  NamedTensor& tensor(const std::string& name) {
    for (NamedTensor& t : tensors)
      if (t.name == name) return t;
    FAIL("no tensor " << name);
    return tensors.front();
  }
  // `from` -> `to` in the metadata `key`, which must hold it.
  void replace(const std::string& key, const std::string& from, const std::string& to) {
    std::string& text = metadata.at(key);
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
  }
  std::string path() const { return (folder_ / "copy.safetensors").string(); }
  Outcome compared() const {
    write_safetensors(path(), tensors, metadata);
    return run(path());
  }

  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;

 private:
  fs::path folder_;
};
}  // namespace

TEST_CASE("an unchanged copy passes") {
  const Outcome o = Copy("drn_transforms").compared();
  CHECK(o.code == 0);
  CHECK(o.says("1 of 1 files passed"));
}

TEST_CASE("one changed value is seen in every result of the transforms") {
  Copy copy("drn_transforms");
  std::vector<std::string> rows;
  for (NamedTensor& t : copy.tensors) {
    if (t.name == "image" || t.name == "label" || t.name.starts_with("iou.pred") || t.name.starts_with("iou.label") ||
        t.name == "id_map.label_ids")
      continue;  // sources
    copy.damage(t);
    rows.push_back(t.name);
  }
  const Outcome o = copy.compared();
  CHECK(o.code == 1);
  for (const std::string& row : rows) CHECK_MESSAGE(o.fails(row), row);
}

TEST_CASE("one changed value of a source is seen in what is made from it") {
  for (const auto& [source, row] : {std::pair{"image", "tensor.image"},
                                    {"label", "tensor.label"},
                                    {"iou.pred", "iou.hist"},
                                    {"iou.label", "iou.hist"},
                                    {"id_map.label_ids", "id_map.train_ids"}}) {
    CAPTURE(source);
    Copy copy("drn_transforms");
    copy.damage(copy.tensor(source));
    const Outcome o = copy.compared();
    CHECK(o.code == 1);
    CHECK(o.fails(row));
  }
}

TEST_CASE("network: one changed value is seen in every result") {
  Copy copy("drn_d_22_seg_decay");
  std::vector<std::string> rows;
  for (NamedTensor& t : copy.tensors) {
    if (t.name.starts_with("state.")) continue;
    copy.damage(t);
    rows.push_back(t.name == "losses" ? "losses[2]" : t.name);
  }
  copy.replace("params_total", "15895363", "15895364");
  copy.replace("state_shapes", "base.0.0.weight", "base.0.0.wait");
  copy.replace("param_order", "base.0.1.weight", "base.0.1.wait");
  copy.replace("buffer_order", "running_mean", "running_men");
  copy.replace("fixed_params", "up.weight", "up.wait");
  copy.metadata["params_without_gradient"] = R"(["seg.bias"])";
  for (const char* row :
       {"params_total", "state_shapes", "param_order", "buffer_order", "fixed_params", "params_without_gradient"})
    rows.emplace_back(row);
  const Outcome o = copy.compared();
  CHECK(o.code == 1);
  for (const std::string& row : rows) CHECK_MESSAGE(o.fails(row), row);
}

TEST_CASE("network: one changed value is seen in every result of the test procedure") {
  Copy copy("drn_d_22_eval_ms");
  std::vector<std::string> rows{"sum_log_prob.0", "pred.0", "colour.0", "hist", "iou", "miou_returned", "margins.0"};
  for (const std::string& name : rows)
    if (name != "miou_returned" && name != "margins.0") copy.damage(copy.tensor(name));
  copy.metadata["miou_returned"] = "0.83";
  copy.replace("images", "\"pixels_with_margin_below_1e-3\": 8", "\"pixels_with_margin_below_1e-3\": 80");
  const Outcome o = copy.compared();
  CHECK(o.code == 1);
  for (const std::string& row : rows) CHECK_MESSAGE(o.fails(row), row);
}

TEST_CASE("network: one changed value of the state is seen") {
  Copy copy("drn_d_22_eval_ms");
  copy.damage(copy.tensor("state.base.5.0.bn1.running_mean"));
  CHECK(copy.compared().fails("sum_log_prob.0"));
}

TEST_CASE("network: in bf16 maps and the first loss are compared, and wrong ones are seen") {
  Copy copy("drn_d_22_seg_decay");
  write_safetensors(copy.path(), copy.tensors, copy.metadata);
  const Outcome right = run("--precision bf16 " + copy.path());
  CAPTURE(right.output);
  CHECK(right.code == 0);
  CHECK(right.says("left out, compared in f32 alone"));
  for (const char* name : {"logits", "loss"}) {  // by a tenth, as a wrong rounding of sums would move them
    NamedTensor& t = copy.tensor(name);
    std::vector<double> values = test::to_doubles(t.tensor);
    for (double& v : values) v *= 1.1;
    t.tensor = test::from_doubles(t.tensor.shape(), values, t.tensor.dtype(), t.tensor.device());
  }
  write_safetensors(copy.path(), copy.tensors, copy.metadata);
  const Outcome wrong = run("--precision bf16 " + copy.path());
  CAPTURE(wrong.output);
  CHECK(wrong.code == 1);
  CHECK(wrong.fails("logits"));
  CHECK(wrong.fails("loss"));
}

TEST_CASE("what a file holds and nobody checks is a failure") {
  Copy copy("drn_transforms");
  copy.tensors.push_back({"solarise.0", copy.tensor("label").tensor});
  copy.metadata["colour_space"] = "linear";
  copy.replace("draws", "\"chain\"", "\"shear.0\": {\"degrees\": 3}, \"chain\"");
  const Outcome o = copy.compared();
  CHECK(o.code == 1);
  CHECK(o.says("solarise.0               a tensor that this program does not check"));
  CHECK(o.says("metadata colour_space    not known to this program"));
  CHECK(o.says("shear.0                  a transform that this program does not know"));
}

TEST_CASE("network: what cannot be built or trained as described is refused in words") {
  const auto refused = [](const std::string& key, const std::string& from, const std::string& to,
                          const std::string& message) {
    Copy copy("drn_d_22_seg_decay");
    copy.replace(key, from, to);
    const Outcome o = copy.compared();
    CAPTURE(o.output);
    CHECK(o.code == 1);
    CHECK(o.says(message));
  };
  refused("model", "drn_d_22", "drn_d_23", "drn_d_23");
  refused("model", "drn_d_22", "unet", "this program knows no network \"unet\"");
  refused("task", "seg", "depth", "task: expected seg or cls, got depth");
  refused("build_options", "{}", R"({"attention": true})", "model.attention is not a known key");
  refused("fill_scale", "base.3.0.bn2.weight", "base.3.9.bn2.weight",
          "the network has no parameter base.3.9.bn2.weight");
  refused("feat", "\"stem\"", "\"step\"", "the network has no such map");
  refused("input", "\"shape\"", "\"form\"", "input: shape is missing");
  refused("input", "\"image\"", "\"crop\": 3, \"image\"", "input: crop: 3 is not known to this program");
}

TEST_CASE("a damaged or missing file is named, and the others are compared all the same") {
  Copy copy("drn_transforms");
  write_safetensors(copy.path(), copy.tensors, copy.metadata);
  const std::string cut = copy.path() + ".cut", absent = copy.path() + ".absent";
  fs::copy_file(copy.path(), cut);
  fs::resize_file(cut, fs::file_size(cut) - 7);
  const Outcome o = run(cut + " " + absent + " " + copy.path());
  CAPTURE(o.output);
  CHECK(o.code == 1);
  CHECK(o.says("1 of 3 files passed"));
  CHECK(o.says("FAIL error"));
  CHECK(o.says(absent));
  copy.tensors.erase(copy.tensors.begin() + 10);
  CHECK(copy.compared().code == 1);
}
