#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/random.h"
#include "kernels/elementwise.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::test;

namespace {
constexpr DType kFloats[] = {DType::f32, DType::bf16, DType::f16, DType::f64};
constexpr DType kAll[] = {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::i32, DType::u8};

bool has(const Device& device, DType dtype) { return dtype != DType::f64 || device.is_cpu(); }
}  // namespace

TEST_CASE("fill writes every element of every dtype") {
  for (const auto& device : test_devices())
    for (const DType dtype : kAll)
      for (const int64_t n : {0, 1, 3, 1025}) {
        if (!has(*device, dtype)) continue;
        CAPTURE(device->name());
        CAPTURE(dtype);
        Tensor y = Tensor::zeros({n + 2}, dtype, *device);
        Tensor inner = y.slice(1, n);  // its neighbours stay
        kernels::fill(inner, 7);
        std::vector<double> expected(static_cast<size_t>(n + 2), 7.0);
        expected.front() = expected.back() = 0;
        CHECK(to_doubles(y) == expected);
      }
}

// from_doubles rounds with dtype.h's conversions, whose own tests are in tests/core.
TEST_CASE("cast rounds every pair of dtypes to nearest even") {
  for (const auto& device : test_devices())
    for (const DType from : kAll)
      for (const DType to : kFloats)
        for (const int64_t n : {1, 5, 4099}) {
          if (!has(*device, from) || !has(*device, to)) continue;
          CAPTURE(device->name());
          CAPTURE(from);
          CAPTURE(to);
          const Tensor x =
              is_float(from) ? random_normal({n}, from, *device, {.std = 100}) : random_labels({n}, from, *device, 200);
          const std::vector<double> values = to_doubles(x);
          Tensor y = filled_with_nan({n}, to, *device);
          kernels::cast(x, y);
          // from_doubles goes through float32, which is one rounding too many from float64 to 16 bits: see below.
          if (from != DType::f64 || !(to == DType::bf16 || to == DType::f16))
            CHECK(to_doubles(y) == to_doubles(from_doubles({n}, values, to, *device)));
        }
}

TEST_CASE("cast rounds float64 to 16 bits once") {
  const auto device = Device::create("cpu");
  for (const DType to : {DType::bf16, DType::f16}) {
    CAPTURE(to);
    std::vector<double> values = to_doubles(random_normal({20000}, DType::f64, *device, {.std = 100}));
    // Just beyond a tie: through float32 it would become the tie and round down.
    values[0] = 1 + 0x1p-8 + 0x1p-40;
    values[1] = 1 + 0x1p-11 + 0x1p-40;
    Tensor y = Tensor::empty({20000}, to, *device);
    kernels::cast(from_doubles({20000}, values, DType::f64, *device), y);
    std::vector<double> expected(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      int exponent;
      std::frexp(values[i], &exponent);  // |value| in [1/2, 1) 2^exponent; 8 and 11 significant bits
      const double unit =
          std::ldexp(1.0, std::max(exponent - (to == DType::bf16 ? 8 : 11), to == DType::f16 ? -24 : -133));
      expected[i] = std::nearbyint(values[i] / unit) * unit;
    }
    CHECK(to_doubles(y) == expected);
  }
}

TEST_CASE("cast keeps infinities, NaN and overflows to infinity") {
  constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& device : test_devices()) {
    const Tensor x = from_doubles({4}, {kInf, -kInf, kNan, 1e6}, DType::f32, *device);
    Tensor y = Tensor::empty({4}, DType::f16, *device);
    kernels::cast(x, y);
    const auto values = to_doubles(y);
    CHECK(values[0] == kInf);
    CHECK(values[1] == -kInf);
    CHECK(std::isnan(values[2]));
    CHECK(values[3] == kInf);
  }
}

