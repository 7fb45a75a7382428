// The element types of PyTorch's checkpoint files.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace segrt {

struct TorchType {
  std::string_view storage;  // class of the storage in the pickle, under `torch`
  std::string_view dtype;    // safetensors' name of the elements as they lie in the file
  size_t size;               // bytes of one
  // What a reader hands on: bfloat16 widens to float32, int8 and int16 to int32, the others stay.
  std::string_view read_as;
  size_t read_size;
};

inline constexpr std::array<TorchType, 10> kTorchTypes{{{"FloatStorage", "F32", 4, "F32", 4},
                                                        {"DoubleStorage", "F64", 8, "F64", 8},
                                                        {"HalfStorage", "F16", 2, "F16", 2},
                                                        {"BFloat16Storage", "BF16", 2, "F32", 4},
                                                        {"LongStorage", "I64", 8, "I64", 8},
                                                        {"IntStorage", "I32", 4, "I32", 4},
                                                        {"ShortStorage", "I16", 2, "I32", 4},
                                                        {"CharStorage", "I8", 1, "I32", 4},
                                                        {"ByteStorage", "U8", 1, "U8", 1},
                                                        {"BoolStorage", "BOOL", 1, "BOOL", 1}}};

}  // namespace segrt
