#include "train/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <string>

#include "core/error.h"

namespace segrt::train {
namespace {
constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) ? 0x82F63B78u : 0);
    table[i] = c;
  }
  return table;
}
constexpr auto kCrcTable = crc_table();

template <typename T>
void append_little_endian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>((value >> (8 * i)) & 0xff);
}

// Protobuf wire format: a key is field << 3 | type (0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes).
void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string event_at_now() {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string event(1, '\x09');  // Event.wall_time = 1, double
  append_little_endian(event, std::bit_cast<uint64_t>(now));
  return event;
}

std::string event_file_name() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return "events.out.tfevents." + std::to_string(now) + "." + host.data();
}
}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t c = ~0u;
  for (const char byte : bytes) c = kCrcTable[(c ^ static_cast<uint8_t>(byte)) & 0xff] ^ (c >> 8);
  return ~c;
}

TensorboardWriter::TensorboardWriter(const std::filesystem::path& directory) : path_(directory / event_file_name()) {
  out_.open(path_, std::ios::binary | std::ios::app);
  if (!out_) throw FileError(path_.string() + ": cannot write");
  std::string event = event_at_now();
  append_bytes(event, 3, "brain.Event:2");  // Event.file_version
  record(event);
}

void TensorboardWriter::scalar(std::string_view tag, int64_t step, double value) {
  std::string summary_value;  // Summary.Value: tag = 1, simple_value = 2 (float)
  append_bytes(summary_value, 1, tag);
  summary_value += '\x15';
  append_little_endian(summary_value, std::bit_cast<uint32_t>(static_cast<float>(value)));
  std::string summary;  // Summary.value = 1
  append_bytes(summary, 1, summary_value);
  std::string event = event_at_now();
  event += '\x10';  // Event.step = 2
  append_varint(event, static_cast<uint64_t>(step));
  append_bytes(event, 5, summary);  // Event.summary
  record(event);
}

void TensorboardWriter::record(std::string_view event) {
  const auto masked = [](std::string_view bytes) {
    const uint32_t c = crc32c(bytes);
    return ((c >> 15) | (c << 17)) + 0xa282ead8u;
  };
  std::string length;
  append_little_endian(length, static_cast<uint64_t>(event.size()));
  std::string frame = length;
  append_little_endian(frame, masked(length));
  frame += event;
  append_little_endian(frame, masked(event));
  out_.write(frame.data(), static_cast<std::streamsize>(frame.size()));
}

void TensorboardWriter::flush() {
  if (!out_.flush()) throw FileError(path_.string() + ": cannot write (disk full?)");
}

}  // namespace segrt::train
