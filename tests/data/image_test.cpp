#include "data/image.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "core/random.h"
#include "data/png.h"
#include "tests/data/test_files.h"
#include "tests/support/tensors.h"

using namespace segrt;
using namespace segrt::data;
using segrt::test::contains;
using segrt::test::error_of;
using segrt::test::TestFolder;

namespace {

std::filesystem::path golden(const std::string& name) { return test::golden_folder() / "images" / name; }

// The rule by which the index files were made.
Image index_picture(int levels) {
  Image image(11, 13, 1);
  for (int y = 0; y < 11; ++y)
    for (int x = 0; x < 13; ++x) image.row(y)[x] = static_cast<uint8_t>((x * 7 + y * 13 + x * y) % levels);
  return image;
}

Image random_picture(int height, int width, int channels, uint64_t seed = 3) {
  Image image(height, width, channels);
  Rng rng(seed, 0);
  for (uint8_t& v : image.pixels) v = static_cast<uint8_t>(rng.next_u32());
  return image;
}

}  // namespace

TEST_CASE("label files give the stored indices") {
  CHECK(read_label(golden("palette8.png")) == index_picture(256));
  CHECK(read_label(golden("palette4.png")) == index_picture(16));
  CHECK(read_label(golden("palette2.png")) == index_picture(4));
  CHECK(read_label(golden("palette1.png")) == index_picture(2));
  CHECK(read_label(golden("grey8.png")) == index_picture(256));
  CHECK(read_label(golden("filters.png")) == index_picture(256));  // each of the five row filters
  CHECK(read_label(golden("adam7_palette4.png")) == index_picture(16));
}

TEST_CASE("a colour PNG gives the formula it was made from") {
  const Image image = read_image(golden("rgb.png"));
  REQUIRE(image.height == 33);
  REQUIRE(image.width == 50);
  REQUIRE(image.channels == 3);
  for (int y = 0; y < 33; ++y)
    for (int x = 0; x < 50; ++x) {
      CHECK(image.row(y)[3 * x + 1] == 4 * x + y);
      CHECK(image.row(y)[3 * x + 2] == 255 - 6 * y);
    }
}

TEST_CASE("JPEG pixels agree with another decoder") {
  for (const std::string name : {"photo", "progressive"}) {
    CAPTURE(name);
    const Image image = read_image(golden(name + ".jpg")), expected = read_image(golden(name + "_decoded.png"));
    REQUIRE(image.pixels.size() == expected.pixels.size());
    int worst = 0;
    for (size_t i = 0; i < image.pixels.size(); ++i)
      worst = std::max(worst, std::abs(image.pixels[i] - expected.pixels[i]));
    CHECK(worst <= 4);  // decoders may differ in the rounding of the inverse DCT and of chroma interpolation
  }
}

TEST_CASE("PNG files written come back") {
  const TestFolder folder;
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 300}, {17, 1}, {33, 50}}) {
    const Image label = random_picture(height, width, 1), picture = random_picture(height, width, 3);
    write_png(folder / "new/folder/label.png", label);
    write_png(folder / "picture.png", picture);
    CHECK(read_label(folder / "new/folder/label.png") == label);
    CHECK(read_image(folder / "picture.png") == picture);
  }
  write_png(folder / "rgba.png", random_picture(5, 4, 4));
  const ImageInfo info = read_image_info(folder / "rgba.png");
  CHECK(info.height == 5);
  CHECK(info.width == 4);
  CHECK(info.channels == 4);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 3);  // nothing temporary is left
}

