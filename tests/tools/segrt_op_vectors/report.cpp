#include "tests/tools/segrt_op_vectors/report.h"

#include <fmt/format.h>

#include <cstdio>

namespace segrt::op_vectors {
namespace {
const char* word(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass: return "pass";
    case Verdict::fail: return "FAIL";
    case Verdict::unsupported: return "unsupported";
    case Verdict::error: break;
  }
  return "ERROR";
}
}  // namespace

int& Report::Counts::of(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass: return passed;
    case Verdict::fail: return failed;
    case Verdict::unsupported: return unsupported;
    case Verdict::error: break;
  }
  return errors;
}

void Report::add(Verdict verdict, const std::string& op, const std::string& name, const std::string& text) {
  const std::string shown_op = op.empty() ? "?" : op;
  ++counts_.of(verdict);
  ++by_op_[shown_op].of(verdict);
  fmt::print("{:<11}  {:<20} {}: {}\n", word(verdict), shown_op, name, text);
}

void Report::unreadable(const std::string& text) {
  ++unreadable_;
  std::fflush(stdout);
  fmt::print(stderr, "{}\n", text);
}

void Report::print_summary() const {
  const auto row = [](const std::string& op, const Counts& c) {
    fmt::print("{:<28} {:>6} {:>11} {:>6} {:>6}\n", op, c.passed, c.unsupported, c.failed, c.errors);
  };
  fmt::print("\n{:<28} {:>6} {:>11} {:>6} {:>6}\n", "operator", "passed", "unsupported", "failed", "errors");
  for (const auto& [op, c] : by_op_) row(op, c);
  row("total", counts_);
  if (unreadable_ > 0) fmt::print("{} files could not be read\n", unreadable_);
}

}  // namespace segrt::op_vectors
