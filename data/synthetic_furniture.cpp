// Poles, street lamps, traffic lights, signs, and the boxes and bins that no class covers.
#include <algorithm>
#include <cmath>

#include "data/synthetic_scene.h"

namespace segrt::data::streets {
namespace {

enum class Face { disc, triangle, diamond, square, direction };

struct Sign {
  Face face;
  double size, height;  // half width and centre, metres
  Colour rim, field, symbol;
  bool back;  // seen from behind: bare metal
};

struct Head {  // of a traffic light
  double lateral, height;
  int lit;  // lamp from the top; 3: turned away
};

void rectangle(Painter& painter, const Plane& plane, double u0, double v0, double u1, double v1, int label,
               Colour colour) {
  const Vec2 outline[] = {{u0, v0}, {u1, v0}, {u1, v1}, {u0, v1}};
  painter.fill(plane, outline, label, colour);
}

// A round pole: darker towards its sides.
void draw_pole(Painter& painter, const Plane& plane, double u, double half, double from, double to, Colour colour) {
  const Vec2 outline[] = {{u - half, from}, {u + half, from}, {u + half * 0.8, to}, {u - half * 0.8, to}};
  const Colour lit = colour * painter.light().on({plane.axis_u.z, 0, -plane.axis_u.x});
  const auto centre = static_cast<float>(u), scale = static_cast<float>(1 / half);
  painter.fill(plane, outline, kPole, [&](const Surface& at) {
    const float x = (at.u - centre) * scale;
    return Texel{lit * (1.1f - 0.45f * x * x + 0.12f * x)};
  });
}

std::vector<Vec2> outline_of(Face face, double v, double size) {
  switch (face) {
    case Face::disc: return ellipse(0, v, size, size, 16);
    case Face::triangle: return {{-size, v - 0.6 * size}, {size, v - 0.6 * size}, {0, v + 1.1 * size}};
    case Face::diamond: return {{-size, v}, {0, v - size}, {size, v}, {0, v + size}};
    case Face::square: return {{-size, v - size}, {size, v - size}, {size, v + size}, {-size, v + size}};
    default:
      return {{-2.2 * size, v - 0.5 * size},
              {2.2 * size, v - 0.5 * size},
              {2.2 * size, v + 0.5 * size},
              {-2.2 * size, v + 0.5 * size}};
  }
}

void draw_sign(Painter& painter, const Plane& plane, const Sign& sign) {
  if (sign.back) {
    painter.fill(plane, outline_of(sign.face, sign.height, sign.size), kVoid, {0.42f, 0.43f, 0.44f});
    return;
  }
  painter.fill(plane, outline_of(sign.face, sign.height, sign.size), kTrafficSign, sign.rim);
  painter.fill(plane, outline_of(sign.face, sign.height, sign.size * 0.8), kTrafficSign, sign.field);
  const double s = sign.size * (sign.face == Face::direction ? 0.9 : 0.35), h = sign.size * 0.14;
  rectangle(painter, plane, -s, sign.height - h, s, sign.height + h, kTrafficSign, sign.symbol);
  rectangle(painter, plane, -h, sign.height - s * 0.4, h, sign.height + s * 0.4, kTrafficSign, sign.symbol);
}

void draw_head(Painter& painter, const Plane& plane, const Head& head) {
  const double u = head.lateral, v = head.height;
  rectangle(painter, plane, u - 0.24, v - 0.58, u + 0.24, v + 0.58, kTrafficLight, {0.09f, 0.1f, 0.1f});
  if (head.lit == 3) return;
  const Colour lamps[3] = {{1.0f, 0.16f, 0.12f}, {1.0f, 0.72f, 0.12f}, {0.15f, 0.95f, 0.55f}};
  for (int k = 0; k < 3; ++k) {
    const bool on = k == head.lit;
    const Colour glow = lamps[k] * (on ? 1.2f : 0.22f);
    painter.fill(plane, ellipse(u, v + 0.36 - 0.36 * k, 0.14, 0.14, 8), kTrafficLight,
                 [&](const Surface&) { return Texel{glow}; });
  }
}

Sign random_sign(const Scene& scene, Dice& dice) {
  Sign sign{Face::disc, dice.range(0.3, 0.42), dice.range(2.1, 2.9), {}, {}, {}, dice.chance(0.18)};
  const Colour red{0.75f, 0.08f, 0.1f}, white{0.9f, 0.9f, 0.88f}, blue{0.08f, 0.22f, 0.6f}, black{0.08f, 0.08f, 0.08f},
      yellow{0.92f, 0.75f, 0.1f};
  switch (dice.count(0, 6)) {
    case 0: sign.rim = red, sign.field = white, sign.symbol = black; break;
    case 1: sign.rim = white, sign.field = blue, sign.symbol = white; break;
    case 2: sign.rim = red, sign.field = white, sign.symbol = black, sign.face = Face::triangle; break;
    case 3: sign.rim = white, sign.field = yellow, sign.symbol = yellow, sign.face = Face::diamond; break;
    case 4: sign.rim = blue, sign.field = blue, sign.symbol = white, sign.face = Face::square; break;
    case 5: sign.rim = red, sign.field = red, sign.symbol = white; break;
    default:
      sign.face = Face::direction;
      sign.rim = white;
      sign.field = dice.chance(0.5) ? yellow : dice.chance(0.5) ? blue : white;
      sign.symbol = sign.field.r > 0.5f ? black : white;
      break;
  }
  if (dice.chance(scene.camouflage * 0.5)) sign.field = background_colour(scene, dice);
  sign.field = dice.jitter(sign.field, 0.12);
  sign.rim = dice.jitter(sign.rim, 0.12);
  return sign;
}

Colour pole_colour(const Scene& scene, Dice& dice) {
  if (dice.chance(scene.camouflage)) return background_colour(scene, dice);
  return dice.chance(0.75) ? dice.grey(0.22, 0.62) : dice.jitter({0.2f, 0.3f, 0.24f}, 0.3);
}

void add_sign_post(Scene& scene, Dice& dice, double lateral, double along) {
  const Vec3 foot = scene.street.place(lateral, along);
  const Colour colour = pole_colour(scene, dice);
  Sign upper = random_sign(scene, dice), lower = random_sign(scene, dice);
  const bool two = dice.chance(0.3);
  lower.height = upper.height - upper.size - lower.size - 0.05;
  scene.cast_shadow(foot, 0.06, upper.height + 0.3);
  scene.add(along, [=](Painter& painter) {
    const Plane plane = billboard(painter.camera(), foot);
    draw_pole(painter, plane, 0, 0.05, 0, upper.height + upper.size, colour);
    draw_sign(painter, plane, upper);
    if (two) draw_sign(painter, plane, lower);
  });
}

// A mast beside the kerb with one head, and often an arm over the road with another.
void add_traffic_light(Scene& scene, Dice& dice, int side, double along) {
  const double sign = Street::sign(side);
  const Vec3 foot = scene.street.place(sign * (scene.street.sides[static_cast<size_t>(side)].kerb + 0.6), along);
  const Colour colour = pole_colour(scene, dice);
  const int lit = side == 1 || dice.chance(0.4) ? dice.count(0, 2) : 3;
  const bool arm = dice.chance(0.5);
  const double height = arm ? dice.range(5, 6) : dice.range(3.2, 3.6), reach = dice.range(2.5, 4.5);
  scene.cast_shadow(foot, 0.09, height);
  scene.add(along, [=](Painter& painter) {
    const Plane plane{foot, {1, 0, 0}, kUp};
    draw_pole(painter, plane, 0, 0.085, 0, height, colour);
    draw_head(painter, plane, {0.0, 2.9, lit});
    if (!arm) return;
    const auto beam = bar({0, height - 0.1}, {-sign * reach, height + 0.15}, 0.06, 0.05);
    painter.fill(plane, beam, kPole, colour);
    draw_head(painter, plane, {-sign * reach, height - 0.25, lit});
  });
}

void add_lamp(Scene& scene, int side, double along, double height, double reach, Colour colour) {
  const double sign = Street::sign(side);
  const Vec3 foot = scene.street.place(sign * (scene.street.sides[static_cast<size_t>(side)].kerb + 0.5), along);
  scene.cast_shadow(foot, 0.09, height);
  scene.add(along, [=](Painter& painter) {
    const Plane plane{foot, {1, 0, 0}, kUp};
    draw_pole(painter, plane, 0, 0.09, 0, height, colour);
    if (reach <= 0) {
      painter.fill(plane, ellipse(0, height + 0.15, 0.22, 0.25, 8), kPole, {0.85f, 0.84f, 0.78f});
      return;
    }
    painter.fill(plane, bar({0, height - 0.05}, {-sign * reach, height + 0.35}, 0.06, 0.04), kPole, colour);
    painter.fill(plane, bar({-sign * reach, height + 0.35}, {-sign * (reach + 0.7), height + 0.38}, 0.09, 0.07), kPole,
                 {0.6f, 0.6f, 0.58f});
  });
}

// Bins, cabinets, planters: real streets are full of things that the label set leaves out.
void add_box(Scene& scene, Dice& dice, double lateral, double along) {
  const Vec3 foot = scene.street.place(lateral, along);
  const double half = dice.range(0.25, 0.6), height = dice.range(0.7, 1.5);
  const Colour colour = dice.chance(0.5) ? background_colour(scene, dice) : dice.jitter({0.3f, 0.34f, 0.3f}, 0.4);
  scene.cast_shadow(footprint(foot, {}, half * 0.7, half), height);
  scene.add(along, [=](Painter& painter) {
    const double inward = foot.x > painter.camera().eye.x ? -half : half;
    rectangle(painter, {foot + Vec3{inward, 0, 0}, {0, 0, 1}, kUp}, -half * 0.7, 0, half * 0.7, height, kVoid,
              colour * 0.8f);
    rectangle(painter, {foot + Vec3{0, 0, -half * 0.7}, {1, 0, 0}, kUp}, -half, 0, half, height, kVoid, colour);
    rectangle(painter, {foot + Vec3{0, 0, -half * 0.7}, {1, 0, 0}, kUp}, -half, height - 0.1, half, height, kVoid,
              colour * 0.6f);
  });
}

}  // namespace

void plan_furniture(Scene& scene, Dice dice) {
  const Street& street = scene.street;
  const double height = dice.range(5, 9), reach = dice.chance(0.3) ? 0.0 : dice.range(1.0, 2.4),
               spacing = dice.range(18, 34);
  const Colour lamp_colour = pole_colour(scene, dice);
  const bool lamps[2] = {dice.chance(0.65), dice.chance(0.65)};
  for (int side = 0; side < 2; ++side) {
    const double sign = Street::sign(side), kerb = street.sides[static_cast<size_t>(side)].kerb;
    if (lamps[side])
      for (double z = dice.range(8, 24); z < street.end; z += spacing)
        if (!street.in_crossing(z, side, 1))
          add_lamp(scene, side, z, reach > 0 ? height : height * 0.6, reach, lamp_colour);
    const int signs = dice.count(1, 6);
    for (int k = 0; k < signs; ++k) {
      const double along = dice.range(6, 75), lateral = sign * (kerb + dice.range(0.4, 1.1));
      if (!street.in_crossing(along, side, 0)) add_sign_post(scene, dice, lateral, along);
    }
    const int boxes = dice.count(0, 3);
    for (int k = 0; k < boxes; ++k) {
      const double along = dice.range(7, 60), lateral = sign * (kerb + dice.range(0.9, 2.0));
      if (!street.in_crossing(along, side, 1)) add_box(scene, dice, lateral, along);
    }
    const int bollards = dice.chance(0.2) ? dice.count(3, 9) : 0;
    const double first = dice.range(6, 25);
    for (int k = 0; k < bollards; ++k) {
      const Vec3 foot = street.place(sign * (kerb + 0.4), first + 1.6 * k);
      scene.add(foot.z, [=](Painter& painter) {
        draw_pole(painter, billboard(painter.camera(), foot), 0, 0.07, 0, 0.95, lamp_colour);
      });
    }
  }
  for (const Crossing& crossing : street.crossings) {
    if (!dice.chance(0.65)) continue;
    add_traffic_light(scene, dice, 1, crossing.from - 3.5);
    if (dice.chance(0.7)) add_traffic_light(scene, dice, 0, dice.chance(0.5) ? crossing.from - 3.5 : crossing.to + 2.8);
    if (dice.chance(0.5)) add_traffic_light(scene, dice, 1, crossing.to + 2.8);
  }
}

}  // namespace segrt::data::streets
