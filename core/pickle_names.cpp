#include "core/pickle_names.h"

#include <iterator>

namespace segrt {
namespace {
using enum PickleRole;

constexpr PickleName kNames[] = {
    {"collections", "OrderedDict", ordered_dict},
    {"collections", "defaultdict", default_dict},
    {"torch._utils", "_rebuild_tensor", rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v2", rebuild_tensor_v2},
    {"torch._utils", "_rebuild_parameter", rebuild_parameter},
    {"torch.nn.parameter", "Parameter", parameter},

    {"torch", "FloatStorage", storage_type, &kTorchTypes[0]},
    {"torch", "DoubleStorage", storage_type, &kTorchTypes[1]},
    {"torch", "HalfStorage", storage_type, &kTorchTypes[2]},
    {"torch", "BFloat16Storage", storage_type, &kTorchTypes[3]},
    {"torch", "LongStorage", storage_type, &kTorchTypes[4]},
    {"torch", "IntStorage", storage_type, &kTorchTypes[5]},
    {"torch", "ShortStorage", storage_type, &kTorchTypes[6]},
    {"torch", "CharStorage", storage_type, &kTorchTypes[7]},
    {"torch", "ByteStorage", storage_type, &kTorchTypes[8]},
    {"torch", "BoolStorage", storage_type, &kTorchTypes[9]},

    {"torch", "Size", inert},
    {"torch", "device", inert},
    {"torch", "float16", inert},
    {"torch", "float32", inert},
    {"torch", "float64", inert},
    {"torch", "bfloat16", inert},
    {"torch", "uint8", inert},
    {"torch", "int8", inert},
    {"torch", "int16", inert},
    {"torch", "int32", inert},
    {"torch", "int64", inert},
    {"torch", "bool", inert},
    {"torch", "complex32", inert},
    {"torch", "complex64", inert},
    {"torch", "complex128", inert},
    {"argparse", "Namespace", inert},
    {"numpy.core.multiarray", "scalar", inert},
    {"numpy.core.multiarray", "_reconstruct", inert},
    {"numpy._core.multiarray", "scalar", inert},
    {"numpy._core.multiarray", "_reconstruct", inert},
    {"numpy", "ndarray", inert},
    {"numpy", "dtype", inert},
    {"_codecs", "encode", inert},
    {"builtins", "set", inert},
    {"builtins", "frozenset", inert},
    {"builtins", "complex", inert},
    {"builtins", "int", inert},
    {"builtins", "long", inert},
    {"builtins", "bytearray", inert},
    {"builtins", "slice", inert},
    {"__builtin__", "set", inert},
    {"__builtin__", "frozenset", inert},
    {"__builtin__", "complex", inert},
    {"__builtin__", "int", inert},
    {"__builtin__", "long", inert},
    {"__builtin__", "bytearray", inert},
    {"__builtin__", "slice", inert},
};

constexpr bool types_match() {
  for (const PickleName& n : kNames)
    if (n.role == storage_type && n.type->storage != n.name) return false;
  return true;
}
static_assert(types_match(), "a storage's name stands beside its own type");
}  // namespace

std::optional<size_t> find_pickle_name(std::string_view module, std::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i].module == module && kNames[i].name == name) return i;
  return std::nullopt;
}

const PickleName& pickle_name(size_t number) { return kNames[number]; }

}  // namespace segrt
