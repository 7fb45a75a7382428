#include "data/synthetic_raster.h"

#include <doctest/doctest.h>

#include <cmath>

#include "data/synthetic_noise.h"
#include "data/synthetic_scene.h"

using namespace segrt::data::streets;

namespace {

Camera tilted_camera() {
  Camera camera;
  camera.eye = {0.7, 1.4, -2.0};
  camera.yaw = half_tangent(0.08);
  camera.roll = half_tangent(-0.05);
  camera.focal = 90;
  camera.centre_x = 47.3;
  camera.horizon = 21.8;
  return camera;
}

// Eye at the origin, one pixel a metre at distance 10: pixel (x, y) sees (x - 16, 12 - y) of the plane z = 10.
Camera square_camera() {
  Camera camera;
  camera.focal = 10;
  camera.centre_x = 16;
  camera.horizon = 12;
  return camera;
}
constexpr Plane kFacing{{0, 0, 10}, {1, 0, 0}, {0, 1, 0}};

Light clear_air() {
  Light light;
  light.haze_distance = 1e12f;
  return light;
}

}  // namespace

TEST_CASE("half_tangent is on the unit circle at twice the angle") {
  for (const double angle : {-2.5, -0.3, 0.0, 0.01, 1.2}) {
    const Turn turn = half_tangent(std::tan(angle / 2));
    CHECK(turn.cosine == doctest::Approx(std::cos(angle)).epsilon(1e-14));
    CHECK(turn.sine == doctest::Approx(std::sin(angle)).epsilon(1e-14));
  }
}

TEST_CASE("Camera::unproject inverts the projection of a plane") {
  const Camera camera = tilted_camera();
  const Plane planes[] = {{{0, 0, 0}, {1, 0, 0}, {0, 0, 1}},
                          {{3, 0, 5}, unit({0.2, 0, 1}), kUp},
                          {{-1, 0.5, 12}, unit({1, 0.1, -0.4}), unit({0.4, 1, 1})}};
  for (const Plane& plane : planes)
    for (const Vec2 p : {Vec2{1.5, 9.0}, Vec2{-2.25, 4.0}, Vec2{0.5, 30.0}}) {
      const Vec3 in_view = camera.view(plane.origin + plane.axis_u * p.u + plane.axis_v * p.v - camera.eye);
      REQUIRE(in_view.z > 0);
      const Vec2 pixel = camera.pixel(in_view);
      double m[9];
      REQUIRE(camera.unproject(plane, m));
      const double w = m[6] * pixel.u + m[7] * pixel.v + m[8];
      CHECK((m[0] * pixel.u + m[1] * pixel.v + m[2]) / w == doctest::Approx(p.u).epsilon(1e-9));
      CHECK((m[3] * pixel.u + m[4] * pixel.v + m[5]) / w == doctest::Approx(p.v).epsilon(1e-9));
      CHECK(1 / w == doctest::Approx(in_view.z).epsilon(1e-9));
    }
  double m[9];
  CHECK_FALSE(square_camera().unproject({{0, 0, 5}, {0, 0, 1}, {0, 1, 0}}, m));  // edge-on
}

TEST_CASE("fill covers pixels by area and labels those at least half covered") {
  const Camera camera = square_camera();
  const Light light = clear_air();
  const Noise noise(1, 1);
  Painter painter(32, 24, camera, light, noise);
  // Columns 4.25 .. 9.75, rows 6.5 .. 10 of the picture.
  const Vec2 outline[] = {{-11.75, 5.5}, {-6.25, 5.5}, {-6.25, 2}, {-11.75, 2}};
  painter.fill(kFacing, outline, kCar, [](const Surface&) { return Texel{{1, 0.5f, 0.25f}}; });
  double area = 0;
  for (int y = 0; y < 24; ++y)
    for (int x = 0; x < 32; ++x) {
      area += painter.row(y)[x].r;
      CHECK(painter.labels(y)[x] == (x >= 4 && x < 10 && y >= 7 && y < 10 ? kCar
                                     : x >= 5 && x < 9 && y == 6          ? kCar
                                                                          : kVoid));
    }
  CHECK(area == doctest::Approx(5.5 * 3.5).epsilon(1e-5));
  CHECK(painter.row(8)[4].r == doctest::Approx(0.75f));
  CHECK(painter.row(8)[6].g == doctest::Approx(0.5f));
  CHECK(painter.row(6)[6].b == doctest::Approx(0.125f));
}

