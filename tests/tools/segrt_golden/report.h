// The lines of a comparison and their verdicts. A check passes when its error is at most its tolerance; an error that
// is not a number fails.
#pragma once

#include <string>
#include <vector>

namespace segrt::golden {

// A float32 run may stray from the float64 values this many times as far as the reference's own float32 run does.
inline constexpr double kRoom = 5;

class Report {
 public:
  // measure: "max abs", "relative L2", ...
  void error(const std::string& name, const std::string& measure, double error, double tolerance,
             const std::string& detail = {});
  // A comparison without rounding.
  void equal(const std::string& name, bool is_equal, const std::string& detail = {});
  void fail(const std::string& name, const std::string& reason);

  // Several comparisons of lists. Lists of different lengths fail.
  void max_abs(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
               double tolerance);
  void relative_l2(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
                   double tolerance);
  // The largest |got - expected| / |expected|; `entries` names them, for the message.
  void entries(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected,
               double tolerance, const std::vector<std::string>& entry_names);
  // Every value the same; two NaN are.
  void identical(const std::string& name, const std::vector<double>& got, const std::vector<double>& expected);
  void identical(const std::string& name, const std::vector<std::string>& got,
                 const std::vector<std::string>& expected);

  int checks() const { return checks_; }
  int failures() const { return failures_; }

 private:
  void line(bool ok, const std::string& name, const std::string& text);

  int checks_ = 0, failures_ = 0;
};

}  // namespace segrt::golden
