// The names that a pickle in a checkpoint may use, and what each is taken for. Nothing else can be named.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "core/torch_types.h"

namespace segrt {

enum class PickleRole {
  ordered_dict,
  default_dict,
  rebuild_tensor,     // (storage, offset, size, stride)
  rebuild_tensor_v2,  // (storage, offset, size, stride, requires_grad, hooks[, metadata])
  rebuild_parameter,  // (tensor, requires_grad, hooks)
  parameter,          // (tensor)
  storage_type,       // names the element type of a storage; cannot be called
  inert               // a value whose contents no one needs
};

struct PickleName {
  std::string_view module, name;
  PickleRole role;
  const TorchType* type = nullptr;  // of a storage_type
};

// The name's number in the table; none for every other name.
std::optional<size_t> find_pickle_name(std::string_view module, std::string_view name);
const PickleName& pickle_name(size_t number);

}  // namespace segrt
