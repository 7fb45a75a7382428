// Runs single operators against recorded input and output vectors, such as those of the ONNX backend node tests, and
// compares. The file format is described in tests/tools/segrt_op_vectors/case.h.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/device.h"
#include "core/error.h"
#include "tests/tools/segrt_op_vectors/run_file.h"

namespace {

int run(const std::string& device_name, const std::vector<std::string>& paths, int at_least) {
  const std::unique_ptr<segrt::Device> device = segrt::Device::create(device_name);
  const segrt::NoGrad no_grad(*device);
  segrt::op_vectors::Report report;
  for (const std::string& path : paths) {
    try {
      segrt::op_vectors::run_file(path, *device, report);
    } catch (const segrt::Error& e) {
      report.unreadable(e.what());
    }
  }
  report.print_summary();
  if (report.passed() < at_least) fmt::print("expected at least {} cases to pass\n", at_least);
  return report.good() && report.passed() >= at_least ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Runs operator vectors (safetensors files of single operators with inputs and expected outputs). Prints pass, "
      "FAIL, unsupported or ERROR for each case. Exits with 1 if a case fails or a file or case cannot be read."};
  std::string device = "cpu";
  std::vector<std::string> paths;
  int at_least = 0;
  app.add_option("--device", device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--at-least", at_least, "exit with 1 if fewer cases pass: unsupported ones are not meant to grow");
  app.add_option("FILE", paths, "operator-vector files")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    return run(device, paths, at_least);
  } catch (const std::exception& e) {
    fmt::print(stderr, "segrt_op_vectors: {}\n", e.what());
    return 1;
  }
}
