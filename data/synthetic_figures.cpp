// How people and two-wheelers look; proportions are shares of body height.
#include <cmath>

#include "data/synthetic_people.h"

namespace segrt::data::streets {
namespace {

constexpr Colour kDark{0.07f, 0.07f, 0.07f};

void polygon(Painter& painter, const Plane& plane, std::span<const Vec2> outline, int label, Colour colour) {
  painter.fill(plane, outline, label, colour);
}

void limb(Painter& painter, const Plane& plane, Vec2 a, Vec2 b, double half_a, double half_b, int label,
          Colour colour) {
  painter.fill(plane, bar(a, b, half_a, half_b), label, colour);
}

void wheel(Painter& painter, const Plane& plane, double u, double radius, bool motor, int label) {
  const auto cu = static_cast<float>(u), r = static_cast<float>(radius);
  const float inner = motor ? 0.62f : 0.86f;
  const Colour lit = kDark * painter.light().on({plane.axis_u.z, 0, -plane.axis_u.x});
  painter.fill(plane, ellipse(u, radius, radius, radius, 16), label, [&](const Surface& at) {
    const float x = at.u - cu, y = at.v - r;
    const float d2 = (x * x + y * y) / (r * r);
    if (d2 > inner * inner) return Texel{lit};
    if (motor) return Texel{d2 < 0.3f ? Colour{0.4f, 0.4f, 0.42f} : Colour{0.2f, 0.2f, 0.21f}};
    return Texel{{0.45f, 0.45f, 0.46f}, 0.16f};  // spokes: what is behind shows through, the label is the wheel's
  });
}

void draw_bicycle_side(Painter& painter, const Plane& p, const TwoWheeler& bike) {
  wheel(painter, p, -0.52, 0.34, false, kBicycle);
  wheel(painter, p, 0.52, 0.34, false, kBicycle);
  const Vec2 hub_rear{-0.52, 0.34}, crank{-0.05, 0.3}, saddle{-0.2, 0.88}, head{0.38, 0.86}, hub_front{0.52, 0.34};
  for (const auto& [a, b] : {std::pair{hub_rear, crank},
                             {crank, saddle},
                             {hub_rear, saddle},
                             {crank, head},
                             {saddle, head},
                             {hub_front, head}})
    limb(painter, p, a, b, 0.025, 0.025, kBicycle, bike.frame);
  limb(painter, p, head, {0.34, 1.02}, 0.02, 0.02, kBicycle, kDark);
  limb(painter, p, {0.26, 1.04}, {0.44, 1.0}, 0.025, 0.025, kBicycle, kDark);
  limb(painter, p, {-0.34, 0.93}, {-0.08, 0.93}, 0.035, 0.03, kBicycle, kDark);
  limb(painter, p, crank, {-0.05 + 0.15 * bike.pedal, 0.18}, 0.02, 0.02, kBicycle, kDark);
}

void draw_motorcycle_side(Painter& painter, const Plane& p, const TwoWheeler& bike) {
  wheel(painter, p, -0.68, 0.31, true, kMotorcycle);
  wheel(painter, p, 0.7, 0.31, true, kMotorcycle);
  const Vec2 engine[] = {{-0.4, 0.25}, {0.35, 0.25}, {0.4, 0.6}, {-0.35, 0.6}};
  polygon(painter, p, engine, kMotorcycle, {0.24f, 0.24f, 0.25f});
  const Vec2 tank[] = {{-0.25, 0.6}, {0.4, 0.62}, {0.5, 0.86}, {0.2, 0.98}, {-0.2, 0.82}};
  polygon(painter, p, tank, kMotorcycle, bike.frame);
  const Vec2 seat[] = {{-0.95, 0.74}, {-0.2, 0.68}, {-0.18, 0.83}, {-0.9, 0.88}};
  polygon(painter, p, seat, kMotorcycle, kDark);
  limb(painter, p, {0.7, 0.31}, {0.42, 1.0}, 0.04, 0.035, kMotorcycle, {0.45f, 0.45f, 0.46f});
  limb(painter, p, {0.4, 1.02}, {0.25, 1.08}, 0.03, 0.03, kMotorcycle, kDark);
  const Vec2 fairing[] = {{0.45, 0.75}, {0.62, 0.8}, {0.5, 1.12}, {0.4, 1.05}};
  polygon(painter, p, fairing, kMotorcycle, bike.frame);
  limb(painter, p, {-0.8, 0.3}, {-0.2, 0.28}, 0.05, 0.04, kMotorcycle, {0.5f, 0.5f, 0.5f});
}

void draw_rider_side(Painter& painter, const Plane& p, const TwoWheeler& bike) {
  const Clothes& c = bike.clothes;
  const Vec2 hip = bike.motor ? Vec2{-0.3, 0.88} : Vec2{-0.2, 0.95};
  const Vec2 shoulder = bike.motor ? Vec2{-0.05, 1.4} : Vec2{0.12, 1.46};
  const Vec2 hand = bike.motor ? Vec2{0.32, 1.06} : Vec2{0.36, 1.04};
  const Vec2 foot = bike.motor ? Vec2{-0.05, 0.34} : Vec2{-0.05 + 0.15 * bike.pedal, 0.2};
  const Vec2 knee{0.2, 0.5 * (hip.v + foot.v) + 0.1};
  limb(painter, p, hip, knee, 0.09, 0.075, kRider, c.trousers);
  limb(painter, p, knee, foot, 0.07, 0.05, kRider, c.trousers);
  limb(painter, p, {foot.u - 0.06, foot.v}, {foot.u + 0.16, foot.v - 0.01}, 0.04, 0.035, kRider, kDark);
  limb(painter, p, {hip.u, hip.v - 0.06}, shoulder, 0.13, 0.15, kRider, c.top);
  const Vec2 elbow{0.5 * (shoulder.u + hand.u) + 0.02, 0.5 * (shoulder.v + hand.v) - 0.07};
  limb(painter, p, {shoulder.u, shoulder.v - 0.05}, elbow, 0.06, 0.05, kRider, c.top * 0.85f);
  limb(painter, p, elbow, hand, 0.045, 0.04, kRider, c.top * 0.85f);
  const Vec2 head{shoulder.u + 0.08, shoulder.v + 0.24};
  limb(painter, p, shoulder, head, 0.05, 0.05, kRider, c.skin);
  polygon(painter, p, ellipse(head.u, head.v, 0.1, 0.13, 8), kRider, bike.motor ? c.bag : c.skin);
  const Vec2 cap[] = {{head.u - 0.12, head.v},
                      {head.u + 0.1, head.v + 0.04},
                      {head.u + 0.06, head.v + 0.15},
                      {head.u - 0.08, head.v + 0.15}};
  polygon(painter, p, cap, kRider, c.hat || bike.motor ? c.bag : c.hair);
}

// Along its own direction a two-wheeler is narrow: one wheel, a handlebar, and the rider's back or front.
void draw_end_on(Painter& painter, const Plane& p, const TwoWheeler& bike) {
  const int label = bike.motor ? kMotorcycle : kBicycle;
  const double half = bike.motor ? 0.1 : 0.035, radius = bike.motor ? 0.31 : 0.34;
  const Clothes& c = bike.clothes;
  const Vec2 tyre[] = {{-half, 0}, {half, 0}, {half, 2 * radius}, {-half, 2 * radius}};
  if (bike.ridden)
    for (const double s : {-1.0, 1.0}) {
      const double lift = 0.12 * (1 + s * bike.pedal);
      limb(painter, p, {s * 0.1, 0.92}, {s * (bike.motor ? 0.3 : 0.17), 0.45 + lift}, 0.09, 0.07, kRider, c.trousers);
      limb(painter, p, {s * (bike.motor ? 0.3 : 0.17), 0.45 + lift}, {s * 0.15, 0.15 + lift}, 0.07, 0.05, kRider,
           c.trousers * 0.9f);
    }
  painter.fill(p, tyre, label, kDark);
  if (bike.motor) {
    const Vec2 body[] = {{-0.2, 0.45}, {0.2, 0.45}, {0.17, 0.95}, {-0.17, 0.95}};
    polygon(painter, p, body, label, bike.frame);
    polygon(painter, p, ellipse(0, 0.78, 0.09, 0.07, 8), label,
            bike.heading.cosine > 0 ? Colour{0.6f, 0.05f, 0.05f} : Colour{0.95f, 0.95f, 0.9f});
  } else {
    limb(painter, p, {0, 2 * radius}, {0, 0.95}, 0.03, 0.03, label, bike.frame);
    limb(painter, p, {-0.08, 0.93}, {0.08, 0.93}, 0.04, 0.04, label, kDark);
  }
  limb(painter, p, {-0.31, 1.04}, {0.31, 1.04}, 0.022, 0.022, label, kDark);
  if (bike.ridden) draw_upper_body(painter, p, 0.88, 1.6, 1.0, 0.5, c, kRider);
}

}  // namespace

void draw_upper_body(Painter& painter, const Plane& plane, double hip, double height, double girth, double swing,
                     const Clothes& c, int label) {
  const double shoulder = hip + 0.33 * height, half = 0.115 * height * girth, head = shoulder + 0.105 * height;
  const double hand = hip + 0.02 * height;
  for (const double s : {-1.0, 1.0}) {
    const Vec2 elbow{s * (half + 0.025 * height), 0.5 * (shoulder + hand)};
    limb(painter, plane, {s * half * 0.92, shoulder - 0.02 * height}, elbow, 0.03 * height, 0.026 * height, label,
         c.top * 0.85f);
    limb(painter, plane, elbow, {s * half * 1.1 + 0.07 * height * swing * s, hand}, 0.025 * height, 0.02 * height,
         label, c.top * 0.8f);
    polygon(
        painter, plane,
        ellipse(s * half * 1.1 + 0.07 * height * swing * s, hand - 0.01 * height, 0.022 * height, 0.025 * height, 8),
        label, c.skin);
  }
  const Vec2 torso[] = {{-half * 0.78, hip - 0.02 * height},
                        {half * 0.78, hip - 0.02 * height},
                        {half * 0.8, hip + 0.15 * height},
                        {half, shoulder - 0.03 * height},
                        {half * 0.6, shoulder},
                        {-half * 0.6, shoulder},
                        {-half, shoulder - 0.03 * height},
                        {-half * 0.8, hip + 0.15 * height}};
  polygon(painter, plane, torso, label, c.top);
  limb(painter, plane, {0, shoulder - 0.01 * height}, {0, head}, 0.03 * height, 0.03 * height, label, c.skin * 0.9f);
  polygon(painter, plane, ellipse(0, head, 0.052 * height, 0.068 * height, 16), label, c.skin);
  const Vec2 hair[] = {{-0.056 * height, head + 0.005 * height},
                       {0.056 * height, head + 0.005 * height},
                       {0.045 * height, head + 0.06 * height},
                       {0, head + 0.078 * height},
                       {-0.045 * height, head + 0.06 * height}};
  polygon(painter, plane, hair, label, c.hat ? c.bag : c.hair);
}

void draw_pedestrian(Painter& painter, const Pedestrian& person) {
  const Plane plane = billboard(painter.camera(), person.foot);
  const Clothes& c = person.clothes;
  const double h = person.height, hip = 0.5 * h, spread = 0.13 * h * person.stride;
  for (const double s : {-1.0, 1.0}) {
    const Vec2 top{s * 0.045 * h, hip}, knee{s * (0.04 * h + 0.5 * spread), 0.27 * h},
        foot{s * (0.04 * h + spread), 0.03 * h};
    const Colour cloth = c.trousers * (s < 0 ? 0.85f : 1.0f);
    limb(painter, plane, top, knee, 0.055 * h * person.girth, 0.04 * h, kPerson, cloth);
    limb(painter, plane, knee, foot, 0.042 * h, 0.03 * h, kPerson, c.skirt ? c.skin : cloth);
    limb(painter, plane, {foot.u - 0.02 * h, 0.018 * h}, {foot.u + 0.05 * h, 0.015 * h}, 0.02 * h, 0.018 * h, kPerson,
         kDark);
  }
  if (c.skirt) {
    const Vec2 skirt[] = {{-0.13 * h, 0.28 * h}, {0.13 * h, 0.28 * h}, {0.08 * h, 0.55 * h}, {-0.08 * h, 0.55 * h}};
    polygon(painter, plane, skirt, kPerson, c.trousers);
  }
  if (c.carries) {
    const double u = 0.14 * h * person.girth;
    const Vec2 bag[] = {
        {u - 0.05 * h, 0.36 * h}, {u + 0.05 * h, 0.36 * h}, {u + 0.04 * h, 0.52 * h}, {u - 0.04 * h, 0.52 * h}};
    polygon(painter, plane, bag, kPerson, c.bag);
  }
  draw_upper_body(painter, plane, hip, h, person.girth, person.swing, c, kPerson);
}

void draw_two_wheeler(Painter& painter, const TwoWheeler& bike) {
  const Plane facing = billboard(painter.camera(), bike.foot);
  const Vec3 forward{bike.heading.sine, 0, bike.heading.cosine};
  if (std::abs(dot(facing.axis_u, forward)) < 0.4) {
    draw_end_on(painter, facing, bike);
    return;
  }
  const Plane side{bike.foot, forward, kUp};
  bike.motor ? draw_motorcycle_side(painter, side, bike) : draw_bicycle_side(painter, side, bike);
  if (bike.ridden) draw_rider_side(painter, side, bike);
}

}  // namespace segrt::data::streets
