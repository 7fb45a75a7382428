// Decodes and augments samples on worker threads and hands out batches in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/transform.h"

namespace segrt::data {

// Where a run stands in its data. Stored in checkpoints.
struct LoaderPosition {
  int64_t epoch = 0, batch = 0;
  bool operator==(const LoaderPosition&) const = default;
};

// What a batch holds depends on (seed, epoch, batch) alone, not on the number of workers or their timing:
//   order of an epoch   a permutation drawn from Rng(seed, stream_of({epoch})), or 0, 1, ... without shuffle
//   augmentation        Rng(seed, stream_of({epoch, sample index})), of the first use of a sample in an epoch; of use
//                       r = 1, 2, ... of a repeated one Rng(seed, stream_of({epoch, sample index, r}))
class Loader {
 public:
  struct Options {
    int batch_size = 1;
    int workers = 2;  // threads; 0: samples are loaded in next()
    int queue = 4;    // batches worked on or ready ahead of the consumer
    bool shuffle = true;
    bool drop_last = true;  // a last batch that is not full; otherwise it comes with fewer samples
    bool endless = true;    // epoch after epoch; otherwise next() gives nullopt once at the end of each
    uint64_t seed = 0;
    // Process `rank` of `world` takes every world-th sample of the epoch's order. With drop_last all processes have
    // equally many batches, and batch b of all of them together is batch b of one process with world times the size.
    int rank = 0, world = 1;
    // Without drop_last: where the samples do not divide by the processes, the order starts over, so that all have
    // equally many. Training needs that; in an evaluation no sample may come twice. Repeated samples need none of it.
    bool wrap = false;
    // Repeated augmentation (Hoffer et al. 2020; Berman et al. 2019): every sample of the order this many times in a
    // row. With more than 1 an epoch is not all of that: each process keeps the first floor(m / world) samples that
    // fall to it, m the largest multiple of kRepeatUnit up to the dataset's size (that size itself where it is less).
    int repeats = 1;
  };
  static constexpr int64_t kRepeatUnit = 256;

  // Dataset, transform and device must outlive the loader, the device also its batches. Threads start with the first
  // next(). Throws ArgumentError for an option out of range, and when the dataset does not fill one batch.
  Loader(const Dataset& dataset, const Transform& transform, Device& device, const Options& options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  int64_t batches_per_epoch() const { return batches_per_epoch_; }
  // The batch that next() gives next. seek() discards what is in the queue.
  LoaderPosition position() const { return next_; }
  void seek(LoaderPosition position);

  // The next batch. Rethrows what loading one of its samples threw (the first in the batch's order), now and in every
  // later call until seek(). Samples of one batch must have one size.
  std::optional<Batch> next();

  // Seconds next() has spent without a batch at hand, since construction.
  double stall_seconds() const { return stall_seconds_; }

 private:
  struct Slot;

  void check() const;
  int64_t samples_per_epoch() const;
  int64_t at(const Batch& batch, size_t item) const;
  std::vector<int64_t> samples_of(LoaderPosition position);
  std::shared_ptr<Slot> open_slot();
  void allow(LoaderPosition wanted);
  bool can_claim() const;
  void work(const std::stop_token& stop);
  void load(Slot& slot, size_t item);
  void allocate(Batch& batch, size_t pixels);
  void store(Slot& slot, size_t item, const Sample& sample);
  void stop_workers();

  const Dataset& dataset_;
  const Transform& transform_;
  Options options_;
  int64_t batches_per_epoch_ = 0;
  std::shared_ptr<HostPool> pool_;
  LoaderPosition next_;
  std::exception_ptr failure_;
  double stall_seconds_ = 0;

  // Shared with the workers, under mutex_.
  std::mutex mutex_;
  std::condition_variable_any work_available_;
  std::condition_variable batch_ready_;
  LoaderPosition opened_;                    // the next batch to open
  std::deque<std::shared_ptr<Slot>> slots_;  // opened and not handed out, in order
  std::vector<int64_t> order_;               // of order_epoch_
  int64_t order_epoch_ = -1;

  std::vector<std::jthread> workers_;  // last: joined first
};

}  // namespace segrt::data
