// cuDNN's backend API knows one kind of object, the descriptor: created with a type, given attributes, finalized, then
// read or used. (cuDNN 9 API reference, "Backend API".) This is its owner, with typed attributes and errors that say
// what was refused and why.
#pragma once

#include <cudnn.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/vendor/choice.h"

namespace segrt::kernels::vendor::cudnn {

// A failed call: "cuDNN: OPERATION_CONVOLUTION_FORWARD: set CONVOLUTION_FORWARD_X: CUDNN_STATUS_BAD_PARAM: <what cuDNN
// says of it>".
class CudnnError : public VendorError {
 public:
  CudnnError(cudnnStatus_t status, const std::string& message) : VendorError(message), status_(status) {}
  cudnnStatus_t status() const { return status_; }
  // The library has no engine for this; nothing is wrong.
  bool not_supported() const { return CUDNN_STATUS_CATEGORY(status_) == CUDNN_STATUS_NOT_SUPPORTED; }

 private:
  cudnnStatus_t status_;
};

// Throws CudnnError that starts with `what`, unless status is success.
void require_success(cudnnStatus_t status, const std::string& what);

// Names as in the headers, without CUDNN_ATTR_ and CUDNN_BACKEND_; "attribute 1234" where this file knows none.
std::string name_of(cudnnBackendAttributeName_t attribute);
std::string name_of(cudnnBackendDescriptorType_t type);
std::string name_of(cudnnBackendKnobType_t knob);

// The tag that the API wants beside a value of type T. Other types do not compile.
template <typename T>
inline constexpr auto kAttributeType = nullptr;
template <>
inline constexpr auto kAttributeType<cudnnHandle_t> = CUDNN_TYPE_HANDLE;
template <>
inline constexpr auto kAttributeType<cudnnDataType_t> = CUDNN_TYPE_DATA_TYPE;
template <>
inline constexpr auto kAttributeType<bool> = CUDNN_TYPE_BOOLEAN;
template <>
inline constexpr auto kAttributeType<int64_t> = CUDNN_TYPE_INT64;
template <>
inline constexpr auto kAttributeType<int32_t> = CUDNN_TYPE_INT32;
template <>
inline constexpr auto kAttributeType<float> = CUDNN_TYPE_FLOAT;
template <>
inline constexpr auto kAttributeType<double> = CUDNN_TYPE_DOUBLE;
template <>
inline constexpr auto kAttributeType<char> = CUDNN_TYPE_CHAR;
template <>
inline constexpr auto kAttributeType<void*> = CUDNN_TYPE_VOID_PTR;
template <>
inline constexpr auto kAttributeType<cudnnConvolutionMode_t> = CUDNN_TYPE_CONVOLUTION_MODE;
template <>
inline constexpr auto kAttributeType<cudnnPointwiseMode_t> = CUDNN_TYPE_POINTWISE_MODE;
template <>
inline constexpr auto kAttributeType<cudnnGenStatsMode_t> = CUDNN_TYPE_GENSTATS_MODE;
template <>
inline constexpr auto kAttributeType<cudnnBackendNormMode_t> = CUDNN_TYPE_NORM_MODE;
template <>
inline constexpr auto kAttributeType<cudnnBackendNormFwdPhase_t> = CUDNN_TYPE_NORM_FWD_PHASE;
template <>
inline constexpr auto kAttributeType<cudnnBackendHeurMode_t> = CUDNN_TYPE_HEUR_MODE;
template <>
inline constexpr auto kAttributeType<cudnnBackendKnobType_t> = CUDNN_TYPE_KNOB_TYPE;
template <>
inline constexpr auto kAttributeType<cudnnBackendNumericalNote_t> = CUDNN_TYPE_NUMERICAL_NOTE;
template <>
inline constexpr auto kAttributeType<cudnnBackendBehaviorNote_t> = CUDNN_TYPE_BEHAVIOR_NOTE;

class Descriptor {
 public:
  Descriptor() = default;  // of nothing
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)), type_(other.type_) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(raw_, other.raw_);
    std::swap(type_, other.type_);
    return *this;
  }
  ~Descriptor();

  cudnnBackendDescriptor_t get() const { return raw_; }
  cudnnBackendDescriptorType_t type() const { return type_; }

  template <typename T>
  Descriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    set_raw(name, kAttributeType<T>, 1, &value);
    return *this;
  }
  template <typename T>
  Descriptor& set(cudnnBackendAttributeName_t name, const std::vector<T>& values) {
    set_raw(name, kAttributeType<T>, static_cast<int64_t>(values.size()), values.data());
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const std::string& text);
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& part);  // finalized, and kept alive by the caller
  Descriptor& set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& parts);
  Descriptor& finalize();

  template <typename T>
  T get(cudnnBackendAttributeName_t name) const {
    T value{};
    get_raw(name, kAttributeType<T>, 1, &value);
    return value;
  }
  // At most `limit` elements.
  template <typename T>
  std::vector<T> get_list(cudnnBackendAttributeName_t name, int64_t limit) const {
    std::vector<T> values(static_cast<size_t>(limit));
    values.resize(static_cast<size_t>(get_raw(name, kAttributeType<T>, limit, values.data())));
    return values;
  }
  std::string get_text(cudnnBackendAttributeName_t name) const;
  Descriptor get_descriptor(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) const;
  std::vector<Descriptor> get_descriptors(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                                          int64_t limit) const;

 private:
  void set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values);
  // Returns the number of elements there are, at most `limit`.
  int64_t get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t limit,
                  void* values) const;
  std::string at(const char* action, cudnnBackendAttributeName_t name) const;

  cudnnBackendDescriptor_t raw_ = nullptr;
  cudnnBackendDescriptorType_t type_{};
};

}  // namespace segrt::kernels::vendor::cudnn
