// The deterministic tensors of golden files. Such a file records what a reference implementation computes; weights and
// inputs are not stored but regenerated from names, bit for bit:
//   fnv1a64(s)  64-bit FNV-1a of the bytes of s (Fowler, Noll & Vo)
//   mix(x)      the finaliser of splitmix64 (Steele, Lea & Flood 2014)
//   u(name, i) = (mix(fnv1a64(name) + (i + 1) * 0x9E3779B97F4A7C15 mod 2^64) >> 40) / 2^24, in [0, 1)
// Every value is computed in double from u and rounded once to float. Index i runs over the tensor in C order of its
// PyTorch shape (convolution weights: out, in/groups, kh, kw; images: n, c, h, w).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace segrt::golden {

uint64_t fnv1a64(std::string_view text);
std::vector<double> uniforms(std::string_view name, int64_t count);  // u(name, 0), u(name, 1), ...

// The value of the parameter or buffer `key` of upstream shape `shape`:
//   *num_batches_tracked  0
//   *running_mean         0.2 * (u - 0.5)
//   *running_var          0.5 + u
//   rank >= 2             (2u - 1) * sqrt(6 / fan_in), fan_in = product of all extents but the first
//   other *weight         0.5 + u
//   anything else         0.2 * (u - 0.5)
std::vector<float> fill(std::string_view key, std::span<const int64_t> shape);

// A normalised input [n,c,h,w]: 16x16 blocks of 3 * (u(name + ".blocks") - 0.5) plus u(name + ".noise") - 0.5.
std::vector<float> image(const std::string& name, int64_t n, int64_t h, int64_t w, int64_t c = 3);
// Labels [n,h,w]: 8x8 blocks of floor(u(name + ".labels") * (classes + 1)); the value `classes` becomes `ignore`.
std::vector<int64_t> labels(const std::string& name, int64_t n, int64_t h, int64_t w, int64_t classes,
                            int64_t ignore = 255);
// One class an image, [n]: floor(u(name + ".class") * classes).
std::vector<int64_t> classes_of(const std::string& name, int64_t n, int64_t classes);

// [n,c,h,w] values as a tensor [n,h,w,c] on the device.
Tensor nhwc(const std::vector<float>& nchw, int64_t n, int64_t h, int64_t w, int64_t c, Device& device);

}  // namespace segrt::golden
