// What the modes of segbench share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "apps/profile_options.h"

namespace segrt::apps {

struct BenchArguments {
  std::string config, mode = "forward", input = "1x512x1024", precision = "f32", json, protocol = "median", images;
  int repeat = 0, warmup = -1;  // as they are: those of the mode
  int workers = 2;
  bool capture = true, explain = false;
  ProfileOptions profile;
  CommonOptions common;
};

// The network of a configuration, on a device. Keys that the mode does not read are marked as known.
struct BenchNetwork {
  std::unique_ptr<Device> device;
  Config config;
  std::unique_ptr<models::Model> model;
  std::vector<int64_t> sizes;  // of --input: N, H, W
  DType precision;             // of activations
};
BenchNetwork open_network(const BenchArguments& a);

std::vector<uint8_t> random_bytes(int64_t count, int below, uint64_t stream);

int bench_steps(const BenchArguments& a);    // forward, train
int bench_latency(const BenchArguments& a);  // latency
int bench_stream(const BenchArguments& a);   // stream

}  // namespace segrt::apps