TEST_CASE("a palette is stored beside the indices") {
  const TestFolder folder;
  const std::vector<Rgb> palette{{1, 2, 3}, {250, 170, 30}, {0, 0, 0}};
  Image label(2, 3, 1);
  label.pixels = {0, 1, 2, 2, 1, 0};
  write_png(folder / "label.png", label, palette);
  CHECK(read_label(folder / "label.png") == label);
  const std::string bytes = test::read_file(folder / "label.png");
  CHECK(contains(bytes, std::string_view("PLTE\x01\x02\x03\xfa\xaa\x1e\0\0\0", 13)));
  CHECK(contains(error_of([&] { read_image(folder / "label.png"); }), "found 1 (palette)"));
  CHECK(contains(error_of([&] { write_png(folder / "x.png", Image(2, 2, 3), palette); }),
                 "x.png: a palette of 3 colours for 3 channels, expected at most 256 for 1"));
  label.pixels[3] = 3;
  CHECK(contains(error_of([&] { write_png(folder / "x.png", label, palette); }),
                 "x.png: value 3 has no colour in a palette of 3"));
  CHECK(!std::filesystem::exists(folder / "x.png"));
}

TEST_CASE("images of other channel counts and depths are refused with what was found") {
  auto message = [](const std::string& name) { return error_of([&] { read_image(golden(name)); }); };
  CHECK(contains(message("grey.jpg"), "grey.jpg: an image needs 3 channels (RGB), found 1"));
  CHECK(contains(message("rgba.png"), "found 4"));
  CHECK(contains(message("palette8.png"), "found 1 (palette)"));
  CHECK(contains(message("rgb16.png"), "8 bits a channel, found 16"));
  CHECK(contains(error_of([] { read_label(golden("rgb.png")); }), "found 3 of 8 bits"));
  CHECK(contains(error_of([] { read_label(golden("photo.jpg")); }), "must be a PNG"));
}

TEST_CASE("missing, empty and foreign files are named with their cause") {
  const TestFolder folder;
  const auto check = [&](const std::filesystem::path& path, const std::string& cause) {
    CAPTURE(path);
    for (const bool label : {false, true}) {
      const std::string message = error_of([&] { label ? read_label(path) : read_image(path); });
      CHECK(message.starts_with(path.string() + ": "));
      CHECK(contains(message, cause));
    }
    CHECK_THROWS_AS(read_image(path), FileError);
  };
  check(folder / "absent.png", "no such file");
  check(folder.path(), "is a folder");
  check(folder.write("empty.png", ""), "is empty");
  check(folder.write("text.png", "hello, this is no image"), "");
  check("/dev/null", "not a regular file");
}

TEST_CASE("every truncation of an image file is refused") {
  const TestFolder folder;
  for (const std::string name : {"rgb.png", "photo.jpg", "progressive.jpg"}) {
    CAPTURE(name);
    const std::string whole = test::read_file(golden(name));
    for (size_t length = 1; length < whole.size(); length += 1 + length / 40) {
      CAPTURE(length);
      const auto path = folder.write("cut", whole.substr(0, length));
      CHECK_THROWS_AS(read_image(path), FileError);
    }
    folder.write("cut", whole);
    CHECK_NOTHROW(read_image(folder / "cut"));
  }
  const std::string label = test::read_file(golden("adam7_palette4.png"));
  for (size_t length = 1; length < label.size(); ++length)
    CHECK_THROWS_AS(read_label(folder.write("cut", label.substr(0, length))), FileError);
}

TEST_CASE("any changed byte of a PNG is noticed") {
  const TestFolder folder;
  for (const std::string name : {"palette4.png", "filters.png"}) {
    const std::string whole = test::read_file(golden(name));
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
      CAPTURE(at);
      CHECK_THROWS_AS(read_label(folder.write("damaged.png", damaged)), FileError);
    }
  }
}

