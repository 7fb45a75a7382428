#include "train/data_parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "core/error.h"
#include "nn/layers.h"

namespace segrt::train {
namespace {
constexpr int64_t kNoGradient = 0;
constexpr size_t kNoBucket = std::numeric_limits<size_t>::max();
constexpr int64_t kAlignment = 64;  // elements: every gradient starts where vector loads may

int64_t code_of(DType dtype) { return 1 + static_cast<int64_t>(dtype); }
DType dtype_of_code(int64_t code) { return static_cast<DType>(code - 1); }
}  // namespace

DataParallel::DataParallel(models::Model& model, Communicator& processes, const Options& options)
    : model_(model),
      processes_(processes),
      options_(options),
      statistics_(processes.duplicate()),
      cpu_(Device::create("cpu")) {
  if (options.bucket_bytes < 1) throw ArgumentError("data parallel: bucket_bytes: expected at least 1");
  model.visit_parameters([this](const std::string& path, nn::Parameter& p) {
    if (p.trained) slots_.push_back({.name = path, .var = p.var, .bucket = kNoBucket});
  });
  std::reverse(slots_.begin(), slots_.end());
  for (size_t i = 0; i < slots_.size(); ++i) slots_[i].var.on_gradient([this, i] { arrive(i); });
  model.set_sample_share({.first = processes.rank(), .stride = processes.size()});
  if (options.sync_bn) {
    nn::synchronize_batch_norms(
        model, statistics_.get(),
        {.mean_weight_gradient = options.mean_weight_gradient, .shares_messages = options.batched_norms});
    model.norms_over = statistics_.get();
  }
  if (options.loss_average == LossAverage::global) model.averages_over = statistics_.get();
}

DataParallel::~DataParallel() {
  for (Slot& slot : slots_) slot.var.on_gradient({});
  model_.set_sample_share({});
  nn::synchronize_batch_norms(model_, nullptr);
  model_.averages_over = nullptr;
  model_.norms_over = nullptr;
}

void DataParallel::broadcast_state() {
  for (const nn::Module::StateEntry& e : model_.state())
    processes_.broadcast(e.parameter != nullptr ? e.parameter->var.value() : e.buffer->tensor, 0);
}

// The gradient of a slot is complete, or there is none: its part of a bucket is written, and the bucket travels as soon
// as all of it is there and those before it do.
void DataParallel::arrive(size_t i) {
  Slot& slot = slots_[i];
  if (slot.arrived) throw ArgumentError("data parallel: a second backward pass before finish(): " + slot.name);
  slot.arrived = true;
  const Tensor& gradient = slot.var.grad();
  slot.code = gradient.defined() ? code_of(gradient.dtype()) : kNoGradient;
  if (slot.bucket == kNoBucket) return;
  Bucket& bucket = buckets_[slot.bucket];
  const bool as_planned = slot.code == code_of(bucket.dtype);
  const int64_t count = slot.var.value().numel();
  if (bucket.in_place && as_planned)
    bucket.flat = (gradient.use_count() == 1 ? gradient : gradient.clone()).reshape({count});
  else if (bucket.in_place)
    bucket.flat = Tensor::zeros({count}, bucket.dtype, slot.var.device());
  else if (as_planned)
    bucket.flat.slice(slot.offset, count).copy_from(gradient.reshape({count}));
  else
    bucket.flat.slice(slot.offset, count).fill_zero();
  if (as_planned) slot.var.clear_grad();  // a copy's memory serves the rest of the backward pass
  --bucket.missing;
  start_complete();
}

// In one order in all processes, whatever order gradients arrive in.
void DataParallel::start_complete() {
  for (; next_ < buckets_.size() && buckets_[next_].missing == 0; ++next_)
    buckets_[next_].sum = processes_.all_reduce_async(buckets_[next_].flat, fmt::format("bucket {}", next_));
}

bool DataParallel::travels_in_place(int64_t bytes) const {
  const bool on_cpu = slots_.front().var.device().is_cpu();
  return bytes >= (on_cpu ? options_.in_place_bytes : std::max(options_.in_place_bytes, options_.bucket_bytes));
}

void DataParallel::plan(const std::vector<int64_t>& codes) {
  buckets_.clear();
  std::map<DType, Bucket> open;
  const auto close = [this](Bucket& bucket, int64_t count) {
    if (!bucket.in_place) bucket.flat = Tensor::zeros({count}, bucket.dtype, slots_.front().var.device());
    for (const size_t i : bucket.slots) slots_[i].bucket = buckets_.size();
    bucket.missing = bucket.slots.size();
    buckets_.push_back(std::move(bucket));
  };
  std::map<DType, int64_t> counts;
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].bucket = kNoBucket;
    if (codes[i] == kNoGradient) continue;
    const DType dtype = dtype_of_code(codes[i]);
    const int64_t bytes = slots_[i].var.value().numel() * static_cast<int64_t>(size_of(dtype));
    if (travels_in_place(bytes)) {
      slots_[i].offset = 0;
      Bucket alone{.dtype = dtype, .in_place = true, .flat = {}, .slots = {i}, .sum = {}};
      close(alone, 0);
      continue;
    }
    Bucket& bucket =
        open.try_emplace(dtype, Bucket{.dtype = dtype, .in_place = false, .flat = {}, .slots = {}, .sum = {}})
            .first->second;
    int64_t& count = counts[dtype];
    slots_[i].offset = count;
    bucket.slots.push_back(i);
    count += (slots_[i].var.value().numel() + kAlignment - 1) / kAlignment * kAlignment;
    if (count * static_cast<int64_t>(size_of(dtype)) < options_.bucket_bytes) continue;
    close(bucket, count);
    open.erase(dtype);
    count = 0;
  }
  for (auto& [dtype, bucket] : open) close(bucket, counts[dtype]);
  next_ = 0;
}

