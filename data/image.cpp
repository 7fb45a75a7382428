#include "data/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <system_error>

#include "core/atomic_file.h"
#include "core/error.h"
#include "data/exif.h"
#include "data/jpeg.h"
#include "data/png.h"

#define STBI_NO_STDIO
#include <stb/stb_image.h>

namespace segrt::data {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 30;  // stb_image and zlib count in int

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view cause) {
  throw FileError(fmt::format("{}: {}", path.string(), cause));
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

std::vector<uint8_t> read_bytes(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) fail(path, "no such file");
  if (std::filesystem::is_directory(status)) fail(path, "is a folder, not an image");
  if (!std::filesystem::is_regular_file(status)) fail(path, "is not a regular file");
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) fail(path, error.message());
  if (size == 0) fail(path, "is empty");
  if (size > kMaxFileBytes) fail(path, fmt::format("{} bytes, more than an image may have", size));
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) fail(path, fmt::format("cannot open: {}", std::strerror(errno)));
  std::vector<uint8_t> bytes(size);
  if (std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) fail(path, "cannot read to the end");
  return bytes;
}

ImageInfo info_of(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  if (is_png(bytes)) {
    const PngHeader header = read_png_header(path, bytes);
    return {.height = header.height, .width = header.width, .channels = header.channels()};
  }
  if (!is_jpeg(bytes)) fail(path, "neither a JPEG nor a PNG file");
  const JpegHeader jpeg = check_jpeg(path, bytes);  // even the size is not asked for before
  ImageInfo info;
  if (!stbi_info_from_memory(bytes.data(), static_cast<int>(bytes.size()), &info.width, &info.height, &info.channels))
    fail(path, fmt::format("damaged JPEG: {}", stbi_failure_reason()));
  if (info.width < 1 || info.height < 1 || int64_t{info.width} * info.height > kMaxImagePixels)
    fail(path, fmt::format("size {}x{} is empty or above the limit ({} a side, {} pixels)", info.width, info.height,
                           kMaxImageSide, kMaxImagePixels));
  info.channels = jpeg.components;
  info.orientation = jpeg.orientation;
  if (jpeg.components == 4 && !jpeg.adobe)
    fail(path, "a JPEG of four components without Adobe's marker: its colours are not defined");
  return info;
}

// Decoded with three channels, whatever the file has.
Image decode_rgb(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  if (is_png(bytes)) {
    if (read_png_header(path, bytes).bits > 8) fail(path, "an image needs 8 bits a channel, found 16");
    check_png(path, bytes);
  }
  Image image;
  int channels = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &image.width, &image.height, &channels, 3),
      stbi_image_free);
  if (!pixels) fail(path, fmt::format("cannot decode: {}", stbi_failure_reason()));
  image.channels = 3;
  image.pixels.assign(pixels.get(), pixels.get() + image.row_bytes() * static_cast<size_t>(image.height));
  return image;
}

}  // namespace

ImageInfo read_image_info(const std::filesystem::path& path) { return info_of(path, read_bytes(path)); }

Image read_image(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_bytes(path);
  const ImageInfo info = info_of(path, bytes);
  if (info.channels != 3) {
    const bool palette = is_png(bytes) && read_png_header(path, bytes).colour == PngColour::palette;
    fail(path, fmt::format("an image needs 3 channels (RGB), found {}{}", info.channels, palette ? " (palette)" : ""));
  }
  return upright(decode_rgb(path, bytes), info.orientation);
}

Image read_image_as_rgb(const std::filesystem::path& path, Orientation orientation) {
  const std::vector<uint8_t> bytes = read_bytes(path);
  const ImageInfo info = info_of(path, bytes);
  return upright(decode_rgb(path, bytes), orientation == Orientation::upright ? info.orientation : 1);
}

Image read_label(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_bytes(path);
  if (!is_png(bytes)) fail(path, "a label map must be a PNG file: other formats lose or colour the indices");
  return decode_png_indices(path, bytes);
}

void write_png(const std::filesystem::path& path, const Image& image, std::span<const Rgb> palette) {
  const std::vector<uint8_t> bytes = encode_png(path, image, palette);
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (error) fail(path, fmt::format("cannot create its folder: {}", error.message()));

  AtomicFile file(path.string());
  file.write(std::as_bytes(std::span(bytes)));
  file.commit();
}

}  // namespace segrt::data
