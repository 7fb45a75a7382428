#include "kernels/vendor_mode.h"

#include <cstdlib>
#include <string>

#include "core/error.h"

namespace segrt::kernels {

VendorMode::VendorMode() {
  const char* text = std::getenv("SEGRT_VENDOR");
  if (text == nullptr) return;
  const std::string value(text);
  if (value != "on" && value != "off") throw ArgumentError("SEGRT_VENDOR: expected on or off, got \"" + value + "\"");
  enabled = value == "on";
}

}  // namespace segrt::kernels