TEST_CASE("cast_many casts each tensor as cast does") {
  for (const auto& device : test_devices())
    for (const DType to : {DType::bf16, DType::f16}) {
      std::vector<kernels::CastPair> pairs;
      for (int i = 0; i < 270; ++i) {  // more than one table of pointers
        const int64_t n = i == 3 ? 8200 : i % 23;
        Tensor from = random_normal({n + 1}, DType::f32, *device, {.seed = static_cast<uint64_t>(i)});
        if (i % 4 == 1) from = from.slice(1, n);  // not aligned
        pairs.push_back({from, filled_with_nan(from.shape(), to, *device)});
      }
      kernels::cast_many(pairs);
      bool same = true;
      for (const auto& [from, result] : pairs) {
        Tensor expected = Tensor::like(result);
        kernels::cast(from, expected);
        same = same && to_doubles(result) == to_doubles(expected);
      }
      CHECK(same);
    }
}

TEST_CASE("dropout keeps 1 - p of the elements, scaled, and the backward pass drops the same") {
  constexpr uint64_t kSeed = 42, kLayer = 7;
  std::vector<double> first_device;
  for (const auto& device : test_devices())
    for (const double p : {0.0, 0.1, 0.5}) {
      CAPTURE(device->name());
      CAPTURE(p);
      const Shape shape{3, 67, 101};  // no multiple of 4
      const Tensor x = random_uniform(shape, DType::f32, *device, 1, 2, 3);
      const Tensor dy = random_uniform(shape, DType::bf16, *device, 1, 2, 4);
      Tensor step = from_doubles({1}, {12}, DType::i64, *device);
      Tensor y = filled_with_nan(shape, DType::f32, *device), dx = filled_with_nan(shape, DType::bf16, *device);
      kernels::dropout(x, p, kSeed, kLayer, step, y);
      kernels::dropout(dy, p, kSeed, kLayer, step, dx);
      const auto xs = to_doubles(x), ys = to_doubles(y), dxs = to_doubles(dx);
      const uint64_t stream = stream_of({kLayer, 12});
      size_t kept = 0, wrong = 0;
      for (size_t i = 0; i < xs.size(); ++i) {
        const bool keep =
            uniform_from(philox(kSeed, stream, i / 4).v[i % 4]) >= static_cast<float>(p);  // the definition
        kept += keep;
        const double expected = keep ? xs[i] / (1 - p) : 0;
        if (std::abs(ys[i] - expected) > 1e-6 * expected || (dxs[i] != 0) != keep) ++wrong;
      }
      CHECK(wrong == 0);
      const double n = static_cast<double>(xs.size()), deviation = std::sqrt(n * p * (1 - p));
      CHECK(std::abs(static_cast<double>(kept) - n * (1 - p)) <= 4 * deviation);
      if (p == 0.5) {
        if (first_device.empty()) first_device = ys;
        CHECK(ys == first_device);  // bit for bit

        Tensor next = from_doubles({1}, {13}, DType::i64, *device), other = Tensor::like(y);
        kernels::dropout(x, p, kSeed, kLayer, next, other);
        CHECK(to_doubles(other) != ys);
        kernels::dropout(x, p, kSeed, kLayer + 1, step, other);
        CHECK(to_doubles(other) != ys);
        const Tensor odd = random_uniform({10}, DType::f32, *device, 1, 2, 3).slice(1, 9);  // not aligned
        Tensor dropped = filled_with_nan({9}, DType::f32, *device);
        kernels::dropout(odd, p, kSeed, kLayer, step, dropped);
        for (size_t i = 0; i < 9; ++i) CHECK((to_doubles(dropped)[i] != 0) == (ys[i] != 0));
      }
    }
}

