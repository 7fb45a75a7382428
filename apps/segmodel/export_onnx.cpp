#include "apps/segmodel/export_onnx.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "train/checkpoint.h"
#if SEGRT_HAS_ONNX
#include "models/onnx/export.h"
#endif

namespace segrt::apps {
namespace {
struct Arguments {
  std::string checkpoint, output, config, input, maps = "logits";
  bool free_batch = false;
  CommonOptions common;
};

#if SEGRT_HAS_ONNX
// The data set's mean and std, for networks that leave them to it.
void add_card(const Arguments& a, const Config& config, const models::Model& model, models::OnnxOptions& options) {
  if (model.preprocessing()) return;
  const train::DatasetCard card = dataset_card(a.checkpoint, a.config, config);
  options.metadata.emplace_back(
      "preprocessing",
      nlohmann::json{{"channels", "RGB"}, {"divide_by", 255}, {"mean", card.mean}, {"std", card.std}}.dump());
  options.metadata.emplace_back("class_names", nlohmann::json(card.classes.names).dump());
}

int export_onnx(Arguments a) {
  const std::vector<int64_t> sizes = parse_sizes("--input", a.input, 3);
  const std::unique_ptr<Device> device = Device::create("cpu");
  a.checkpoint = train::find_checkpoint(a.checkpoint).string();
  const LoadedModel loaded = load_model(a.checkpoint, a.config, a.common.set, *device);
  using Output = models::OnnxOptions::Output;
  models::OnnxOptions options{.batch = static_cast<int>(sizes[0]),
                              .height = static_cast<int>(sizes[1]),
                              .width = static_cast<int>(sizes[2]),
                              .free_batch = a.free_batch,
                              .output = a.maps == "logits"   ? Output::logits
                                        : a.maps == "labels" ? Output::labels
                                                             : Output::log_probabilities};
  add_card(a, loaded.config, *loaded.model, options);
  models::export_onnx(*loaded.model, options, a.output);
  fmt::print("{} -> {}: input image [{},3,{},{}], output {}\n", a.checkpoint, a.output,
             a.free_batch ? "N" : std::to_string(sizes[0]), sizes[1], sizes[2], a.maps);
  return 0;
}
#else
int export_onnx(const Arguments&) {
  throw Error("this build has no ONNX: install libonnx-dev and libprotobuf-dev (scripts/setup.sh) and build again");
}
#endif
}  // namespace

std::function<int()> add_export_onnx(CLI::App& app) {
  const auto a = std::make_shared<Arguments>();
  CLI::App& command = *app.add_subcommand(
      "export-onnx", "write a network as an ONNX file (opset 17): inference in float32, batch norms folded");
  command.add_option("checkpoint", a->checkpoint, "run directory or checkpoint file")->required();
  command.add_option("output", a->output, "the file to write, OUT.onnx")->required();
  command.add_option("--input", a->input, "NxHxW of the image: the graph is made for this size")->required();
  command.add_flag("--free-batch", a->free_batch, "leave the number of images open");
  command.add_option("--maps", a->maps, "what a segmentation network's graph ends in")
      ->capture_default_str()
      ->check(CLI::IsMember({"logits", "log_probabilities", "labels"}));
  command.add_option("--config", a->config, "configuration, for weight files that carry none");
  add_set_option(command, a->common);
  return [a] { return export_onnx(*a); };
}

}  // namespace segrt::apps
