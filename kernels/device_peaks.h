// What a device can do at best, against which its operators are measured.
#pragma once

#include "core/op_profile.h"

namespace segrt::kernels {

// Given figures where they are above 0 (GFLOP/s, GB/s), else
// * of a GPU from a table by its name: what good kernels achieve in bf16 and from memory, not the data sheet's figures;
//   not known for other GPUs;
// * of a CPU by a probe of about a second with the threads at hand: a float32 matrix product, and a copy of more bytes
//   than the caches hold.
DevicePeaks device_peaks(Device& device, double given_gflops, double given_gbs);

}  // namespace segrt::kernels
