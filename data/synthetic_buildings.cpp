// Houses along both sides and what closes the view at the street's end.
#include <algorithm>
#include <cmath>

#include "data/synthetic_scene.h"

namespace segrt::data::streets {
namespace {

constexpr double kDeep = 11;  // metres from a house's front to its back
constexpr double kSlice =
    10;  // metres: houses are painted in slices, so that far to near holds against things beside them

enum class Masonry { plaster, brick, panels, glass };

struct Style {
  Colour wall, trim, glass, door;
  Masonry masonry = Masonry::plaster;
  float floor = 3.2f, ground_floor = 3.8f, spacing = 2.6f, window_width = 0.45f, window_height = 0.55f;
  bool shops = false, shutters = false, bands = false;
  int seed = 0;
};

Style random_style(const Scene& scene, Dice& dice, District district) {
  Style style;
  style.wall = dice.chance(0.75) ? dice.jitter(scene.look.facades[static_cast<size_t>(dice.count(0, 3))], 0.1)
                                 : dice.jitter(background_colour(scene, dice), 0.1);
  style.trim = dice.chance(0.5) ? dice.grey(0.7, 0.95) : style.wall * dice.rangef(0.6, 0.9);
  style.glass = dice.jitter({0.16f, 0.19f, 0.23f}, 0.3);
  style.door = dice.jitter(
      dice.pick<Colour>({{0.3f, 0.2f, 0.14f}, {0.2f, 0.3f, 0.22f}, {0.22f, 0.24f, 0.35f}, {0.45f, 0.14f, 0.12f}}), 0.3);
  const double kind = dice.range(0, 1);
  const bool town = district == District::city || district == District::boulevard;
  style.masonry = kind < 0.45                  ? Masonry::plaster
                  : kind < 0.72                ? Masonry::brick
                  : kind < (town ? 0.88 : 1.0) ? Masonry::panels
                                               : Masonry::glass;
  style.floor = dice.rangef(2.8, 3.8);
  style.ground_floor = town ? dice.rangef(3.4, 4.8) : style.floor;
  style.spacing = dice.rangef(1.7, 3.6);
  style.window_width = style.masonry == Masonry::glass ? 0.92f : dice.rangef(0.3, 0.62);
  style.window_height = style.masonry == Masonry::glass ? 0.85f : dice.rangef(0.42, 0.68);
  style.shops = town && dice.chance(0.6);
  style.shutters = dice.chance(0.25);
  style.bands = dice.chance(0.4);
  style.seed = dice.count(0, 1 << 20);
  return style;
}

// (u along the facade, v up) -> colour before light.
class FacadeShader {
 public:
  FacadeShader(const Style& style, const Look& look, const Noise& noise, float height)
      : style_(style), look_(look), noise_(noise), height_(height), offset_(static_cast<float>(style.seed & 127)) {}

  Colour operator()(const Surface& at) const {
    const float step = std::max(at.step_u, at.step_v);
    Colour colour = wall(at, step);
    if (at.v < style_.ground_floor) return ground_floor(at, colour);
    const float above = at.v - style_.ground_floor;
    const int column = floor_int(at.u / style_.spacing), storey = floor_int(above / style_.floor);
    if (style_.bands && to_line(above, style_.floor) < 0.12f + at.step_v / 2)
      colour = mix(colour, style_.trim, clamp01(0.24f / std::max(0.24f, at.step_v)));
    if (style_.ground_floor + static_cast<float>(storey + 1) * style_.floor > height_ + 0.2f)
      return colour;  // below the eaves
    const float half_u = style_.window_width * style_.spacing / 2, half_v = style_.window_height * style_.floor / 2;
    const float du = std::abs(at.u - (static_cast<float>(column) + 0.5f) * style_.spacing);
    const float dv = std::abs(above - (static_cast<float>(storey) + 0.52f) * style_.floor);
    const float frame = inside(du, half_u + 0.12f, at.step_u) * inside(dv, half_v + 0.12f, at.step_v);
    if (frame <= 0) return shuttered(at, colour, du - half_u, dv, half_v);
    colour = mix(shuttered(at, colour, du - half_u, dv, half_v), style_.trim, frame);
    const float pane = inside(du, half_u, at.step_u) * inside(dv, half_v, at.step_v);
    return mix(colour, window(at, column, storey, du), pane);
  }