TEST_CASE("dropout of a share of a batch is that of its samples in the whole batch") {
  for (const auto& device : test_devices()) {
    CAPTURE(device->name());
    const Shape whole{7, 3, 5};  // 15 elements a sample, no multiple of 4
    const Tensor x = random_uniform(whole, DType::f32, *device, 1, 2, 3);
    Tensor step = from_doubles({1}, {12}, DType::i64, *device), y = filled_with_nan(whole, DType::f32, *device);
    kernels::dropout(x, 0.5, 42, 7, step, y);
    for (const SampleShare& share : {SampleShare{0, 2}, SampleShare{1, 3}, SampleShare{4, 1}}) {
      CAPTURE(share.first);
      const int64_t count = (7 - share.first + share.stride - 1) / share.stride;
      const Tensor part = Tensor::empty({count, 3, 5}, DType::f32, *device);
      for (int64_t n = 0; n < count; ++n) part.slice(n, 1).copy_from(x.slice(share.first + n * share.stride, 1));
      Tensor dropped = filled_with_nan(part.shape(), DType::f32, *device);
      kernels::dropout(part, 0.5, 42, 7, step, dropped, share);
      for (int64_t n = 0; n < count; ++n)
        CHECK(to_doubles(dropped.slice(n, 1)) == to_doubles(y.slice(share.first + n * share.stride, 1)));
    }
    CHECK(error_of([&] { kernels::dropout(x, 0.5, 42, 7, step, y, {.first = 0, .stride = 0}); }) ==
          "dropout: share: expected first >= 0 and stride >= 1");
  }
}

TEST_CASE("channel slices copy there and back and touch nothing else") {
  for (const auto& device : test_devices())
    for (const DType dtype : kAll)
      for (const int64_t channels : {1, 3, 8, 64})
        for (const int64_t offset : {0, 1, 8}) {
          CAPTURE(device->name());
          CAPTURE(dtype);
          CAPTURE(channels);
          CAPTURE(offset);
          const Shape narrow{2, 3, 5, channels}, wide{2, 3, 5, channels + 16};
          const Tensor x = random_labels(narrow, dtype == DType::u8 ? DType::u8 : dtype, *device, 100, 0);
          Tensor y = random_labels(wide, dtype, *device, 100, 0, 2);
          std::vector<double> expected = to_doubles(y);
          const std::vector<double> xs = to_doubles(x);
          for (int64_t p = 0; p < 30; ++p)
            for (int64_t c = 0; c < channels; ++c)
              expected[static_cast<size_t>(p * (channels + 16) + offset + c)] =
                  xs[static_cast<size_t>(p * channels + c)];
          kernels::copy_into_channels(x, y, offset);
          CHECK(to_doubles(y) == expected);
          Tensor back = Tensor::zeros(narrow, dtype, *device);
          kernels::copy_from_channels(y, offset, back);
          CHECK(to_doubles(back) == xs);
        }
}

TEST_CASE("normalize_u8 divides truly, on every device, and pads with zeros") {
  const kernels::Normalization n{{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
  for (const auto& device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
      for (const int64_t channels : {3, 4, 5, 8}) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(channels);
        std::vector<uint8_t> bytes(2 * 17 * 16 * 3);
        for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i / 3 + i % 3 * 85);  // all values
        const Tensor x = Tensor::from<uint8_t>({2, 17, 16, 3}, bytes, *device);
        const Shape shape{2, 17, 16, channels};
        Tensor y = filled_with_nan(shape, dtype, *device);
        kernels::normalize_u8(x, n, y);
        std::vector<double> expected(static_cast<size_t>(shape.numel()));
        for (size_t p = 0; p < 544; ++p)
          for (size_t c = 0; c < 3; ++c) {
            const float v = (static_cast<float>(bytes[3 * p + c]) / 255 - n.mean[c]) / n.std[c];
            expected[p * static_cast<size_t>(channels) + c] = static_cast<double>(v);
          }
        CHECK(to_doubles(y) == to_doubles(from_doubles(shape, expected, dtype, *device)));
      }
}

TEST_CASE("normalize_u8 on the scale of the bytes in B,G,R order is x - mean to the last bit, on every device") {
  const kernels::Normalization n{.mean = {103.530f, 116.280f, 123.675f}, .std = {1, 1, 1}, .unit = 1, .bgr = true};
  std::vector<uint8_t> bytes(1 * 3 * 257 * 3);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 5 / 3);
  const size_t pixels = bytes.size() / 3;
  for (const auto& device : test_devices())
    for (const int64_t channels : {3, 4}) {
      CAPTURE(device->name());
      const Tensor x = Tensor::from<uint8_t>({1, 3, 257, 3}, bytes, *device);
      Tensor y = filled_with_nan({1, 3, 257, channels}, DType::f32, *device);
      kernels::normalize_u8(x, n, y);
      const std::vector<float> got = y.to_vector<float>();
      const auto width = static_cast<size_t>(channels);
      for (size_t p = 0; p < pixels; ++p) {
        REQUIRE(got[width * p + 0] == static_cast<float>(bytes[3 * p + 2]) - 103.530f);
        REQUIRE(got[width * p + 1] == static_cast<float>(bytes[3 * p + 1]) - 116.280f);
        REQUIRE(got[width * p + 2] == static_cast<float>(bytes[3 * p + 0]) - 123.675f);
      }
    }
}

