// segrt_golden FILE...: compares segrt with what reference implementations recorded in golden files.
//
// A file is a safetensors file that holds results and, in its metadata, how to repeat them; weights and inputs are
// regenerated from their names (tests/support/golden.h). A file with `draws` records data transforms, one of the kind
// "pipeline" those of DABNet; any other belongs to a model family (tests/tools/segrt_golden/families.h). Whatever a
// file holds and this program does not check is a failure.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/parallel.h"
#include "tests/tools/segrt_golden/families.h"
#include "tests/tools/segrt_golden/low_precision.h"
#include "tests/tools/segrt_golden/onnx_case.h"
#include "tests/tools/segrt_golden/pipeline.h"
#include "tests/tools/segrt_golden/transforms.h"

namespace {
using namespace segrt;

const golden::Family& required_family(golden::GoldenFile& file) {
  if (const golden::Family* family = golden::family_of(file)) return *family;
  throw FileError(file.path() + ": this program knows no network " +
                  (file.has("model") ? '"' + file.text("model") + '"' : "without the metadata `model`"));
}

void compare(golden::GoldenFile& file, Device& device, DType precision, golden::Report& report) {
  if (precision != DType::f32) return golden::run_low_precision(file, device, precision, report);
  if (file.has("draws"))
    golden::run_transforms(file, device, report);
  else if (file.has("kind") && file.text("kind") == "pipeline")
    golden::run_pipeline(file, device, report);
  else
    required_family(file).run(file, device, report);
  for (const std::string& key : file.unused_metadata()) report.fail("metadata " + key, "not known to this program");
  for (const std::string& name : file.unused_tensors()) report.fail(name, "a tensor that this program does not check");
}

struct Options {
  std::optional<test::LegacyStyle> published_as;
  DType precision = DType::f32;
  int threads = 0;
  std::string json;  // where to write what passed; empty: nowhere
};

// Compares one file and says how it went, for --json.
nlohmann::json compare_file(const std::string& path, const Options& options, Device& device) {
  const auto start = std::chrono::steady_clock::now();
  golden::Report report;
  std::string model;
  fmt::print("{}\n", path);
  try {
    golden::GoldenFile file(path);
    if (file.has("model")) model = file.text("model");
    file.published_as = options.published_as;
    compare(file, device, options.precision, report);
  } catch (const std::exception& e) {  // of this file; the others are still compared
    report.fail("error", e.what());
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("  {}: {} checks, {} failed, {:.1f} s on {}\n", report.failures() == 0 ? "passed" : "FAILED",
             report.checks(), report.failures(), seconds, device.name());
  return {{"file", std::filesystem::path(path).filename().string()},
          {"model", model},
          {"checks", report.checks()},
          {"failed", report.failures()}};
}

// Networks alone; what else the files hold is left aside.
int export_networks(const std::vector<std::string>& files, const std::string& folder) {
  for (const std::string& path : files) {
    golden::GoldenFile file(path);
    golden::write_onnx_case(file, required_family(file), folder);
    fmt::print("{} exported to {}\n", path, folder);
  }
  return 0;
}

int run(const std::vector<std::string>& files, const std::string& device_name, const Options& options) {
  set_threads(options.threads);
  const std::unique_ptr<Device> device = Device::create(device_name);
  size_t failed = 0;
  nlohmann::json results = nlohmann::json::array();
  for (const std::string& path : files) {
    results.push_back(compare_file(path, options, *device));
    failed += results.back()["failed"] == 0 ? 0 : 1;
  }
  fmt::print("{} of {} files passed\n", files.size() - failed, files.size());
  if (!options.json.empty()) {
    AtomicFile json(options.json);
    json.write(results.dump(1) + "\n");
    json.commit();
  }
  return failed == 0 ? 0 : 1;
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares segrt with golden files.", "segrt_golden");
  std::vector<std::string> files;
  std::string device = "cpu", onnx_folder, published_as, precision = "f32";
  Options options;
  app.add_option("files", files, "golden files (.safetensors)")->required();
  app.add_option("--device", device, "cpu, cuda or cuda:<index>")->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0: all cores")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_option("--precision", precision,
                 "f32: all that a file holds, without TF32 on a GPU; bf16: the maps of networks, and the first loss")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option(
         "--published-as", published_as,
         "give networks their weights by way of a file as in 2017: of tensors (python3), or of Parameter objects "
         "under byte strings on a GPU (python2)")
      ->check(CLI::IsMember({"python3", "python2"}));
  app.add_option("--json", options.json, "write the number of checks of each file, and of those that failed, here");
  app.add_option("--export-onnx", onnx_folder,
                 "compare nothing: write each file's network as ONNX, with an input and the logits, into this folder");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    options.precision = parse_dtype(precision);
    if (published_as == "python3") options.published_as = test::LegacyStyle{};
    if (published_as == "python2")
      options.published_as = test::LegacyStyle{.python2 = true, .parameters = true, .location = "cuda:0"};
    return onnx_folder.empty() ? run(files, device, options) : export_networks(files, onnx_folder);
  } catch (const std::exception& e) {
    fmt::print(stderr, "segrt_golden: error: {}\n", e.what());
    return 1;
  }
}
