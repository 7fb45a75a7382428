#include "data/jpeg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "core/error.h"
#include "data/exif.h"

namespace segrt::data {
namespace {

// The second byte of a marker; the first is 0xff.
enum Marker : int {
  kStuffed = 0x00,  // no marker: an 0xff of the entropy-coded data
  kBaseline = 0xc0,
  kExtended = 0xc1,
  kProgressive = 0xc2,
  kHuffmanTables = 0xc4,
  kFirstRestart = 0xd0,
  kStart = 0xd8,
  kEnd = 0xd9,
  kScan = 0xda,
  kQuantTables = 0xdb,
  kExif = 0xe1,
  kAdobe = 0xee,
};

class Checker {
 public:
  Checker(const std::filesystem::path& path, std::span<const uint8_t> bytes) : path_(path), bytes_(bytes) {}

  JpegHeader run() {
    size_t at = 2;  // behind the start marker
    for (;;) {
      // Entropy-coded data runs to the next 0xff that no 0 follows; between segments there is nothing to skip.
      const void* found = at < bytes_.size() ? std::memchr(bytes_.data() + at, 0xff, bytes_.size() - at) : nullptr;
      if (found == nullptr) fail("truncated JPEG: no end marker");
      at = static_cast<size_t>(static_cast<const uint8_t*>(found) - bytes_.data()) + 1;
      while (at < bytes_.size() && bytes_[at] == 0xff) ++at;
      if (at >= bytes_.size()) fail("truncated JPEG: no end marker");
      const int marker = bytes_[at++];
      if (marker == kEnd) break;
      if (marker == kStuffed || marker == 0x01 || (marker >= kFirstRestart && marker <= kStart)) continue;  // no body
      if (bytes_.size() - at < 2) fail("truncated JPEG: no end marker");
      const size_t length = static_cast<size_t>(bytes_[at]) << 8 | bytes_[at + 1];
      if (length < 2) damaged("a segment shorter than its own length field");
      if (bytes_.size() - at < length) fail("truncated JPEG: the file ends inside a segment");
      segment(marker, bytes_.subspan(at + 2, length - 2));
      at += length;
    }
    if (!scanned_) damaged("no pixels");
    return {.components = static_cast<int>(component_count_), .orientation = orientation_, .adobe = adobe_};
  }

 private:
  struct Component {
    int id = 0, quant_table = 0;
  };

  [[noreturn]] void fail(std::string_view cause) const {
    throw FileError(fmt::format("{}: {}", path_.string(), cause));
  }
  [[noreturn]] void damaged(std::string_view what) const { fail(fmt::format("damaged JPEG: {}", what)); }

  void segment(int marker, std::span<const uint8_t> body) {
    switch (marker) {
      case kBaseline:
      case kExtended:
      case kProgressive: return frame(marker, body);
      case kHuffmanTables: return huffman_tables(body);
      case kQuantTables: return quant_tables(body);
      case kScan: return scan(body);
      case kExif:
        if (orientation_ == 1) orientation_ = exif_orientation(body);  // XMP comes in segments of the same kind
        return;
      case kAdobe: {
        constexpr std::string_view kName = "Adobe";
        adobe_ = adobe_ || (body.size() >= 12 && std::equal(kName.begin(), kName.end(), body.begin()) &&
                            (body[11] == 0 || body[11] == 2));
        return;
      }
      default: return;
    }
  }

  // Precision, height, width, component count; per component id, sampling factors, quantisation table.
  void frame(int marker, std::span<const uint8_t> body) {
    if (component_count_ != 0) damaged("two frames");
    if (body.size() < 6 || body[5] < 1 || body[5] > 4 || body.size() != 6 + 3 * size_t{body[5]})
      damaged("frame header");
    component_count_ = body[5];
    progressive_ = marker == kProgressive;
    for (size_t i = 0; i < component_count_; ++i) {
      components_[i] = {body[6 + 3 * i], body[8 + 3 * i]};
      if (components_[i].quant_table > 3) damaged("number of a quantisation table");
    }
  }

  // Repeated: class and number, 16 counts of codes by length, the symbols.
  void huffman_tables(std::span<const uint8_t> body) {
    while (!body.empty()) {
      if (body.size() < 17 || (body[0] >> 4) > 1 || (body[0] & 15) > 3) damaged("Huffman table header");
      size_t symbols = 0, codes = 0;  // codes: of 16 bits, that the symbols so far take
      for (size_t bits = 1; bits <= 16; ++bits) {
        symbols += body[bits];
        codes += size_t{body[bits]} << (16 - bits);
      }
      if (symbols > 256 || codes > 65536 || body.size() - 17 < symbols) damaged("sizes of a Huffman table");
      huffman_[body[0] >> 4][body[0] & 15] = true;
      body = body.subspan(17 + symbols);
    }
  }

  // Repeated: precision and number, 64 values of 8 or 16 bits.
  void quant_tables(std::span<const uint8_t> body) {
    while (!body.empty()) {
      const size_t size = (body[0] >> 4) == 0 ? 65 : 129;
      if ((body[0] >> 4) > 1 || (body[0] & 15) > 3 || body.size() < size) damaged("quantisation table");
      quant_[body[0] & 15] = true;
      body = body.subspan(size);
    }
  }

  // Component count; per component id, DC and AC table; first and last coefficient, bit position before and after.
  void scan(std::span<const uint8_t> body) {
    if (component_count_ == 0) damaged("pixels before the frame header");
    if (body.empty() || body[0] < 1 || body[0] > 4 || body.size() != 4 + 2 * size_t{body[0]}) damaged("scan header");
    const uint8_t first = body[body.size() - 3], before = body[body.size() - 1] >> 4;
    const bool needs_dc = !progressive_ || (first == 0 && before == 0);  // refinements of DC are plain bits
    const bool needs_ac = !progressive_ || first > 0;
    for (size_t i = 0; i < body[0]; ++i) {
      const int id = body[1 + 2 * i], dc = body[2 + 2 * i] >> 4, ac = body[2 + 2 * i] & 15;
      size_t c = 0;
      while (c < component_count_ && components_[c].id != id) ++c;
      if (c == component_count_) damaged("scan of a component that the frame lacks");
      if (dc > 3 || ac > 3 || (needs_dc && !huffman_[0][static_cast<size_t>(dc)]) ||
          (needs_ac && !huffman_[1][static_cast<size_t>(ac)]))
        damaged("scan with an undefined Huffman table");
      if (!quant_[static_cast<size_t>(components_[c].quant_table)])
        damaged("scan with an undefined quantisation table");
    }
    scanned_ = true;
  }

  const std::filesystem::path& path_;
  std::span<const uint8_t> bytes_;
  bool progressive_ = false, scanned_ = false, adobe_ = false;
  int orientation_ = 1;
  size_t component_count_ = 0;  // 0 before the frame header
  std::array<Component, 4> components_{};
  std::array<std::array<bool, 4>, 2> huffman_{};  // [DC, AC][number]: defined
  std::array<bool, 4> quant_{};
};

}  // namespace

bool is_jpeg(std::span<const uint8_t> bytes) { return bytes.size() >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8; }

JpegHeader check_jpeg(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  return Checker(path, bytes).run();
}

}  // namespace segrt::data
