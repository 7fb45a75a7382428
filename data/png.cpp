#include "data/png.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>

#include "core/error.h"

namespace segrt::data {
namespace {

constexpr std::array<uint8_t, 8> kSignature = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view cause) {
  throw FileError(fmt::format("{}: {}", path.string(), cause));
}

uint32_t big_endian(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

struct Chunk {
  uint32_t type = 0;
  std::span<const uint8_t> body;
};

constexpr uint32_t chunk_type(const char (&name)[5]) {
  return uint32_t{static_cast<uint8_t>(name[0])} << 24 | uint32_t{static_cast<uint8_t>(name[1])} << 16 |
         uint32_t{static_cast<uint8_t>(name[2])} << 8 | uint32_t{static_cast<uint8_t>(name[3])};
}

// The chunk at `offset`, which is moved behind it.
Chunk read_chunk(const std::filesystem::path& path, std::span<const uint8_t> bytes, size_t& offset) {
  if (bytes.size() - offset < 12) fail(path, "truncated PNG: the file ends before the end of the image");
  const size_t length = big_endian(bytes.data() + offset);
  if (bytes.size() - offset - 12 < length) fail(path, "truncated PNG: the file ends inside a chunk");
  const uint8_t* type = bytes.data() + offset + 4;
  const auto crc = static_cast<uint32_t>(crc32(0, type, static_cast<uInt>(length + 4)));
  if (crc != big_endian(type + 4 + length))
    fail(path, fmt::format("damaged PNG: checksum of the chunk at byte {} does not match", offset));
  offset += length + 12;
  return {big_endian(type), {type + 4, length}};
}

// Undoes the filter of one row in place. `previous` is the row above, zeros above the first. `step`: bytes to the left
// neighbour, 1 for indices.
void unfilter(int filter, uint8_t* row, const uint8_t* previous, size_t count, size_t step) {
  auto left = [&](size_t i) { return i < step ? 0 : int{row[i - step]}; };
  auto above_left = [&](size_t i) { return i < step ? 0 : int{previous[i - step]}; };
  switch (filter) {
    case 1:
      for (size_t i = 0; i < count; ++i) row[i] = static_cast<uint8_t>(row[i] + left(i));
      break;
    case 2:
      for (size_t i = 0; i < count; ++i) row[i] = static_cast<uint8_t>(row[i] + previous[i]);
      break;
    case 3:
      for (size_t i = 0; i < count; ++i) row[i] = static_cast<uint8_t>(row[i] + (left(i) + previous[i]) / 2);
      break;
    case 4:
      for (size_t i = 0; i < count; ++i) {
        const int a = left(i), b = previous[i], c = above_left(i), p = a + b - c;
        const int pa = std::abs(p - a), pb = std::abs(p - b), pc = std::abs(p - c);
        row[i] = static_cast<uint8_t>(row[i] + (pa <= pb && pa <= pc ? a : (pb <= pc ? b : c)));
      }
      break;
    default: break;
  }
}

// One pass of Adam7, or the whole image: pixels (x0 + i*dx, y0 + j*dy).
struct Pass {
  int x0, y0, dx, dy;
};
constexpr Pass kWhole[] = {{0, 0, 1, 1}};
constexpr Pass kAdam7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                           {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};

std::span<const Pass> passes(const PngHeader& header) {
  if (header.interlaced) return kAdam7;
  return kWhole;
}
int pass_width(const PngHeader& h, const Pass& p) { return (h.width - p.x0 + p.dx - 1) / p.dx; }
int pass_height(const PngHeader& h, const Pass& p) { return (h.height - p.y0 + p.dy - 1) / p.dy; }
size_t packed_bytes(int width, int bits) { return (static_cast<size_t>(width) * static_cast<size_t>(bits) + 7) / 8; }

// The filtered rows, each with its filter byte in front, of all passes.
std::vector<uint8_t> inflate_rows(const std::filesystem::path& path, const PngHeader& header,
                                  std::span<const uint8_t> compressed) {
  size_t total = 0;
  for (const Pass& pass : passes(header))
    if (pass_width(header, pass) > 0)
      total += (packed_bytes(pass_width(header, pass), header.bits) + 1) *
               static_cast<size_t>(std::max(pass_height(header, pass), 0));
  std::vector<uint8_t> rows(total);
  uLongf size = rows.size();
  const int status = uncompress(rows.data(), &size, compressed.data(), compressed.size());
  if (status != Z_OK || size != rows.size())
    fail(path, fmt::format("damaged PNG: its compressed pixels give {} of {} bytes ({})", size, rows.size(),
                           status == Z_OK ? "too few" : zError(status)));
  return rows;
}

void append_chunk(std::vector<uint8_t>& file, const char (&name)[5], std::span<const uint8_t> body) {
  auto put = [&](uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8) file.push_back(static_cast<uint8_t>(v >> shift));
  };
  put(static_cast<uint32_t>(body.size()));
  const size_t begin = file.size();
  file.insert(file.end(), name, name + 4);
  file.insert(file.end(), body.begin(), body.end());
  put(static_cast<uint32_t>(crc32(0, file.data() + begin, static_cast<uInt>(file.size() - begin))));
}

// Filter "up" for colour pictures, none for index maps, whose equal neighbours deflate finds by itself.
std::vector<uint8_t> filtered_rows(const Image& image) {
  const size_t count = image.row_bytes();
  const bool up = image.channels > 1;
  std::vector<uint8_t> rows((count + 1) * static_cast<size_t>(image.height));
  for (int y = 0; y < image.height; ++y) {
    uint8_t* out = rows.data() + static_cast<size_t>(y) * (count + 1);
    *out++ = up && y > 0 ? 2 : 0;
    const uint8_t* row = image.row(y);
    std::copy_n(row, count, out);
    if (up && y > 0)
      for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint8_t>(row[i] - image.row(y - 1)[i]);
  }
  return rows;
}

void check_palette(const std::filesystem::path& path, const Image& image, std::span<const Rgb> palette) {
  if (image.channels != 1 || palette.size() > 256)
    throw ArgumentError(
        fmt::format("write_png: {}: a palette of {} colours for {} channels, expected at most 256 for 1", path.string(),
                    palette.size(), image.channels));
  const uint8_t highest = *std::max_element(image.pixels.begin(), image.pixels.end());
  if (highest >= palette.size())
    throw ArgumentError(fmt::format("write_png: {}: value {} has no colour in a palette of {}", path.string(), highest,
                                    palette.size()));
}

}  // namespace

