// Random choices and texture noise for the synthetic streets. Only +, -, *, / and sqrt: every IEEE machine gets the
// same bits, which log, sin or pow of a maths library would not give.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "core/random.h"

namespace segrt::data::streets {

// Red, green, blue in display space, nominally [0, 1]; light may push it beyond until the sensor clips.
struct Colour {
  float r = 0, g = 0, b = 0;
};
inline Colour operator+(Colour a, Colour b) { return {a.r + b.r, a.g + b.g, a.b + b.b}; }
inline Colour operator*(Colour a, Colour b) { return {a.r * b.r, a.g * b.g, a.b * b.b}; }
inline Colour operator*(Colour a, float s) { return {a.r * s, a.g * s, a.b * s}; }
inline Colour mix(Colour a, Colour b, float t) {
  return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

inline float clamp01(float x) { return x < 0 ? 0.0f : (x > 1 ? 1.0f : x); }
inline float smooth_step(float t) { return t * t * (3 - 2 * t); }
inline int floor_int(float x) {  // |x| < 2^31
  const int i = static_cast<int>(x);
  return i - (static_cast<float>(i) > x ? 1 : 0);
}
inline float fraction(float x) { return x - static_cast<float>(floor_int(x)); }

// Choices of one part of one scene. Draws happen in program order, so that a part's layout is a function of its stream.
class Dice {
 public:
  Dice(uint64_t seed, uint64_t stream) : rng_(seed, stream) {}
  bool chance(double p) { return rng_.uniform() < p; }
  double range(double low, double high) { return rng_.uniform(low, high); }
  float rangef(double low, double high) { return static_cast<float>(rng_.uniform(low, high)); }
  int count(int low, int high) { return static_cast<int>(rng_.integer(low, high)); }  // inclusive
  template <typename T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[rng_.integer(0, static_cast<int64_t>(values.size()) - 1)];
  }
  // The colour with its brightness and each channel scaled at random by up to `amount`.
  Colour jitter(Colour c, double amount) {
    const float all = rangef(1 - amount, 1 + amount);
    const float r = rangef(1 - amount / 2, 1 + amount / 2);
    const float g = rangef(1 - amount / 2, 1 + amount / 2);
    const float b = rangef(1 - amount / 2, 1 + amount / 2);
    return Colour{c.r * r, c.g * g, c.b * b} * all;
  }
  Colour grey(double low, double high) {
    const float v = rangef(low, high);
    return jitter({v, v, v}, 0.06);
  }

 private:
  Rng rng_;
};

// Value noise on a periodic lattice of 128 x 128 uniform values: small enough to stay in the first-level cache.
class Noise {
 public:
  Noise(uint64_t seed, uint64_t stream);

  // The lattice value of a cell, uniform in [0, 1).
  float cell(int x, int y) const { return lattice_[static_cast<size_t>(((y & kMask) << kBits) | (x & kMask))]; }
  // Smooth interpolation of the four cells around (x, y): mean 0.5, in [0, 1).
  float smooth(float x, float y) const {
    const int ix = floor_int(x), iy = floor_int(y);
    const float tx = smooth_step(x - static_cast<float>(ix)), ty = smooth_step(y - static_cast<float>(iy));
    const float top = cell(ix, iy) + (cell(ix + 1, iy) - cell(ix, iy)) * tx;
    const float bottom = cell(ix, iy + 1) + (cell(ix + 1, iy + 1) - cell(ix, iy + 1)) * tx;
    return top + (bottom - top) * ty;
  }
  // Three octaves, mean 0.5, in [0, 1).
  float fractal(float x, float y) const {
    return 0.5714f * smooth(x, y) + 0.2857f * smooth(2.03f * x + 17, 2.03f * y + 43) +
           0.1429f * smooth(4.1f * x + 71, 4.1f * y + 5);
  }

 private:
  static constexpr int kBits = 7, kMask = (1 << kBits) - 1;
  std::vector<float> lattice_;
};

}  // namespace segrt::data::streets
