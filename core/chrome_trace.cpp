// A profile as a trace file: "Trace Event Format", complete events ("ph": "X", microseconds).
#include <nlohmann/json.hpp>

#include <string>

#include "core/atomic_file.h"
#include "core/op_profile.h"

namespace segrt {
namespace {
const char* category(Scope::Kind kind) {
  switch (kind) {
    case Scope::Kind::module: return "module";
    case Scope::Kind::function: return "function";
    case Scope::Kind::op: return "op";
  }
  return "";
}

constexpr double kUsPerMs = 1000;

nlohmann::json event(const ProfileSpan& span, int process) {
  const bool named = !span.backward || span.name.find("backward") != std::string::npos;
  nlohmann::json e{{"ph", "X"},
                   {"pid", process},
                   {"tid", 1},
                   {"name", named ? span.name : span.name + " (backward)"},
                   {"cat", category(span.kind)},
                   {"ts", kUsPerMs * span.start_ms},
                   {"dur", kUsPerMs * (span.end_ms - span.start_ms)}};
  nlohmann::json& args = e["args"] = {{"module", span.module}};
  if (span.kind == Scope::Kind::op) {
    args["output"] = span.output;
    args["bytes"] = span.work.bytes;
    args["flops"] = span.work.flops;
  }
  return e;
}

nlohmann::json event(const CommunicationSpan& span, int process, int track) {
  return {{"ph", "X"},
          {"pid", process},
          {"tid", track},
          {"name", span.name},
          {"cat", "communication"},
          {"ts", kUsPerMs * span.start_ms},
          {"dur", kUsPerMs * (span.end_ms - span.start_ms)},
          {"args", {{"bytes", span.bytes}, {"waited_us", kUsPerMs * (span.start_ms - span.queued_ms)}}}};
}
}  // namespace

void write_chrome_trace(const std::filesystem::path& path, const std::vector<ProfileSpan>& spans,
                        const std::string& device_description, const std::vector<CommunicationTrack>& communication,
                        int rank) {
  nlohmann::json events = nlohmann::json::array();
  const int process = 1 + rank;
  const auto name = [&](const char* what, int track, const std::string& text) {
    events.push_back({{"ph", "M"}, {"pid", process}, {"tid", track}, {"name", what}, {"args", {{"name", text}}}});
  };
  name("process_name", 1, communication.empty() ? "segrt" : "segrt, process " + std::to_string(rank));
  name("thread_name", 1, device_description);
  for (const ProfileSpan& span : spans) events.push_back(event(span, process));
  for (size_t i = 0; i < communication.size(); ++i) {
    const int track = 2 + static_cast<int>(i);
    name("thread_name", track, communication[i].name);
    for (const CommunicationSpan& span : communication[i].spans) events.push_back(event(span, process, track));
  }
  const nlohmann::json trace{{"displayTimeUnit", "ms"}, {"traceEvents", events}};
  AtomicFile file(path.string());
  file.write(std::string_view(trace.dump(1)));
  file.commit();
}

}  // namespace segrt
