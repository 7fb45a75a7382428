// What a training run says: a progress line or plain lines for a person, JSON lines and TensorBoard events for
// programs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace segrt::train {

// Since the last report.
struct StepReport {
  int64_t step = 0, steps_total = 0;  // iterations done, and planned in all
  int epoch = 0, epochs = 0;          // from 0
  int64_t batch = 0, batches = 0;     // within the epoch
  double loss = 0, learning_rate = 0;
  std::vector<std::pair<std::string, double>> auxiliary_losses = {};  // parts of the loss, where a network has any
  // (logged as loss_<name>), and what heads report under names with a dot (logged as they are)
  double images_per_s = 0;
  double stall = 0;  // share of the time spent waiting for data, [0,1]
  int64_t peak_bytes = 0;
  double eta_s = 0;  // estimated time to the end of training
};

class RunLog {
 public:
  struct Options {
    std::filesystem::path directory;  // log.jsonl and events.out.tfevents.* go here; empty: neither
    bool quiet = false;               // nothing on the terminal
  };
  // Appends to an existing log.jsonl (a resumed run); TensorBoard files are one a start. Throws FileError.
  explicit RunLog(const Options& options);
  ~RunLog();

  // A progress line that is rewritten in place when stderr is a terminal, else a plain line.
  void step(const StepReport& report);
  // {"kind": kind, "step": step, "epoch": epoch, ...values} and a TensorBoard scalar each ("val/miou"), and a line.
  void values(const std::string& kind, int64_t step, int epoch, const std::map<std::string, double>& values);
  // A line for the person, above the progress line; also {"kind": "message"}.
  void message(const std::string& text);
  void flush();

 private:
  struct Sinks;
  std::unique_ptr<Sinks> sinks_;
};

}  // namespace segrt::train
