// The sum of a network's gradients over the processes of `mpirun`, by the buckets of train::DataParallel (copies and
// agreement included) of several sizes, beside a message a parameter: summed in place, and by DataParallel with a
// bucket for each. The gradients' shapes are those of networks; their numbers are of no account. Nothing is computed
// meanwhile.
//
//   mpirun -np 2 bench_all_reduce_cpu [--models drn_d_22,dabnet_e] [--bucket-mb 1,16] [--rounds N] [--json FILE]
#include <fmt/format.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/communicator.h"
#include "core/config.h"
#include "core/parallel.h"
#include "kernels/elementwise.h"
#include "models/model.h"
#include "train/data_parallel.h"

namespace segrt {
namespace {
struct Arguments {
  std::vector<std::string> models{"dabnet_e", "dynamic_raw_l16", "drn_d_22", "dgmn2_tiny_fpn"};
  std::vector<double> bucket_mb{1, 2, 4, 8, 16, 32};
  double in_place_mb = static_cast<double>(train::DataParallel::Options{}.in_place_bytes) / (1 << 20);
  int rounds = 15;
  std::string note, json;
};

double load_average() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : -1;
}

// Of the slowest process, from when all are ready.
double slowest_ms(Communicator& processes, const std::function<void()>& f) {
  processes.barrier();
  const auto begin = std::chrono::steady_clock::now();
  f();
  const auto passed = std::chrono::steady_clock::now() - begin;
  const std::vector<int64_t> all =
      processes.all_gather(std::chrono::duration_cast<std::chrono::nanoseconds>(passed).count());
  return static_cast<double>(*std::max_element(all.begin(), all.end())) / 1e6;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// A way to sum, and what each round took.
struct Way {
  std::string name;
  double bucket_mb = 0;  // of DataParallel
  std::unique_ptr<train::DataParallel> parallel;
  std::vector<double> ms = {};
};

struct Gradients {
  std::vector<Var> parameters;  // last layers first, as the backward pass has them
  std::vector<Tensor> tensors;
  int64_t bytes = 0;

  explicit Gradients(models::Model& model) {
    model.visit_parameters([this](const std::string&, nn::Parameter& p) {
      if (p.trained) parameters.push_back(p.var);
    });
    std::reverse(parameters.begin(), parameters.end());
    for (const Var& p : parameters) {
      tensors.push_back(Tensor::like(p.value()));
      kernels::fill(tensors.back(), 0);
      bytes += static_cast<int64_t>(tensors.back().nbytes());
    }
  }
};

void sum(const Way& way, Gradients& gradients, Communicator& processes) {
  if (way.parallel != nullptr) {
    way.parallel->finish();
    return;
  }
  std::vector<Communication> pending;
  pending.reserve(gradients.tensors.size());
  for (const Tensor& t : gradients.tensors) pending.push_back(processes.all_reduce_async(t));
  for (Communication& c : pending) c.wait();
}

nlohmann::json measure(const std::string& name, const Arguments& a, Communicator& processes, Device& cpu) {
  nn::Init init(cpu, 1);
  const Config config = Config::parse(fmt::format("[model]\nname = \"{}\"\nclasses = 19\n", name), "bench");
  const std::unique_ptr<models::Model> model = models::build(config.table("model"), init);
  Gradients gradients(*model);
  // A message a parameter: of the gradients where they lie; and as DataParallel has it when its buckets hold one each.
  std::vector<Way> ways;
  ways.push_back({.name = "in place", .parallel = nullptr});
  constexpr double kOneEach = 1.0 / (1 << 20);
  std::vector<double> sizes{kOneEach};
  sizes.insert(sizes.end(), a.bucket_mb.begin(), a.bucket_mb.end());
  for (const double mb : sizes)
    ways.push_back(
        {.name = mb == kOneEach ? "one each" : fmt::format("{:g} MB", mb),
         .bucket_mb = mb,
         .parallel = std::make_unique<train::DataParallel>(
             *model, processes,
             train::DataParallel::Options{.sync_bn = false,
                                          .bucket_bytes = static_cast<int64_t>(mb * (1 << 20)),
                                          .in_place_bytes = static_cast<int64_t>(a.in_place_mb * (1 << 20))})});
  constexpr int kWarmup = 2;  // buckets are planned by the first
  for (int round = -kWarmup; round < a.rounds; ++round)
    for (size_t k = 0; k < ways.size(); ++k) {
      // In turns and each round from another on, after a rest: a neighbour on the machine slows all of them alike.
      Way& way = ways[(k + static_cast<size_t>(round + kWarmup)) % ways.size()];
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      // As a backward pass leaves them: each the only owner of its memory.
      if (way.parallel != nullptr)
        for (size_t i = 0; i < gradients.parameters.size(); ++i)
          gradients.parameters[i].set_grad(gradients.tensors[i].clone());
      const double ms = slowest_ms(processes, [&] { sum(way, gradients, processes); });
      if (round >= 0) way.ms.push_back(ms);
    }
  const double in_place = median(ways[0].ms), one_each = median(ways[1].ms),
               mib = static_cast<double>(gradients.bytes) / (1 << 20);
  nlohmann::json buckets = nlohmann::json::array();
  for (const Way& way : ways) {
    const double ms = median(way.ms);
    const size_t messages = way.parallel == nullptr ? gradients.tensors.size() : way.parallel->buckets();
    if (processes.rank() == 0)
      fmt::print("{:<16} {:>8.1f} {:>10} {:>9} {:>10.2f} {:>10.2f} {:>9.2f} {:>9.2f}\n", name, mib, way.name, messages,
                 ms, *std::min_element(way.ms.begin(), way.ms.end()), in_place / ms, one_each / ms);
    if (way.bucket_mb > kOneEach)
      buckets.push_back({{"bucket_mb", way.bucket_mb},
                         {"messages", messages},
                         {"median_ms", ms},
                         {"times_faster_than_in_place", in_place / ms},
                         {"times_faster_than_one_each", one_each / ms}});
  }
  return {
      {"model", name},
      {"gradient_bytes", gradients.bytes},
      {"message_a_parameter",
       {{"messages", gradients.tensors.size()}, {"in_place_median_ms", in_place}, {"one_each_median_ms", one_each}}},
      {"buckets", buckets}};
}

int run(const Arguments& a) {
  set_threads(1);
  const std::unique_ptr<Device> cpu = Device::create("cpu");
  const std::unique_ptr<Communicator> processes = Communicator::open(*cpu);
  if (processes->size() == 1) {
    fmt::print(stderr, "bench_all_reduce_cpu: one process has nothing to sum: mpirun -np 2 bench_all_reduce_cpu\n");
    return 2;
  }
  const double load = load_average();
  if (processes->rank() == 0)
    fmt::print("{:<16} {:>8} {:>10} {:>9} {:>10} {:>10} {:>9} {:>9}\n", "network", "MiB", "buckets", "messages",
               "median ms", "least ms", "in place", "one each");
  nlohmann::json results = nlohmann::json::array();
  for (const std::string& name : a.models) results.push_back(measure(name, a, *processes, *cpu));
  if (processes->rank() == 0 && !a.json.empty())
    std::ofstream(a.json) << nlohmann::json{{"benchmark", "all_reduce_cpu"},
                                            {"processes", processes->size()},
                                            {"machine", cpu->description()},
                                            {"rounds", a.rounds},
                                            {"load_average_before", load},
                                            {"note", a.note},
                                            {"results", results}}
                                 .dump(1)
                          << '\n';
  processes->barrier();
  return 0;
}
}  // namespace
}  // namespace segrt

int main(int argc, char** argv) {
  CLI::App app("Times the sum of gradients over processes.", "bench_all_reduce_cpu");
  segrt::Arguments a;
  app.add_option("--models", a.models, "networks whose gradients are summed")->delimiter(',')->capture_default_str();
  app.add_option("--bucket-mb", a.bucket_mb, "sizes of buckets")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--in-place-mb", a.in_place_mb, "gradients from this size on travel without a copy")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--rounds", a.rounds, "measurements of each, of which the median counts")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--note", a.note, "about the machine, for --json");
  app.add_option("--json", a.json, "write the results to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    return segrt::run(a);
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_all_reduce_cpu: error: {}\n", e.what());
    return 1;
  }
}
