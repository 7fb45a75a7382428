#include "tests/support/golden.h"

#include <cmath>

#include "core/parallel.h"

namespace segrt::golden {
namespace {
constexpr uint64_t kStep = 0x9E3779B97F4A7C15u;
constexpr int64_t kGrain = 1 << 14;

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

double uniform(uint64_t hash, int64_t i) {
  return static_cast<double>(mix(hash + (static_cast<uint64_t>(i) + 1) * kStep) >> 40) * 0x1p-24;
}

template <typename T, typename F>
std::vector<T> drawn(std::string_view name, int64_t count, const F& value) {
  const uint64_t hash = fnv1a64(name);
  std::vector<T> values(static_cast<size_t>(count));
  parallel_for(count, kGrain, [&](int64_t i) { values[static_cast<size_t>(i)] = value(uniform(hash, i)); });
  return values;
}

int64_t product(std::span<const int64_t> extents) {
  int64_t p = 1;
  for (const int64_t e : extents) p *= e;
  return p;
}
}  // namespace

uint64_t fnv1a64(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  return hash;
}

std::vector<double> uniforms(std::string_view name, int64_t count) {
  return drawn<double>(name, count, [](double u) { return u; });
}

std::vector<float> fill(std::string_view key, std::span<const int64_t> shape) {
  const int64_t count = product(shape);
  const auto centred = [](double u) { return static_cast<float>(0.2 * (u - 0.5)); };
  const auto positive = [](double u) { return static_cast<float>(0.5 + u); };
  if (key.ends_with("num_batches_tracked")) return std::vector<float>(static_cast<size_t>(count), 0.0f);
  if (key.ends_with("running_mean")) return drawn<float>(key, count, centred);
  if (key.ends_with("running_var")) return drawn<float>(key, count, positive);
  if (shape.size() >= 2) {
    const double bound = std::sqrt(6.0 / static_cast<double>(product(shape.subspan(1))));
    return drawn<float>(key, count, [bound](double u) { return static_cast<float>((2 * u - 1) * bound); });
  }
  if (key.ends_with("weight")) return drawn<float>(key, count, positive);
  return drawn<float>(key, count, centred);
}

std::vector<float> image(const std::string& name, int64_t n, int64_t h, int64_t w, int64_t c) {
  const int64_t rows = (h + 15) / 16, columns = (w + 15) / 16;
  const std::vector<double> blocks = uniforms(name + ".blocks", n * c * rows * columns);
  const std::vector<double> noise = uniforms(name + ".noise", n * c * h * w);
  std::vector<float> values(noise.size());
  size_t i = 0;
  for (int64_t plane = 0; plane < n * c; ++plane)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t x = 0; x < w; ++x, ++i) {
        const double block = blocks[static_cast<size_t>((plane * rows + y / 16) * columns + x / 16)];
        values[i] = static_cast<float>(3.0 * (block - 0.5) + (noise[i] - 0.5));
      }
  return values;
}

std::vector<int64_t> labels(const std::string& name, int64_t n, int64_t h, int64_t w, int64_t classes, int64_t ignore) {
  const int64_t rows = (h + 7) / 8, columns = (w + 7) / 8;
  const std::vector<double> blocks = uniforms(name + ".labels", n * rows * columns);
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(n * h * w));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t x = 0; x < w; ++x) {
        const double u = blocks[static_cast<size_t>((i * rows + y / 8) * columns + x / 8)];
        const auto label = static_cast<int64_t>(std::floor(u * static_cast<double>(classes + 1)));
        values.push_back(label == classes ? ignore : label);
      }
  return values;
}

std::vector<int64_t> classes_of(const std::string& name, int64_t n, int64_t classes) {
  return drawn<int64_t>(name + ".class", n, [classes](double u) {
    return static_cast<int64_t>(std::floor(u * static_cast<double>(classes)));
  });
}

Tensor nhwc(const std::vector<float>& nchw, int64_t n, int64_t h, int64_t w, int64_t c, Device& device) {
  std::vector<float> values(nchw.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < c; ++k)
      for (int64_t p = 0; p < h * w; ++p)
        values[static_cast<size_t>((i * h * w + p) * c + k)] = nchw[static_cast<size_t>((i * c + k) * h * w + p)];
  return Tensor::from<float>({n, h, w, c}, values, device);
}

}  // namespace segrt::golden
