// The one place that knows libmatio.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <string_view>

#include "core/error.h"
#include "core/mapped_file.h"
#include "data/coco_stuff.h"

#if SEGRT_HAS_MATIO
#include <matio.h>
#endif

namespace segrt::data {

bool can_read_coco_stuff_mat() { return SEGRT_HAS_MATIO; }

#if !SEGRT_HAS_MATIO
Image read_coco_stuff_mat(const std::filesystem::path& path) {
  throw Error(path.string() + ": this build cannot read MATLAB files: libmatio was missing when it was configured");
}
#else
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view cause) {
  throw FileError(fmt::format("{}: {}", path.string(), cause));
}

// libmatio tells a file that was cut short from an empty one by chance alone. A MATLAB 5 file is 128 bytes of header
// and elements, each with its type and length in front; here they must fill the file.
void check_mat5(const std::filesystem::path& path) {
  constexpr size_t kHeader = 128, kTag = 8;
  const MappedFile file(path.string());
  const std::span<const std::byte> bytes = file.bytes();
  const auto byte = [&](size_t at) { return std::to_integer<uint32_t>(bytes[at]); };
  const bool little = bytes.size() >= kHeader && byte(126) == 'I' && byte(127) == 'M';
  const bool big = bytes.size() >= kHeader && byte(126) == 'M' && byte(127) == 'I';
  if (!little && !big) fail(path, "not a MATLAB 5 file");
  if (byte(little ? 125 : 124) != 1) fail(path, "not a MATLAB 5 file, but one of another version");
  for (size_t at = kHeader; at < bytes.size();) {
    if (bytes.size() - at < kTag) fail(path, "truncated MATLAB file: it ends inside an element's header");
    uint32_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | byte(at + 4 + (little ? 3 - i : i));
    if (bytes.size() - at - kTag < length) fail(path, "truncated MATLAB file: it ends inside an element");
    at += kTag + length;
  }
}

struct CloseMat {
  void operator()(mat_t* file) const { Mat_Close(file); }
};
struct FreeVariable {
  void operator()(matvar_t* variable) const { Mat_VarFree(variable); }
};

// values[column * height + row] -> label.
template <typename T>
void copy_values(const std::filesystem::path& path, const void* data, Image& label) {
  const T* values = static_cast<const T*>(data);
  for (int x = 0; x < label.width; ++x)
    for (int y = 0; y < label.height; ++y) {
      const auto value = static_cast<double>(*values++);
      if (!(value >= 0 && value <= 255 && value == std::floor(value)))
        fail(path, fmt::format("S({}, {}) is {}, expected an integer of 0 to 255", y + 1, x + 1, value));
      label.row(y)[x] = static_cast<uint8_t>(value);
    }
}

void copy_values(const std::filesystem::path& path, const matvar_t& s, Image& label) {
  switch (s.class_type) {
    case MAT_C_DOUBLE: return copy_values<double>(path, s.data, label);
    case MAT_C_SINGLE: return copy_values<float>(path, s.data, label);
    case MAT_C_INT8: return copy_values<int8_t>(path, s.data, label);
    case MAT_C_UINT8: return copy_values<uint8_t>(path, s.data, label);
    case MAT_C_INT16: return copy_values<int16_t>(path, s.data, label);
    case MAT_C_UINT16: return copy_values<uint16_t>(path, s.data, label);
    case MAT_C_INT32: return copy_values<int32_t>(path, s.data, label);
    case MAT_C_UINT32: return copy_values<uint32_t>(path, s.data, label);
    default: fail(path, "S is no matrix of real numbers");
  }
}

}  // namespace

Image read_coco_stuff_mat(const std::filesystem::path& path) {
  check_mat5(path);
  // What the library would print says less than the errors below. Once: its handler is a global.
  static const int quiet = Mat_LogInitFunc("segrt", [](int, char*) {});
  static_cast<void>(quiet);
  const std::unique_ptr<mat_t, CloseMat> file(Mat_Open(path.c_str(), MAT_ACC_RDONLY));
  if (!file) fail(path, "cannot open as a MATLAB file");
  const std::unique_ptr<matvar_t, FreeVariable> s(Mat_VarReadInfo(file.get(), "S"));
  if (!s) fail(path, "holds no matrix S, or is damaged before it");
  if (s->rank != 2 || s->isComplex != 0 || s->class_type < MAT_C_DOUBLE || s->class_type > MAT_C_UINT32)
    fail(path, "S is no matrix of real numbers");
  const size_t height = s->dims[0], width = s->dims[1];
  if (height < 1 || width < 1 || height > size_t{kMaxImageSide} || width > size_t{kMaxImageSide} ||
      static_cast<int64_t>(height * width) > kMaxImagePixels)
    fail(path, fmt::format("S has {} rows and {} columns, which is no image", height, width));
  if (Mat_VarReadDataAll(file.get(), s.get()) != 0 || s->data == nullptr ||
      s->nbytes != height * width * static_cast<size_t>(s->data_size))
    fail(path, "damaged MATLAB file: S cannot be read");
  Image label(static_cast<int>(height), static_cast<int>(width), 1);
  copy_values(path, *s, label);
  return label;
}
#endif

}  // namespace segrt::data
