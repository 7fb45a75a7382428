// tests/support/golden.h against values of the reference generator (Python, NumPy), as hexadecimal floats: every bit.
#include <doctest/doctest.h>

#include <bit>

#include "tests/support/golden.h"

using namespace segrt;
namespace {
std::vector<int64_t> extents(std::initializer_list<int64_t> values) { return values; }
}  // namespace

TEST_CASE("golden formulas: the hash is FNV-1a") {
  CHECK(golden::fnv1a64("") == 0xcbf29ce484222325u);
  CHECK(golden::fnv1a64("a") == 0xaf63dc4c8601ec8cu);
  CHECK(golden::fnv1a64("layer3.0.conv1.weight") == 0x89280d214e1a6654u);
}

TEST_CASE("golden formulas: uniforms are multiples of 2^-24") {
  CHECK(golden::uniforms("x", 3) == std::vector{3375714 * 0x1p-24, 13564828 * 0x1p-24, 10793179 * 0x1p-24});
}

TEST_CASE("golden formulas: the fill of a tensor follows from its name and shape") {
  const std::vector<float> weight = golden::fill("layer1.0.weight", extents({2, 3, 1, 2}));
  CHECK(weight.size() == 12);
  CHECK(std::vector(weight.begin(), weight.begin() + 4) ==
        std::vector{0x1.5ec3cp-5f, -0x1.7a6c08p-2f, 0x1.c0a6ap-4f, 0x1.e8b3cp-5f});
  CHECK(weight.back() == 0x1.30fe48p-2f);
  CHECK(golden::fill("fc.weight", extents({2, 3})).front() == -0x1.63c3b4p-5f);
  CHECK(golden::fill("bn1.weight", extents({3})) == std::vector{0x1.b86ca8p-1f, 0x1.530c78p+0f, 0x1.11b64cp+0f});
  CHECK(golden::fill("bn1.bias", extents({3})) == std::vector{-0x1.0c8970p-4f, -0x1.78b494p-4f, 0x1.30bd74p-4f});
  CHECK(golden::fill("bn1.running_mean", extents({2})) == std::vector{0x1.801f6cp-5f, 0x1.49b50cp-6f});
  CHECK(golden::fill("bn1.running_var", extents({2})) == std::vector{0x1.246e44p+0f, 0x1.4968acp+0f});
  CHECK(golden::fill("bn1.num_batches_tracked", {}) == std::vector{0.0f});
}

TEST_CASE("golden formulas: every value of a large fill") {
  const std::vector<float> values = golden::fill("layer4.1.conv2.weight", extents({128, 128, 3, 3}));
  uint64_t check = 0;
  for (size_t i = 0; i < values.size(); ++i) check ^= uint64_t{std::bit_cast<uint32_t>(values[i])} * (i + 1);
  CHECK(check == 0x498dbaaadd19u);
}

TEST_CASE("golden formulas: pictures of awkward sizes") {
  const std::vector<float> picture = golden::image("pic", 2, 17, 18);
  REQUIRE(picture.size() == 2 * 3 * 17 * 18);
  CHECK(picture[0] == -0x1.a9a234p-2f);
  CHECK(picture[17] == 0x1.7eb564p-1f);
  CHECK(picture[18 * 16 + 16] == 0x1.a6d708p-3f);
  CHECK(picture.back() == 0x1.af26b8p-1f);
  double sum = 0;
  for (const float v : picture) sum += static_cast<double>(v);
  CHECK(sum == doctest::Approx(-0x1.9b70716d0p+8).epsilon(1e-12));
  CHECK(golden::image("pic", 1, 3, 2, 4).back() == 0x1.7e1c94p-2f);
}

TEST_CASE("golden formulas: labels and classes") {
  const std::vector<int64_t> labels = golden::labels("pic", 2, 9, 10, 3);
  REQUIRE(labels.size() == 180);
  int64_t sum = 0;
  for (const int64_t v : labels) sum += v;
  CHECK(sum == 218);
  std::vector<int64_t> corners;  // of the 8x8 blocks
  for (const size_t i : {0, 8, 80, 88, 90, 98, 170, 178}) corners.push_back(labels[i]);
  CHECK(corners == extents({1, 2, 2, 0, 1, 2, 1, 1}));
  CHECK(golden::classes_of("pic", 5, 1000) == extents({916, 911, 147, 362, 304}));
  // With one class, the value above it is the ignore index.
  for (const int64_t v : golden::labels("pic", 1, 16, 16, 1, 7)) CHECK((v == 0 || v == 7));
}

TEST_CASE("golden formulas: channels go last") {
  const std::unique_ptr<Device> cpu = Device::create("cpu");
  const Tensor t = golden::nhwc({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 1, 2, 2, 3, *cpu);
  CHECK(t.shape() == Shape{1, 2, 2, 3});
  CHECK(t.to_vector<float>() == std::vector<float>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
}
