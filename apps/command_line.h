// What the programs share: common options, the device, and errors turned into exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"
#include "core/device.h"
#include "data/dataset.h"
#include "models/model.h"
#include "train/dataset_card.h"

namespace segrt::apps {

// Exit codes: 0 done, 1 an error (named on stderr), 2 a wrong command line, 130/143 stopped by Ctrl-C or SIGTERM after
// a checkpoint.
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;

struct CommonOptions {
  std::string device = "auto";   // cpu, cuda, cuda:<index>, or auto: cuda where there is one
  int threads = 0;               // 0: all cores
  std::vector<std::string> set;  // "train.lr=0.02"
};
void add_device_options(CLI::App& app, CommonOptions& options);
void add_set_option(CLI::App& app, CommonOptions& options);

// Applies --threads and opens --device. Throws DeviceError.
std::unique_ptr<Device> open_device(const CommonOptions& options);

// Parses the command line and runs `body`; prints help, usage errors and Error messages ("segtrain: error: ...").
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& body);

// "1x3x512x1024" in any case of x -> numbers. Throws ArgumentError naming the option.
std::vector<int64_t> parse_sizes(const std::string& option, const std::string& text, size_t count);

// --strict (the default) and --no-strict.
void add_strict_option(CLI::App& app, bool& no_strict);

// A network and what is needed to use it, from a checkpoint of a training run; from any weight file, PyTorch's
// included, together with --config. Not strict: weights that do not fit are listed on stderr and left out.
struct LoadedModel {
  Config config;
  std::unique_ptr<models::Model> model;
};
// The configuration alone: --config's, or the one in the checkpoint.
Config model_config(const std::string& checkpoint, const std::string& config_path,
                    const std::vector<std::string>& overrides);
LoadedModel load_model(const std::string& checkpoint, const std::string& config_path,
                       const std::vector<std::string>& overrides, Device& device, bool strict = true);

// What is known of the data: by the checkpoint itself, or by the configuration where --config names one.
train::DatasetCard dataset_card(const std::string& checkpoint, const std::string& config_path, const Config& config);

// The name of `path` without folder and extension, numbered ("photo-2") where `taken` has it already; then `taken`
// does. So two images of one name do not overwrite each other's pictures.
std::string unique_stem(const std::string& path, std::set<std::string>& taken);

// Throws ArgumentError naming the first option of `given` that is set: they belong to segmentation networks.
void refuse_for_classifier(const std::string& model, const std::vector<std::pair<std::string, bool>>& given);

}  // namespace segrt::apps
