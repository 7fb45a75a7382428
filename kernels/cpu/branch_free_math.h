// exp, expm1, tanh, erf and erfc for float without branches or calls, so that the compiler vectorises loops over them
// (std:: ones stay scalar without -ffast-math). Relative errors, measured over all floats of the ranges in the tests,
// are a few units of 2^-24. For double the std:: functions.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace segrt::kernels::cpu {

struct BranchFreeMath {
  // x = n ln 2 + r, |r| <= ln(2) / 2: e^x = 2^n e^r. 2^n comes as a product of two powers, so that results near the
  // ends of the float range (subnormal, infinite) are right.
  static float exp(float x) {
    const Reduced v = reduce(x < -104.0f ? -104.0f : (x > 89.0f ? 89.0f : x));
    const int32_t half = v.n >> 1;
    return (v.expm1_r * power(half) + power(half)) * power(v.n - half);
  }
  // e^x - 1 for x <= 88.
  static float expm1(float x) {
    const Reduced v = reduce(x < -30.0f ? -30.0f : x);
    return v.expm1_r * power(v.n) + (power(v.n) - 1.0f);
  }
  // (e^2x - 1) / (e^2x + 1): no cancellation near 0. 1 to float's precision beyond 9.02.
  static float tanh(float x) {
    const float e = expm1(2.0f * (x < -9.1f ? -9.1f : (x > 9.1f ? 9.1f : x)));
    return e / (e + 2.0f);
  }
  // |z| t Q(t) = e^(z^2) erfc(|z|), t = 1 / (1 + 0.42 |z|): Q fitted over |z| <= 10.5, relative error 3e-9.
  static float erfc(float z) {
    const float a = z < 0.0f ? -z : z;
    const float t = 1.0f / (1.0f + 0.42f * a);
    float q = -4.0928998645e-2f;
    q = q * t + 2.2958062498e-1f;
    q = q * t - 4.8401895618e-1f;
    q = q * t + 4.3368354472e-1f;
    q = q * t - 1.9447824678e-1f;
    q = q * t + 2.1222342436e-1f;
    q = q * t + 1.5055458730e-1f;
    q = q * t + 2.1978638662e-1f;
    q = q * t + 2.3662494888e-1f;
    q = q * t + 2.3697268271e-1f;
    const float tail = exp(-a * a) * t * q;
    return z < 0.0f ? 2.0f - tail : tail;
  }
  // x P(x^2) where |x| < 1 (P fitted, relative error 1.3e-9), 1 - erfc(x) beyond.
  static float erf(float x) {
    const float s = x * x;
    float p = 7.8472591254e-5f;
    p = p * s - 8.0081893235e-4f;
    p = p * s + 5.1880988895e-3f;
    p = p * s - 2.6853691100e-2f;
    p = p * s + 1.1283582248e-1f;
    p = p * s - 3.7612625567e-1f;
    p = p * s + 1.1283791657f;
    return s < 1.0f ? x * p : 1.0f - erfc(x);
  }
  static float log(float x) { return std::log(x); }

  static double exp(double x) { return std::exp(x); }
  static double expm1(double x) { return std::expm1(x); }
  static double tanh(double x) { return std::tanh(x); }
  static double erf(double x) { return std::erf(x); }
  static double erfc(double x) { return std::erfc(x); }
  static double log(double x) { return std::log(x); }

 private:
  struct Reduced {
    float expm1_r;  // e^r - 1
    int32_t n;
  };
  static Reduced reduce(float x) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, left in the low bits
    const float shifted = x * 1.44269504f + kRound;
    const float n = shifted - kRound;
    // ln 2 in two parts, the first short enough for an exact product with n.
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    // Taylor to r^7; the next term is below 2^-27 of the result.
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    return {p * r * r + r, std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound)};
  }
  // 2^n for -127 < n < 128.
  static float power(int32_t n) { return std::bit_cast<float>((n + 127) << 23); }
};

}  // namespace segrt::kernels::cpu
