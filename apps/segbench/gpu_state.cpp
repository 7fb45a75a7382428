#include "apps/segbench/gpu_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

namespace segrt::apps {
namespace {
// The reply of a program; empty if it cannot be run.
std::string output_of(const std::string& command) {
  struct Close {
    void operator()(FILE* pipe) const { static_cast<void>(pclose(pipe)); }
  };
  const std::unique_ptr<FILE, Close> pipe(popen(command.c_str(), "r"));
  std::string text;
  std::array<char, 256> buffer{};
  while (pipe && fgets(buffer.data(), static_cast<int>(buffer.size()), pipe.get()) != nullptr) text += buffer.data();
  return text;
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find(',', begin), line.size());
    std::string field = line.substr(begin, end - begin);
    const size_t first = field.find_first_not_of(" \n"), last = field.find_last_not_of(" \n");
    fields.push_back(first == std::string::npos ? "" : field.substr(first, last - first + 1));
    begin = end + 1;
  }
  return fields;
}

// The bits of nvmlClocksEventReasons that are no business as usual (idle, a limit that an application has set).
std::string throttling(const std::string& bits) {
  constexpr std::pair<uint64_t, const char*> kReasons[] = {{0x4, "power cap"},
                                                           {0x8, "hardware slowdown"},
                                                           {0x20, "thermal (software)"},
                                                           {0x40, "thermal (hardware)"},
                                                           {0x80, "power brake"}};
  const uint64_t active = std::strtoull(bits.c_str(), nullptr, 16);
  std::string text;
  for (const auto& [bit, name] : kReasons)
    if ((active & bit) != 0) text += (text.empty() ? "" : ", ") + std::string(name);
  return text.empty() ? "no throttling" : "THROTTLED: " + text;
}
}  // namespace

std::string gpu_state(const Device& device) {
  if (!device.is_cuda() || device.description().find("emulated") != std::string::npos) return {};
  const std::string index = device.name().substr(device.name().find(':') + 1);
  const std::vector<std::string> f = fields_of(
      output_of("nvidia-smi --query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw,clocks_throttle_reasons.active "
                "--format=csv,noheader,nounits -i " +
                index + " 2>/dev/null"));
  if (f.size() != 5) return {};
  return fmt::format("SM {} MHz, memory {} MHz, {} C, {} W, {}", f[0], f[1], f[2], f[3], throttling(f[4]));
}

}  // namespace segrt::apps
