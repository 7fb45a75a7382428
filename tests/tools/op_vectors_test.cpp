// segrt_op_vectors as a user runs it: recorded vectors pass on every device, and whatever is wrong with a file is seen.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "tests/apps/program.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/source_dir.h"

namespace segrt {
namespace {

const std::string kGolden = test::source_dir() + "/tests/golden/onnx/";

test::Outcome run_tool(const std::string& arguments) { return test::run("segrt_op_vectors " + arguments, "/tmp"); }

std::vector<std::string> devices() {
  std::vector<std::string> names{"cpu"};
  if (Device::cuda_available()) names.push_back("cuda");
  return names;
}

std::string description(const std::string& op, const std::string& attributes = "{}") {
  return R"({"op":")" + op + R"(","domain":"","opset":14,"attrs":)" + attributes +
         R"(,"inputs":["x"],"outputs":["y"],"from":"","rtol":0.001,"atol":1e-07})";
}

// A file of one case "case" with input x [3] and output y [3].
struct OneCase {
  std::string text = description("Relu");
  std::vector<float> x{-1, 0, 2};
  std::vector<float> y{0, 0, 2};
  bool with_output = true;

  test::Outcome outcome() const {
    const TemporaryFolder folder;
    const auto device = Device::create("cpu");
    std::vector<NamedTensor> tensors{{"case/in0", Tensor::from<float>({3}, x, *device)}};
    if (with_output) tensors.push_back({"case/out0", Tensor::from<float>({3}, y, *device)});
    write_safetensors(folder / "one.safetensors", tensors, {{"case", text}});
    return run_tool(folder / "one.safetensors");
  }
};

}  // namespace

TEST_CASE("op vectors: activations, convolutions, pools and resizes of the ONNX backend tests pass on every device") {
  // All but five cubic resizes. Each file also alone, so that none hides behind another.
  const std::map<std::string, int> cases{{"activation", 29}, {"conv_transpose", 9}, {"pool", 14}, {"resize", 6}};
  for (const std::string& device : devices())
    for (const auto& [file, count] : cases) {
      CAPTURE(device);
      CAPTURE(file);
      const std::string tail = " --device " + device + " " + kGolden + file + ".safetensors";
      const test::Outcome outcome = run_tool("--at-least " + std::to_string(count) + tail);
      CAPTURE(outcome.output);
      CHECK(outcome.code == 0);
      CHECK(run_tool("--at-least " + std::to_string(count + 1) + tail).code == 1);
    }
}

TEST_CASE("op vectors: one corrupted value fails its case and no other") {
  const TemporaryFolder folder;
  const std::string path = kGolden + "conv_transpose.safetensors";
  const SafetensorsFile file(path);
  for (const SafetensorsEntry& entry : file.entries()) {
    if (!entry.name.ends_with("/out0")) continue;
    std::string bytes = file_bytes(path);
    bytes[entry.begin + 3] = static_cast<char>(bytes[entry.begin + 3] ^ 0x40);  // the exponent's highest bit
    write_file_bytes(folder / "corrupted.safetensors", bytes);
    const test::Outcome outcome = run_tool(folder / "corrupted.safetensors");
    const std::string name = entry.name.substr(0, entry.name.find('/'));
    CAPTURE(name);
    CAPTURE(outcome.output);
    CHECK(outcome.code == 1);
    CHECK(outcome.says("FAIL         ConvTranspose        " + name + ": output 0"));
    CHECK(outcome.output.find("FAIL") == outcome.output.rfind("FAIL"));
  }
}

TEST_CASE("op vectors: outputs are compared with the case's tolerances") {
  OneCase c;
  CHECK(c.outcome().code == 0);
  c.y[2] = 2.0019f;  // within atol + rtol * 2.0019
  CHECK(c.outcome().code == 0);
  c.y[2] = 2.0021f;
  CHECK(c.outcome().code == 1);
  c.y[2] = std::nanf("");
  CHECK(c.outcome().says("FAIL"));
  c.y[2] = std::numeric_limits<float>::infinity();
  CHECK(c.outcome().says("FAIL"));
  c.x[2] = std::numeric_limits<float>::infinity();
  CHECK(c.outcome().code == 0);
  c.x[2] = c.y[2] = std::nanf("");
  CHECK(c.outcome().code == 0);
}

TEST_CASE("op vectors: what the runtime lacks is unsupported, neither passed nor failed") {
  for (const std::string& text :
       {description("GridSample"), description("NoSuchOperator"), description("Cast", R"({"to":7})"),
        description("ArgMax", R"({"select_last_index":1})")}) {
    const OneCase c{.text = text};
    const test::Outcome outcome = c.outcome();
    CAPTURE(outcome.output);
    CHECK(outcome.code == 0);
    CHECK(outcome.says("unsupported  "));
    CHECK(!outcome.says("pass  "));
  }
}

TEST_CASE("op vectors: malformed cases and files are errors") {
  CHECK(OneCase{.text = "{\"op\":"}.outcome().says("not a JSON object"));
  CHECK(OneCase{.text = "[]"}.outcome().code == 1);
  CHECK(OneCase{.text = "{}"}.outcome().says("no \"op\""));
  CHECK(OneCase{.text = description("LeakyRelu", R"({"alpha":"x"})")}.outcome().says("expected a number"));
  CHECK(OneCase{.text = description("Add")}.outcome().says("needs input 1"));
  CHECK(OneCase{.text = description("Softmax", R"({"axis":3})")}.outcome().says("ERROR"));
  const test::Outcome missing = OneCase{.with_output = false}.outcome();
  CHECK(missing.code == 1);
  CHECK(missing.says("tensor \"case/out0\" is missing"));

  const TemporaryFolder folder;
  write_file_bytes(folder / "garbage.safetensors", "no safetensors file");
  CHECK(run_tool(folder / "garbage.safetensors").code == 1);
  CHECK(run_tool(folder / "absent.safetensors").code == 1);
  // An unreadable file does not keep the others from being run.
  const test::Outcome both = run_tool((folder / "absent.safetensors") + " " + kGolden + "resize.safetensors");
  CHECK(both.code == 1);
  CHECK(both.says("pass  "));
}

TEST_CASE("op vectors: a deformable convolution with a bias and a mask") {
  const auto cpu = Device::create("cpu");
  const auto values = [&](const Shape& shape, const std::vector<float>& v) { return Tensor::from(shape, v, *cpu); };
  // 1x1, weight 2: each output is 1 + 2 * mask * sample. Samples: half a pixel down; one to the left; outside; in place.
  const std::vector<NamedTensor> tensors{{"case/in0", values({1, 1, 2, 2}, {1, 2, 3, 5})},
                                         {"case/in1", values({1, 1, 1, 1}, {2})},
                                         {"case/in2", values({1, 2, 2, 2}, {0.5f, 0, 3, 0, 0, -1, 0, 0})},
                                         {"case/in3", values({1}, {1})},
                                         {"case/in4", values({1, 1, 2, 2}, {0.5f, 3, 1, 0.25f})},
                                         {"case/out0", values({1, 1, 2, 2}, {3, 7, 1, 3.5f})}};
  const std::string text = R"({"op":"DeformConv","domain":"","opset":22,"attrs":{"kernel_shape":[1,1]},)"
                           R"("inputs":["X","W","offset","B","mask"],"outputs":["Y"],"from":"","rtol":0,"atol":1e-06})";
  const TemporaryFolder folder;
  write_safetensors(folder / "one.safetensors", tensors, {{"case", text}});
  for (const std::string& device : devices()) {
    const test::Outcome outcome = run_tool("--at-least 1 --device " + device + " " + (folder / "one.safetensors"));
    CAPTURE(outcome.output);
    CHECK(outcome.code == 0);
  }
}

}  // namespace segrt
