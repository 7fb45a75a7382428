#pragma once

#include <string>

namespace segrt {

// What an E thrown by f says; "" when nothing is thrown. Other exceptions pass through and fail the test.
template <typename E, typename F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "";
}

}  // namespace segrt
