// Trucks, buses and trams: boxes with windows, and what distinguishes them.
#include <algorithm>
#include <cmath>

#include "data/synthetic_vehicles.h"

namespace segrt::data::streets {
namespace {

// A box from `rear` to `front` over [low, high]: roof, the visible end, the near side.
void draw_box(Painter& painter, const VehiclePose& pose, double rear, double front, double low, double high,
              double half, int label, Colour colour) {
  const Camera& camera = painter.camera();
  if (camera.eye.y > high) {
    const Vec2 roof[] = {{-half, rear}, {half, rear}, {half, front}, {-half, front}};
    painter.fill({pose.at(0, high, 0), pose.right(), pose.forward()}, roof, label, colour);
  }
  if (sees_front(camera, pose, front)) draw_end_panel(painter, pose, front, -half, half, low, high, label, colour);
  if (!sees_front(camera, pose, rear)) draw_end_panel(painter, pose, rear, -half, half, low, high, label, colour);
  draw_side_panel(painter, pose, half, rear, front, low, high, label, colour);
}

// Windows in a row along the near side, with posts between them.
void draw_window_band(Painter& painter, const VehiclePose& pose, double half, double from, double to, double low,
                      double high, double pitch, int label, Colour glass, Colour post) {
  const Plane plane{pose.at(0, 0, near_side(painter.camera(), pose) * half), pose.forward(), kUp};
  const Vec2 outline[] = {{from, low}, {to, low}, {to, high}, {from, high}};
  const auto start = static_cast<float>(from), bottom = static_cast<float>(low), width = static_cast<float>(pitch);
  const Colour sky = painter.light().haze, lit = post * painter.light().on(pose.right());
  painter.fill(plane, outline, label, [&](const Surface& at) {
    const float f = fraction((at.u - start) / width) * width;
    const float share = clamp01((0.09f - f) / std::max(at.step_u, 0.01f) + 0.5f);
    return Texel{mix(mix(glass, sky, 0.1f + 0.2f * (at.v - bottom)), lit, share)};
  });
}

void draw_lamps(Painter& painter, const VehiclePose& pose, double along, double half, double height, int label,
                Colour colour) {
  for (const double s : {-1.0, 1.0}) {
    const double a = s * half * 0.92, b = s * half * 0.72;
    draw_end_panel(painter, pose, along, std::min(a, b), std::max(a, b), height - 0.12, height + 0.12, label, colour);
  }
}

constexpr Colour kTail{0.65f, 0.06f, 0.06f}, kHead{0.92f, 0.92f, 0.88f}, kChassis{0.1f, 0.1f, 0.1f},
    kGlass{0.09f, 0.11f, 0.13f};

void draw_cab(Painter& painter, const VehiclePose& pose, double rear, Colour cab) {
  const double front = rear + 2.1, half = 1.2;
  draw_box(painter, pose, rear, front, 0.55, 2.75, half, kTruck, cab);
  draw_side_panel(painter, pose, half, front - 1.15, front - 0.2, 1.6, 2.4, kTruck, kGlass);
  if (!sees_front(painter.camera(), pose, front)) return;
  draw_end_panel(painter, pose, front, -1.08, 1.08, 1.6, 2.45, kTruck, kGlass);
  draw_end_panel(painter, pose, front, -0.8, 0.8, 0.9, 1.35, kTruck, kChassis);
  draw_lamps(painter, pose, front, half, 0.85, kTruck, kHead);
}

void draw_load(Painter& painter, const VehiclePose& pose, double rear, double front, Colour box, int kind) {
  const double half = 1.25;
  if (kind == 1) {  // a tipper: low sides and a heap
    draw_box(painter, pose, rear, front, 0.95, 2.1, half, kTruck, box);
    const double middle = (rear + front) / 2;
    const Plane plane{pose.at(0, 0, 0), pose.forward(), kUp};
    const Vec2 heap[] = {{rear + 0.4, 2.1}, {middle, 2.75}, {front - 0.4, 2.1}};
    painter.fill(plane, heap, kTruck, {0.42f, 0.35f, 0.27f});
    return;
  }
  const double high = kind == 2 ? 2.9 : 3.5;
  draw_box(painter, pose, rear, front, 0.95, high, half, kTruck, box);
  const Plane side{pose.at(0, 0, near_side(painter.camera(), pose) * half), pose.forward(), kUp};
  const Vec2 tarpaulin[] = {{rear, 0.95}, {front, 0.95}, {front, high}, {rear, high}};
  const Colour lit = box * painter.light().on(pose.right());
  const Noise& noise = painter.noise();
  const float ribs = kind == 2 ? 0.35f : 1.2f;
  painter.fill(side, tarpaulin, kTruck, [&](const Surface& at) {
    const float fold = fraction(at.u / ribs) < 0.12f ? 0.8f : 1.0f;
    return Texel{lit * (fold + 0.2f * (noise.smooth(at.u * 1.5f, at.v) - 0.5f))};
  });
  draw_side_panel(painter, pose, half, rear + 0.25 * (front - rear), rear + 0.75 * (front - rear), 1.8, 2.5, kTruck,
                  box * 0.55f + Colour{0.2f, 0.2f, 0.25f});
  if (sees_front(painter.camera(), pose, rear)) return;
  draw_end_panel(painter, pose, rear, -0.03, 0.03, 1.0, high - 0.05, kTruck, box * 0.4f);  // the doors' joint
  draw_end_panel(painter, pose, rear, -half, half, 0.75, 0.95, kTruck, kChassis);
  draw_lamps(painter, pose, rear, half, 0.8, kTruck, kTail);
}

}  // namespace

void draw_truck(Painter& painter, const VehiclePose& pose, double cargo, Colour cab, Colour box, int kind) {
  const double rear = -(cargo + 2.3) / 2, seat = rear + cargo + 0.2;
  draw_box(painter, pose, rear + 0.2, seat + 1.9, 0.45, 0.95, 1.0, kTruck, kChassis);
  const double axles[] = {rear + 1.0, rear + 2.1, seat + 1.2};
  draw_treads(painter, pose, 1.2, axles, 0.5, kTruck);
  const bool front_near = sees_front(painter.camera(), pose, 0);
  if (front_near) draw_load(painter, pose, rear, rear + cargo, box, kind);
  draw_cab(painter, pose, seat, cab);
  if (!front_near) draw_load(painter, pose, rear, rear + cargo, box, kind);
  draw_wheels(painter, pose, 1.2, axles, 0.5, kTruck);
}

void draw_bus(Painter& painter, const VehiclePose& pose, double length, Colour paint, Colour band) {
  const double rear = -length / 2, front = length / 2, half = 1.27, high = 3.05;
  const Camera& camera = painter.camera();
  draw_box(painter, pose, rear, front, 0.35, high, half, kBus, paint);
  draw_side_panel(painter, pose, half, rear, front, 0.35, 0.95, kBus, band);
  draw_window_band(painter, pose, half, rear + 0.3, front - 0.15, 1.35, 2.5, 1.6, kBus, kGlass, paint);
  if (near_side(camera, pose) > 0)
    for (const double door : {front - 2.0, rear + 0.45 * length})
      draw_window_band(painter, pose, half, door, door + 1.3, 0.45, 2.5, 0.65, kBus, kGlass, paint * 0.6f);
  const double axles[] = {rear + 0.24 * length, front - 0.22 * length};
  draw_wheels(painter, pose, half, axles, 0.48, kBus);
  const bool from_front = sees_front(camera, pose, front);
  if (!from_front && sees_front(camera, pose, rear)) return;  // alongside: neither end shows
  const double end = from_front ? front : rear;
  draw_end_panel(painter, pose, end, -half, half, 0.35, 0.95, kBus, band);
  draw_end_panel(painter, pose, end, -1.13, 1.13, from_front ? 1.25 : 1.6, 2.45, kBus, kGlass);
  draw_end_panel(painter, pose, end, -0.85, 0.85, 2.58, 2.9, kBus, {0.06f, 0.06f, 0.06f});
  draw_end_panel(painter, pose, end, -0.6, 0.5, 2.66, 2.82, kBus, {0.95f, 0.7f, 0.2f});
  draw_lamps(painter, pose, end, half, 0.8, kBus, from_front ? kHead : kTail);
}

// Skirts to the ground, no visible wheels, a rounded nose, a pantograph.
void draw_tram(Painter& painter, const VehiclePose& pose, int cars, Colour paint, Colour band) {
  constexpr double kCar = 9.5, kJoint = 0.5;
  const Camera& camera = painter.camera();
  const double length = cars * kCar + (cars - 1) * kJoint, rear = -length / 2, half = 1.22, high = 3.4;
  const bool from_front = sees_front(camera, pose, 0);
  for (int k = 0; k < cars; ++k) {
    const int car = from_front ? k : cars - 1 - k;  // far cars first
    const double a = rear + car * (kCar + kJoint), b = a + kCar;
    draw_box(painter, pose, a - kJoint, b + kJoint / 2, 0.3, high - 0.2, half * 0.9, kTrain, kChassis * 1.5f);
    draw_box(painter, pose, a, b, 0.18, high, half, kTrain, paint);
    draw_side_panel(painter, pose, half, a, b, 0.18, 0.85, kTrain, band);
    draw_side_panel(painter, pose, half, a, b, high - 0.35, high, kTrain, band * 0.8f);
    draw_window_band(painter, pose, half, a + 0.5, b - 0.5, 1.25, 2.6, 2.1, kTrain, kGlass, paint);
  }
  const Plane middle{pose.at(0, 0, 0), pose.forward(), kUp};
  for (const double s : {-1.0, 1.0})
    painter.fill(middle, bar({s * 0.9, high}, {0.2 * s, high + 1.0}, 0.04, 0.03), kTrain, {0.2f, 0.2f, 0.2f});
  const double end = from_front ? length / 2 : rear, out = from_front ? 0.01 : -0.01;
  if (!from_front && sees_front(camera, pose, rear)) return;
  draw_end_panel(painter, pose, end + out, -half, half, 0.18, 1.0, kTrain, band);
  const Vec2 windscreen[] = {{-1.0, 1.25}, {1.0, 1.25}, {0.85, 2.75}, {-0.85, 2.75}};
  painter.fill({pose.at(end + out, 0, 0), pose.right(), kUp}, windscreen, kTrain, kGlass);
  draw_end_panel(painter, pose, end + out, -0.6, 0.6, 2.9, 3.2, kTrain, {0.9f, 0.75f, 0.25f});
  draw_lamps(painter, pose, end + out, half, 0.75, kTrain, from_front ? kHead : kTail);
}

}  // namespace segrt::data::streets
