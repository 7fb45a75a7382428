#include "data/rand_augment.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

#include "core/error.h"
#include "data/affine.h"
#include "data/colour_ops.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;
using Kind = RandAugment::Kind;

namespace {

// Smooth, with noise: neither flat nor using all 256 values.
Image picture(int height, int width, uint64_t seed) {
  Image image(height, width, 3);
  Rng rng(seed, 0);
  for (int y = 0; y < height; ++y)
    for (int i = 0; i < width * 3; ++i)
      image.row(y)[i] =
          static_cast<uint8_t>(110 + 70 * std::sin(0.3 * y + i) + static_cast<double>(rng.integer(0, 50)));
  return image;
}

Image grey_row(const std::vector<uint8_t>& values) {
  Image image(1, static_cast<int>(values.size()), 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = values[i / 3];
  return image;
}

std::vector<int> first_channel(const Image& image) {
  std::vector<int> v;
  for (size_t i = 0; i < image.pixels.size(); i += 3) v.push_back(image.pixels[i]);
  return v;
}

// The same with Pillow's own operators, for each "kind magnitude negative" of a list.
constexpr const char* kPillow = R"(
import sys
from PIL import Image, ImageOps, ImageEnhance
folder, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
raw = open(folder + '/image.raw', 'rb').read()
fill = (124, 116, 104)
def affine(im, m): return im.transform(im.size, Image.AFFINE, m, resample=Image.BICUBIC, fillcolor=fill)
def solarize_add(im, add): return im.point([min(255, i + add) if i < 128 else i for i in range(256)] * 3)
out = open(folder + '/out.raw', 'wb')
for line in open(folder + '/list.txt'):
  kind, m, negative = line.split()
  kind, m, s = int(kind), float(m), -1.0 if negative == '1' else 1.0
  im = Image.frombytes('RGB', (width, height), raw)
  factor = 1.0 + s * ((m / 10) * 0.9)
  if kind == 0: im = ImageOps.autocontrast(im)
  if kind == 1: im = ImageOps.equalize(im)
  if kind == 2: im = ImageOps.invert(im)
  if kind == 3: im = im.rotate(s * ((m / 10) * 30), resample=Image.BICUBIC, fillcolor=fill)
  if kind == 4: im = im.point([i & ~(2 ** (8 - (4 - int((m / 10) * 4))) - 1) for i in range(256)] * 3)
  if kind == 5: im = ImageOps.solarize(im, 256 - int((m / 10) * 256))
  if kind == 6: im = solarize_add(im, int((m / 10) * 110))
  if kind == 7: im = ImageEnhance.Color(im).enhance(factor)
  if kind == 8: im = ImageEnhance.Contrast(im).enhance(factor)
  if kind == 9: im = ImageEnhance.Brightness(im).enhance(factor)
  if kind == 10: im = ImageEnhance.Sharpness(im).enhance(factor)
  if kind == 11: im = affine(im, (1, s * ((m / 10) * 0.3), 0, 0, 1, 0))
  if kind == 12: im = affine(im, (1, 0, 0, s * ((m / 10) * 0.3), 1, 0))
  if kind == 13: im = affine(im, (1, 0, s * ((m / 10) * 0.45) * im.size[0], 0, 1, 0))
  if kind == 14: im = affine(im, (1, 0, 0, 0, 1, s * ((m / 10) * 0.45) * im.size[1]))
  out.write(im.tobytes())
)";

}  // namespace

TEST_CASE("rand augment: operators by hand") {
  Image image = grey_row({50, 100, 150});
  autocontrast(image);
  CHECK(first_channel(image) == std::vector<int>{0, 127, 255});  // 127.5 is truncated
  image = grey_row({7, 7});
  autocontrast(image);
  CHECK(first_channel(image) == std::vector<int>{7, 7});
  image = grey_row({0, 100, 200, 255});
  invert(image);
  CHECK(first_channel(image) == std::vector<int>{255, 155, 55, 0});
  image = grey_row({0x0F, 0xAB, 0xFF});
  posterize(image, 3);
  CHECK(first_channel(image) == std::vector<int>{0, 0xA0, 0xE0});
  image = grey_row({0x0F, 0xAB, 0xFF});
  posterize(image, 0);
  CHECK(first_channel(image) == std::vector<int>{0, 0, 0});
  image = grey_row({99, 100, 255});
  solarize(image, 100);
  CHECK(first_channel(image) == std::vector<int>{99, 155, 0});
  image = grey_row({0, 127, 128});
  solarize_add(image, 100);
  CHECK(first_channel(image) == std::vector<int>{100, 227, 128});
  image = grey_row({0, 100, 200});
  adjust_brightness(image, 1.5);
  CHECK(first_channel(image) == std::vector<int>{0, 150, 255});
  image = grey_row({0, 100, 200});
  adjust_contrast(image, 0.5);  // about 100
  CHECK(first_channel(image) == std::vector<int>{50, 100, 150});
  image = grey_row({0, 100, 200});
  adjust_colour(image, 1.9);  // grey has no colour
  CHECK(first_channel(image) == std::vector<int>{0, 100, 200});
  image = Image(3, 3, 3);
  std::fill_n(image.row(1) + 3, 3, uint8_t{130});
  adjust_sharpness(image, 0);  // 130 * 5 / 13
  CHECK(image.row(1)[3] == 50);
  CHECK(image.row(0)[3] == 0);  // the border stays
}

TEST_CASE("rand augment: equalize makes counts even") {
  // 1024 values, 4 equal groups: d = 768 / 255 = 3; below = 1, 257, 513, 769; each / 3.
  std::vector<uint8_t> values;
  for (int v : {10, 11, 12, 13}) values.insert(values.end(), 256, static_cast<uint8_t>(v));
  Image image = grey_row(values);
  equalize(image);
  const std::vector<int> v = first_channel(image);
  CHECK(v[0] == 0);
  CHECK(v[256] == 85);
  CHECK(v[512] == 171);
  CHECK(v[768] == 255);
}

