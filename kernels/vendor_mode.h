// Whether vendor libraries may compute on a GPU where they are faster than our own kernels; kept with the device:
//   device.state<VendorMode>().enabled = false;
// The environment says how it starts: SEGRT_VENDOR=off or on; without it, on.
#pragma once

namespace segrt::kernels {

struct VendorMode {
  VendorMode();  // throws ArgumentError on another value of SEGRT_VENDOR
  bool enabled = true;
};

}  // namespace segrt::kernels