TEST_CASE("fill passes the plane's coordinates, the pixel's footprint and the depth") {
  const Camera camera = square_camera();
  const Light light = clear_air();
  const Noise noise(1, 1);
  Painter painter(32, 24, camera, light, noise);
  const Vec2 all[] = {{-100, -100}, {100, -100}, {100, 100}, {-100, 100}};
  int seen = 0;
  painter.fill(kFacing, all, kRoad, [&](const Surface& at) {
    const int x = seen % 32, y = seen / 32;
    CHECK(at.u == doctest::Approx(x + 0.5 - 16));
    CHECK(at.v == doctest::Approx(12 - y - 0.5));
    CHECK(at.step_u == doctest::Approx(1.0f));
    CHECK(at.step_v == doctest::Approx(1.0f));
    CHECK(at.depth == doctest::Approx(10.0f));
    ++seen;
    return Texel{};
  });
  CHECK(seen == 32 * 24);
}

TEST_CASE("fill clips what is behind the camera and beside the picture") {
  const Camera camera = tilted_camera();
  const Light light = clear_air();
  const Noise noise(1, 1);
  Painter painter(96, 48, camera, light, noise);
  const Plane ground{{0, 0, 0}, {1, 0, 0}, {0, 0, 1}};
  const Vec2 outline[] = {{-1e5, -1e5}, {1e5, -1e5}, {1e5, 1e5}, {-1e5, 1e5}};  // around the eye
  painter.fill(ground, outline, kRoad, Colour{1, 1, 1});
  // The ground is exactly what lies below the horizon line of the rolled camera.
  for (int y = 0; y < 48; ++y)
    for (int x = 0; x < 96; ++x) {
      const double below =
          camera.roll.cosine * (y + 0.5 - camera.horizon) - camera.roll.sine * (x + 0.5 - camera.centre_x);
      if (below > 0.6) CHECK(painter.labels(y)[x] == kRoad);
      if (below < -0.6) CHECK(painter.labels(y)[x] == kVoid);
    }
  const Vec2 behind[] = {{0, -50}, {1, -50}, {1, -60}};
  painter.fill(ground, behind, kCar, [](const Surface&) -> Texel {
    FAIL("nothing there is visible");
    return {};
  });
}

TEST_CASE("alpha blends, a negative alpha leaves the pixel, a doubtful edge keeps its own class below") {
  const Camera camera = square_camera();
  const Light light = clear_air();
  const Noise noise(1, 1);
  Painter painter(32, 24, camera, light, noise);
  const Vec2 all[] = {{-16, -12}, {16, -12}, {16, 12}, {-16, 12}};
  painter.fill(kFacing, all, kSky, [](const Surface& at) {
    return Texel{{0, 0, 1}, 1, at.u < -8 ? int{kVegetation} : kLabelOfShape};
  });
  painter.fill(kFacing, all, kVegetation, [](const Surface& at) {
    if (at.v > 0) return Texel{{}, -1};
    return Texel{{1, 0, 0}, 0.25f, kVoid};
  });
  CHECK(painter.row(3)[20].b == 1.0f);
  CHECK(painter.labels(3)[20] == kSky);
  CHECK(painter.row(20)[20].r == doctest::Approx(0.25f));
  CHECK(painter.row(20)[20].b == doctest::Approx(0.75f));
  CHECK(painter.labels(20)[20] == kVoid);
  CHECK(painter.labels(20)[2] == kVegetation);
}

TEST_CASE("skipping what is hidden changes no pixel") {
  for (const uint64_t index : {3u, 4u, 17u}) {
    CAPTURE(index);
    constexpr int kHeight = 80, kWidth = 150;
    Scene scene = plan_scene({5, index, 0.6}, kWidth, kHeight);
    const Noise noise(5, index);
    Painter culled(kWidth, kHeight, scene.camera, scene.light, noise);
    paint_scene(scene, culled);
    int hidden = 0;
    for (int y = 0; y < kHeight; ++y)
      for (int x = 0; x < kWidth; ++x) hidden += culled.hidden(y)[x] > 0 ? 1 : 0;
    CHECK(hidden > 100);  // the case is about something
    for (Drawable& thing : scene.drawables) thing.occlude = nullptr;
    Painter full(kWidth, kHeight, scene.camera, scene.light, noise);
    paint_scene(scene, full);
    int different =
        0;  // a pixel counts as hidden when 0.999 of it is covered, so colours may differ by that thousandth
    for (int y = 0; y < kHeight; ++y)
      for (int x = 0; x < kWidth; ++x) {
        const Colour &a = culled.row(y)[x], &b = full.row(y)[x];
        different += culled.labels(y)[x] != full.labels(y)[x] || std::abs(a.r - b.r) > 0.003f ||
                     std::abs(a.g - b.g) > 0.003f || std::abs(a.b - b.b) > 0.003f;
      }
    CHECK(different == 0);
  }
}
