#include "apps/segbench/report.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "kernels/vendor_choices.h"
#include "train/precision.h"

namespace segrt::apps {

Times::Times(std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const size_t n = ms.size();
  median = n % 2 == 1 ? ms[n / 2] : (ms[n / 2 - 1] + ms[n / 2]) / 2;
  min = ms.front();
  p95 = ms[static_cast<size_t>(0.95 * static_cast<double>(n - 1) + 0.5)];
}

BenchNetwork open_network(const BenchArguments& a) {
  std::vector<int64_t> sizes = parse_sizes("--input", a.input, 3);
  std::unique_ptr<Device> device = open_device(a.common);
  const train::Precision precision = train::parse_precision(a.precision);
  train::set_f32_products(*device, precision.tf32);
  std::vector<std::string> overrides = a.common.set;
  overrides.push_back("train.precision=" + a.precision);  // with what belongs to it: loss scaling in f16
  Config config = Config::load(a.config, overrides);
  for (const char* table : {"data", "train", "validate", "eval"})
    if (a.mode != "train" || std::string_view(table) != "train") config.ignore(table);
  nn::Init init(*device, 1);
  std::unique_ptr<models::Model> model = models::build(config.table("model"), init);
  return {std::move(device), std::move(config), std::move(model), std::move(sizes), precision.dtype};
}

std::vector<uint8_t> random_bytes(int64_t count, int below, uint64_t stream) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count));
  Rng rng(1, stream);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(rng.next_u32() % static_cast<uint32_t>(below));
  return bytes;
}

std::string bench_header(const BenchArguments& a, const BenchNetwork& network) {
  return fmt::format("{} {} {} {} on {}, {} threads", network.config.table("model").text("name"), a.mode, a.input,
                     a.precision, network.device->description(), threads());
}

nlohmann::json bench_json(const BenchArguments& a, const BenchNetwork& network) {
  return {{"config", a.config},
          {"set", a.common.set},
          {"model", network.config.table("model").text("name")},
          {"mode", a.mode},
          {"input", a.input},
          {"precision", a.precision},
          {"device", network.device->name()},
          {"device_description", network.device->description()},
          {"threads", threads()},
          {"warmup", a.warmup},
          {"repeat", a.repeat}};
}

void write_json(const BenchArguments& a, const nlohmann::json& json) {
  if (a.json.empty()) return;
  std::ofstream out(a.json);
  out << json.dump(2) << '\n';
  if (!out.flush()) throw FileError(a.json + ": cannot write");
}

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

void explain_choices(Device& device) {
  const std::vector<kernels::VendorChoice> choices = kernels::vendor_choices(device);
  if (choices.empty()) fmt::print("nothing was offered to a vendor library\n");
  const auto ms = [](double t) { return t > 0 ? fmt::format("{:.3f} ms", t) : std::string("not timed"); };
  for (const auto& c : choices)
    fmt::print("{}\n    {}; {} {}, without it {}, workspace {:.1f} MiB\n", c.problem,
               c.engine.empty() ? "without " + c.library : c.library + " " + c.engine, c.library, ms(c.plan_ms),
               ms(c.own_ms), static_cast<double>(c.workspace_bytes) / (1 << 20));
}

}  // namespace segrt::apps
