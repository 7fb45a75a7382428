// Exceptions. Every failure that a caller, a file or a user can cause is one of these; `main` prints what() and exits
// non-zero.
#pragma once

#include <stdexcept>
#include <string>

namespace segrt {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A wrong argument of an operator or function: "conv2d: w expects 32 input channels, x [2,512,1024,64] has 64 (groups
// 1)".
class ArgumentError : public Error {
 public:
  using Error::Error;
};

// A wrong setting: "dynamic_a.toml:12: solver.lr: expected a number > 0, got "fast"".
class ConfigError : public Error {
 public:
  using Error::Error;
};

// A file that is missing, unreadable, damaged or of the wrong kind. The message starts with the path.
class FileError : public Error {
 public:
  using Error::Error;
};

// A device that is absent, out of memory, or reports a failure.
class DeviceError : public Error {
 public:
  using Error::Error;
};

}  // namespace segrt