TEST_CASE("rand augment: translation by whole pixels moves, and fills") {
  const Image image = picture(6, 8, 5);
  const Image moved = affine_bicubic(image, {.c = 2}, {1, 2, 3});
  for (int y = 0; y < 6; ++y)
    for (int x = 0; x < 8; ++x)
      for (int c = 0; c < 3; ++c) REQUIRE(moved.row(y)[3 * x + c] == (x < 6 ? image.row(y)[3 * (x + 2) + c] : c + 1));
}

TEST_CASE("rand augment: what is drawn") {
  const RandAugment augment({});
  std::map<Kind, int> counts;
  int applied = 0, negative = 0;
  double sum = 0, squares = 0;
  constexpr int kImages = 20000;
  for (int i = 0; i < kImages; ++i) {
    Rng rng(7, stream_of({0, static_cast<uint64_t>(i)}));
    for (const RandAugment::Operation& o : augment.draw(rng)) {
      ++applied;
      ++counts[o.kind];
      negative += o.negative;
      sum += o.magnitude;
      squares += (o.magnitude - 9) * (o.magnitude - 9);
    }
  }
  // Binomial deviations: 100 of 20000, 36 of each kind, 71 of the signs; means of N(9, 0.5), clipped above at 2 sigma.
  CHECK(std::abs(applied - kImages) < 500);
  CHECK(counts.size() == RandAugment::kKinds);
  for (const auto& [kind, count] : counts) CHECK(std::abs(count - kImages / 15) < 200);
  CHECK(std::abs(negative - applied / 2) < 360);
  CHECK(std::abs(sum / applied - (9 - 0.5 * 0.0084907)) < 0.02);  // E max(z - 2, 0) = 0.0084907
  CHECK(std::abs(std::sqrt(squares / applied) - 0.49) < 0.02);
  Rng one(7, 1), two(7, 1);
  CHECK(augment.draw(one) == augment.draw(two));
}

TEST_CASE("rand augment: magnitudes decide the operators' arguments") {
  const RandAugment augment({});
  const auto same = [&](const RandAugment::Operation& o, const auto& expected) {
    Image a = picture(9, 7, 2), b = a;
    augment.apply(a, o);
    expected(b);
    CHECK(a == b);
  };
  same({Kind::posterize, 9.9}, [](Image& i) { posterize(i, 1); });
  same({Kind::posterize, 10}, [](Image& i) { posterize(i, 0); });
  same({Kind::solarize, 9}, [](Image& i) { solarize(i, 256 - 230); });
  same({Kind::solarize_add, 9.05}, [](Image& i) { solarize_add(i, 99); });
  same({Kind::brightness, 10, true}, [](Image& i) { adjust_brightness(i, 0.1); });
  same({Kind::translate_x, 0}, [](Image&) {});
  same({Kind::rotate, 0}, [](Image&) {});
}

TEST_CASE("rand augment: rejected options name themselves") {
  CHECK(contains(error_of([] { RandAugment({.magnitude = 11}); }), "magnitude"));
  CHECK(contains(error_of([] { RandAugment({.operations = -1}); }), "operations"));
  CHECK(contains(error_of([] { RandAugment({.probability = 2}); }), "probability"));
}

TEST_CASE("rand augment: every operator is Pillow's, bit for bit") {
  const char* python = std::getenv("SEGRT_PILLOW_PYTHON");  // one that has Pillow
  const std::string program = python != nullptr ? python : "python3";
  if (std::system((program + " -c 'import PIL.Image' 2>/dev/null").c_str()) != 0) {
    MESSAGE("skipped: no python with Pillow");
    return;
  }
  const test::TestFolder folder;
  folder.write("pillow.py", kPillow);
  const RandAugment augment({});
  for (const auto& [height, width] : {std::pair{37, 53}, {224, 224}, {1, 5}, {2, 2}}) {
    CAPTURE(height);
    const Image image = picture(height, width, 11);
    folder.write("image.raw", std::string(image.pixels.begin(), image.pixels.end()));
    std::vector<RandAugment::Operation> operations;
    std::string list;
    Rng rng(3, 4);
    for (int k = 0; k < RandAugment::kKinds; ++k)
      for (const double m : {0.0, 3.3, 8.7, 10.0, rng.uniform(0, 10)})
        for (const bool negative : {false, true}) {
          operations.push_back({static_cast<Kind>(k), m, negative});
          char line[64];
          std::snprintf(line, sizeof line, "%d %.17g %d\n", k, m, negative);
          list += line;
        }
    folder.write("list.txt", list);
    REQUIRE(std::system((program + " '" + (folder / "pillow.py").string() + "' '" + folder.path().string() + "' " +
                         std::to_string(height) + " " + std::to_string(width) + " 2>/dev/null")
                            .c_str()) == 0);
    std::ifstream in(folder / "out.raw", std::ios::binary);
    for (const RandAugment::Operation& o : operations) {
      CAPTURE(static_cast<int>(o.kind));
      CAPTURE(o.magnitude);
      CAPTURE(o.negative);
      std::vector<uint8_t> expected(image.pixels.size());
      REQUIRE(in.read(reinterpret_cast<char*>(expected.data()), static_cast<std::streamsize>(expected.size())));
      Image result = image;
      augment.apply(result, o);
      int different = 0;
      for (size_t i = 0; i < expected.size(); ++i) different += expected[i] != result.pixels[i];
      CHECK(different == 0);
    }
  }
}
