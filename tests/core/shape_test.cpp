#include "core/shape.h"

#include <doctest/doctest.h>

#include <limits>
#include <sstream>
#include <vector>

#include "core/error.h"
#include "tests/core/message_of.h"

using namespace segrt;

TEST_CASE("shape: a scalar has rank 0 and one element") {
  const Shape scalar;
  CHECK(scalar.rank() == 0);
  CHECK(scalar.numel() == 1);
  CHECK(scalar == Shape(std::vector<int64_t>{}));
  CHECK(to_string(scalar) == "[]");
}

TEST_CASE("shape: extents, elements, negative indices") {
  const Shape s{2, 512, 1, 64};
  CHECK(s.rank() == 4);
  CHECK(s.numel() == int64_t{2} * 512 * 64);
  CHECK(s[0] == 2);
  CHECK(s[3] == 64);
  CHECK(s[-1] == 64);
  CHECK(s[-4] == 2);
  CHECK(std::vector<int64_t>(s.dims().begin(), s.dims().end()) == std::vector<int64_t>{2, 512, 1, 64});
  std::ostringstream out;
  out << s;
  CHECK(out.str() == "[2,512,1,64]");
  CHECK(Shape{3, 0, 5}.numel() == 0);
}

TEST_CASE("shape: equal only with equal rank and extents") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2} != Shape{2, 1});
  CHECK(Shape{} != Shape{1});
  CHECK(Shape{0} != Shape{0, 0});
}

TEST_CASE("shape: what no tensor can have is refused") {
  CHECK_NOTHROW(Shape{1, 2, 3, 4, 5, 6});
  CHECK(message_of<ArgumentError>([] { Shape{1, 1, 1, 1, 1, 1, 1}; }).find("7") != std::string::npos);
  CHECK(message_of<ArgumentError>([] { Shape{2, -3}; }).find("-3") != std::string::npos);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  CHECK(Shape{kMax}.numel() == kMax);
  CHECK_THROWS_AS((Shape{kMax, 2}), ArgumentError);
  CHECK_THROWS_AS((Shape{int64_t{1} << 32, int64_t{1} << 31}), ArgumentError);
  CHECK(Shape{int64_t{1} << 31, int64_t{1} << 31}.numel() == int64_t{1} << 62);
}
