// segpredict CHECKPOINT IMAGES... -o DIR: colour maps and overlays for a person's own images; of a classifier the first
// classes, and where it sees them.
#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "apps/command_line.h"
#include "apps/segpredict/classes.h"
#include "core/error.h"
#include "train/checkpoint.h"
#include "train/evaluator.h"
#include "train/routing_picture.h"
#include "train/settings.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

struct Arguments {
  std::string checkpoint, config, output, cam_class;
  std::vector<std::string> images;
  bool ms = false, flip = false, routing = false, cam = false;
  double alpha = 0.5;
  bool no_strict = false;
  apps::CommonOptions common;
};

int classify(const Arguments& a, const std::string& checkpoint, const std::string& model, Device& device) {
  apps::refuse_for_classifier(model, {{"--ms", a.ms}, {"--flip", a.flip}, {"--routing", a.routing}});
  apps::predict_classes({.checkpoint = checkpoint,
                         .config = a.config,
                         .output = a.output,
                         .images = a.images,
                         .set = a.common.set,
                         .strict = !a.no_strict,
                         .cam = a.cam || !a.cam_class.empty(),
                         .cam_class = a.cam_class,
                         .alpha = a.alpha},
                        device);
  return 0;
}

int predict(const Arguments& a) {
  const std::unique_ptr<Device> device = apps::open_device(a.common);
  const std::string checkpoint = train::find_checkpoint(a.checkpoint).string();
  const Config model = apps::model_config(checkpoint, a.config, a.common.set).table("model");
  if (models::task_of(model) == models::Task::classification)
    return classify(a, checkpoint, model.text("name"), *device);
  if (a.cam || !a.cam_class.empty())
    throw ArgumentError("--cam: class activation maps are those of a classifier; this is a segmentation network");
  if (a.output.empty()) throw ArgumentError("-o: a folder for the pictures is needed");
  const apps::LoadedModel loaded = apps::load_model(checkpoint, a.config, a.common.set, *device, !a.no_strict);
  const train::DatasetCard card = apps::dataset_card(checkpoint, a.config, loaded.config);
  train::Evaluator::Options options = train::evaluation_options(train::eval_settings(loaded.config), a.ms, a.flip);
  options.precision = train::train_settings(loaded.config).precision;
  options.mean = card.mean;
  options.std = card.std;
  train::RoutingShares routes;  // of the image at hand
  if (a.routing)
    options.after_first_pass = [&routes, &network = train::require_routing(*loaded.model, "--routing")] {
      routes = {};
      routes.add(network.routing());
    };
  train::Evaluator evaluator(*loaded.model, options);
  std::set<std::string> stems;
  for (const std::string& path : a.images) {
    const data::Image image = data::read_image(path);
    const Tensor prediction = evaluator.predict(image);
    data::Image label(image.height, image.width, 1);
    label.pixels = prediction.to_vector<uint8_t>();
    const fs::path base = fs::path(a.output) / apps::unique_stem(path, stems);
    data::write_png(base.string() + "_color.png", data::colourise(label, card.classes));
    data::write_png(base.string() + "_overlay.png", data::overlay(image, label, card.classes, a.alpha));
    if (a.routing) data::write_png(base.string() + "_routing.png", train::routing_picture(routes));
    std::string measured;
    for (const auto& [name, value] : evaluator.measurements()) measured += fmt::format("  {} {:.4f}", name, value);
    fmt::print("{} -> {}_color.png, {}_overlay.png{}{}\n", path, base.string(), base.string(),
               a.routing ? ", " + base.string() + "_routing.png" : "", measured);
  }
  return 0;
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Segments images with a trained network, and writes a colour map and an overlay for each; or prints the classes "
      "that a classifier sees in them.",
      "segpredict");
  Arguments a;
  app.add_option("checkpoint", a.checkpoint, "run directory or checkpoint file")->required();
  app.add_option("images", a.images, "JPEG or PNG photos")->required();
  app.add_option("-o,--output", a.output, "folder for <name>_color.png and <name>_overlay.png, or <name>_cam.png");
  app.add_option("--config", a.config, "configuration, for weight files that carry none");
  apps::add_strict_option(app, a.no_strict);
  app.add_flag("--ms", a.ms, "multi-scale");
  app.add_flag("--flip", a.flip, "mirrored as well");
  app.add_option("--alpha", a.alpha, "weight of the colours in the overlay")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_flag("--routing", a.routing,
               "also <name>_routing.png: the cells and paths that were open in the first pass over the image (networks "
               "with dynamic routing)");
  app.add_flag("--cam", a.cam,
               "classifiers (DRN, families C and D): also <name>_cam.png, the class activation map of the first class");
  app.add_option("--cam-class", a.cam_class, "--cam, of this class")->type_name("NAME|INDEX");
  apps::add_device_options(app, a.common);
  apps::add_set_option(app, a.common);
  return apps::run_program(app, argc, argv, [&] { return predict(a); });
}
