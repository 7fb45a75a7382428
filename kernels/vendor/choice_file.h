// What was chosen for which problem, kept on disk between runs: one JSON file for a GPU model and a version of a vendor
// library, as choices, times and compiled plans are worth nothing on another.
//   {"format": 2, "gpu": "NVIDIA H100 80GB HBM3", "library": "cudnn-91900",
//    "choices": {"forward+bias+relu bf16 x[...] ...":
//                {"engine": "engine 62, TILE_SIZE 5", "plan_ms": 0.021, "own_ms": 0.050, "plan": "{...}"}}}
#pragma once

#include <map>
#include <string>

namespace segrt::kernels::vendor {

struct Choice {
  std::string engine;  // what people read of it; empty: our own kernel was faster, or the library had nothing
  std::string plan;    // the library's plan as text
  double plan_ms = 0;  // medians of the best plan and of our kernel; 0: not measured
  double own_ms = 0;
};

class ChoiceFile {
 public:
  // Reads the file if there is one. One that cannot be read, is damaged or speaks of another GPU or version counts as
  // empty, and warning() says so.
  ChoiceFile(std::string path, std::string gpu, std::string library);

  // $SEGRT_CACHE/<name>, else ~/.cache/segrt/<name>; name from the library and the GPU. Empty where neither SEGRT_CACHE
  // nor HOME is set, or where SEGRT_CACHE is set to nothing: then nothing is kept.
  static std::string default_path(const std::string& gpu, const std::string& library);

  const Choice* find(const std::string& problem) const;
  // Writes the file anew, with what other processes have added since it was read. Failures are a warning().
  void put(const std::string& problem, const Choice& choice);
  void forget(const std::string& problem);  // in memory only; the next put() replaces the file's entry

  // What went wrong since the last call; empty if nothing did.
  std::string take_warning();

 private:
  std::map<std::string, Choice> read();
  void write() const;

  std::string path_, gpu_, library_;
  std::map<std::string, Choice> choices_;
  std::string warning_;
};

}  // namespace segrt::kernels::vendor
