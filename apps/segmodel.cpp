// segmodel summary CONFIG: what a network is made of. segmodel state CONFIG: what its checkpoints hold. segmodel
// convert IN OUT: weights in another format. segmodel export-onnx CHECKPOINT OUT.onnx: the network for other runtimes.
#include <fmt/format.h>

#include <algorithm>

#include "apps/command_line.h"
#include "apps/segmodel/convert.h"
#include "apps/segmodel/export_onnx.h"
#include "models/summary.h"

namespace {
using namespace segrt;

// A configuration of which the network alone matters here.
Config model_config(const std::string& path, const apps::CommonOptions& common) {
  Config config = Config::load(path, common.set);
  for (const char* table : {"data", "train", "validate", "eval"}) config.ignore(table);
  return config;
}

int summary(const std::string& config_path, const std::string& input, bool layers, const apps::CommonOptions& common) {
  const std::vector<int64_t> sizes = apps::parse_sizes("--input", input, 3);
  const Config config = model_config(config_path, common);
  const models::Summary s = models::summarize(config.table("model"), {sizes[0], sizes[1], sizes[2], 3});
  config.check_unused();
  if (layers) {
    size_t width = 10;
    for (const models::LayerLine& l : s.layers) width = std::max(width, l.map.size());
    fmt::print("{:>4}  {:<12} {:<{}} {:<22} {:>12} {:>14}\n", "", "layer", "towards", width, "output [N,H,W,C]",
               "parameters", "multiply-adds");
    for (size_t i = 0; i < s.layers.size(); ++i) {
      const models::LayerLine& l = s.layers[i];
      fmt::print("{:>4}  {:<12} {:<{}} {:<22} {:>12} {:>14}\n", i + 1, l.kind, l.map, width, to_string(l.output),
                 l.parameters, l.multiply_adds);
    }
  }
  fmt::print("{}: input [{},{},{},3], scores {}\n", config.table("model").text("name"), sizes[0], sizes[1], sizes[2],
             to_string(s.output));
  fmt::print("parameters     {} ({:.2f} M) in {} state tensors\n", s.parameters,
             static_cast<double>(s.parameters) / 1e6, s.state_tensors);
  const auto in_g = [](int64_t count) { return static_cast<double>(count) / 1e9; };
  fmt::print("multiply-adds  {} ({:.2f} G){}\n", s.multiply_adds, in_g(s.multiply_adds),
             s.other_multiply_adds.empty() ? "" : " of convolutions and linear layers");
  for (const auto& [kind, count] : s.other_multiply_adds)
    fmt::print("  {:<12} {} ({:.2f} G)\n", kind, count, in_g(count));
  return 0;
}

int state(const std::string& config_path, const apps::CommonOptions& common) {
  const Config config = model_config(config_path, common);
  const std::vector<models::StateLine> lines = models::state_lines(config.table("model"));
  config.check_unused();
  for (const models::StateLine& l : lines)
    fmt::print("{} {} {}{}\n", l.name, to_string(l.dtype), to_string(l.shape), l.parameter ? "" : " buffer");
  return 0;
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Looks at models, converts their weights, exports them.", "segmodel");
  app.require_subcommand(1);
  apps::CommonOptions common;
  std::string config, input = "1x1024x2048";
  bool totals = false;
  CLI::App& command =
      *app.add_subcommand("summary", "layers, shapes, parameters and multiply-adds, from a dry run without weights");
  command.add_option("config", config, "configuration, e.g. models/drn_d_22.toml")->required();
  command.add_option("--input", input, "NxHxW of the image")->capture_default_str();
  command.add_flag("--totals", totals, "the totals alone");
  apps::add_set_option(command, common);
  CLI::App& list =
      *app.add_subcommand("state", "names, types and shapes (PyTorch's) of all that a checkpoint of the network holds");
  list.add_option("config", config, "configuration, e.g. models/drn_d_22.toml")->required();
  apps::add_set_option(list, common);
  const auto convert = apps::add_convert(app), export_onnx = apps::add_export_onnx(app);
  return apps::run_program(app, argc, argv, [&] {
    if (command.parsed()) return summary(config, input, !totals, common);
    if (list.parsed()) return state(config, common);
    return app.got_subcommand("convert") ? convert() : export_onnx();
  });
}