TEST_CASE("copies, casts, dropout and normalisation refuse wrong arguments by name") {
  for (const auto& device : test_devices()) {
    const Tensor x = Tensor::zeros({2, 3}, DType::f32, *device), step = Tensor::zeros({1}, DType::i64, *device);
    Tensor y = Tensor::zeros({3, 2}, DType::bf16, *device), labels = Tensor::zeros({2, 3}, DType::i32, *device);
    Tensor same = Tensor::like(x), wide = Tensor::zeros({2, 5}, DType::f32, *device);
    CHECK(error_of([&] { kernels::cast(x, y); }) == "cast: to: expected [2,3], got [3,2]");
    CHECK(error_of([&] { kernels::cast(x, labels); }).starts_with("cast: to: expected f32, bf16 or f16"));
    CHECK(error_of([&] {
            kernels::cast_many({{x, same}, {x, y}});
          }) == "cast_many: pair 1: to: expected [2,3], got [3,2]");
    CHECK(error_of([&] { kernels::dropout(x, 1.0, 1, 1, step, same); }) == "dropout: p: expected 0 <= p < 1, got 1");
    CHECK(error_of([&] { kernels::dropout(x, 0.5, 1, 1, labels, same); }) == "dropout: step: expected [1], got [2,3]");
    CHECK(error_of([&] { kernels::copy_into_channels(x, wide, 3); }) ==
          "copy_into_channels: offset: expected 0 to 2 (3 of 5 channels), got 3");
    CHECK(error_of([&] { kernels::copy_from_channels(x, 0, wide); }) ==
          "copy_from_channels: x: expected 5 channels or more, got 3");
    CHECK(error_of([&] { kernels::copy_into_channels(x, y, 0); }) == "copy_into_channels: y: expected f32, got bf16");
    const Tensor image = Tensor::zeros({1, 2, 2, 3}, DType::u8, *device);
    Tensor small = Tensor::zeros({1, 2, 2, 2}, DType::f32, *device),
           fits = Tensor::zeros({1, 2, 2, 3}, DType::f32, *device);
    CHECK(error_of([&] {
            kernels::normalize_u8(image, {{0, 0, 0}, {1, 1, 1}}, small);
          }) == "normalize_u8: y: expected [1,2,2,C] with C >= 3, got [1,2,2,2]");
    CHECK(error_of([&] {
            kernels::normalize_u8(image, {{0, 0, 0}, {1, 0, 1}}, fits);
          }) == "normalize_u8: std: expected numbers > 0, got 0 for channel 1");
    CHECK(error_of([&] {
            kernels::normalize_u8(image, {.mean = {0, 0, 0}, .std = {1, 1, 1}, .unit = 0}, fits);
          }) == "normalize_u8: unit: expected a number > 0, got 0");
  }
}
