#include "data/coco_stuff.h"

#include <fmt/format.h>

#include "core/error.h"
#include "data/suffix_folders.h"
#include "data/tables.h"

namespace segrt::data {
namespace {

std::vector<std::string> folders_of(CocoStuff release, const std::string& split) {
  if (split == "train") return {release == CocoStuff::k10 ? "train2014" : "train2017"};
  if (release == CocoStuff::k10 && (split == "val" || split == "test")) return {"test2014"};
  if (release == CocoStuff::k164 && split == "val") return {"val2017"};
  if (release == CocoStuff::k164 && split == "trainval") return {"train2017", "val2017"};
  throw ArgumentError(fmt::format("{}: there is no split \"{}\": expected {}",
                                  release == CocoStuff::k10 ? "coco_stuff10k" : "coco_stuff164k", split,
                                  release == CocoStuff::k10 ? "train, val or test" : "train, val or trainval"));
}

}  // namespace

Remap coco_stuff_remap(CocoStuff release) {
  const bool is_10k = release == CocoStuff::k10;
  const Table table = is_10k ? coco_stuff10k_table() : coco_stuff164k_table();
  Remap map;
  for (size_t i = 0; i < table.size(); ++i)
    map.add(table.number(i, "raw"), table.number(i, is_10k ? "stored" : "train_id"));
  return map;
}

std::unique_ptr<Dataset> open_coco_stuff(const CocoStuffOptions& options) {
  const std::string kind = options.release == CocoStuff::k10 ? "coco_stuff10k" : "coco_stuff164k";
  SuffixFolders::Options o{.root = options.root, .name = kind + "/" + options.split};
  for (const std::string& folder : folders_of(options.release, options.split))
    o.folders.push_back({"images/" + folder, "annotations/" + folder});
  o.image_suffix = ".jpg";
  o.label_suffix = "_labelTrainIds.png";
  o.classes = coco_stuff_labels();
  o.reduce_zero_label = options.release == CocoStuff::k10;
  o.as_rgb = true;
  o.needs_info = options.needs_info;
  o.converter = "segdata " + kind;
  o.problems = options.problems;
  return std::make_unique<SuffixFolders>(o);
}

}  // namespace segrt::data
