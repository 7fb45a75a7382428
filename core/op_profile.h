// Where the time of a device goes, by operator and by module: records the scopes of core/op_scope.h with their times.
//   OpProfile profile(device);
//   network.forward(x);
//   profile.stop();
//   print(op_table(profile.spans(), peaks));
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/device_marks.h"
#include "core/op_scope.h"

namespace segrt {

struct ProfileSpan {
  Scope::Kind kind = Scope::Kind::op;
  std::string name;    // "conv2d"; of a module its path
  std::string module;  // that the work belongs to
  bool backward = false;
  std::string output;  // of an op: "f32 [1,64,128,64]"
  OpWork work;         // of an op
  int depth = 0;       // scopes around it
  bool inner = false;  // an op within an op, whose work the outer one has counted
  double start_ms = 0, end_ms = 0;
};

// A communicator whose operations a profile shall have as well, and what a trace calls its track.
struct ProfiledCommunicator {
  std::string name;
  Communicator* communicator;
};
struct CommunicationTrack {
  std::string name;
  std::vector<CommunicationSpan> spans;
};

// Listens while it lives, until stop(). Graphs are not replayed meanwhile: every operator is launched on its own, and
// on a GPU short ones include what it takes to launch them.
class OpProfile final : public ScopeListener {
 public:
  explicit OpProfile(Device& device, std::vector<ProfiledCommunicator> communicators = {});
  ~OpProfile() override;
  OpProfile(const OpProfile&) = delete;
  OpProfile& operator=(const OpProfile&) = delete;

  void stop();                                                      // waits for the device
  const std::vector<ProfileSpan>& spans() const { return spans_; }  // in order of their start; after stop()
  // A track a communicator, after stop(): what had not ended by then is not in it.
  const std::vector<CommunicationTrack>& communication() const { return communication_; }

  void enter(const Scope& scope) override;
  void leave(const Scope& scope) noexcept override;
  bool needs_every_op() const override { return true; }

 private:
  struct Marks {
    size_t start = 0, end = 0;
  };

  Device& device_;
  std::vector<ProfiledCommunicator> communicators_;
  std::vector<CommunicationTrack> communication_;
  DeviceMarks clock_;
  bool listening_ = true;
  std::vector<ProfileSpan> spans_;
  std::vector<Marks> marks_;  // of spans_
  std::vector<size_t> open_;  // indices into spans_, innermost last
};

// What a device can do, for the share of the possible. 0: not known.
struct DevicePeaks {
  double flops_per_s = 0, bytes_per_s = 0;
  std::string source;  // "table: H200, bf16", "measured", "given"
};

struct OpTableRow {
  std::string name;    // "conv2d", "sum_to (backward)"
  std::string module;  // if the table is by module
  int64_t calls = 0;
  double total_ms = 0;
  OpWork work;
  double floor_ms = 0;  // sum over the calls of max(flops / peak, bytes / bandwidth)
};

// A row an operator, or an operator of a module; those that take most time first. Time within no operator has no row.
std::vector<OpTableRow> op_rows(const std::vector<ProfileSpan>& spans, const DevicePeaks& peaks, bool by_module);
// As text. `runs`: how many runs the spans cover; calls, time, bytes and FLOPs are those of one.
std::string op_table(const std::vector<OpTableRow>& rows, const DevicePeaks& peaks, int64_t runs);

// Chrome's trace format, for chrome://tracing and Perfetto: modules > functions > operators; below them a track for
// each communicator. Of several processes each writes its own file, as process `rank`. Replaces the file as a whole;
// throws FileError.
void write_chrome_trace(const std::filesystem::path& path, const std::vector<ProfileSpan>& spans,
                        const std::string& device_description,
                        const std::vector<CommunicationTrack>& communication = {}, int rank = 0);

}  // namespace segrt
