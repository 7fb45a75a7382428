// A profile as a trace file: "Trace Event Format", complete events ("ph": "X", microseconds).
#include <nlohmann/json.hpp>

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

nlohmann::json event(const ProfileSpan& span) {
  constexpr double kUsPerMs = 1000;
  const bool named = !span.backward || span.name.find("backward") != std::string::npos;
  nlohmann::json e{{"ph", "X"},
                   {"pid", 1},
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
}  // namespace

void write_chrome_trace(const std::filesystem::path& path, const std::vector<ProfileSpan>& spans,
                        const std::string& device_description) {
  nlohmann::json events = nlohmann::json::array();
  const auto name = [&](const char* what, const std::string& text) {
    events.push_back({{"ph", "M"}, {"pid", 1}, {"tid", 1}, {"name", what}, {"args", {{"name", text}}}});
  };
  name("process_name", "segrt");
  name("thread_name", device_description);
  for (const ProfileSpan& span : spans) events.push_back(event(span));
  const nlohmann::json trace{{"displayTimeUnit", "ms"}, {"traceEvents", events}};
  AtomicFile file(path.string());
  file.write(std::string_view(trace.dump(1)));
  file.commit();
}

}  // namespace segrt
