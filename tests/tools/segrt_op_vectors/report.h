// The verdict of every case, a line each, and the summary.
#pragma once

#include <map>
#include <string>

namespace segrt::op_vectors {

enum class Verdict { pass, fail, unsupported, error };

class Report {
 public:
  // name: the case's; op: "" where the description could not be read. text: the error of a pass, else the reason.
  void add(Verdict verdict, const std::string& op, const std::string& name, const std::string& text);
  // A file that could not be read.
  void unreadable(const std::string& text);
  void print_summary() const;

  int passed() const { return counts_.passed; }
  bool good() const { return counts_.failed == 0 && counts_.errors == 0 && unreadable_ == 0; }

 private:
  struct Counts {
    int passed = 0, failed = 0, unsupported = 0, errors = 0;
    int& of(Verdict verdict);
  };
  Counts counts_;
  std::map<std::string, Counts> by_op_;
  int unreadable_ = 0;
};

}  // namespace segrt::op_vectors
