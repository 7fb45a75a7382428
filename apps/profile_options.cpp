#include "apps/profile_options.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "kernels/device_peaks.h"

namespace segrt::apps {
namespace fs = std::filesystem;

void add_profile_options(CLI::App& app, ProfileOptions& options, const std::string& runs) {
  app.add_option("--profile", options.file,
                 "record some " + runs +
                     ": print time, bytes, FLOPs and share of the possible by operator, and write a trace for "
                     "chrome://tracing or Perfetto to this file. On a GPU they run operator by operator meanwhile")
      ->type_name("JSON");
  app.add_option("--profile-runs", options.runs, "--profile: how many " + runs)
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_flag("--profile-modules", options.by_module, "--profile: a row for each operator of each module");
  app.add_option("--peak-gflops", options.peak_gflops, "--profile: what the device can compute (default: its own)")
      ->check(CLI::PositiveNumber);
  app.add_option("--peak-gbs", options.peak_gbs, "--profile: GB/s of its memory (default: its own)")
      ->check(CLI::PositiveNumber);
}

void report_profile(OpProfile& profile, int64_t runs, const ProfileOptions& options, Device& device, int rank) {
  profile.stop();
  if (rank > 0) {
    const fs::path file = options.file;
    const fs::path own =
        file.parent_path() / fmt::format("{}.{}{}", file.stem().string(), rank, file.extension().string());
    write_chrome_trace(own, profile.spans(), device.description(), profile.communication(), rank);
    return;
  }
  const DevicePeaks peaks = kernels::device_peaks(device, options.peak_gflops, options.peak_gbs);
  fmt::print("profile of {} run{} on {}{}\n{}", runs, runs == 1 ? "" : "s", device.description(),
             device.is_cuda()
                 ? ", operator by operator (a replayed graph is faster: short operators include what their "
                   "launches take)"
                 : "",
             op_table(op_rows(profile.spans(), peaks, options.by_module), peaks, runs));
  write_chrome_trace(options.file, profile.spans(), device.description(), profile.communication());
  fmt::print("trace: {}\n", options.file);
  std::fflush(stdout);
}

ProfiledRuns::~ProfiledRuns() {
  try {
    if (!options_.file.empty() && profile_ == nullptr && done_ <= kWarmup)
      fmt::print(stderr, "--profile: {} runs were too few to record any\n", done_);
    if (profile_ != nullptr && done_ > kWarmup) finish();
  } catch (const std::exception& e) {
    fmt::print(stderr, "--profile: {}\n", e.what());
  }
}

void ProfiledRuns::next() {
  if (options_.file.empty()) return;
  ++done_;
  if (done_ == kWarmup) profile_ = std::make_unique<OpProfile>(device_, communicators_);
  if (profile_ != nullptr && done_ == kWarmup + options_.runs) finish();
}

void ProfiledRuns::finish() {
  report_profile(*profile_, done_ - kWarmup, options_, device_, rank_);
  profile_.reset();
}

}  // namespace segrt::apps
