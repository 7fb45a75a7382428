#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/random.h"

namespace segrt::data {
namespace {
constexpr size_t kErasureNumbers = 5;  // of a sample, in Batch::erasures
}

// A batch in the making. Workers fill disjoint parts of its memory without a lock; the rest is under Loader::mutex_.
struct Loader::Slot {
  Batch batch;
  size_t claimed = 0, finished = 0;
  std::exception_ptr error;
  size_t error_item = 0;
  bool complete() const { return finished == batch.samples.size(); }
};

Loader::Loader(const Dataset& dataset, const Transform& transform, Device& device, const Options& options)
    : dataset_(dataset), transform_(transform), options_(options), pool_(std::make_shared<HostPool>(device)) {
  check();
  const int64_t count = dataset.size(), world = options.world, size = options.batch_size;
  const int64_t mine = samples_per_epoch();
  batches_per_epoch_ = options.drop_last ? mine / size : (mine + size - 1) / size;
  if (batches_per_epoch_ == 0)
    throw ArgumentError(fmt::format("loader: {} has {} samples, not enough for one batch of {} in each of {} processes",
                                    dataset.name(), count, size, world));
}

// Of this process.
int64_t Loader::samples_per_epoch() const {
  const int64_t count = dataset_.size(), world = options_.world;
  if (options_.repeats > 1) return (count < kRepeatUnit ? count : count / kRepeatUnit * kRepeatUnit) / world;
  if (options_.drop_last) return count / world;
  return (options_.wrap ? count + world - 1 : count - options_.rank + world - 1) / world;
}

// Place of a sample in the epoch's order, repetitions included.
int64_t Loader::at(const Batch& batch, size_t item) const {
  return (batch.index * options_.batch_size + static_cast<int64_t>(item)) * options_.world + options_.rank;
}

Loader::~Loader() { stop_workers(); }

void Loader::check() const {
  const Options& o = options_;
  if (o.batch_size < 1 || o.workers < 0 || o.workers > 1024 || o.queue < 1)
    throw ArgumentError(
        fmt::format("loader: expected batch_size >= 1, workers in 0..1024 and queue >= 1, got {}, {}, {}", o.batch_size,
                    o.workers, o.queue));
  if (o.repeats < 1 || o.repeats > 1000)
    throw ArgumentError(fmt::format("loader: expected repeats in 1..1000, got {}", o.repeats));
  if (o.world < 1 || o.rank < 0 || o.rank >= o.world)
    throw ArgumentError(fmt::format("loader: expected 0 <= rank < world, got rank {} of {}", o.rank, o.world));
}

void Loader::stop_workers() {
  for (std::jthread& worker : workers_) worker.request_stop();
  workers_.clear();  // joins
}

void Loader::seek(LoaderPosition position) {
  if (position.epoch < 0 || position.batch < 0 || position.batch > batches_per_epoch_)
    throw ArgumentError(fmt::format("loader: no batch {} of epoch {}; an epoch of {} has {}", position.batch,
                                    position.epoch, dataset_.name(), batches_per_epoch_));
  if (position.batch == batches_per_epoch_ && options_.endless) position = {position.epoch + 1, 0};
  stop_workers();
  slots_.clear();
  failure_ = nullptr;
  next_ = opened_ = position;
}

std::vector<int64_t> Loader::samples_of(LoaderPosition position) {
  if (order_epoch_ != position.epoch) {
    order_.resize(static_cast<size_t>(dataset_.size()));
    std::iota(order_.begin(), order_.end(), int64_t{0});
    Rng rng(options_.seed, stream_of({static_cast<uint64_t>(position.epoch)}));
    for (size_t i = options_.shuffle ? order_.size() : 0; i > 1; --i)  // Fisher-Yates
      std::swap(order_[i - 1], order_[static_cast<size_t>(rng.integer(0, static_cast<int64_t>(i) - 1))]);
    order_epoch_ = position.epoch;
  }
  std::vector<int64_t> samples;
  const int64_t begin = position.batch * options_.batch_size;
  const int64_t size = dataset_.size();
  const int64_t end = std::min(begin + options_.batch_size, samples_per_epoch());
  for (int64_t k = begin; k < end; ++k) {
    const int64_t at = (k * options_.world + options_.rank) / options_.repeats;
    samples.push_back(order_[static_cast<size_t>(at % size)]);  // with wrap the order starts over
  }
  return samples;
}

std::shared_ptr<Loader::Slot> Loader::open_slot() {
  auto slot = std::make_shared<Slot>();
  slot->batch.epoch = opened_.epoch;
  slot->batch.index = opened_.batch;
  slot->batch.samples = samples_of(opened_);
  slot->batch.size = static_cast<int>(slot->batch.samples.size());
  slot->batch.names.resize(slot->batch.samples.size());
  slot->batch.content.resize(slot->batch.samples.size());
  if (++opened_.batch == batches_per_epoch_ && options_.endless) opened_ = {opened_.epoch + 1, 0};
  slots_.push_back(slot);
  return slot;
}

// Where epochs are asked for one by one, workers rest at the end of each until a batch of the next is wanted.
void Loader::allow(LoaderPosition wanted) {
  if (opened_.epoch >= wanted.epoch) return;
  opened_ = wanted;
  work_available_.notify_all();
}

// Only the newest slot can have unclaimed samples: a slot is opened when all earlier ones are claimed.
bool Loader::can_claim() const {
  if (!slots_.empty() && slots_.back()->claimed < slots_.back()->batch.samples.size()) return true;
  return slots_.size() < static_cast<size_t>(options_.queue) && opened_.batch < batches_per_epoch_;
}

void Loader::work(const std::stop_token& stop) {
  for (;;) {
    std::shared_ptr<Slot> slot;
    size_t item = 0;
    {
      std::unique_lock lock(mutex_);
      if (!work_available_.wait(lock, stop, [&] { return can_claim(); }) || stop.stop_requested()) return;
      if (!slots_.empty() && slots_.back()->claimed < slots_.back()->batch.samples.size())
        slot = slots_.back();
      else
        slot = open_slot();
      item = slot->claimed++;
    }
    load(*slot, item);
  }
}

void Loader::load(Slot& slot, size_t item) {
  std::exception_ptr error;
  try {
    const int64_t index = slot.batch.samples[item];
    const auto epoch = static_cast<uint64_t>(slot.batch.epoch), sample_id = static_cast<uint64_t>(index);
    const auto repeat = static_cast<uint64_t>(at(slot.batch, item) % options_.repeats);
    Rng rng(options_.seed, repeat == 0 ? stream_of({epoch, sample_id}) : stream_of({epoch, sample_id, repeat}));
    Sample sample = dataset_.load(index);
    const std::string name = sample.name;
    try {
      store(slot, item, transform_.apply(std::move(sample), rng));
    } catch (const ArgumentError& e) {
      throw ArgumentError(fmt::format("{}: {}: {}", dataset_.name(), name, e.what()));
    }
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  if (error && (!slot.error || item < slot.error_item)) {
    slot.error = error;
    slot.error_item = item;
  }
  if (++slot.finished == slot.batch.samples.size()) batch_ready_.notify_one();
}

// Host memory for a batch of `pixels` in all: classes and erasures first, which need the alignment, then images and
// label maps.
void Loader::allocate(Batch& batch, size_t pixels) {
  const bool maps = dataset_.has_labels() && !dataset_.is_classification();
  const size_t classes = dataset_.has_labels() && !maps ? batch.samples.size() : 0;
  const size_t erasures = transform_.erases() ? kErasureNumbers * batch.samples.size() : 0;
  const size_t class_bytes = classes * sizeof(int64_t), number_bytes = class_bytes + erasures * sizeof(int64_t);
  batch.memory = HostBuffer(pool_, number_bytes + pixels * (maps ? 4 : 3));
  uint8_t* bytes = batch.memory.data();
  if (classes > 0) batch.classes = {reinterpret_cast<int64_t*>(bytes), classes};
  if (erasures > 0) batch.erasures = {reinterpret_cast<int64_t*>(bytes + class_bytes), erasures};
  batch.images = {bytes + number_bytes, pixels * 3};
  if (maps) batch.labels = {bytes + number_bytes + pixels * 3, pixels};
}

void Loader::store(Slot& slot, size_t item, const Sample& sample) {
  const Image &image = sample.image, &label = sample.label;
  if (image.channels != 3 ||
      (!label.empty() && (label.channels != 1 || label.height != image.height || label.width != image.width)))
    throw ArgumentError(
        fmt::format("loader: expected an image [h,w,3] and a label map [h,w,1], got [{},{},{}] and [{},{},{}]",
                    image.height, image.width, image.channels, label.height, label.width, label.channels));
  Batch& batch = slot.batch;
  const size_t pixels = static_cast<size_t>(image.height) * static_cast<size_t>(image.width);
  {
    const std::lock_guard lock(mutex_);
    if (batch.images.empty()) {  // the first sample to arrive decides the size
      allocate(batch, pixels * batch.samples.size());
      batch.height = image.height;
      batch.width = image.width;
    }
    if (image.height != batch.height || image.width != batch.width)
      throw ArgumentError(
          fmt::format("loader: sample is {}x{} (width x height), others of its batch are {}x{}; crop them "
                      "to one size or use batches of 1",
                      image.width, image.height, batch.width, batch.height));
    batch.names[item] = sample.name;
    batch.content[item] = sample.content;
  }
  std::memcpy(batch.images.data() + item * pixels * 3, image.pixels.data(), pixels * 3);
  if (!batch.erasures.empty()) {
    const Erasure& e = sample.erasure;
    const std::array<int64_t, kErasureNumbers> numbers{e.y, e.x, e.height, e.width, static_cast<int64_t>(e.stream)};
    std::copy(numbers.begin(), numbers.end(), batch.erasures.data() + item * kErasureNumbers);
  }
  if (!batch.classes.empty()) batch.classes[item] = dataset_.class_of(batch.samples[item]);
  if (batch.labels.empty()) return;
  if (label.empty())
    std::memset(batch.labels.data() + item * pixels, dataset_.classes().ignore_index, pixels);
  else
    std::memcpy(batch.labels.data() + item * pixels, label.pixels.data(), pixels);
}

std::optional<Batch> Loader::next() {
  if (failure_) std::rethrow_exception(failure_);
  if (next_.batch == batches_per_epoch_) {  // not endless
    next_ = {next_.epoch + 1, 0};
    return std::nullopt;
  }
  const auto begin = std::chrono::steady_clock::now();
  std::shared_ptr<Slot> slot;
  if (options_.workers == 0) {
    allow(next_);
    slot = open_slot();
    for (size_t item = 0; item < slot->batch.samples.size(); ++item) load(*slot, item);
    slots_.pop_front();
  } else {
    while (workers_.size() < static_cast<size_t>(options_.workers))
      workers_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    std::unique_lock lock(mutex_);
    allow(next_);
    batch_ready_.wait(lock, [&] { return !slots_.empty() && slots_.front()->complete(); });
    slot = slots_.front();
    slots_.pop_front();
  }
  work_available_.notify_all();  // a place in the queue is free
  stall_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (slot->error) {
    failure_ = slot->error;
    std::rethrow_exception(failure_);
  }
  if (++next_.batch == batches_per_epoch_ && options_.endless) next_ = {next_.epoch + 1, 0};
  return std::move(slot->batch);
}

}  // namespace segrt::data