 private:
  static float inside(float d, float half, float step) { return clamp01((half - d) / std::max(step, 0.01f) + 0.5f); }
  static float to_line(float x, float period) {
    const float f = fraction(x / period);
    return (f < 0.5f ? f : 1 - f) * period;
  }
  static float visible(float step, float size) { return clamp01(1.6f - 2.2f * step / size); }

  Colour wall(const Surface& at, float step) const {
    const float stain = noise_.fractal(at.u * 0.3f + offset_, at.v * 0.15f) - 0.5f;
    float tone = 1 + 0.3f * stain - 0.12f * clamp01(1 - at.v / 3);
    if (style_.masonry == Masonry::brick) {
      const float row = at.v / 0.16f, shift = (floor_int(row) & 1) != 0 ? 0.5f : 0.0f;
      const float brick = noise_.cell(floor_int(at.u / 0.36f + shift), floor_int(row)) - 0.5f;
      const float joint = std::max(inside(to_line(at.v, 0.16f), 0.012f, at.step_v),
                                   inside(to_line(at.u + 0.36f * shift, 0.36f), 0.01f, at.step_u));
      tone *= 1 + (0.35f * brick + 0.25f * joint) * visible(step, 0.3f);
    } else if (style_.masonry == Masonry::panels) {
      const float joint = std::max(inside(to_line(at.v - style_.ground_floor, style_.floor), 0.03f, at.step_v),
                                   inside(to_line(at.u, style_.spacing * 2), 0.03f, at.step_u));
      tone *= 1 - 0.4f * joint;
    } else {
      const float fine = visible(step, 0.4f);
      if (fine > 0) tone *= 1 + 0.12f * (noise_.smooth(at.u * 6, at.v * 6) - 0.5f) * fine;
    }
    return style_.wall * tone;
  }

  Colour window(const Surface& at, int column, int storey, float du) const {
    const float kind = noise_.cell(column + style_.seed, storey * 7 + style_.seed);
    const float mullion = du < 0.04f + at.step_u / 2 ? clamp01(0.08f / std::max(0.08f, at.step_u)) : 0.0f;
    Colour glass = mix(style_.glass, look_.sky_low, 0.15f + 0.55f * kind * clamp01(at.v / 20 + 0.2f));
    if (kind > 0.82f) glass = mix(glass, {0.85f, 0.82f, 0.75f}, 0.6f);  // a blind
    return mix(glass, style_.trim, style_.masonry == Masonry::glass ? 0.3f * mullion : mullion);
  }

  Colour shuttered(const Surface& at, Colour colour, float from_window, float dv, float half_v) const {
    if (!style_.shutters || from_window < 0.1f || from_window > 0.5f || dv > half_v) return colour;
    return mix(colour, style_.door * 1.3f, visible(at.step_u, 0.8f));
  }

  Colour ground_floor(const Surface& at, Colour wall_colour) const {
    const float bay = style_.shops ? style_.spacing * 1.6f : style_.spacing;
    const int column = floor_int(at.u / bay);
    const float kind = noise_.cell(column * 3 + style_.seed, 101);
    const float du = std::abs(at.u - (static_cast<float>(column) + 0.5f) * bay);
    if (style_.shops) {
      const float sign = inside(std::abs(at.v - style_.ground_floor + 0.55f), 0.3f, at.step_v);
      const Colour board{0.25f + 0.6f * kind, 0.25f + 0.6f * noise_.cell(column + 9, 33),
                         0.3f + 0.5f * noise_.cell(column + 5, 77)};
      const float pane =
          inside(du, bay * 0.43f, at.step_u) *
          inside(std::abs(at.v - 0.5f * (style_.ground_floor - 0.6f)), 0.42f * style_.ground_floor - 0.3f, at.step_v);
      const Colour goods = mix(style_.glass * 0.9f, {0.8f, 0.72f, 0.55f},
                               0.8f * noise_.fractal(at.u * 1.7f, at.v * 1.3f + offset_) * kind);
      return mix(mix(wall_colour, goods, pane), board, sign * inside(du, bay * 0.46f, at.step_u));
    }
    if (kind > 0.8f) {  // a door
      return mix(wall_colour, style_.door,
                 inside(du, 0.55f, at.step_u) * inside(std::abs(at.v - 1.1f), 1.15f, at.step_v));
    }
    const float dv = std::abs(at.v - 0.55f * style_.ground_floor), half_u = style_.window_width * bay / 2,
                half_v = 0.22f * style_.ground_floor;
    const Colour framed =
        mix(wall_colour, style_.trim, inside(du, half_u + 0.1f, at.step_u) * inside(dv, half_v + 0.1f, at.step_v));
    return mix(framed, window(at, column, -1, du), inside(du, half_u, at.step_u) * inside(dv, half_v, at.step_v));
  }

