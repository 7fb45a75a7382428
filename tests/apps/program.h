// Runs the built programs the way a user does, and keeps what they print.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

namespace segrt::test {

struct Outcome {
  int code = -1;
  std::string output;  // stdout and stderr together
  bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

// `command` is "segtrain config.toml -o run": the program is found in the build, and the rest goes through a shell in
// `folder`.
inline Outcome run(const std::string& command, const std::filesystem::path& folder) {
  const std::string line =
      "cd '" + folder.string() + "' && exec '" + std::string(SEGRT_PROGRAM_DIR) + "'/" + command + " 2>&1";
  Outcome outcome;
  FILE* pipe = popen(line.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> buffer{};
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) outcome.output.append(buffer.data(), n);
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  return outcome;
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
