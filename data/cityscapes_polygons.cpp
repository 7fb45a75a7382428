#include "data/cityscapes_polygons.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "data/json_file.h"

namespace segrt::data {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr double kMaxCoordinate = 1e6;

[[noreturn]] void fail(const fs::path& path, std::string_view cause) {
  throw FileError(fmt::format("{}: {}", path.string(), cause));
}

// The member `key` of an object; null where it is absent or `json` is no object.
const Json* member(const Json& json, const char* key) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(key);
  return found == json.end() ? nullptr : &*found;
}

int side(const fs::path& path, const Json& json, const char* key) {
  const Json* value = member(json, key);
  if (value == nullptr || !value->is_number_integer() || value->get<int64_t>() < 1 ||
      value->get<int64_t>() > kMaxImageSide)
    fail(path, fmt::format("\"{}\": expected an integer from 1 to {}, got {}", key, kMaxImageSide,
                           value == nullptr ? "nothing" : value->dump()));
  return value->get<int>();
}

bool is_deleted(const Json& object) {
  const Json* deleted = member(object, "deleted");
  if (deleted == nullptr) return false;
  return deleted->is_boolean() ? deleted->get<bool>() : deleted->is_number() && deleted->get<double>() != 0;
}

bool read_point(const Json& json, PixelPoint& point) {
  if (!json.is_array() || json.size() != 2) return false;
  for (const Json& coordinate : json)
    if (!coordinate.is_number() || !(std::abs(coordinate.get<double>()) <= kMaxCoordinate)) return false;
  point = {static_cast<int>(json[0].get<double>()), static_cast<int>(json[1].get<double>())};
  return true;
}

CityscapesObject read_object(const fs::path& path, size_t index, const Json& json) {
  const Json *label = member(json, "label"), *polygon = member(json, "polygon");
  if (label == nullptr || !label->is_string())
    fail(path, fmt::format("\"objects\"[{}]: expected a \"label\", a text", index));
  CityscapesObject object{.label = find_cityscapes_label(label->get_ref<const std::string&>()), .corners = {}};
  if (object.label == nullptr)
    fail(path, fmt::format("\"objects\"[{}]: {} is no Cityscapes label", index, label->dump()));
  if (polygon == nullptr || !polygon->is_array() || polygon->size() < 2)
    fail(path, fmt::format("\"objects\"[{}] ({}): expected a \"polygon\", a list of at least two points [x, y]", index,
                           label->dump()));
  for (const Json& corner : *polygon) {
    PixelPoint point;
    if (!read_point(corner, point))
      fail(path, fmt::format("\"objects\"[{}] ({}): expected a point [x, y] of numbers within +-{}, got {}", index,
                             label->dump(), static_cast<int>(kMaxCoordinate), corner.dump()));
    object.corners.push_back(point);
  }
  return object;
}

}  // namespace

CityscapesAnnotation read_cityscapes_polygons(const fs::path& path) {
  const Json json = read_json(path);
  CityscapesAnnotation annotation{
      .height = side(path, json, "imgHeight"), .width = side(path, json, "imgWidth"), .objects = {}};
  if (int64_t{annotation.height} * annotation.width > kMaxImagePixels)
    fail(path, fmt::format("size {}x{} is above the limit of {} pixels", annotation.width, annotation.height,
                           kMaxImagePixels));
  const Json* objects = member(json, "objects");
  if (objects == nullptr || !objects->is_array()) fail(path, "\"objects\": expected a list");
  for (size_t i = 0; i < objects->size(); ++i)
    if (!is_deleted((*objects)[i])) annotation.objects.push_back(read_object(path, i, (*objects)[i]));
  return annotation;
}

Image draw_train_ids(const CityscapesAnnotation& annotation) {
  Image label(annotation.height, annotation.width, 1);
  label.pixels.assign(label.pixels.size(), uint8_t{255});
  for (const CityscapesObject& object : annotation.objects)
    if (object.label->id >= 0) fill_polygon(label, object.corners, static_cast<uint8_t>(object.label->train_id));
  return label;
}

}  // namespace segrt::data
