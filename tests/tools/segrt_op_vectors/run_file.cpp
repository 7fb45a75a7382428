#include "tests/tools/segrt_op_vectors/run_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "tests/tools/segrt_op_vectors/compare.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {

// Compares every output that the case has. Returns a description of the error; `verdict` says whether it is tolerable.
std::string compare_outputs(const Case& c, const Outputs& outputs, Verdict& verdict) {
  double max_error = 0, share = 0;
  for (size_t i = 0; i < c.output_count(); ++i) {
    if (!c.wants_output(i)) continue;
    const Tensor expected = c.expected(i);
    if (i >= outputs.size() || !outputs[i].defined())
      throw Unsupported(fmt::format("output {} ({}) is not computed by the runtime", i, c.output_name(i)));
    const Comparison comparison = compare(outputs[i], expected, c.rtol(), c.atol());
    if (!comparison.equal) {
      verdict = Verdict::fail;
      return fmt::format("output {} ({}): {}", i, c.output_name(i), comparison.detail);
    }
    max_error = std::max(max_error, comparison.max_error);
    share = std::max(share, comparison.share);
  }
  verdict = Verdict::pass;
  return fmt::format("max |error| {:.2g}, {:.2g} of the tolerance", max_error, share);
}

// An ArgumentError is a kernel that refuses what the case asks for, in its own words.
std::string run_case(const Case& c, Verdict& verdict) {
  try {
    const Runner runner = find_runner(c.domain(), c.op());
    if (!runner)
      throw Unsupported(
          fmt::format("the runtime has no operator {}{}{}", c.domain(), c.domain().empty() ? "" : ".", c.op()));
    return compare_outputs(c, runner(c), verdict);
  } catch (const Unsupported& e) {
    verdict = Verdict::unsupported;
    return e.what();
  } catch (const ArgumentError& e) {
    verdict = Verdict::unsupported;
    return fmt::format("refused: {}", e.what());
  } catch (const std::exception& e) {
    verdict = Verdict::error;
    return e.what();
  }
}

bool belongs_to_a_case(const SafetensorsFile& file, const std::string& tensor) {
  const size_t slash = tensor.rfind('/');
  return slash != std::string::npos && file.metadata().contains(tensor.substr(0, slash));
}

}  // namespace

void run_file(const std::string& path, Device& device, Report& report) {
  const SafetensorsFile file(path);
  if (file.metadata().empty()) throw FileError(fmt::format("{}: no cases in the metadata", path));
  for (const auto& [name, description] : file.metadata()) {
    std::optional<Case> c;
    try {
      c.emplace(file, name, description, device);
    } catch (const Error& e) {
      report.add(Verdict::error, "", name, e.what());
      continue;
    }
    Verdict verdict = Verdict::error;
    const std::string text = run_case(*c, verdict);
    report.add(verdict, c->op(), name, text);
  }
  for (const SafetensorsEntry& entry : file.entries())
    if (!belongs_to_a_case(file, entry.name)) report.add(Verdict::error, "", entry.name, "a tensor of no case");
}

}  // namespace segrt::op_vectors
