// segtrain CONFIG.toml: trains the network that a configuration describes.
#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "apps/command_line.h"
#include "apps/profile_options.h"
#include "core/communicator.h"
#include "core/error.h"
#include "train/trainer.h"

namespace {
using namespace segrt;
namespace fs = std::filesystem;

// Ctrl-C and SIGTERM as something to ask for, so that no handler interrupts anything. Made before any thread starts.
// After the first signal the defaults are back: a second Ctrl-C ends the program at once.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    sigprocmask(SIG_BLOCK, &set_, nullptr);
    descriptor_ = signalfd(-1, &set_, SFD_NONBLOCK | SFD_CLOEXEC);
  }
  ~StopSignals() { close(descriptor_); }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  bool requested() {
    signalfd_siginfo info{};
    if (signal_ == 0 && read(descriptor_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      signal_ = static_cast<int>(info.ssi_signo);
      sigprocmask(SIG_UNBLOCK, &set_, nullptr);
    }
    return signal_ != 0;
  }
  int exit_code() const { return 128 + signal_; }

 private:
  sigset_t set_{};
  int descriptor_ = -1;
  int signal_ = 0;
};

// runs/<name>, runs/<name>-2, ...: the newest that holds a checkpoint, or the first that does not exist.
fs::path run_path(const std::string& output, const std::string& config_path, bool resume) {
  if (!output.empty()) return output;
  const fs::path base = fs::path("runs") / fs::path(config_path).stem();
  fs::path newest;
  for (int n = 1;; ++n) {
    const fs::path candidate = n == 1 ? base : fs::path(fmt::format("{}-{}", base.string(), n));
    if (!fs::exists(candidate)) {
      if (!resume) return candidate;
      if (newest.empty()) throw FileError(base.string() + ": no run with a checkpoint to resume");
      return newest;
    }
    if (fs::exists(train::RunDirectory(candidate).latest())) newest = candidate;
  }
}

// Process 0 speaks and writes the log; others say nothing, or on request write a log of their own beside it.
train::RunLog::Options log_options(const Communicator& processes, const train::RunDirectory& run, bool every_rank) {
  if (processes.rank() == 0) return {.directory = run.path()};
  if (!every_rank) return {.directory = {}, .quiet = true};
  const fs::path own = run.path() / "ranks" / std::to_string(processes.rank());
  fs::create_directories(own);
  return {.directory = own, .quiet = true};
}

struct Arguments {
  std::string config, output;
  bool resume = false, no_strict = false, log_ranks = false, log_samples = false;
  apps::ProfileOptions profile;
  apps::CommonOptions common;
};

// What each step of this process is trained on: a line with its number, from 1, and the places in the data set.
class SampleLog {
 public:
  SampleLog(const train::RunDirectory& run, int rank) {
    const fs::path folder = run.path() / "ranks" / std::to_string(rank);
    fs::create_directories(folder);
    path_ = (folder / "samples.txt").string();
    file_.open(path_, std::ios::app);
  }
  void add(int64_t step, const data::Batch& batch) {
    file_ << step + 1;
    for (const int64_t sample : batch.samples) file_ << ' ' << sample;
    file_ << std::endl;  // so that it is there whatever comes
    if (!file_) throw FileError(path_ + ": cannot write");
  }

 private:
  std::string path_;
  std::ofstream file_;
};

int train_network(const Arguments& a) {
  StopSignals signals;
  const std::unique_ptr<Device> device = apps::open_device(a.common);
  const Config config = Config::load(a.config, a.common.set);
  const std::unique_ptr<Communicator> processes =
      Communicator::open(*device, {.timeout_s = train::train_settings(config).comm_timeout_s});
  const train::RunDirectory run(run_path(a.output, a.config, a.resume));
  if (!a.resume && fs::exists(run.latest()))
    throw FileError(run.path().string() +
                    ": holds a run already; add --resume to continue it, or choose another folder with -o");
  train::Trainer trainer(config, *device, run, models::build, processes.get());
  processes->barrier();  // everybody has looked before anything is written
  std::optional<train::RunLock> lock;
  if (processes->rank() == 0) lock.emplace(run);
  if (a.resume) trainer.resume();
  if (processes->rank() == 0) run.create(config);
  processes->barrier();
  std::optional<SampleLog> samples;
  if (a.log_samples) {
    samples.emplace(run, processes->rank());
    trainer.see_batch = [&samples](int64_t step, const data::Batch& batch) { samples->add(step, batch); };
  }
  train::RunLog log(log_options(*processes, run, a.log_ranks));
  log.message(fmt::format("run directory {}", run.path().string()));
  apps::ProfiledRuns profiled(a.profile, *device, trainer.profiled(), processes->rank());
  const auto outcome = trainer.run(log, [&] {  // after each step
    profiled.next();
    return signals.requested();
  });
  processes->barrier();  // a process that ends with a code other than 0 takes the others along
  const train::Progress& p = trainer.progress();
  if (outcome == train::Trainer::Outcome::stopped) {
    log.message(fmt::format("stopped at step {}; continue with: segtrain {} -o {} --resume", p.step, a.config,
                            run.path().string()));
    return signals.exit_code();
  }
  log.message(fmt::format("{} after {} steps, {:.1f} minutes of training; best {} {:.4f} after epoch {}",
                          outcome == train::Trainer::Outcome::finished ? "finished" : "out of time", p.step,
                          p.train_seconds / 60, train::validate_settings(config).best, p.best_score, p.best_epoch));
  return 0;
}
}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains a segmentation network or a classifier.", "segtrain");
  Arguments a;
  app.add_option("config", a.config, "configuration, e.g. models/drn_d_22.toml")->required();
  app.add_option("-o,--output", a.output,
                 "run directory (default: runs/<name of the configuration>, numbered if taken)");
  app.add_flag("--resume", a.resume, "continue the run from its latest checkpoint");
  app.add_flag("--no-strict,!--strict", a.no_strict,
               "start from those of the weights of train.pretrained that fit, and list the others (default: --strict)");
  app.add_flag("--log-ranks", a.log_ranks,
               "of several processes (mpirun), each but the first logs to ranks/<rank> as well");
  app.add_flag("--log-samples", a.log_samples,
               "write to ranks/<rank>/samples.txt what each step is trained on: the step, and places in the data set");
  apps::add_profile_options(app, a.profile, "training steps after the first two");
  apps::add_device_options(app, a.common);
  apps::add_set_option(app, a.common);
  return apps::run_program(app, argc, argv, [&] {
    if (a.no_strict) a.common.set.push_back("train.pretrained_strict=false");
    return train_network(a);
  });
}