// What each slot holds where it holds anything: by that all processes do the same.
std::vector<int64_t> DataParallel::agreed_codes() {
  std::vector<int64_t> own;
  for (const Slot& slot : slots_) own.push_back(slot.code);
  const auto count = static_cast<int64_t>(own.size());
  const Tensor all = Tensor::empty({processes_.size(), count}, DType::i64, *cpu_);
  processes_.all_gather(Tensor::from<int64_t>({count}, own, *cpu_), all);
  const std::vector<int64_t> rows = all.to_vector<int64_t>();
  std::vector<int64_t> agreed(own.size(), kNoGradient);
  for (size_t k = 0; k < rows.size(); ++k) {
    int64_t& code = agreed[k % own.size()];
    if (rows[k] == kNoGradient || rows[k] == code) continue;
    if (code != kNoGradient)
      throw Error(fmt::format("data parallel: the gradient of {} is {} in one process and {} in another",
                              slots_[k % own.size()].name, to_string(dtype_of_code(code)),
                              to_string(dtype_of_code(rows[k]))));
    code = rows[k];
  }
  return agreed;
}

void DataParallel::finish() {
  for (size_t i = 0; i < slots_.size(); ++i)
    if (!slots_[i].arrived) arrive(i);  // the loss does not depend on it
  for (Bucket& bucket : buckets_) bucket.sum.wait();
  const std::vector<int64_t> codes = agreed_codes();
  collect(codes);
  abandon();
}

void DataParallel::collect(const std::vector<int64_t>& codes) {
  bool as_planned = true;
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (codes[i] == kNoGradient) {
      slot.var.clear_grad();
      continue;
    }
    const DType dtype = dtype_of_code(codes[i]);
    if (slot.bucket != kNoBucket && buckets_[slot.bucket].dtype == dtype) {
      const Tensor& flat = buckets_[slot.bucket].flat;
      slot.var.set_grad(flat.slice(slot.offset, slot.var.value().numel()).reshape(slot.var.shape()));
      continue;
    }
    // The first time, and where something has changed: as it is, and in a bucket from the next time on.
    as_planned = false;
    if (!slot.var.grad().defined()) slot.var.set_grad(Tensor::zeros(slot.var.shape(), dtype, slot.var.device()));
    const Tensor own = slot.var.grad().clone();  // others may see it: an operator may hand on what it was given
    processes_.all_reduce(own);
    slot.var.set_grad(own);
  }
  if (as_planned) return;
  // What had a place keeps it: a parameter may be without a gradient for one step.
  std::vector<int64_t> wanted = codes;
  for (size_t i = 0; i < slots_.size(); ++i)
    if (wanted[i] == kNoGradient && slots_[i].bucket != kNoBucket)
      wanted[i] = code_of(buckets_[slots_[i].bucket].dtype);
  plan(wanted);
}

void DataParallel::abandon() {
  for (Slot& slot : slots_) {
    slot.arrived = false;
    slot.code = kNoGradient;
  }
  for (Bucket& bucket : buckets_) {
    bucket.sum.wait();
    bucket.missing = bucket.slots.size();
    if (bucket.in_place) bucket.flat = Tensor();
  }
  next_ = 0;
}

}  // namespace segrt::train
