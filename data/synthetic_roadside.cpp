// What lines the street: garden walls, fences, hedges, trees, bushes.
#include <algorithm>
#include <cmath>

#include "data/synthetic_scene.h"

namespace segrt::data::streets {
namespace {

constexpr double kSegment = 5;  // metres of wall or fence painted at once

float visible(float step, float size) { return clamp01(1.6f - 2.2f * step / size); }
float to_grid(float x, float period) {
  const float f = fraction(x / period);
  return (f < 0.5f ? f : 1 - f) * period;
}

enum class Barrier { wall, railing, mesh, planks, hedge };

struct BarrierLook {
  Barrier kind;
  Colour colour, cap;
  float height, pitch, phase;
  bool brick;
};

BarrierLook random_barrier(const Scene& scene, Dice& dice, Barrier kind) {
  BarrierLook look{kind, {}, {}, 1, 0.12f, dice.rangef(0, 100), dice.chance(0.4)};
  switch (kind) {
    case Barrier::wall:
      look.height = dice.rangef(0.9, 3.2);
      look.colour = dice.chance(0.5) ? dice.grey(0.35, 0.7)
                                     : dice.jitter(scene.look.facades[static_cast<size_t>(dice.count(0, 3))], 0.15);
      break;
    case Barrier::planks:
      look.height = dice.rangef(1.2, 2.0);
      look.colour = dice.jitter(dice.chance(0.6) ? Colour{0.45f, 0.34f, 0.24f} : Colour{0.6f, 0.6f, 0.58f}, 0.25);
      look.pitch = 0.16f;
      break;
    case Barrier::hedge:
      look.height = dice.rangef(0.8, 2.4);
      look.colour = dice.jitter(dice.chance(0.6) ? scene.look.foliage : scene.look.foliage_other, 0.2);
      break;
    default:
      look.height = dice.rangef(0.95, 2.1);
      look.colour = dice.chance(0.6) ? dice.grey(0.12, 0.5) : dice.jitter({0.25f, 0.4f, 0.28f}, 0.3);
      look.pitch = kind == Barrier::mesh ? 0.09f : 0.14f;
      break;
  }
  look.cap = look.colour * dice.rangef(0.75, 1.35);
  return look;
}

Texel shade_wall(const BarrierLook& look, const Noise& noise, const Surface& at) {
  const float stain = noise.fractal(at.u * 0.6f + look.phase, at.v * 0.8f) - 0.5f;
  float tone = 1 + 0.4f * stain;
  if (look.brick) {
    const float row = at.v / 0.2f, shift = (floor_int(row) & 1) != 0 ? 0.5f : 0.0f;
    const float stone = noise.cell(floor_int(at.u / 0.45f + shift), floor_int(row)) - 0.5f;
    tone *= 1 + 0.4f * stone * visible(std::max(at.step_u, at.step_v), 0.4f);
  } else {
    tone *=
        1 - 0.4f * (to_grid(at.u, 2.5f) < 0.03f + at.step_u / 2 ? clamp01(0.06f / std::max(at.step_u, 0.06f)) : 0.0f);
  }
  const bool cap = at.v > look.height - 0.12f;
  return {(cap ? look.cap : look.colour) * tone};
}

Texel shade_hedge(const BarrierLook& look, const Noise& noise, const Surface& at) {
  const float top = look.height * (0.86f + 0.28f * noise.smooth(at.u * 1.3f + look.phase, 7));
  if (at.v > top) return {{}, -1};
  const float leaf = noise.fractal(at.u * 4 + look.phase, at.v * 4),
              clump = noise.smooth(at.u * 1.1f, at.v * 1.1f + look.phase);
  return {look.colour * (0.35f + 0.6f * leaf * visible(std::max(at.step_u, at.step_v), 1.2f) + 0.35f * clump +
                         0.25f * at.v / look.height)};
}

// Bars with gaps: what is behind shows through, the label is the fence's as a person would outline it.
Texel shade_fence(const BarrierLook& look, const Noise& noise, const Surface& at) {
  const float fine = visible(at.step_u, look.pitch * 2);
  const float tone = 0.85f + 0.3f * noise.smooth(at.u * 2 + look.phase, at.v * 2);
  float solid = 0.45f;  // of a pixel that spans many bars
  if (look.kind == Barrier::planks) {
    const float gap = to_grid(at.u, look.pitch) < 0.012f ? 1.0f : 0.0f;
    const float plank = noise.cell(floor_int(at.u / look.pitch + 0.5f), 3) - 0.5f;
    return {look.colour * tone * (1 + 0.35f * plank * fine - 0.6f * gap * fine)};
  }
  if (look.kind == Barrier::mesh) {
    const float wire = std::min(to_grid(at.u + at.v, look.pitch), to_grid(at.u - at.v, look.pitch));
    solid = mix({0.32f}, {wire < 0.012f ? 1.0f : 0.12f}, fine).r;
  } else {
    const float bar = to_grid(at.u, look.pitch);
    solid = mix({0.4f}, {bar < 0.022f ? 1.0f : 0.05f}, fine).r;
  }
  const bool rail = at.v > look.height - 0.07f || (at.v > 0.12f && at.v < 0.18f);
  const bool post = to_grid(at.u, 2.5f) < 0.04f;
  return {look.colour * tone, rail || post ? 1.0f : solid};
}

void add_barrier(Scene& scene, const BarrierLook& look, double lateral, double from, double to) {
  const Street street = scene.street;
  for (double z = from; z < to; z += kSegment) {
    const double end = std::min(to, z + kSegment);
    scene.add(end - 0.01, [=](Painter& painter) {
      const Vec3 a = street.place(lateral, z), along = street.place(lateral, end) - a;
      const double length = std::sqrt(dot(along, along));
      const Plane plane{a - along * (z / length), along * (1 / length), kUp};
      const double top = look.height * (look.kind == Barrier::hedge ? 1.15 : 1.0);
      const Vec2 outline[] = {{z, 0}, {z + length, 0}, {z + length, top}, {z, top}};
      const Colour light = painter.light().on({plane.axis_u.z, 0, -plane.axis_u.x});
      const Noise& noise = painter.noise();
      const int label = look.kind == Barrier::wall ? kWall : look.kind == Barrier::hedge ? kVegetation : kFence;
      painter.fill(plane, outline, label, [&](const Surface& at) {
        Texel texel = look.kind == Barrier::wall    ? shade_wall(look, noise, at)
                      : look.kind == Barrier::hedge ? shade_hedge(look, noise, at)
                                                    : shade_fence(look, noise, at);
        texel.colour = texel.colour * light;
        return texel;
      });
    });
  }
  if (look.kind == Barrier::wall || look.kind == Barrier::hedge || look.kind == Barrier::planks) {
    const Vec3 centre = street.place(lateral, (from + to) / 2);
    scene.cast_shadow(footprint(centre, {}, (to - from) / 2, 0.12), look.height);
  }
}

struct Tree {
  Vec3 foot;
  double height, crown;  // metres; crown: radius
  Colour leaves, bark;
  float phase, density;
  int shape;  // 0..2 round, 3 conical
};

void draw_crown(Painter& painter, const Plane& plane, const Tree& tree, double u, double v, double radius_u,
                double radius_v) {
  const Noise& noise = painter.noise();
  const Light& light = painter.light();
  const auto cu = static_cast<float>(u), cv = static_cast<float>(v);
  const auto ru = static_cast<float>(1 / radius_u), rv = static_cast<float>(1 / radius_v);
  const auto sun_u = static_cast<float>(dot(light.to_sun, plane.axis_u));
  const std::vector<Vec2> outline = ellipse(u, v, radius_u * 1.15, radius_v * 1.15, 16);
  painter.fill(plane, outline, kVegetation, [&](const Surface& at) {
    const float x = (at.u - cu) * ru, y = (at.v - cv) * rv, r = x * x + y * y;
    const float rough = noise.fractal(at.u * 1.4f + tree.phase, at.v * 1.4f);
    const float edge = r + (rough - 0.5f) * 0.9f;
    if (edge > 1) return Texel{{}, -1};
    const float leaf = noise.smooth(at.u * 5 + tree.phase, at.v * 5);
    const float bright = 0.42f + 0.32f * y + 0.2f * x * sun_u + 0.5f * (rough - 0.3f) +
                         0.55f * (leaf - 0.5f) * visible(std::max(at.step_u, at.step_v), 0.9f);
    const Colour colour = tree.leaves * (light.ambient + light.sun * 0.8f) * std::max(0.18f, bright + 0.25f);
    const bool gap = leaf + 0.4f * rough < 0.62f - tree.density;
    return Texel{colour, gap ? 0.35f : 1.0f, edge > 0.95f ? int{kVoid} : kLabelOfShape};
  });
}

void draw_tree(Painter& painter, const Tree& tree) {
  const Plane plane = billboard(painter.camera(), tree.foot);
  const double bole = std::max(0.6, tree.height - 1.6 * tree.crown), girth = 0.022 * tree.height + 0.06;
  const Vec2 trunk[] = {
      {-girth, -0.05}, {girth, -0.05}, {girth * 0.6, bole + tree.crown * 0.5}, {-girth * 0.6, bole + tree.crown * 0.5}};
  const Colour bark = tree.bark * painter.light().on({plane.axis_u.z, 0, -plane.axis_u.x});
  const Noise& noise = painter.noise();
  painter.fill(plane, trunk, kVegetation, [&](const Surface& at) {
    return Texel{bark * (0.7f + 0.6f * noise.smooth(at.u * 16 + tree.phase, at.v * 3))};
  });
  if (tree.shape == 3) {
    for (int k = 0; k < 4; ++k) {
      const double share = k / 4.0;
      draw_crown(painter, plane, tree, 0, bole * 0.6 + (tree.height - bole * 0.6) * (share + 0.12),
                 tree.crown * (1 - share) * 0.75, tree.height * 0.2);
    }
    return;
  }
  const float lean = tree.phase - static_cast<float>(floor_int(tree.phase));
  const double top = tree.height - tree.crown;
  const double offset = tree.crown * 0.45 * (lean - 0.5);
  draw_crown(painter, plane, tree, -tree.crown * 0.5, top - 0.25 * tree.crown, tree.crown * 0.68, tree.crown * 0.6);
  draw_crown(painter, plane, tree, tree.crown * 0.5, top - 0.2 * tree.crown + offset, tree.crown * 0.68,
             tree.crown * 0.62);
  draw_crown(painter, plane, tree, offset, top + 0.1 * tree.crown, tree.crown * 0.8,
             tree.crown * (tree.shape == 2 ? 1.15 : 0.85));
}

void add_tree(Scene& scene, Dice& dice, double lateral, double along, double scale) {
  Tree tree;
  tree.foot = scene.street.place(lateral, along);
  tree.height = dice.range(4.5, 11) * scale;
  tree.crown = tree.height * dice.range(0.24, 0.36);
  tree.leaves = dice.jitter(dice.chance(0.7) ? scene.look.foliage : scene.look.foliage_other, 0.15);
  tree.bark = dice.jitter({0.3f, 0.25f, 0.2f}, 0.3);
  tree.phase = dice.rangef(0, 110);
  tree.density = dice.rangef(0.0, 0.5);
  tree.shape = dice.count(0, 3);
  scene.cast_shadow(tree.foot, 0.2, tree.height - tree.crown);
  const double shift = (tree.height - tree.crown) / scene.light.to_sun.y;
  scene.shadows.push_back(ellipse(tree.foot.x - scene.light.to_sun.x * shift,
                                  tree.foot.z - scene.light.to_sun.z * shift, tree.crown, tree.crown));
  scene.shadow_strengths.push_back(clamp01(scene.light.sun.g * 1.8f));
  scene.add(along, [tree](Painter& painter) { draw_tree(painter, tree); });
}

void plan_barriers(Scene& scene, Dice& dice, int side) {
  const Street& street = scene.street;
  const Side& plan = street.sides[static_cast<size_t>(side)];
  const bool town = plan.district == District::city;
  const double density = town ? 0.12 : plan.district == District::boulevard ? 0.45 : 0.8;
  double z = dice.range(-6, 4);
  while (z < street.end) {
    double next = z + dice.range(8, 28);
    const double lateral =
        Street::sign(side) * (plan.building_line - (town ? dice.range(0.6, 1.2) : dice.range(0.05, 0.4)));
    const Barrier kind = dice.pick<Barrier>(
        {Barrier::wall, Barrier::wall, Barrier::railing, Barrier::mesh, Barrier::planks, Barrier::hedge});
    const BarrierLook look = random_barrier(scene, dice, kind);
    const bool wanted = dice.chance(density);
    if (street.in_crossing(z, side, 3) || street.in_crossing(next, side, 3) ||
        street.in_crossing((z + next) / 2, side, 3)) {
      z += 3;
      continue;
    }
    if (wanted) add_barrier(scene, look, lateral, z, std::min(next, street.end));
    z = next + (dice.chance(0.5) ? 0.0 : dice.range(1, 6));
  }
  if (dice.chance(0.13)) {  // a railing along the kerb
    const BarrierLook look = random_barrier(scene, dice, dice.chance(0.7) ? Barrier::railing : Barrier::wall);
    BarrierLook low = look;
    low.height = 0.95f;
    const double from = dice.range(4, 30);
    const double to = from + dice.range(8, 30);
    for (double at = from; at < to; at += kSegment)
      if (!street.in_crossing(at, side, 6))
        add_barrier(scene, low, Street::sign(side) * (plan.kerb + 0.35), at, at + kSegment);
  }
}

void plan_trees(Scene& scene, Dice& dice, int side) {
  const Street& street = scene.street;
  const Side& plan = street.sides[static_cast<size_t>(side)];
  const double sign = Street::sign(side);
  const bool avenue = dice.chance(plan.district == District::city ? 0.35 : 0.7);
  const double spacing = dice.range(7, 16), beside_kerb = plan.kerb + dice.range(0.7, 1.3),
               scale = dice.range(0.7, 1.2);
  if (avenue)
    for (double z = dice.range(6, 16); z < street.end; z += spacing * dice.range(0.85, 1.15))
      if (!street.in_crossing(z, side, 4) && dice.chance(0.85)) add_tree(scene, dice, sign * beside_kerb, z, scale);
  const int gardens = plan.district == District::city        ? dice.count(0, 1)
                      : plan.district == District::boulevard ? dice.count(0, 4)
                                                             : dice.count(5, 16);
  for (int k = 0; k < gardens; ++k) {
    const double z = dice.range(6, street.end);
    const double lateral = plan.building_line + dice.range(-0.5, 14);
    const double size = dice.chance(0.3) ? 0.35 : dice.range(0.7, 1.3);
    if (!street.in_crossing(z, side, 3)) add_tree(scene, dice, sign * lateral, z, size);
  }
}

}  // namespace

void plan_roadside(Scene& scene, Dice dice) {
  for (int side = 0; side < 2; ++side) {
    plan_barriers(scene, dice, side);
    plan_trees(scene, dice, side);
  }
}

}  // namespace segrt::data::streets
