// --profile and what goes with it: where a program's time goes, by operator.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/op_profile.h"

namespace segrt::apps {

struct ProfileOptions {
  std::string file;  // empty: no profile
  int runs = 3;
  bool by_module = false;
  double peak_gflops = 0, peak_gbs = 0;  // 0: the device's own
};
// `run`: what is profiled, in the plural: "steps".
void add_profile_options(CLI::App& app, ProfileOptions& options, const std::string& runs);

// Prints the table of a profile of `runs` runs and writes the trace file. Of several processes the first does that; the
// others write a file each, with their number before its ending ("trace.1.json").
void report_profile(OpProfile& profile, int64_t runs, const ProfileOptions& options, Device& device, int rank = 0);

// Profiles some of a series of runs: the first ones warm up, those after them are recorded, then it reports.
class ProfiledRuns {
 public:
  // communicators: whose operations are shown as well; rank: of this process among several.
  ProfiledRuns(const ProfileOptions& options, Device& device, std::vector<ProfiledCommunicator> communicators = {},
               int rank = 0)
      : options_(options), device_(device), communicators_(std::move(communicators)), rank_(rank) {}
  ~ProfiledRuns();  // reports what has been recorded, if the series was short
  ProfiledRuns(const ProfiledRuns&) = delete;
  ProfiledRuns& operator=(const ProfiledRuns&) = delete;

  void next();  // after each run of the series

 private:
  void finish();

  ProfileOptions options_;
  Device& device_;
  std::vector<ProfiledCommunicator> communicators_;
  int rank_;
  static constexpr int kWarmup = 2;
  int done_ = 0;
  std::unique_ptr<OpProfile> profile_;
};

}  // namespace segrt::apps
