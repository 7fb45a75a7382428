#include "core/dtype.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>

#include "core/random.h"
#include "tests/core/message_of.h"

#include "core/error.h"

using namespace segrt;

namespace {
// A binary format with a sign, `exponent_bits` and `fraction_bits` (IEEE 754-2019, section 3.4), decoded in float64.
struct Format {
  int exponent_bits, fraction_bits;
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }

  double value(uint32_t pattern) const {
    const uint32_t fraction = pattern & ((1u << fraction_bits) - 1);
    const int exponent = static_cast<int>(pattern >> fraction_bits) & ((1 << exponent_bits) - 1);
    const double sign = pattern >> (exponent_bits + fraction_bits) ? -1 : 1;
    const double scaled = static_cast<double>(fraction) / (1 << fraction_bits);
    if (exponent == (1 << exponent_bits) - 1)
      return fraction ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
    if (exponent == 0) return sign * std::ldexp(scaled, 1 - bias());
    return sign * std::ldexp(1 + scaled, exponent - bias());
  }

  // Nearest representable value, ties to the even fraction. rint() of a float64 is exact and rounds ties to even.
  double rounded(double x) const {
    if (x == 0 || !std::isfinite(x)) return x;
    const int exponent = std::max(std::ilogb(x), 1 - bias());
    const double ulp = std::ldexp(1, exponent - fraction_bits);
    const double y = std::rint(x / ulp) * ulp;
    const double largest = std::ldexp(2 - std::ldexp(1, -fraction_bits), bias());
    return std::fabs(y) > largest ? std::copysign(std::numeric_limits<double>::infinity(), x) : y;
  }
};

bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

template <typename Half>
Half of_bits(uint32_t bits) {
  Half h;
  h.bits = static_cast<uint16_t>(bits);
  return h;
}

// Counts instead of checking one by one: there are 65536 patterns and several questions about each.
template <typename Half>
void check_all_patterns(const Format& format) {
  int wrong_values = 0, wrong_round_trips = 0, wrong_roundings = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = static_cast<float>(of_bits<Half>(bits));
    wrong_values += !same(value, format.value(bits));
    const Half back(value);
    wrong_round_trips += std::isnan(value) ? !std::isnan(static_cast<float>(back)) : back.bits != bits;
    if (!std::isfinite(value)) continue;
    // The next pattern is the next larger magnitude. Halfway between the two is a tie; its neighbours are not.
    const double next = format.value(bits + 1);
    const double middle = std::isfinite(next) ? (value + next) / 2 : value + (value - format.value(bits - 1)) / 2;
    const auto tie = static_cast<float>(middle);
    for (const float x : {tie, std::nextafterf(tie, 0.0f), std::nextafterf(tie, 2 * tie), std::nextafterf(value, 0.0f)})
      wrong_roundings += !same(static_cast<float>(Half(x)), format.rounded(x));
  }
  CHECK(wrong_values == 0);
  CHECK(wrong_round_trips == 0);
  CHECK(wrong_roundings == 0);
}

template <typename Half>
void check_random_floats(const Format& format) {
  int wrong = 0;
  Rng rng(3, 0);
  for (int i = 0; i < 300000; ++i) {
    const float x = std::bit_cast<float>(rng.next_u32());
    wrong += !same(static_cast<float>(Half(x)), format.rounded(x));
  }
  CHECK(wrong == 0);
}
}  // namespace

TEST_CASE("bf16: every pattern, ties and neighbours of ties") {
  check_all_patterns<bf16>({8, 7});
  check_random_floats<bf16>({8, 7});
}

TEST_CASE("f16: every pattern, ties and neighbours of ties") {
  check_all_patterns<f16>({5, 10});
  check_random_floats<f16>({5, 10});
}

TEST_CASE("bf16 and f16: published patterns") {
  CHECK(f16(1.0f).bits == 0x3c00);
  CHECK(f16(-2.0f).bits == 0xc000);
  CHECK(f16(65504.0f).bits == 0x7bff);
  CHECK(f16(65519.996f).bits == 0x7bff);
  CHECK(f16(65520.0f).bits == 0x7c00);
  CHECK(f16(0x1p-24f).bits == 0x0001);
  CHECK(f16(0x1p-25f).bits == 0x0000);
  CHECK(f16(0x1.000002p-25f).bits == 0x0001);
  CHECK(f16(-0.0f).bits == 0x8000);
  CHECK(bf16(1.0f).bits == 0x3f80);
  CHECK(bf16(-0.0f).bits == 0x8000);
  CHECK(bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(bf16(0x1.01p0f).bits == 0x3f80);  // a tie: to even, down
  CHECK(bf16(0x1.03p0f).bits == 0x3f82);  // a tie: to even, up
}

TEST_CASE("a NaN stays a quiet NaN whatever its payload") {
  int wrong = 0;
  for (uint32_t payload = 1; payload < (1u << 23); payload += 4093)
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const float nan = std::bit_cast<float>(sign | 0x7f800000u | payload);
      wrong += (bf16(nan).bits & 0x7fc0) != 0x7fc0;
      wrong += (f16(nan).bits & 0x7e00) != 0x7e00;
    }
  CHECK(wrong == 0);
  CHECK((bf16(std::bit_cast<float>(0x7f800001u)).bits & 0x7fc0) == 0x7fc0);  // a payload in the lost bits only
}

TEST_CASE("dtype: names, sizes, types") {
  const std::pair<DType, const char*> names[] = {{DType::f32, "f32"}, {DType::bf16, "bf16"}, {DType::f16, "f16"},
                                                 {DType::f64, "f64"}, {DType::i64, "i64"},   {DType::i32, "i32"},
                                                 {DType::u8, "u8"}};
  for (const auto& [dtype, name] : names) {
    CHECK(to_string(dtype) == name);
    CHECK(parse_dtype(name) == dtype);
    std::ostringstream out;
    out << dtype;
    CHECK(out.str() == name);
    CHECK(is_float(dtype) == (name[0] == 'f' || name[0] == 'b'));
  }
  CHECK(size_of(dtype_of<float>()) == sizeof(float));
  CHECK(size_of(dtype_of<bf16>()) == sizeof(bf16));
  CHECK(size_of(dtype_of<f16>()) == sizeof(f16));
  CHECK(size_of(dtype_of<double>()) == sizeof(double));
  CHECK(size_of(dtype_of<int64_t>()) == sizeof(int64_t));
  CHECK(size_of(dtype_of<int32_t>()) == sizeof(int32_t));
  CHECK(size_of(dtype_of<uint8_t>()) == sizeof(uint8_t));
  CHECK(message_of<ArgumentError>([] { parse_dtype("float"); }) ==
        "dtype: expected one of f32, bf16, f16, f64, i64, i32, u8, got \"float\"");
}
