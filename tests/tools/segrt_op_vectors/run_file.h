// Runs every case of a file.
#pragma once

#include <string>

#include "core/device.h"
#include "tests/tools/segrt_op_vectors/report.h"

namespace segrt::op_vectors {

// Throws FileError where the file is no safetensors file or has no cases. A case that is malformed, and a tensor that
// belongs to no case, is an error in the report.
void run_file(const std::string& path, Device& device, Report& report);

}  // namespace segrt::op_vectors
