#include "data/synthetic_vehicles.h"

#include <algorithm>
#include <cmath>

namespace segrt::data::streets {
namespace {

// Hatchback, saloon, estate or off-roader, van: metres of an average one.
constexpr ProfilePoint kHatchback[] = {{-1.95, 0.28, 1, false},  {-2.0, 0.78, 1, false},  {-1.88, 0.96, 1, true},
                                       {-1.5, 1.42, 0.8, false}, {-0.3, 1.5, 0.8, false}, {0.3, 1.44, 0.8, true},
                                       {1.05, 0.98, 1, false},   {1.9, 0.8, 0.98, false}, {2.02, 0.58, 0.96, false},
                                       {1.98, 0.25, 0.96, false}};
constexpr ProfilePoint kSaloon[] = {{-2.2, 0.28, 1, false},    {-2.25, 0.72, 1, false},  {-2.15, 0.98, 0.98, false},
                                    {-1.55, 1.02, 1, true},    {-0.95, 1.4, 0.8, false}, {-0.1, 1.46, 0.8, false},
                                    {0.45, 1.4, 0.8, true},    {1.2, 0.98, 1, false},    {2.1, 0.82, 0.98, false},
                                    {2.25, 0.55, 0.96, false}, {2.2, 0.25, 0.96, false}};
constexpr ProfilePoint kEstate[] = {{-2.2, 0.32, 1, false},    {-2.28, 0.85, 1, false},  {-2.2, 1.08, 1, true},
                                    {-2.0, 1.62, 0.83, false}, {-0.4, 1.7, 0.83, false}, {0.3, 1.64, 0.83, true},
                                    {1.0, 1.12, 1, false},     {2.0, 0.98, 0.98, false}, {2.2, 0.62, 0.97, false},
                                    {2.15, 0.3, 0.97, false}};
constexpr ProfilePoint kVan[] = {{-2.4, 0.35, 1, false},    {-2.45, 1.15, 1, true},    {-2.4, 1.75, 0.95, false},
                                 {-2.3, 1.98, 0.92, false}, {1.1, 2.0, 0.92, false},   {1.3, 1.9, 0.92, true},
                                 {2.0, 1.2, 0.98, false},   {2.45, 0.98, 0.97, false}, {2.5, 0.35, 0.97, false}};
constexpr Colour kTyre{0.06f, 0.06f, 0.065f};
constexpr std::span<const ProfilePoint> kCars[] = {kHatchback, kSaloon, kEstate, kVan};

std::span<const ProfilePoint> car_profile(int kind) { return kCars[static_cast<size_t>(kind)]; }

double belt(const Body& body) {  // the height of the sill below the windscreen
  for (size_t i = body.profile.size() - 1; i > 0; --i)
    if (body.profile[i - 1].glass) return body.profile[i].height * body.height;
  return 1;
}

Plane near_plane(const Camera& camera, const VehiclePose& pose, double half_width) {
  return {pose.at(0, 0, near_side(camera, pose) * half_width), pose.forward(), kUp};
}

// The near side: the body below the belt upright, the cabin above it leaning inwards, with its windows.
void draw_near_side(Painter& painter, const VehiclePose& pose, const Body& body) {
  const double side = near_side(painter.camera(), pose), sill = belt(body);
  std::vector<Vec2> lower, cabin;  // the outline cut at the sill; the cabin's v is from there
  for (size_t i = 0; i < body.profile.size(); ++i) {
    const ProfilePoint &p = body.profile[i], &q = body.profile[i + 1 == body.profile.size() ? 0 : i + 1];
    const Vec2 a{p.along * body.length, p.height * body.height - sill},
        b{q.along * body.length, q.height * body.height - sill};
    lower.push_back({a.u, sill + std::min(a.v, 0.0)});
    if (a.v >= 0) cabin.push_back(a);
    if ((a.v >= 0) != (b.v >= 0)) cabin.push_back({a.u + (b.u - a.u) * a.v / (a.v - b.v), 0});
  }
  const Plane panel = near_plane(painter.camera(), pose, body.half_width);
  const Colour lit = body.paint * painter.light().on(pose.right());
  const auto low = static_cast<float>(0.45 * sill);
  painter.fill(panel, lower, body.label, [&](const Surface& at) {  // the lower half reflects the ground
    return Texel{lit * (at.v < low ? 0.8f : 0.95f + 0.15f * at.v)};
  });
  if (cabin.size() < 3) return;
  const auto roof = std::max_element(body.profile.begin(), body.profile.end(),
                                     [](const ProfilePoint& a, const ProfilePoint& b) { return a.height < b.height; });
  const double lean = side * (1 - roof->width) * body.half_width;
  const Plane leaning{pose.at(0, sill, side * body.half_width), pose.forward(),
                      unit(kUp * (roof->height * body.height - sill) + pose.right() * -lean)};
  painter.fill(leaning, cabin, body.label, body.paint);
  double sum = 0;
  for (const Vec2& p : cabin) sum += p.u;
  const double middle = sum / static_cast<double>(cabin.size());
  std::vector<Vec2> window;  // the cabin's outline drawn in towards its middle
  for (const Vec2& p : cabin) window.push_back({middle + (p.u - middle) * 0.88, 0.04 + p.v * 0.84});
  const auto post = static_cast<float>(middle);
  const Colour pane = body.glass, frame = body.paint;
  const Colour light = painter.light().on(pose.right());
  const Colour sky = painter.light().haze;
  painter.fill(leaning, window, body.label, [&](const Surface& at) {
    if (std::abs(at.u - post) < 0.05f) return Texel{frame * light * 0.7f};
    return Texel{mix(pane, sky, 0.12f + 0.25f * at.v)};
  });
}

}  // namespace

bool sees_front(const Camera& camera, const VehiclePose& pose, double front) {
  return dot(camera.eye - pose.at(front, 0, 0), pose.forward()) > 0;
}

double near_side(const Camera& camera, const VehiclePose& pose) {
  return dot(camera.eye - pose.centre, pose.right()) > 0 ? 1.0 : -1.0;
}

void draw_body(Painter& painter, const VehiclePose& pose, const Body& body) {
  const Camera& camera = painter.camera();
  const bool ahead = dot(camera.eye - pose.centre, pose.forward()) > 0;  // the camera is before the vehicle
  std::vector<Vec2> section;  // behind the faces, so that nothing shows through where two of them meet
  for (const ProfilePoint& p : body.profile) section.push_back({p.along * body.length, p.height * body.height});
  painter.fill({pose.centre, pose.forward(), kUp}, section, body.label, body.paint * 0.6f);
  const size_t faces = body.profile.size() - 1;
  for (size_t k = 0; k < faces; ++k) {
    const size_t i = ahead ? k : faces - 1 - k;  // far faces first
    const ProfilePoint &p = body.profile[i], &q = body.profile[i + 1];
    const Vec3 from = pose.at(p.along * body.length, p.height * body.height, 0),
               to = pose.at(q.along * body.length, q.height * body.height, 0);
    const Vec3 edge = to - from;
    const double length = std::sqrt(dot(edge, edge));
    const Plane plane{from, pose.right(), edge * (1 / length)};
    // The outward normal is a quarter turn from the edge: up where the profile runs forward.
    const Vec3 normal = kUp * dot(edge, pose.forward()) + pose.forward() * -edge.y;
    if (dot(camera.eye - from, normal) <= 0) continue;
    const double a = p.width * body.half_width, b = q.width * body.half_width;
    const Vec2 outline[] = {{-a, 0}, {a, 0}, {b, length}, {-b, length}};
    painter.fill(plane, outline, body.label, body.paint);
    if (!p.glass) continue;
    const Vec2 pane[] = {{-a * 0.9, 0.04}, {a * 0.9, 0.04}, {b * 0.9, length - 0.05}, {-b * 0.9, length - 0.05}};
    const auto height = static_cast<float>(length);
    const Colour glass = body.glass, sky = painter.light().haze;
    painter.fill(plane, pane, body.label,
                 [&](const Surface& at) { return Texel{mix(glass, sky, 0.05f + 0.35f * at.v / height)}; });
  }
  draw_near_side(painter, pose, body);
}

void draw_side_panel(Painter& painter, const VehiclePose& pose, double half_width, double from, double to, double low,
                     double high, int label, Colour colour) {
  const Vec2 outline[] = {{from, low}, {to, low}, {to, high}, {from, high}};
  painter.fill(near_plane(painter.camera(), pose, half_width), outline, label, colour);
}

void draw_end_panel(Painter& painter, const VehiclePose& pose, double along, double left, double right, double low,
                    double high, int label, Colour colour) {
  const Vec2 outline[] = {{left, low}, {right, low}, {right, high}, {left, high}};
  painter.fill({pose.at(along, 0, 0), pose.right(), kUp}, outline, label, colour);
}

void draw_treads(Painter& painter, const VehiclePose& pose, double half_width, std::span<const double> axles,
                 double radius, int label) {
  for (const double axle : axles) {
    const double end = axle + (sees_front(painter.camera(), pose, axle) ? radius : -radius) * 0.7;
    for (const double side : {-1.0, 1.0}) {
      const double outer = side * half_width, inner = side * (half_width - 0.2);
      draw_end_panel(painter, pose, end, std::min(outer, inner), std::max(outer, inner), 0, radius * 1.6, label, kTyre);
    }
  }
}

void draw_wheels(Painter& painter, const VehiclePose& pose, double half_width, std::span<const double> axles,
                 double radius, int label) {
  const Plane plane = near_plane(painter.camera(), pose, half_width + 0.01);
  for (const double axle : axles) {
    painter.fill(plane, ellipse(axle, radius, radius, radius, 16), label, kTyre);
    painter.fill(plane, ellipse(axle, radius, radius * 0.58, radius * 0.58, 8), label, {0.5f, 0.5f, 0.52f});
    painter.fill(plane, ellipse(axle, radius, radius * 0.2, radius * 0.2, 8), label, kTyre);
  }
}

void draw_car(Painter& painter, const VehiclePose& pose, int kind, double scale, Colour paint) {
  const std::span<const ProfilePoint> profile = car_profile(kind);
  const double half = (kind == 3 ? 0.98 : 0.88) * scale;
  const double axles[] = {-0.62 * profile.back().along * scale, 0.62 * profile.back().along * scale};
  draw_treads(painter, pose, half, axles, 0.31 * scale, kCar);
  draw_body(painter, pose, {profile, scale, scale, half, kCar, paint});
  draw_wheels(painter, pose, half, axles, 0.31 * scale, kCar);
  const double rear = profile[1].along * scale - 0.02, front = profile.back().along * scale + 0.05;
  const double low = (kind == 3 ? 0.75 : 0.66) * scale, high = low + (kind == 3 ? 0.4 : 0.2) * scale;
  if (!sees_front(painter.camera(), pose, rear)) {
    for (const double s : {-1.0, 1.0})
      draw_end_panel(painter, pose, rear, std::min(s * half, s * half * 0.68), std::max(s * half, s * half * 0.68), low,
                     high, kCar, {0.65f, 0.06f, 0.06f});
    draw_end_panel(painter, pose, rear, -0.27, 0.27, low - 0.1, low + 0.04, kCar, {0.85f, 0.85f, 0.82f});
    draw_end_panel(painter, pose, rear, -half * 0.95, half * 0.95, 0.25 * scale, 0.42 * scale, kCar, paint * 0.45f);
  } else if (sees_front(painter.camera(), pose, front)) {
    for (const double s : {-1.0, 1.0})
      draw_end_panel(painter, pose, front, std::min(s * half * 0.95, s * half * 0.6),
                     std::max(s * half * 0.95, s * half * 0.6), low - 0.1, high - 0.1, kCar, {0.92f, 0.92f, 0.88f});
    draw_end_panel(painter, pose, front, -half * 0.55, half * 0.55, low - 0.12, high - 0.13, kCar, {0.1f, 0.1f, 0.11f});
    draw_end_panel(painter, pose, front, -0.27, 0.27, low - 0.27, low - 0.14, kCar, {0.85f, 0.85f, 0.82f});
    draw_end_panel(painter, pose, front, -half * 0.9, half * 0.9, 0.22 * scale, 0.36 * scale, kCar, paint * 0.45f);
  }
}

}  // namespace segrt::data::streets
