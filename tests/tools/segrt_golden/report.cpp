#include "tests/tools/segrt_golden/report.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "tests/support/tensors.h"

namespace segrt::golden {
namespace {
bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

std::string lengths(size_t got, size_t expected) { return fmt::format("{} values, expected {}", got, expected); }
}  // namespace

void Report::line(bool ok, const std::string& name, const std::string& text) {
  ++checks_;
  if (!ok) ++failures_;
  fmt::print("  {:<4} {:<24} {}\n", ok ? "ok" : "FAIL", name, text);
  std::fflush(stdout);
}

void Report::error(const std::string& name, const std::string& measure, double error, double tolerance,
                   const std::string& detail) {
  line(error <= tolerance, name,
       fmt::format("{:<18} {:.2e}  tolerance {:.2e}{}{}", measure, error, tolerance, detail.empty() ? "" : "  ",
                   detail));
}

void Report::equal(const std::string& name, bool is_equal, const std::string& detail) {
  line(is_equal, name, (is_equal ? "equal" : "differs") + (detail.empty() ? "" : "  " + detail));
}

void Report::fail(const std::string& name, const std::string& reason) { line(false, name, reason); }

void Report::max_abs(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                     double tolerance) {
  if (got.size() != expected.size()) return fail(name, lengths(got.size(), expected.size()));
  error(name, "max abs", test::max_abs_difference(got, expected), tolerance);
}

void Report::relative_l2(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                         double tolerance) {
  if (got.size() != expected.size()) return fail(name, lengths(got.size(), expected.size()));
  error(name, "relative L2", test::relative_l2(got, expected), tolerance);
}

void Report::entries(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                     double tolerance, const std::vector<std::string>& entry_names) {
  if (got.size() != expected.size()) return fail(name, lengths(got.size(), expected.size()));
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (same(got[i], expected[i])) continue;
    double e = std::abs(got[i] - expected[i]) / std::abs(expected[i]);
    if (std::isnan(e)) e = std::numeric_limits<double>::infinity();
    if (e > worst) {
      worst = e;
      at = i;
    }
  }
  const std::string where =
      worst > 0
          ? fmt::format("{}: {:.6g}, expected {:.6g}",
                        at < entry_names.size() ? entry_names[at] : fmt::format("entry {}", at), got[at], expected[at])
          : "";
  error(name, "single entry", worst, tolerance, where);
}

void Report::identical(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected) {
  if (got.size() != expected.size()) return fail(name, lengths(got.size(), expected.size()));
  size_t different = 0, first = 0;
  for (size_t i = 0; i < got.size(); ++i)
    if (!same(got[i], expected[i]) && different++ == 0) first = i;
  equal(name, different == 0,
        different == 0 ? ""
                       : fmt::format("in {} of {} values, first at {}: {:.9g}, expected {:.9g}", different, got.size(),
                                     first, got[first], expected[first]));
}

void Report::identical(const std::string& name, const std::vector<std::string>& got,
                       const std::vector<std::string>& expected) {
  for (size_t i = 0; i < std::max(got.size(), expected.size()); ++i) {
    const std::string a = i < got.size() ? got[i] : "nothing", b = i < expected.size() ? expected[i] : "nothing";
    if (a != b)
      return equal(name, false,
                   fmt::format("{} and {} entries; at {}: {}, expected {}", got.size(), expected.size(), i, a, b));
  }
  equal(name, true, fmt::format("{} entries", got.size()));
}

}  // namespace segrt::golden
