// The planted bugs are caught, and their correct twins raise no alarm. Each runs as a program of its own, because
// sanitizers end the process.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

namespace {

constexpr bool kAddress = SEGRT_SANITIZE_ADDRESS;
constexpr bool kThread = SEGRT_SANITIZE_THREAD;
constexpr int kWrong = 1, kReported = 2;  // exit codes of planted_bugs
constexpr int kThreadSanitizerExit = 66;  // its default

struct Outcome {
  int exit_code = 0;
  int signal = 0;
  std::string report;
  bool reports(const std::string& text) const { return report.find(text) != std::string::npos; }
};

Outcome run(const std::string& program, int seed = 1, int threads = 64) {
  const std::string command =
      fmt::format("SEGRT_EMULATOR_SEED={} '{}' {} {} 2>&1", seed, SEGRT_PLANTED_BUGS, program, threads);
  std::FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome outcome;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof(buffer), pipe)) outcome.report.append(buffer, n);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  if (outcome.exit_code > 128) outcome.signal = outcome.exit_code - 128;  // of the shell's child
  INFO(program, " exits with ", outcome.exit_code, ": ", outcome.report);
  CHECK(outcome.exit_code != 3);  // no such program
  return outcome;
}

// Some seed out of few gives wrong values; with ThreadSanitizer every run reports the race.
void check_race_is_caught(const std::string& program) {
  CAPTURE(program);
  if (kThread) {
    for (const int threads : {64, 128, 256}) {
      const Outcome outcome = run(program, 1, threads);
      CAPTURE(threads);
      CAPTURE(outcome.report);
      CHECK(outcome.exit_code == kThreadSanitizerExit);
      const size_t race = outcome.report.find("WARNING: ThreadSanitizer: data race ");
      REQUIRE(race != std::string::npos);
      // At a line of the kernel, which is frame 0, or 1 where the access is an asynchronous copy's.
      CHECK(outcome.report.find("planted_bugs.cpp:", race) < outcome.report.find("    #2 ", race));
    }
    return;
  }
  int wrong = 0;
  for (int seed = 1; seed <= 5; ++seed) wrong += run(program, seed).exit_code == kWrong ? 1 : 0;
  CHECK(wrong > 0);
}

}  // namespace

TEST_CASE("correct kernels raise no alarm under any seed") {
  for (const char* program : {"barrier", "reuse_barrier", "atomic_update", "atomic_update_between_blocks",
                              "warp_barrier", "copy", "copy_reuse"})
    for (int seed = 1; seed <= 4; ++seed)
      for (const int threads : {32, 256}) {
        const Outcome outcome = run(program, seed, threads);
        CAPTURE(program);
        CAPTURE(seed);
        CAPTURE(threads);
        CAPTURE(outcome.report);
        CHECK(outcome.exit_code == 0);
        CHECK(outcome.report.empty());
      }
}

TEST_CASE("a missing barrier is caught") { check_race_is_caught("missing_barrier"); }
TEST_CASE("a missing barrier before shared memory is reused is caught") {
  check_race_is_caught("missing_reuse_barrier");
}
TEST_CASE("a missing warp barrier is caught") { check_race_is_caught("missing_warp_barrier"); }

TEST_CASE("a missing barrier behind the wait for a copy is caught") { check_race_is_caught("copy_without_barrier"); }
TEST_CASE("a missing barrier before a copy overwrites shared memory is caught") {
  check_race_is_caught("copy_reuse_without_barrier");
}

TEST_CASE("a copy that nobody waited for has not arrived, under any seed") {
  for (const char* program : {"copy_without_wait", "copy_with_wrong_count", "copy_without_commit"})
    for (int seed = 1; seed <= 3; ++seed) {
      const Outcome outcome = run(program, seed);
      CAPTURE(program);
      CAPTURE(outcome.report);
      CHECK(outcome.exit_code == (kThread ? kThreadSanitizerExit : kWrong));
    }
}

TEST_CASE("a thread that returns before its copies have arrived is an error") {
  const Outcome outcome = run("abandoned_copy");
  CAPTURE(outcome.report);
  CHECK(outcome.exit_code == kReported);
  CHECK(outcome.reports("a thread returns with copies that it has not waited for at planted_bugs.cpp:"));
}

TEST_CASE("a lost update is caught by ThreadSanitizer") {
  if (kThread) {
    check_race_is_caught("lost_update");
    check_race_is_caught("lost_update_between_blocks");
    return;
  }
  // No order of whole threads shows it: this is why the thread build exists.
  CHECK(run("lost_update").exit_code == 0);
}

TEST_CASE("a divergent barrier names kernel, block, threads and places") {
  const Outcome outcome = run("divergent_barrier", 7);
  CAPTURE(outcome.report);
  CHECK(outcome.exit_code == kReported);
  CHECK(outcome.reports("divergent barrier in divergent_kernel launched at planted_bugs.cpp:"));
  CHECK(outcome.reports("of grid (2,1,1), 64 threads: threads 0-31 in sync_block at planted_bugs.cpp:"));
  CHECK(outcome.reports("threads 32-63 returned"));
  CHECK(outcome.reports("SEGRT_EMULATOR_SEED=7"));
}

TEST_CASE("a write beyond an allocation is caught") {
  const Outcome outcome = run("overrun");
  CAPTURE(outcome.report);
  if (kAddress) {
    CHECK(outcome.reports("AddressSanitizer: heap-buffer-overflow"));
    CHECK(outcome.reports("overrun_kernel"));
    CHECK(outcome.reports("block (1,0,0) of grid (2,1,1), 64 threads, thread (0,0,0)"));
  } else {
    CHECK(outcome.exit_code == kReported);
    CHECK(outcome.reports("out-of-bounds write: byte 256 of a device allocation of 256 bytes"));
    CHECK(outcome.reports("overrun_kernel"));
  }
}

TEST_CASE("a write beyond shared memory is caught") {
  const Outcome outcome = run("shared_overrun");
  CAPTURE(outcome.report);
  if (kAddress) {
    // UndefinedBehaviorSanitizer knows the array's bound, AddressSanitizer the allocation's.
    CHECK((outcome.reports("AddressSanitizer") || outcome.reports("out of bounds")));
  } else {
    CHECK(outcome.exit_code == kReported);
    CHECK(outcome.reports("out-of-bounds write: memory after the block's 1024 bytes of shared memory"));
    CHECK(outcome.reports("shared_overrun_kernel"));
  }
}

TEST_CASE("a kernel that outgrows its stack says so") {
  const Outcome outcome = run("stack_overflow");
  CAPTURE(outcome.report);
  CHECK(outcome.exit_code != 0);
  CHECK(outcome.reports("deep_kernel"));
  CHECK((outcome.reports("stack overflow") || outcome.reports("stack-overflow")));
}

TEST_CASE("host code that touches device memory is caught") {
  const Outcome outcome = run("host_reads_device");
  CAPTURE(outcome.report);
  CHECK(outcome.exit_code != 0);
  if (kAddress)
    CHECK(outcome.reports("AddressSanitizer: use-after-poison"));
  else if (kThread)
    CHECK(outcome.reports("ThreadSanitizer: SEGV"));
  else
    CHECK(outcome.reports("host code touched device memory"));
}

TEST_CASE("use of freed device memory is caught under AddressSanitizer") {
  if (!kAddress) return;  // elsewhere it reads NaN
  const Outcome outcome = run("use_after_free");
  CAPTURE(outcome.report);
  CHECK(outcome.reports("AddressSanitizer: heap-use-after-free"));
}
