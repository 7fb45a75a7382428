// Many images through a network: decoded by worker threads, copied to the device, computed and copied back, all at the
// same time for different images.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/image.h"
#include "train/image_to_map.h"

namespace segrt::train {

class StreamingInference {
 public:
  struct Options {
    ImageToMap::Options inference;
    int workers = 2;  // threads that decode; at most workers + 2 images are in memory
  };
  // The model is put into evaluation mode; its weights must not change meanwhile.
  StreamingInference(models::Model& model, Device& device, const Options& options);

  // Image `index`, RGB of any size. Called from the workers, several at once.
  using Source = std::function<data::Image(int64_t index)>;
  // Called in the order of the images, from the thread that called run(), while the device computes the next one.
  // map: [H,W,1], first argmax.
  using Sink = std::function<void(int64_t index, const data::Image& image, data::Image map)>;

  struct Stats {
    int64_t frames = 0;
    double seconds = 0;
    std::vector<double> latency_ms;  // by frame: from the start of its copy to the device until its map is on the host
    // Where the time of the thread that called run() went; the rest queued work.
    double wait_decode_s = 0, wait_device_s = 0, sink_s = 0;
    double decode_s = 0;  // of all workers together, side by side with the above
  };
  // Images 0 to count - 1. When one fails, those before it are still delivered, then Error "frame 3: <why>" is thrown;
  // when `sink` throws, its exception. No thread is left behind in either case.
  Stats run(int64_t count, const Source& source, const Sink& sink);

 private:
  ImageToMap network_;
  Device& device_;
  Options options_;
};

}  // namespace segrt::train
