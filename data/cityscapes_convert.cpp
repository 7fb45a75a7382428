#include "data/cityscapes_convert.h"

#include <fmt/format.h>

#include <mutex>
#include <string_view>
#include <system_error>

#include "core/error.h"
#include "core/parallel.h"
#include "data/cityscapes.h"
#include "data/cityscapes_files.h"
#include "data/cityscapes_polygons.h"

namespace segrt::data {
namespace {

namespace fs = std::filesystem;

std::string_view suffix_of(CityscapesConversion::From from) {
  return from == CityscapesConversion::From::polygons ? kCityscapesPolygons : kCityscapesLabelIds;
}

bool is_up_to_date(const fs::path& made, const fs::path& source) {
  std::error_code missing;
  const auto made_at = fs::last_write_time(made, missing);
  if (missing) return false;
  const auto source_at = fs::last_write_time(source, missing);
  return !missing && made_at >= source_at;
}

}  // namespace

std::vector<std::string> CityscapesConversion::splits_of(const fs::path& root, From from) {
  const fs::path folder = root / "gtFine";
  if (!fs::is_directory(folder)) throw FileError(folder.string() + ": no such folder");
  std::vector<std::string> splits;
  for (const char* split : {"train", "val", "test"})
    if (fs::is_directory(folder / split) && !list_cityscapes(folder / split, suffix_of(from)).empty())
      splits.emplace_back(split);
  if (splits.empty())
    throw FileError(fmt::format("{}: holds no {{train,val,test}}/<city>/*{}", folder.string(), suffix_of(from)));
  return splits;
}

CityscapesConversion::Result CityscapesConversion::run() const {
  const fs::path folder = root / "gtFine" / split;
  const std::string_view suffix = suffix_of(from);
  const std::vector<CityscapesFrame> frames = list_cityscapes(folder, suffix);
  if (frames.empty()) throw FileError(fmt::format("{}: holds no <city>/*{}", folder.string(), suffix));
  const auto total = static_cast<int64_t>(frames.size());
  std::vector<std::string> errors(frames.size());
  Result result;
  std::mutex mutex;
  int64_t done = 0;
  parallel_for(total, [&](int64_t i) {
    const CityscapesFrame& frame = frames[static_cast<size_t>(i)];
    const fs::path source = folder / frame.path(suffix), made = folder / frame.path(kCityscapesTrainIds);
    const bool skip = !force && is_up_to_date(made, source);
    bool written = false;
    try {
      if (!skip) {
        write_png(made, from == From::polygons ? draw_train_ids(read_cityscapes_polygons(source))
                                               : label_ids_to_train_ids(source, read_label(source)));
        written = true;
      }
    } catch (const Error& e) {
      errors[static_cast<size_t>(i)] = e.what();
    }
    const std::lock_guard lock(mutex);
    result.written += written;
    result.up_to_date += skip;
    if (progress) progress(++done, total);
  });
  for (std::string& error : errors)
    if (!error.empty()) result.errors.push_back(std::move(error));
  return result;
}

}  // namespace segrt::data
