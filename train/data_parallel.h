// Several processes that train one network, each on its share of every batch: the same weights in all of them, batch
// norms over all samples, one loss, and gradients that are summed while the backward pass is under way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/op_profile.h"
#include "models/model.h"

namespace segrt::train {

// What the loss of several processes is.
enum class LossAverage : uint8_t {
  per_process,  // the mean of the processes' own losses, whatever the number of pixels that count in each
  global        // the mean over the pixels (or images) of all of them: what one process with all samples would have
};

class DataParallel {
 public:
  struct Options {
    LossAverage loss_average = LossAverage::per_process;
    bool sync_bn = true;
    bool mean_weight_gradient = false;         // autograd::BatchNormState
    bool batched_norms = true;                 // norms that do not depend on one another share messages
    int64_t bucket_bytes = int64_t{16} << 20;  // gradients travel in messages of about this size
    // On a CPU gradients of this size and more travel alone, from where they lie: a message costs less than a copy. On
    // a GPU, where it is the other way round, those that fill a bucket.
    int64_t in_place_bytes = int64_t{512} << 10;
  };
  // From now on the model's batch norms, losses and random numbers are those of a part of a batch: sample n of process
  // r is sample n * size + r of the batch of all, as data::Loader deals them. Model and communicator must outlive this
  // object; it leaves the model as it was.
  DataParallel(models::Model& model, Communicator& processes, const Options& options);
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  Communicator& processes() const { return processes_; }
  LossAverage loss_average() const { return options_.loss_average; }
  // For losses and batch norms, whose small messages do not wait behind gradients.
  Communicator& statistics() const { return *statistics_; }

  // Parameters and buffers of process 0 for all.
  void broadcast_state();
  // After a backward pass, of which there is one between two calls: each parameter's gradient is now the sum over the
  // processes. A parameter without a gradient in one process adds nothing there, and has none if no process has one.
  void finish();
  // Forgets a backward pass that did not come to its end.
  void abandon();

  // How many messages the gradients travel in; 0 before the first finish(). Message i is called "bucket i".
  size_t buckets() const { return buckets_.size(); }
  // What a profile shows of the processes' messages.
  std::vector<ProfiledCommunicator> profiled() const {
    return {{"gradients", &processes_}, {"norms and losses", statistics_.get()}};
  }

 private:
  struct Slot {
    std::string name;
    Var var;
    int64_t code = 0;    // of this backward pass's gradient: its type, or that there is none
    size_t bucket = 0;   // kNoBucket: travels alone
    int64_t offset = 0;  // in it, elements
    bool arrived = false;
  };
  struct Bucket {
    DType dtype;
    bool in_place;  // it is the gradient of its one slot
    Tensor flat;    // undefined, in place: not arrived
    std::vector<size_t> slots;
    size_t missing = 0;  // slots that have not arrived
    Communication sum;
  };

  void arrive(size_t slot);
  bool travels_in_place(int64_t bytes) const;
  void start_complete();
  void plan(const std::vector<int64_t>& codes);
  std::vector<int64_t> agreed_codes();
  void collect(const std::vector<int64_t>& codes);

  models::Model& model_;
  Communicator& processes_;
  Options options_;
  std::unique_ptr<Communicator> statistics_;
  std::vector<Slot> slots_;  // last layers first
  std::vector<Bucket> buckets_;
  size_t next_ = 0;  // bucket to start
  std::unique_ptr<Device> cpu_;
};

}  // namespace segrt::train
