// Runs the built programs the way a user does, and keeps what they print.
#pragma once

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace segrt::test {

struct Outcome {
  int code = -1;
  std::string output;  // stdout and stderr together
  bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

// A program at work. `command` is "segtrain config.toml -o run": the program is found in the build, and the rest goes
// through a shell in `folder`, which the program replaces: signals reach it and nothing else.
class RunningProgram {
 public:
  RunningProgram(const std::string& command, const std::filesystem::path& folder) {
    std::string line =
        "cd '" + folder.string() + "' && exec '" + std::string(SEGRT_PROGRAM_DIR) + "'/" + command + " 2>&1";
    std::string shell = "/bin/sh", option = "-c";
    std::array<char*, 4> arguments{shell.data(), option.data(), line.data(), nullptr};
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) throw std::runtime_error("no pipe for " + command);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    const int status = posix_spawn(&pid_, shell.c_str(), &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = ends[0];
    if (status != 0) throw std::runtime_error("cannot start " + command);
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;
  ~RunningProgram() {
    if (pid_ > 0) {
      signal(SIGKILL);
      wait();
    }
    close(output_);
  }

  void signal(int number) const { kill(pid_, number); }

  // Until it ends; once.
  Outcome wait() {
    Outcome outcome;
    std::array<char, 4096> buffer{};
    for (ssize_t n = 0; (n = read(output_, buffer.data(), buffer.size())) > 0;)
      outcome.output.append(buffer.data(), static_cast<size_t>(n));
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    return outcome;
  }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

inline Outcome run(const std::string& command, const std::filesystem::path& folder) {
  return RunningProgram(command, folder).wait();
}

// A folder of the test's own, gone with it.
class WorkFolder {
 public:
  WorkFolder() : path_(std::filesystem::temp_directory_path() / ("segrt_apps_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~WorkFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace segrt::test
