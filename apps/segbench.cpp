// segbench CONFIG: times a network on random input: steps, latency, a stream of images.
#include "apps/segbench/arguments.h"
#include "train/precision.h"

int main(int argc, char** argv) {
  using namespace segrt;
  CLI::App app(
      "Times a network: single steps (forward: image on the device to class map; train: one update), latency at batch "
      "1, or a stream of images from and to the host.",
      "segbench");
  apps::BenchArguments a;
  app.add_option("config", a.config, "configuration, e.g. models/drn_d_22.toml")->required();
  app.add_option("--mode", a.mode, "forward, train, latency or stream")
      ->capture_default_str()
      ->check(CLI::IsMember({"forward", "train", "latency", "stream"}));
  app.add_option("--input", a.input, "NxHxW")->capture_default_str();
  app.add_option("--precision", a.precision, "f32, tf32, bf16 or f16, in place of train.precision")
      ->capture_default_str()
      ->check(CLI::IsMember(train::precision_names()));
  app.add_option("--repeat", a.repeat, "timed runs (default: 20; latency: 100; stream: images)")
      ->check(CLI::Range(1, 100000));
  app.add_option("--warmup", a.warmup, "runs before them (default: 3; latency: 20; stream: 3)")
      ->check(CLI::Range(0, 1000));
  app.add_option("--protocol", a.protocol,
                 "latency: median (of single runs), or fasterseg (that of the FPS in the DABNet paper: logits at input "
                 "size, the mean of one long loop)")
      ->capture_default_str()
      ->check(CLI::IsMember({"median", "fasterseg"}));
  app.add_option("--images", a.images,
                 "stream: a folder of JPEG or PNG photos, decoded by the workers (default: noise)")
      ->type_name("DIR");
  app.add_option("--workers", a.workers, "stream: threads that decode")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  app.add_flag("!--no-capture", a.capture, "on CUDA: run operator by operator in place of replaying a graph");
  app.add_option("--json", a.json, "write the figures and all that is needed to repeat them to this file");
  app.add_flag("--explain", a.explain,
               "on a GPU: who computes each convolution and matrix product, and what was measured");
  apps::add_profile_options(app, a.profile, "runs after the timed ones");
  apps::add_device_options(app, a.common);
  apps::add_set_option(app, a.common);
  return apps::run_program(app, argc, argv, [&] {
    const bool latency = a.mode == "latency", stream = a.mode == "stream";
    if (a.repeat == 0) a.repeat = latency ? 100 : 20;
    if (a.warmup < 0) a.warmup = latency ? 20 : 3;
    if (latency) return apps::bench_latency(a);
    return stream ? apps::bench_stream(a) : apps::bench_steps(a);
  });
}