  const Style& style_;
  const Look& look_;
  const Noise& noise_;
  float height_, offset_;
};

// An upright rectangle from ground point a to b; the texture coordinate u starts at `u0`.
struct Wall {
  Plane plane;
  std::vector<Vec2> outline;
  float height;
};

Wall wall_between(Vec3 a, Vec3 b, double u0, double height) {
  const Vec3 along = b - a;
  const double length = std::sqrt(dot(along, along));
  return {{a - along * (u0 / length), along * (1 / length), kUp},
          {{u0, -0.3}, {u0 + length, -0.3}, {u0 + length, height}, {u0, height}},
          static_cast<float>(height)};
}

void draw_wall(Painter& painter, const Look& look, const Style& style, const Wall& wall) {
  const Colour light = painter.light().on({wall.plane.axis_u.z, 0, -wall.plane.axis_u.x});
  const FacadeShader shade(style, look, painter.noise(), wall.height);
  painter.fill(wall.plane, wall.outline, kBuilding, [&](const Surface& at) { return Texel{shade(at) * light}; });
}

// A roof face that rises from the eaves over a..b, away from the street.
void draw_roof(Painter& painter, Vec3 a, Vec3 b, double eaves, double rise, double outward, Colour tiles) {
  const Vec3 along = b - a;
  const double length = std::sqrt(dot(along, along));
  const Vec3 slope{outward, rise, 0};
  const Plane plane{a + kUp * eaves, along * (1 / length), unit(slope)};
  const double height = std::sqrt(dot(slope, slope));
  const Vec2 outline[] = {{0, -0.4}, {length, -0.4}, {length, height}, {0, height}};
  const Noise& noise = painter.noise();
  const Colour lit = tiles * painter.light().on(unit({-slope.y, outward > 0 ? slope.x : -slope.x, 0}));
  painter.fill(plane, outline, kBuilding, [&](const Surface& at) {
    const float tile = noise.smooth(at.u * 3, at.v * 9) - 0.5f;
    return Texel{lit * (1 + 0.3f * tile * clamp01(1.5f - 4 * at.step_v))};
  });
}

struct House {
  double from, to, lateral, height, outward;  // outward: sign of the side
  double roof = 0;
  Colour tiles;
  Style style;
};

void add_house(Scene& scene, const House& house) {
  const Street street = scene.street;
  const Look look = scene.look;
  for (double z = house.from; z < house.to; z += kSlice) {
    const double end = std::min(z + kSlice, house.to);
    const Vec3 a = street.place(house.lateral, z), b = street.place(house.lateral, end);
    const Wall front = wall_between(a, b, z - house.from, house.height);
    Wall gable = wall_between(a, street.place(house.lateral + house.outward * kDeep, z), 0, house.height);
    if (house.roof > 0) {  // up to the roof's edges
      gable.outline.push_back({house.roof, house.height + house.roof});
      std::swap(gable.outline[3], gable.outline[4]);
      gable.outline.insert(gable.outline.begin() + 3, {kDeep - house.roof, house.height + house.roof});
    }
    const bool first = z <= house.from;
    scene.add(end, [=](Painter& painter) {
      if (first) draw_wall(painter, look, house.style, gable);  // the end that faces the camera
      if (house.roof > 0) draw_roof(painter, a, b, house.height, house.roof, house.outward * house.roof, house.tiles);
      draw_wall(painter, look, house.style, front);
    });
    scene.drawables.back().occlude = [=](Painter& painter, uint16_t order) {
      if (first) painter.occlude(gable.plane, gable.outline, order);
      painter.occlude(front.plane, front.outline, order);
    };
  }
  const Vec3 centre = street.place(house.lateral + house.outward * kDeep / 2, (house.from + house.to) / 2);
  scene.cast_shadow(footprint(centre, {}, (house.to - house.from) / 2, kDeep / 2), house.height);
}

void plan_row(Scene& scene, Dice& dice, int side) {
  const Street& street = scene.street;
  const Side& plan = street.sides[static_cast<size_t>(side)];
  const double density = plan.district == District::city          ? 0.95
                         : plan.district == District::boulevard   ? 0.9
                         : plan.district == District::residential ? 0.72
                                                                  : 0.22;
  const double tall = plan.district == District::city        ? dice.range(9, 22)
                      : plan.district == District::boulevard ? dice.range(10, 24)
                                                             : dice.range(4, 8);
  Style style = random_style(scene, dice, plan.district);
  double z = dice.range(-12, -2);
  while (z < street.end) {
    const double length = plan.district == District::residential ? dice.range(8, 16) : dice.range(9, 30);
    double next = z + length;
    const auto blocked = std::find_if(street.crossings.begin(), street.crossings.end(), [&](const Crossing& c) {
      return c.open[static_cast<size_t>(side)] && z < c.to + 2.5 && next > c.from - 2.5;
    });
    if (blocked != street.crossings.end()) {
      if (blocked->from - 2.5 - z < 5) {
        z = blocked->to + 2.5;
        continue;
      }
      next = blocked->from - 2.5;
    }
    if (dice.chance(0.75)) style = random_style(scene, dice, plan.district);
    const double setback = plan.district == District::residential || plan.district == District::outskirts
                               ? dice.range(0.5, 6)
                           : dice.chance(0.2) ? dice.range(0, 1.5)
                                              : 0.0;
    House house{z,
                next,
                Street::sign(side) * (plan.building_line + setback),
                tall * dice.range(0.7, 1.35),
                Street::sign(side),
                0,
                {},
                style};
    if (dice.chance(plan.district == District::city ? 0.4 : 0.8)) house.roof = dice.range(2, 4.5);
    house.tiles =
        dice.jitter(dice.pick<Colour>({{0.45f, 0.24f, 0.18f}, {0.25f, 0.25f, 0.27f}, {0.36f, 0.28f, 0.24f}}), 0.2);
    if (dice.chance(density)) add_house(scene, house);
    const bool detached = plan.district == District::residential || plan.district == District::outskirts;
    z = next + (detached ? dice.range(1.5, 7) : dice.chance(0.1) ? dice.range(2, 8) : 0.0);
  }
}

// Beyond the street's end: a house front, or trees, over the whole width; haze makes them pale.
void plan_backdrop(Scene& scene, Dice& dice) {
  const Street& street = scene.street;
  const double z = street.end + 3;
  const bool houses = dice.chance(0.55);
  double x = -160;
  while (x < 160) {
    const double width = dice.range(10, 34), height = houses ? dice.range(8, 26) : dice.range(5, 13);
    const Vec3 a = street.place(x, z), b = street.place(x + width, z);
    if (houses && dice.chance(0.8)) {
      const Style style = random_style(scene, dice, District::city);
      const Wall wall = wall_between(a, b, 0, height);
      scene.add(z + 5, [=, look = scene.look](Painter& painter) { draw_wall(painter, look, style, wall); });
    } else {
      const Colour leaves = dice.jitter(dice.chance(0.5) ? scene.look.foliage : scene.look.foliage_other, 0.15);
      const float phase = dice.rangef(0, 100);
      scene.add(z + 4, [=](Painter& painter) {
        const Vec2 outline[] = {{-4, -0.5}, {width + 4, -0.5}, {width + 4, height}, {-4, height}};
        const Colour light = painter.light().on({0, 0.7, 0.7});
        const Noise& noise = painter.noise();
        const auto top = static_cast<float>(height);
        painter.fill({a, {1, 0, 0}, kUp}, outline, kVegetation, [&](const Surface& at) {
          const float crowns = noise.fractal(at.u * 0.22f + phase, 3.5f);
          if (at.v > top * (0.45f + 0.65f * crowns)) return Texel{{}, -1};
          const float leaf = noise.fractal(at.u * 0.9f + phase, at.v * 0.9f);
          return Texel{leaves * light * (0.5f + 0.75f * leaf + 0.2f * at.v / top)};
        });
      });
    }
    x += width;
  }
}

}  // namespace

void plan_buildings(Scene& scene, Dice dice) {
  plan_backdrop(scene, dice);
  for (int side = 0; side < 2; ++side) plan_row(scene, dice, side);
}

}  // namespace segrt::data::streets