int PngHeader::channels() const {
  switch (colour) {
    case PngColour::rgb: return 3;
    case PngColour::grey_alpha: return 2;
    case PngColour::rgba: return 4;
    default: return 1;
  }
}

bool is_png(std::span<const uint8_t> bytes) {
  return bytes.size() >= kSignature.size() && std::equal(kSignature.begin(), kSignature.end(), bytes.begin());
}

PngHeader read_png_header(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  if (!is_png(bytes)) fail(path, "not a PNG file");
  size_t offset = kSignature.size();
  const Chunk chunk = read_chunk(path, bytes, offset);
  if (chunk.type != chunk_type("IHDR") || chunk.body.size() != 13) fail(path, "damaged PNG: does not start with IHDR");
  const uint8_t* p = chunk.body.data();
  const uint32_t width = big_endian(p), height = big_endian(p + 4);
  if (width == 0 || height == 0 || width > uint32_t{kMaxImageSide} || height > uint32_t{kMaxImageSide} ||
      int64_t{width} * height > kMaxImagePixels)
    fail(path, fmt::format("size {}x{} is empty or above the limit ({} a side, {} pixels)", width, height,
                           kMaxImageSide, kMaxImagePixels));
  const int bits = p[8], colour = p[9];
  const bool known = (colour == 0 && std::has_single_bit(unsigned{p[8]}) && bits <= 16) ||
                     (colour == 3 && std::has_single_bit(unsigned{p[8]}) && bits <= 8) ||
                     ((colour == 2 || colour == 4 || colour == 6) && (bits == 8 || bits == 16));
  if (!known || p[10] != 0 || p[11] != 0 || p[12] > 1)
    fail(path,
         fmt::format("damaged PNG: colour type {} with {} bits, methods {} {} {}", colour, bits, p[10], p[11], p[12]));
  return {.width = static_cast<int>(width),
          .height = static_cast<int>(height),
          .bits = bits,
          .colour = static_cast<PngColour>(colour),
          .interlaced = p[12] == 1};
}

