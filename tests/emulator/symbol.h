#pragma once

#include <string>

namespace segrt::emulator {

// The name of the function at `address`, without namespaces and parameters: "softmax_forward_kernel<float>". Reads the
// symbol table of the file that holds it, as kernels are local symbols that dladdr does not know. "kernel at 0x..."
// where the table was stripped.
std::string function_name(const void* address);

}  // namespace segrt::emulator
