// Any bytes as a safetensors file: a header that covers exactly the file, or a FileError.
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  try {
    const segrt::SafetensorsHeader header = segrt::parse_safetensors(file, "fuzz.safetensors");
    size_t covered = 0;
    for (const segrt::SafetensorsEntry& e : header.entries) {
      if (e.end > file.size() || e.begin > e.end) std::abort();
      if (segrt::safetensors_bits(e, "") / 8 != e.end - e.begin) std::abort();
      covered += e.end - e.begin;
    }
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, data, sizeof header_bytes);
    if (covered + header_bytes + sizeof header_bytes != size) std::abort();
  } catch (const segrt::FileError& e) {
    if (!std::strstr(e.what(), "fuzz.safetensors")) std::abort();
  }
  return 0;
}
