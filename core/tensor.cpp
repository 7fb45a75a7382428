#include "core/tensor.h"

#include <atomic>
#include <cstring>

#include "core/error.h"
#include "core/live_tensors.h"
#include "core/op_event.h"
#include "core/op_scope.h"

namespace segrt {
struct Tensor::Storage {
  Storage(Device& owner, const Shape& shape, DType dtype, size_t size) : device(owner), nbytes(size) {
    live.shape = shape;
    live.dtype = dtype;
    live.nbytes = size;
    if (const Scope* scope = owner.state<ScopeStack>().innermost()) {
      live.op = scope->label();
      live.backward = scope->backward();
    }
    auto& of_device = owner.state<LiveTensorsOfDevice>();
    of_device.wanted = &live;
    struct Reset {  // also when there is no memory
      const LiveTensor*& wanted;
      ~Reset() { wanted = nullptr; }
    } reset{of_device.wanted};
    data = owner.allocate(size);
    tensors = of_device.tensors;
    tensors->add(live);
  }
  ~Storage() {
    tensors->remove(live);
    device.deallocate(data, nbytes);
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Device& device;
  size_t nbytes;
  void* data = nullptr;
  LiveTensor live;
  std::shared_ptr<LiveTensors> tensors;  // that `live` is one of
  uint64_t id = device.next_storage_id();
  std::atomic<uint64_t> version{0};
};

Tensor Tensor::empty(const Shape& shape, DType dtype, Device& device) {
  size_t nbytes = 0;
  if (__builtin_mul_overflow(static_cast<size_t>(shape.numel()), size_of(dtype), &nbytes))
    throw ArgumentError("tensor: " + to_string(shape) + " is too large");
  Tensor t;
  t.storage_ = std::make_shared<Storage>(device, shape, dtype, nbytes);
  t.shape_ = shape;
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device& device) {
  Tensor t = empty(shape, dtype, device);
  t.fill_zero();
  return t;
}

Tensor Tensor::from_host(const Shape& shape, DType dtype, const void* values, size_t count, Device& device) {
  if (count != static_cast<size_t>(shape.numel()))
    throw ArgumentError("tensor: " + to_string(shape) + " holds " + std::to_string(shape.numel()) + " elements, got " +
                        std::to_string(count) + " values");
  Tensor t = empty(shape, dtype, device);
  if (count > 0) device.copy_from_host(t.raw(), values, t.nbytes());
  return t;
}

Device& Tensor::device() const {
  if (!storage_) throw ArgumentError("tensor: an undefined tensor has no device");
  return storage_->device;
}

void* Tensor::raw() const {
  if (!storage_) throw ArgumentError("tensor: an undefined tensor has no data");
  return static_cast<char*>(storage_->data) + offset_bytes_;
}

void Tensor::check_type(DType wanted) const {
  if (wanted != dtype_)
    throw ArgumentError("tensor: read as " + std::string(to_string(wanted)) + ", but it is " +
                        std::string(to_string(dtype_)));
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.numel() != numel())
    throw ArgumentError("reshape: " + to_string(shape_) + " has " + std::to_string(numel()) + " elements, " +
                        to_string(shape) + " wants " + std::to_string(shape.numel()));
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::slice(int64_t begin, int64_t count) const {
  if (rank() == 0 || begin < 0 || count < 0 || begin > dim(0) - count)
    throw ArgumentError("slice: " + std::to_string(count) + " rows from row " + std::to_string(begin) + " of " +
                        to_string(shape_));
  std::array<int64_t, Shape::kMaxRank> dims{};
  std::copy(shape_.dims().begin(), shape_.dims().end(), dims.begin());
  dims[0] = count;
  const int64_t row_bytes = dim(0) == 0 ? 0 : static_cast<int64_t>(nbytes()) / dim(0);
  Tensor t = *this;
  t.shape_ = Shape(std::span<const int64_t>(dims.data(), static_cast<size_t>(rank())));
  t.offset_bytes_ += begin * row_bytes;
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = like(*this);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device& target) const {
  if (&device() == &target) return *this;
  Tensor t = empty(shape_, dtype_, target);
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  if (source.shape() != shape_ || source.dtype() != dtype_)
    throw ArgumentError("copy: destination is " + describe(*this) + ", source is " + describe(source));
  bump_version();
  if (numel() == 0) return;
  Device& to = device();
  Device& from = source.device();
  if (&to == &from) {
    const OpScope scope("copy", *this, [&] { return OpWork{2 * bytes_of(*this)}; });
    to.copy_within(raw(), source.raw(), nbytes());
    if (to.op_observer) to.op_observer({"copy", {source}, *this});
  } else if (from.is_cpu() || to.is_meta()) {
    to.copy_from_host(raw(), source.raw(), nbytes());
  } else if (to.is_cpu()) {
    from.copy_to_host(raw(), source.raw(), nbytes());
  } else {
    std::vector<std::byte> staging(nbytes());
    from.copy_to_host(staging.data(), source.raw(), nbytes());
    to.copy_from_host(raw(), staging.data(), nbytes());
  }
}

void Tensor::fill_zero() {
  bump_version();
  if (numel() == 0) return;
  const OpScope scope("fill_zero", *this, [&] { return OpWork{bytes_of(*this)}; });
  device().fill_bytes(raw(), 0, nbytes());
}

void Tensor::read_host(void* destination) const {
  if (numel() > 0) device().copy_to_host(destination, raw(), nbytes());
}

double Tensor::item() const {
  if (numel() != 1) throw ArgumentError("item: expected one element, got " + to_string(shape_));
  std::array<std::byte, 8> bytes{};
  read_host(bytes.data());
  auto as = [&]<typename T>(T value) {
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  };
  switch (dtype_) {
    case DType::f32: return as(float{});
    case DType::f64: return as(double{});
    case DType::bf16: return static_cast<float>(as(bf16{}));
    case DType::f16: return static_cast<float>(as(f16{}));
    case DType::i64: return static_cast<double>(as(int64_t{}));
    case DType::i32: return as(int32_t{});
    case DType::u8: return as(uint8_t{});
  }
  return 0;
}

uint64_t Tensor::storage_id() const { return storage_ ? storage_->id : 0; }
uint64_t Tensor::version() const { return storage_ ? storage_->version.load(std::memory_order_relaxed) : 0; }
void Tensor::bump_version() const {
  if (storage_) storage_->version.fetch_add(1, std::memory_order_relaxed);
}

std::string describe(const Tensor& t) {
  if (!t.defined()) return "undefined";
  return std::string(to_string(t.dtype())) + " " + to_string(t.shape()) + " on " + t.device().name();
}

}  // namespace segrt
