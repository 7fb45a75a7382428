// Any bytes as a PyTorch checkpoint: read whole, or refused with a FileError, and never out of proportion.
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/open_weights.h"
#include "core/torch_checkpoint.h"
#include "core/zip_file.h"

namespace {
using namespace segrt;

void read_all(std::span<const std::byte> file) {
  try {
    const TorchCheckpoint checkpoint("fuzz.pth", file, true);
    static_cast<void>(weight_names(checkpoint));
    std::vector<std::byte> buffer;
    size_t total = 0;
    for (size_t i = 0; i < checkpoint.entries().size(); ++i) total += checkpoint.values(i, buffer).size();
    if (total > 16 * file.size() + (size_t{1} << 20)) std::abort();  // what the header promises
  } catch (const FileError& e) {
    if (!std::strstr(e.what(), "fuzz.pth")) std::abort();  // every message names its file
  }
}

template <typename T>
T at(const std::vector<std::byte>& file, size_t offset) {
  T value{};
  if (offset <= file.size() && sizeof value <= file.size() - offset)
    std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

// A mutated archive fails its checksums and goes no further; this makes them right, so that what lies behind them is
// tried as well.
void correct_checksums(std::vector<std::byte>& file) {
  for (size_t entry = 0; entry + 46 <= file.size(); ++entry) {
    if (at<uint32_t>(file, entry) != 0x02014b50) continue;
    const size_t size = at<uint32_t>(file, entry + 24), header = at<uint32_t>(file, entry + 42);
    if (header + 30 > file.size()) continue;
    const size_t begin = header + 30 + at<uint16_t>(file, header + 26) + at<uint16_t>(file, header + 28);
    if (begin > file.size() || size > file.size() - begin) continue;
    const uint32_t crc = crc32_of(std::span(file).subspan(begin, size));
    std::memcpy(file.data() + entry + 16, &crc, sizeof crc);
    if ((at<uint16_t>(file, header + 6) & 8) == 0) std::memcpy(file.data() + header + 14, &crc, sizeof crc);
  }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  read_all(file);
  if (size > 2 && data[0] == 'P' && data[1] == 'K') {
    std::vector<std::byte> corrected(file.begin(), file.end());
    correct_checksums(corrected);
    read_all(corrected);
  }
  return 0;
}