std::vector<uint8_t> check_png(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  std::vector<uint8_t> compressed;
  size_t offset = kSignature.size();
  for (;;) {
    const Chunk chunk = read_chunk(path, bytes, offset);
    if (chunk.type == chunk_type("IDAT")) compressed.insert(compressed.end(), chunk.body.begin(), chunk.body.end());
    if (chunk.type == chunk_type("IEND")) break;
  }
  if (compressed.empty()) fail(path, "damaged PNG: no pixels");
  return compressed;
}

Image decode_png_indices(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  const PngHeader header = read_png_header(path, bytes);
  if (header.channels() != 1 || header.bits > 8)
    fail(path, fmt::format("a label map needs one channel of at most 8 bits, found {} of {} bits", header.channels(),
                           header.bits));
  std::vector<uint8_t> rows = inflate_rows(path, header, check_png(path, bytes));

  Image image(header.height, header.width, 1);
  uint8_t* next = rows.data();
  for (const Pass& pass : passes(header)) {
    const int width = pass_width(header, pass), height = pass_height(header, pass);
    if (width <= 0) continue;
    const size_t count = packed_bytes(width, header.bits);
    const std::vector<uint8_t> zeros(count);
    const uint8_t* previous = zeros.data();
    for (int y = 0; y < height; ++y) {
      const int filter = *next++;
      if (filter > 4) fail(path, fmt::format("damaged PNG: unknown filter {}", filter));
      unfilter(filter, next, previous, count, 1);
      uint8_t* out = image.row(pass.y0 + y * pass.dy) + pass.x0;
      if (header.bits == 8 && pass.dx == 1) {
        std::memcpy(out, next, count);
      } else {
        const int mask = (1 << header.bits) - 1;
        for (int x = 0; x < width; ++x) {
          const int bit = x * header.bits;
          out[x * pass.dx] = static_cast<uint8_t>((next[bit / 8] >> (8 - header.bits - bit % 8)) & mask);
        }
      }
      previous = next;
      next += count;
    }
  }
  return image;
}

std::vector<uint8_t> encode_png(const std::filesystem::path& path, const Image& image, std::span<const Rgb> palette) {
  constexpr uint8_t kColourOfChannels[] = {0, 0, 4, 2, 6};
  if (image.channels < 1 || image.channels > 4 || image.height < 1 || image.width < 1 ||
      image.pixels.size() != image.row_bytes() * static_cast<size_t>(image.height))
    throw ArgumentError(fmt::format("write_png: {}: image [{},{},{}] with {} bytes is not a picture", path.string(),
                                    image.height, image.width, image.channels, image.pixels.size()));
  if (!palette.empty()) check_palette(path, image, palette);
  const std::vector<uint8_t> rows = filtered_rows(image);
  std::vector<uint8_t> compressed(compressBound(rows.size()));
  uLongf size = compressed.size();
  const int level = image.channels == 1 ? 6 : 4;  // photos gain 2 % from 6 and take three times as long
  const int status = compress2(compressed.data(), &size, rows.data(), rows.size(), level);
  if (status != Z_OK) fail(path, fmt::format("cannot compress the picture: {}", zError(status)));

  std::vector<uint8_t> file(kSignature.begin(), kSignature.end());
  std::array<uint8_t, 13> ihdr{};
  for (size_t i = 0; i < 4; ++i) {
    ihdr[i] = static_cast<uint8_t>(image.width >> (24 - 8 * i));
    ihdr[4 + i] = static_cast<uint8_t>(image.height >> (24 - 8 * i));
  }
  ihdr[8] = 8;
  ihdr[9] = palette.empty() ? kColourOfChannels[image.channels] : static_cast<uint8_t>(PngColour::palette);
  append_chunk(file, "IHDR", ihdr);
  std::vector<uint8_t> plte;
  for (const Rgb& colour : palette) plte.insert(plte.end(), colour.begin(), colour.end());
  if (!plte.empty()) append_chunk(file, "PLTE", plte);
  append_chunk(file, "IDAT", {compressed.data(), size});
  append_chunk(file, "IEND", {});
  return file;
}

}  // namespace segrt::data
