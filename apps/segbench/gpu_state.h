// What nvidia-smi says of a GPU's clocks, as figures of a hot or throttled GPU mean nothing.
#pragma once

#include <string>

#include "core/device.h"

namespace segrt::apps {

// "SM 1980 MHz, memory 2619 MHz, 45 C, 310 W, no throttling"; empty where there is no GPU or no nvidia-smi.
std::string gpu_state(const Device& device);

}  // namespace segrt::apps
