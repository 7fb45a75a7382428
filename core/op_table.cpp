// The table of a profile.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/op_profile.h"

namespace segrt {
namespace {
std::string row_name(const ProfileSpan& span) {
  const bool says_so = span.name.find("backward") != std::string::npos;
  return span.backward && !says_so ? span.name + " (backward)" : span.name;
}

double floor_ms(const OpWork& work, const DevicePeaks& peaks) {
  constexpr double kMsPerS = 1000;
  const double compute = peaks.flops_per_s > 0 ? static_cast<double>(work.flops) / peaks.flops_per_s : 0;
  const double memory = peaks.bytes_per_s > 0 ? static_cast<double>(work.bytes) / peaks.bytes_per_s : 0;
  return kMsPerS * std::max(compute, memory);
}

std::string rate(double amount, double ms, double unit, const char* format) {
  return amount > 0 && ms > 0 ? fmt::format(fmt::runtime(format), amount / ms * 1000 / unit) : "-";
}

std::string table_line(const std::string& name, const OpTableRow& r, double all_ms, double runs, bool has_peaks) {
  const auto bytes = static_cast<double>(r.work.bytes), flops = static_cast<double>(r.work.flops);
  return fmt::format("{:<44} {:>8.4g} {:>10.3f} {:>6.1f} {:>10.4f} {:>10.2f} {:>10.3f} {:>9} {:>9} {:>7}\n", name,
                     static_cast<double>(r.calls) / runs, r.total_ms / runs, 100 * r.total_ms / all_ms,
                     r.total_ms / static_cast<double>(r.calls), bytes / runs / 1e6, flops / runs / 1e9,
                     rate(bytes, r.total_ms, 1e9, "{:.1f}"), rate(flops, r.total_ms, 1e12, "{:.3f}"),
                     has_peaks && r.total_ms > 0 ? fmt::format("{:.1f}", 100 * r.floor_ms / r.total_ms) : "-");
}
}  // namespace

std::vector<OpTableRow> op_rows(const std::vector<ProfileSpan>& spans, const DevicePeaks& peaks, bool by_module) {
  std::map<std::pair<std::string, std::string>, OpTableRow> rows;
  for (const ProfileSpan& span : spans) {
    if (span.kind != Scope::Kind::op || span.inner) continue;
    const std::string name = row_name(span), module = by_module ? span.module : "";
    OpTableRow& row = rows[{module, name}];
    row.name = name;
    row.module = module;
    ++row.calls;
    row.total_ms += span.end_ms - span.start_ms;
    row.work.bytes += span.work.bytes;
    row.work.flops += span.work.flops;
    row.floor_ms += floor_ms(span.work, peaks);
  }
  std::vector<OpTableRow> sorted;
  for (auto& [key, row] : rows) sorted.push_back(std::move(row));
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const OpTableRow& a, const OpTableRow& b) { return a.total_ms > b.total_ms; });
  return sorted;
}

std::string op_table(const std::vector<OpTableRow>& rows, const DevicePeaks& peaks, int64_t runs) {
  OpTableRow all;
  all.name = "all";
  for (const OpTableRow& r : rows) {
    all.calls += r.calls;
    all.total_ms += r.total_ms;
    all.work.bytes += r.work.bytes;
    all.work.flops += r.work.flops;
    all.floor_ms += r.floor_ms;
  }
  const bool has_peaks = peaks.flops_per_s > 0 && peaks.bytes_per_s > 0;
  std::string text = fmt::format("{:<44} {:>8} {:>10} {:>6} {:>10} {:>10} {:>10} {:>9} {:>9} {:>7}\n", "op, of one run",
                                 "calls", "ms", "%", "ms/call", "MB", "GFLOP", "GB/s", "TFLOP/s", "floor %");
  for (const OpTableRow& r : rows)
    text += table_line(r.module.empty() ? r.name : r.module + "  " + r.name, r, all.total_ms, static_cast<double>(runs),
                       has_peaks);
  if (!rows.empty()) text += table_line(all.name, all, all.total_ms, static_cast<double>(runs), has_peaks);
  if (has_peaks)
    text += fmt::format(
        "floor %: sum over the calls of max(FLOPs / {:.4g} GFLOP/s, bytes / {:.4g} GB/s), of the time; "
        "peaks: {}\n",
        peaks.flops_per_s / 1e9, peaks.bytes_per_s / 1e9, peaks.source);
  else
    text += fmt::format("no floor: {}\n", peaks.source);
  return text;
}

}  // namespace segrt