TEST_CASE("damaged JPEG files give an error or a picture, never more") {
  const TestFolder folder;
  for (const std::string name : {"photo.jpg", "progressive.jpg"}) {
    const std::string whole = test::read_file(golden(name));
    Rng rng(5, 0);
    int refused = 0;
    for (int trial = 0; trial < 600; ++trial) {
      std::string damaged = whole;
      // Half of the trials in the headers: tables, frame and scan.
      const int64_t end = trial % 2 == 0 ? 700 : static_cast<int64_t>(whole.size()) - 1;
      for (int k = 0; k < 1 + trial % 3; ++k)
        damaged[static_cast<size_t>(rng.integer(2, end))] = static_cast<char>(rng.integer(0, 255));
      const auto path = folder.write("damaged.jpg", damaged);
      try {
        const Image image = read_image(path);
        CHECK(image.pixels.size() == image.row_bytes() * static_cast<size_t>(image.height));
      } catch (const FileError& e) {
        CHECK(std::string(e.what()).starts_with(path.string()));
        ++refused;
      }
    }
    CHECK(refused > 100);
  }
}

TEST_CASE("JPEG tables that stb_image would take on trust are refused") {
  const TestFolder folder;
  const std::string whole = test::read_file(golden("photo.jpg"));
  const auto changed = [&](size_t at, const std::string& bytes, const char* cause) {
    std::string damaged = whole;
    damaged.replace(at, bytes.size(), bytes);
    CAPTURE(cause);
    CHECK(contains(error_of([&] { read_image(folder.write("changed.jpg", damaged)); }), cause));
  };
  const size_t huffman = whole.find("\xff\xc4"), quant = whole.find("\xff\xdb"), scan = whole.find("\xff\xda");
  REQUIRE(std::max({huffman, quant, scan}) < whole.size());
  changed(huffman + 5 + 15, "\xff", "Huffman table");       // 255 codes of 16 bits more
  changed(huffman, "\xff\xe5", "undefined Huffman table");  // the segment hidden as application data
  changed(quant, "\xff\xe5", "undefined quantisation table");
  changed(scan + 6, "\x33", "undefined Huffman table");
  changed(scan + 5, "\x77", "scan of a component that the frame lacks");
}

TEST_CASE("photos come the way up that Exif says") {
  const TestFolder folder;
  const std::string whole = test::read_file(golden("photo.jpg"));
  const Image stored = read_image(golden("photo.jpg"));
  const int h = stored.height, w = stored.width;
  // Where pixel (y, x) of the upright picture is in the stored one, by the definition of each value: which side of the
  // picture the stored row 0 and column 0 are.
  const auto source = [&](int orientation, int y, int x) -> std::pair<int, int> {
    switch (orientation) {
      case 2: return {y, w - 1 - x};          // top, right
      case 3: return {h - 1 - y, w - 1 - x};  // bottom, right
      case 4: return {h - 1 - y, x};          // bottom, left
      case 5: return {x, y};                  // left, top
      case 6: return {h - 1 - x, y};          // right, top
      case 7: return {h - 1 - x, w - 1 - y};  // right, bottom
      case 8: return {x, w - 1 - y};          // left, bottom
      default: return {y, x};
    }
  };
  const auto with_exif = [&](int orientation, bool little, int type = 3) {
    std::string tiff = little ? std::string("II*\0\10\0\0\0\2\0", 10) : std::string("MM\0*\0\0\0\10\0\2", 10);
    auto put = [&](uint32_t value, int bytes) {
      for (int i = 0; i < bytes; ++i) tiff += static_cast<char>(value >> (8 * (little ? i : bytes - 1 - i)));
    };
    for (const uint32_t tag : {0x0100u, 0x0112u}) {
      put(tag, 2);
      put(tag == 0x0112 ? static_cast<uint32_t>(type) : 4, 2);
      put(1, 4);
      put(tag == 0x0112 ? static_cast<uint32_t>(orientation) : 77, tag == 0x0112 ? 2 : 4);
      if (tag == 0x0112) put(0, 2);
    }
    put(0, 4);
    const std::string body = std::string("Exif\0\0", 6) + tiff;
    const size_t length = body.size() + 2;
    return whole.substr(0, 2) + "\xff\xe1" + static_cast<char>(length >> 8) + static_cast<char>(length) + body +
           whole.substr(2);
  };
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (const bool little : {true, false}) {
      CAPTURE(orientation);
      const auto path = folder.write("turned.jpg", with_exif(orientation, little));
      const Image image = read_image(path);
      REQUIRE(image.height == (orientation < 5 ? h : w));
      REQUIRE(image.width == (orientation < 5 ? w : h));
      int wrong = 0;
      for (int y = 0; y < image.height; ++y)
        for (int x = 0; x < image.width; ++x) {
          const auto [sy, sx] = source(orientation, y, x);
          for (int c = 0; c < 3; ++c) wrong += image.row(y)[3 * x + c] != stored.row(sy)[3 * sx + c];
        }
      CHECK(wrong == 0);
      CHECK(read_image_info(path).orientation == orientation);
      CHECK(read_image_as_rgb(path) == stored);  // classifiers
      CHECK(read_image_as_rgb(path, Orientation::upright) == image);
    }
  // Notes that make no sense change nothing.
  for (const int nonsense : {0, 9, 300}) CHECK(read_image(folder.write("n.jpg", with_exif(nonsense, true))) == stored);
  CHECK(read_image(folder.write("n.jpg", with_exif(6, true, 4))) == stored);
  const std::string note = with_exif(6, false).substr(2, with_exif(6, false).size() - whole.size());
  for (size_t length = 4; length < note.size(); ++length) {
    std::string cut = note.substr(0, length);
    cut[2] = 0;
    cut[3] = static_cast<char>(length - 2);
    const Image image = read_image(folder.write("n.jpg", whole.substr(0, 2) + cut + whole.substr(2)));
    CHECK((image == stored || length > 40));
  }
}

