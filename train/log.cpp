#include "train/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "train/tensorboard.h"

namespace segrt::train {
namespace {
std::string clock_time() { return fmt::format("{:%H:%M:%S}", fmt::localtime(std::time(nullptr))); }

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(std::lround(std::max(0.0, seconds)));
  return s >= 3600 ? fmt::format("{}h{:02}m", s / 3600, s / 60 % 60) : fmt::format("{}m{:02}s", s / 60, s % 60);
}

// JSON has no NaN: a score that is not defined is null.
nlohmann::json finite(double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(nullptr); }

// "loss_budget" of an auxiliary loss; "decode.acc_seg" is a name of its own.
std::string key_of(const std::string& name) { return name.find('.') == std::string::npos ? "loss_" + name : name; }
}  // namespace

struct RunLog::Sinks {
  Options options;
  bool terminal = false;
  bool line_open = false;  // the progress line stands at the bottom of the terminal
  std::filesystem::path json_path;
  std::ofstream json;
  std::unique_ptr<TensorboardWriter> events;

  void print(const std::string& text) {
    if (options.quiet) return;
    fmt::print(stderr, "{}{} {}\n", line_open ? "\r\x1b[K" : "", clock_time(), text);
    line_open = false;
  }
  void write(const nlohmann::json& line) {
    if (json.is_open()) json << line.dump() << '\n';
  }
};

RunLog::RunLog(const Options& options) : sinks_(std::make_unique<Sinks>()) {
  sinks_->options = options;
  sinks_->terminal = isatty(STDERR_FILENO) == 1;
  if (options.directory.empty()) return;
  sinks_->json_path = options.directory / "log.jsonl";
  sinks_->json.open(sinks_->json_path, std::ios::app);
  if (!sinks_->json) throw FileError(sinks_->json_path.string() + ": cannot write");
  sinks_->events = std::make_unique<TensorboardWriter>(options.directory);
}

RunLog::~RunLog() {
  if (sinks_->line_open) fmt::print(stderr, "\n");
}

void RunLog::step(const StepReport& r) {
  std::string auxiliary;
  for (const auto& [name, value] : r.auxiliary_losses) auxiliary += fmt::format("  {} {:.4f}", name, value);
  const std::string text = fmt::format(
      "epoch {}/{} batch {}/{} step {}  loss {:.4f}{}  lr {:.3g}  {:.2f} img/s  stall {:.0f}%  {:.0f} MiB  eta {}",
      r.epoch + 1, r.epochs, r.batch, r.batches, r.step, r.loss, auxiliary, r.learning_rate, r.images_per_s,
      100 * r.stall, static_cast<double>(r.peak_bytes) / (1 << 20), duration(r.eta_s));
  if (sinks_->terminal && !sinks_->options.quiet) {
    fmt::print(stderr, "\r\x1b[K{}", text);
    std::fflush(stderr);
    sinks_->line_open = true;
  } else {
    sinks_->print(text);
  }
  nlohmann::json line{{"kind", "train"},
                      {"step", r.step},
                      {"epoch", r.epoch},
                      {"batch", r.batch},
                      {"loss", finite(r.loss)},
                      {"learning_rate", r.learning_rate},
                      {"images_per_s", r.images_per_s},
                      {"stall", r.stall},
                      {"peak_bytes", r.peak_bytes}};
  for (const auto& [name, value] : r.auxiliary_losses) line[key_of(name)] = finite(value);
  sinks_->write(line);
  if (!sinks_->events) return;
  for (const auto& [name, value] : r.auxiliary_losses) sinks_->events->scalar("train/" + key_of(name), r.step, value);
  sinks_->events->scalar("train/loss", r.step, r.loss);
  sinks_->events->scalar("train/learning_rate", r.step, r.learning_rate);
  sinks_->events->scalar("train/images_per_s", r.step, r.images_per_s);
  sinks_->events->scalar("train/loader_stall", r.step, r.stall);
  sinks_->events->scalar("train/peak_memory_mib", r.step, static_cast<double>(r.peak_bytes) / (1 << 20));
}

void RunLog::values(const std::string& kind, int64_t step, int epoch, const std::map<std::string, double>& values) {
  nlohmann::json line{{"kind", kind}, {"step", step}, {"epoch", epoch}};
  std::string text = fmt::format("{} after epoch {}, step {}:", kind, epoch, step);
  for (const auto& [name, value] : values) {
    line[name] = finite(value);
    text += fmt::format("  {} {:.4g}", name, value);
    if (sinks_->events) sinks_->events->scalar(kind + "/" + name, step, value);
  }
  sinks_->print(text);
  sinks_->write(line);
  flush();
}

void RunLog::message(const std::string& text) {
  sinks_->print(text);
  sinks_->write({{"kind", "message"}, {"text", text}});
  flush();
}

void RunLog::flush() {
  if (sinks_->json.is_open() && !sinks_->json.flush())
    throw FileError(sinks_->json_path.string() + ": cannot write (disk full?)");
  if (sinks_->events) sinks_->events->flush();
}

}  // namespace segrt::train
