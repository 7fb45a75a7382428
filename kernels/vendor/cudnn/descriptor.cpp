#include "kernels/vendor/cudnn/descriptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace segrt::kernels::vendor::cudnn {

void require_success(cudnnStatus_t status, const std::string& what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 2048> text{};
  cudnnGetLastErrorString(text.data(), text.size() - 1);  // of this thread; reading it clears it
  const std::string reason(text.data());
  throw CudnnError(
      status, fmt::format("cuDNN: {}: {}{}{}", what, cudnnGetErrorString(status), reason.empty() ? "" : ": ", reason));
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) : type_(type) {
  require_success(cudnnBackendCreateDescriptor(type, &raw_), name_of(type) + ": create");
}

Descriptor::~Descriptor() {
  if (raw_ != nullptr) static_cast<void>(cudnnBackendDestroyDescriptor(raw_));
}

std::string Descriptor::at(const char* action, cudnnBackendAttributeName_t name) const {
  return fmt::format("{}: {} {}", name_of(type_), action, name_of(name));
}

void Descriptor::set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                         const void* values) {
  const cudnnStatus_t status = cudnnBackendSetAttribute(raw_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) require_success(status, at("set", name));
}

int64_t Descriptor::get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t limit,
                            void* values) const {
  int64_t count = 0;
  const cudnnStatus_t status = cudnnBackendGetAttribute(raw_, name, type, limit, &count, values);
  if (status != CUDNN_STATUS_SUCCESS) require_success(status, at("get", name));
  return limit == 0 ? count : std::min(count, limit);
}

Descriptor& Descriptor::set(cudnnBackendAttributeName_t name, const std::string& text) {
  set_raw(name, CUDNN_TYPE_CHAR, static_cast<int64_t>(text.size()), text.data());
  return *this;
}

Descriptor& Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& part) {
  const cudnnBackendDescriptor_t raw = part.get();
  set_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  return *this;
}

Descriptor& Descriptor::set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& parts) {
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const Descriptor& part : parts) raw.push_back(part.get());
  set_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(raw.size()), raw.data());
  return *this;
}

Descriptor& Descriptor::finalize() {
  const cudnnStatus_t status = cudnnBackendFinalize(raw_);
  if (status != CUDNN_STATUS_SUCCESS) require_success(status, name_of(type_) + ": finalize");
  return *this;
}

std::string Descriptor::get_text(cudnnBackendAttributeName_t name) const {
  std::string text(static_cast<size_t>(get_raw(name, CUDNN_TYPE_CHAR, 0, nullptr)), '\0');
  if (text.empty()) return text;
  get_raw(name, CUDNN_TYPE_CHAR, static_cast<int64_t>(text.size()), text.data());
  return text.substr(0, text.find('\0'));  // the count may include the C string's end
}

Descriptor Descriptor::get_descriptor(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) const {
  std::vector<Descriptor> found = get_descriptors(name, type, 1);
  if (found.empty()) throw CudnnError(CUDNN_STATUS_BAD_PARAM, "cuDNN: " + at("get", name) + ": not there");
  return std::move(found.front());
}

// The API fills descriptors that the caller has made.
std::vector<Descriptor> Descriptor::get_descriptors(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type,
                                                    int64_t limit) const {
  std::vector<Descriptor> parts;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < limit; ++i) raw.push_back(parts.emplace_back(type).get());
  const int64_t count = get_raw(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, limit, raw.data());
  parts.resize(static_cast<size_t>(count));
  return parts;
}

}  // namespace segrt::kernels::vendor::cudnn
