// segdata cityscapes, camvid, coco_stuff10k, coco_stuff164k ROOT: the label maps that networks learn from, of what the
// data set's download holds.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "apps/segdata/commands.h"
#include "apps/segdata/progress.h"
#include "core/error.h"
#include "data/camvid_convert.h"
#include "data/cityscapes_convert.h"
#include "data/coco_stuff_convert.h"

namespace segrt::apps {
namespace {

struct ConvertArguments {
  std::string root, out, images, labels, split, from = "label-ids", classes = "exact";
  std::vector<std::string> splits;
  bool force = false, strict = false, any_size = false, copy = false;

  data::ImageCopy image_copy() const { return copy ? data::ImageCopy::copy : data::ImageCopy::link; }
};

// Runs them one after the other and prints what became of each.
int convert(const ConvertArguments& a, const std::vector<data::Conversion>& conversions, bool complete_or_error) {
  constexpr size_t kErrorsShown = 10;
  std::vector<std::string> missing;
  for (const data::Conversion& conversion : conversions)
    missing.insert(missing.end(), conversion.warnings.begin(), conversion.warnings.end());
  for (const std::string& warning : missing) fmt::print(stderr, "segdata: warning: {}\n", warning);
  if (complete_or_error && !missing.empty())
    throw FileError(a.root + ": not the whole data set, and --strict was given; nothing was converted");
  size_t failed = 0;
  for (const data::Conversion& conversion : conversions) {
    const data::Conversion::Result result = conversion.run(a.force, progress_bar(conversion.split));
    fmt::print("{}: {} label maps written, {} up to date, {} failed", conversion.split, result.written,
               result.up_to_date, result.errors.size());
    if (!conversion.photos.empty())
      fmt::print("; {} images placed, {} there before", result.photos_placed, result.photos_up_to_date);
    fmt::print("\n");
    for (size_t i = 0; i < std::min(result.errors.size(), kErrorsShown); ++i)
      fmt::print(stderr, "segdata: {}\n", result.errors[i]);
    if (result.errors.size() > kErrorsShown)
      fmt::print(stderr, "segdata: and {} more\n", result.errors.size() - kErrorsShown);
    failed += result.errors.size();
  }
  if (failed > 0) throw FileError(fmt::format("{}: {} files could not be made", a.root, failed));
  return 0;
}

int convert_cityscapes(const ConvertArguments& a) {
  using From = data::CityscapesConversion::From;
  const From from = a.from == "polygons" ? From::polygons : From::label_ids;
  std::vector<data::Conversion> conversions;
  for (const std::string& split : a.splits.empty() ? data::CityscapesConversion::splits_of(a.root, from) : a.splits)
    conversions.push_back(data::CityscapesConversion{.root = a.root, .split = split, .from = from}.plan());
  return convert(a, conversions, false);
}

int convert_camvid(const ConvertArguments& a) {
  const std::filesystem::path root = a.root;
  const data::CamvidConversion conversion{
      .images = a.images.empty() ? root / "701_StillsRaw_full" : std::filesystem::path(a.images),
      .labels = a.labels.empty() ? root / "LabeledApproved_full" : std::filesystem::path(a.labels),
      .out = a.out.empty() ? root : std::filesystem::path(a.out),
      .split = a.split,
      .classes = a.classes == "segnet" ? data::CamvidClasses::segnet : data::CamvidClasses::exact,
      .strict = a.strict,
      .any_size = a.any_size,
      .image_copy = a.image_copy()};
  return convert(a, conversion.plan(), false);
}

int convert_coco_stuff(const ConvertArguments& a, data::CocoStuff release) {
  const data::CocoStuffConversion conversion{
      .release = release, .root = a.root, .out = a.out.empty() ? a.root : a.out, .image_copy = a.image_copy()};
  return convert(a, conversion.plan(), a.strict);
}

void add_force(CLI::App& command, ConvertArguments& a) {
  command.add_flag("--force", a.force, "make them again where they are up to date");
}
void add_output(CLI::App& command, ConvertArguments& a) {
  command.add_option("-o,--output", a.out, "folder of the converted data set (default: ROOT)");
  command.add_flag("--copy", a.copy, "copy the images; without it they are hard links where the file system can");
  add_force(command, a);
}

void add_cityscapes(CLI::App& app, std::vector<Command>& commands) {
  const auto a = std::make_shared<ConvertArguments>();
  CLI::App& command =
      *app.add_subcommand("cityscapes", "write the train-id label maps of Cityscapes, beside the label files");
  command.add_option("root", a->root, "the folder that holds gtFine")->required();
  command.add_option("--from", a->from, "what they are made from: label-ids or polygons")
      ->capture_default_str()
      ->check(CLI::IsMember({"label-ids", "polygons"}));
  command.add_option("--split", a->splits, "train, val or test; repeatable (default: all that are there)")
      ->expected(1)
      ->take_all()
      ->check(CLI::IsMember({"train", "val", "test"}));
  add_force(command, *a);
  commands.push_back({&command, [a] { return convert_cityscapes(*a); }});
}

void add_camvid(CLI::App& app, std::vector<Command>& commands) {
  const auto a = std::make_shared<ConvertArguments>();
  CLI::App& command = *app.add_subcommand(
      "camvid", "write CamVid's label maps of 11 classes (960x720), and images and label maps by split");
  command.add_option("root", a->root, "the folder that holds 701_StillsRaw_full and LabeledApproved_full")->required();
  command.add_option("--images", a->images, "folder of the frames (default: ROOT/701_StillsRaw_full)");
  command.add_option("--labels", a->labels, "folder of the colours, *_L.png (default: ROOT/LabeledApproved_full)");
  command.add_option("--split", a->split, "all frames are of this split: train, val or test (default: by their names)")
      ->check(CLI::IsMember({"train", "val", "test"}));
  command
      .add_option("--classes", a->classes,
                  "exact: 11 of the 32 colours, all else is ignored; segnet: colours in groups, as SegNet's labels")
      ->capture_default_str()
      ->check(CLI::IsMember({"exact", "segnet"}));
  command.add_flag("--strict", a->strict,
                   "a colour that is none of CamVid's 32 is an error; without it, it is ignored (255)");
  command.add_flag("--any-size", a->any_size, "label maps need not be 960x720");
  add_output(command, *a);
  commands.push_back({&command, [a] { return convert_camvid(*a); }});
}

void add_coco_stuff(CLI::App& app, data::CocoStuff release, std::vector<Command>& commands) {
  const auto a = std::make_shared<ConvertArguments>();
  const bool is_10k = release == data::CocoStuff::k10;
  CLI::App& command = *app.add_subcommand(is_10k ? "coco_stuff10k" : "coco_stuff164k",
                                          "write the label maps of COCO-Stuff " + std::string(is_10k ? "10k" : "164k"));
  command
      .add_option("root", a->root,
                  is_10k ? "the folder that holds images, annotations and imageLists"
                         : "the folder that holds images and annotations, each with train2017 and val2017")
      ->required();
  command.add_flag("--strict", a->strict, "a tree of another number of images than published is an error");
  add_output(command, *a);
  commands.push_back({&command, [a, release] { return convert_coco_stuff(*a, release); }});
}

}  // namespace

void add_converters(CLI::App& app, std::vector<Command>& commands) {
  add_cityscapes(app, commands);
  add_camvid(app, commands);
  add_coco_stuff(app, data::CocoStuff::k10, commands);
  add_coco_stuff(app, data::CocoStuff::k164, commands);
}

}  // namespace segrt::apps
