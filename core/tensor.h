// A dense, contiguous array on a device. Copying a Tensor shares the storage; clone() copies the data.
// Activations are NHWC ([N,H,W,C]; tokens [N,L,C] are the same bytes), convolution weights [out, kh, kw, in/groups].
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace segrt {

class Tensor {
 public:
  Tensor() = default;                                                    // undefined: no storage, no device
  static Tensor empty(const Shape& shape, DType dtype, Device& device);  // contents undefined
  static Tensor zeros(const Shape& shape, DType dtype, Device& device);
  static Tensor like(const Tensor& t) { return empty(t.shape(), t.dtype(), t.device()); }
  static Tensor zeros_like(const Tensor& t) { return zeros(t.shape(), t.dtype(), t.device()); }
  // A copy of host values: Tensor::from<float>({1,2,2,1}, values, device).
  template <typename T>
  static Tensor from(const Shape& shape, std::span<const T> values, Device& device) {
    return from_host(shape, dtype_of<T>(), values.data(), values.size(), device);
  }
  template <typename T>
  static Tensor from(const Shape& shape, const std::vector<T>& values, Device& device) {
    return from_host(shape, dtype_of<T>(), values.data(), values.size(), device);
  }

  bool defined() const { return storage_ != nullptr; }
  explicit operator bool() const { return defined(); }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t numel() const { return shape_.numel(); }
  size_t nbytes() const { return static_cast<size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device& device() const;

  // Device memory: dereference on the host only where the device is a CPU. T must match dtype (checked).
  template <typename T>
  T* data() const {
    check_type(dtype_of<T>());
    return static_cast<T*>(raw());
  }
  void* raw() const;  // first byte of this view

  Tensor reshape(const Shape& shape) const;          // same storage; numel must match
  Tensor slice(int64_t begin, int64_t count) const;  // rows of dimension 0; same storage
  Tensor clone() const;
  Tensor to(Device& device) const;       // *this if already there, else a copy; waits for the data
  void copy_from(const Tensor& source);  // same shape and dtype, any device; bumps the version
  void fill_zero();
  template <typename T>
  std::vector<T> to_vector() const {  // to the host; waits for queued work
    check_type(dtype_of<T>());
    std::vector<T> values(static_cast<size_t>(numel()));
    read_host(values.data());
    return values;
  }
  double item() const;  // the one element of a 1-element tensor of any dtype, as double

  // Identity of the storage and a count of its in-place changes, for caches of derived data (re-ordered or folded
  // weights). Whoever writes into a tensor that others may have cached calls bump_version(): optimizer, checkpoint,
  // running statistics.
  uint64_t storage_id() const;
  uint64_t version() const;
  void bump_version() const;
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_; }
  // Number of Tensors that share this storage.
  long use_count() const { return storage_.use_count(); }

 private:
  struct Storage;
  static Tensor from_host(const Shape& shape, DType dtype, const void* values, size_t count, Device& device);
  void read_host(void* destination) const;
  void check_type(DType wanted) const;

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  int64_t offset_bytes_ = 0;
  DType dtype_ = DType::f32;
};

std::string describe(const Tensor& t);  // "f32 [2,512,1024,64] on cpu"

}  // namespace segrt