TEST_CASE("a header that claims a huge image is refused before memory is taken") {
  const TestFolder folder;
  std::string bytes = test::read_file(golden("rgb.png"));
  for (const uint32_t side : {40'000u, 32'000u, 0x7fffffffu, 0u}) {
    Image one(1, 1, 3);
    std::vector<uint8_t> file = encode_png("one", one);
    for (size_t k = 0; k < 8; ++k) file[16 + k] = static_cast<uint8_t>(side >> (24 - 8 * (k % 4)));
    // IHDR's checksum made right again: bitwise CRC-32 of type and body.
    uint32_t crc = ~0u;
    for (size_t k = 12; k < 29; ++k) {
      crc ^= file[k];
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    for (size_t k = 0; k < 4; ++k) file[29 + k] = static_cast<uint8_t>(~crc >> (24 - 8 * k));
    const auto path = folder.write("huge.png", {reinterpret_cast<const char*>(file.data()), file.size()});
    CAPTURE(side);
    CHECK(contains(error_of([&] { read_image(path); }), "above the limit"));
    CHECK(contains(error_of([&] { read_label(path); }), "above the limit"));
  }
}

TEST_CASE("a picture that cannot be written is an error that names it") {
  const TestFolder folder;
  const Image image = random_picture(4, 4, 3);
  folder.write("file", "x");
  const auto inside_file = folder / "file/picture.png";
  CHECK(error_of([&] { write_png(inside_file, image); }).starts_with(inside_file.string() + ": "));
  std::filesystem::create_directories(folder / "taken.png");
  CHECK(contains(error_of([&] { write_png(folder / "taken.png", image); }), "taken.png: "));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
  CHECK_THROWS_AS(write_png(folder / "none.png", Image()), ArgumentError);
  CHECK_THROWS_AS(write_png(folder / "five.png", Image(2, 2, 5)), ArgumentError);
}

TEST_CASE("CamVid's files are read") {
  const auto camvid = test::shared_folder() / "camvid";
  if (!std::filesystem::exists(camvid)) return;
  const Image image = read_image(camvid / "images/train/0001TP_006690.jpg");
  const Image label = read_label(camvid / "labels/train/0001TP_006690.png");
  CHECK(image.height == 360);
  CHECK(image.width == 480);
  CHECK(label.height == 360);
  CHECK(label.width == 480);
  CHECK(std::all_of(label.pixels.begin(), label.pixels.end(), [](uint8_t v) { return v < 11 || v == 255; }));
}
