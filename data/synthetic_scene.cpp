#include "data/synthetic_scene.h"

#include <algorithm>
#include <cmath>

namespace segrt::data::streets {
namespace {

// (cos, sin) of k * 22.5 degrees, k = 0..4; the rest of the circle by symmetry.
constexpr double kQuarter[5] = {1.0, 0.9238795325112867, 0.7071067811865476, 0.3826834323650898, 0.0};

Vec2 on_circle(int k) {  // k of 16 points
  const int quadrant = k / 4, step = k % 4;
  const double c = kQuarter[step], s = kQuarter[4 - step];
  if (quadrant == 0) return {c, s};
  if (quadrant == 1) return {-s, c};
  if (quadrant == 2) return {-c, -s};
  return {s, -c};
}

void plan_camera(Scene& scene, Dice dice, int width, int height) {
  Camera& camera = scene.camera;
  // As wide as a driving camera's view; a picture that is taller than half its width is a crop of one.
  camera.focal = dice.range(0.72, 1.05) * std::max(width, 2 * height);
  camera.yaw = half_tangent(dice.range(-0.035, 0.035));
  camera.roll = half_tangent(dice.range(-0.012, 0.012));
  camera.centre_x = width * dice.range(0.46, 0.54);
  camera.horizon = height * dice.range(0.36, 0.52);
  camera.eye.y = dice.range(1.15, 1.75);
}

void plan_light(Scene& scene, Dice dice, double difficulty) {
  Light& light = scene.light;
  const Turn azimuth = half_tangent(dice.range(-1.0, 1.0));
  const bool behind = dice.chance(0.5);
  light.to_sun = unit({azimuth.sine, dice.range(0.45, 1.6), behind ? -azimuth.cosine : azimuth.cosine});
  const float direct = dice.chance(0.45) ? dice.rangef(0.45, 0.75) : dice.rangef(0.02, 0.3);
  const float warmth = dice.rangef(-0.02, 0.1);
  light.sun = Colour{1 + warmth, 1, 1 - warmth} * direct;
  const float ambient = 0.95f - 0.65f * direct;
  light.ambient = Colour{1 - warmth / 2, 1, 1 + warmth} * ambient;
  light.haze = dice.jitter({0.74f, 0.78f, 0.82f}, 0.12);
  const double clear = dice.range(0, 1);
  light.haze_distance = static_cast<float>(150 + 900 * clear * (1 - 0.6 * difficulty * dice.range(0, 1)));
}

void plan_sky(Scene& scene, Dice dice) {
  Look& look = scene.look;
  switch (dice.count(0, 4)) {
    case 0:
    case 1:
      look.sky_high = {0.30f, 0.50f, 0.80f};
      look.sky_low = {0.72f, 0.82f, 0.92f};
      break;
    case 2: look.sky_high = look.sky_low = {0.80f, 0.82f, 0.84f}; break;
    case 3:
      look.sky_high = {0.50f, 0.55f, 0.62f};
      look.sky_low = {0.74f, 0.75f, 0.76f};
      break;
    default:
      look.sky_high = {0.45f, 0.50f, 0.66f};
      look.sky_low = {0.93f, 0.76f, 0.60f};
      break;
  }
  look.sky_high = dice.jitter(look.sky_high, 0.15);
  look.sky_low = dice.jitter(look.sky_low, 0.1);
  look.cloud = dice.jitter({0.90f, 0.90f, 0.91f}, 0.1);
  look.cloud_cover = dice.rangef(0.0, 1.0);
}

void plan_colours(Scene& scene, Dice dice) {
  Look& look = scene.look;
  look.asphalt = dice.grey(0.22, 0.56);
  if (dice.chance(0.12)) look.asphalt = look.asphalt * Colour{1.15f, 1.0f, 0.88f};
  look.cobbles = dice.chance(0.12);
  look.asphalt_patches = dice.rangef(0.02, 0.35);
  look.worn = dice.rangef(0.05, 0.7);
  look.paint = dice.chance(0.15) ? dice.jitter({0.9f, 0.75f, 0.25f}, 0.1) : dice.grey(0.75, 0.98);
  look.paving = dice.chance(0.2) ? dice.jitter({0.62f, 0.42f, 0.36f}, 0.15) : dice.grey(0.32, 0.68);
  look.paving_stone = dice.rangef(0.3, 1.2);
  look.kerb = dice.grey(0.45, 0.75);
  look.terrain = dice.jitter({0.36f, 0.46f, 0.2f}, 0.25);
  look.terrain_dry = dice.jitter({0.52f, 0.45f, 0.3f}, 0.25);
  const Colour greens[] = {{0.22f, 0.34f, 0.14f}, {0.32f, 0.42f, 0.16f}, {0.42f, 0.42f, 0.16f}, {0.18f, 0.27f, 0.18f}};
  look.foliage = dice.jitter(greens[dice.count(0, 3)], 0.2);
  look.foliage_other =
      dice.chance(0.2) ? dice.jitter({0.55f, 0.36f, 0.15f}, 0.2) : dice.jitter(greens[dice.count(0, 3)], 0.2);
  for (Colour& facade : look.facades) {
    const Colour base = dice.pick<Colour>({{0.55f, 0.55f, 0.55f},
                                           {0.42f, 0.42f, 0.43f},
                                           {0.72f, 0.66f, 0.55f},
                                           {0.56f, 0.33f, 0.26f},
                                           {0.80f, 0.79f, 0.76f},
                                           {0.75f, 0.62f, 0.38f},
                                           {0.45f, 0.37f, 0.32f},
                                           {0.52f, 0.57f, 0.62f},
                                           {0.48f, 0.53f, 0.42f},
                                           {0.66f, 0.50f, 0.45f}});
    facade = dice.jitter(base, 0.18);
  }
}

void plan_sensor(Scene& scene, Dice dice, int width, int height, double difficulty) {
  Sensor& sensor = scene.sensor;
  const float exposure = dice.rangef(0.68, 1.18);
  const float warm = dice.rangef(-0.07, 0.07) * static_cast<float>(0.5 + difficulty);
  const float green = dice.rangef(-0.04, 0.04);
  sensor.gain = Colour{1 + warm, 1 + green, 1 - warm} * exposure;
  sensor.contrast = dice.rangef(0.8, 1.15);
  sensor.blur = dice.rangef(0.0, 0.2 + 0.3 * difficulty);
  sensor.noise = dice.rangef(0.008, 0.02 + 0.05 * difficulty);
  sensor.vignette = dice.rangef(0.0, 0.25);
  if (dice.chance(0.7)) sensor.hood = dice.rangef(0.03, 0.09);
  sensor.hood_colour = dice.grey(0.08, 0.4);
  const int side = std::min(width, height);
  sensor.border = dice.chance(0.3) ? std::max(1, side / 200) : 0;
}

}  // namespace

bool Street::in_crossing(double along, int side, double margin) const {
  return std::any_of(crossings.begin(), crossings.end(), [&](const Crossing& c) {
    return c.open[static_cast<size_t>(side)] && along > c.from - margin && along < c.to + margin;
  });
}

void Scene::cast_shadow(std::span<const Vec2> base, double height) {
  const double dx = -height * light.to_sun.x / light.to_sun.y, dz = -height * light.to_sun.z / light.to_sun.y;
  const float strength = clamp01(light.sun.g * 2.2f);
  shadows.emplace_back(base.begin(), base.end());
  shadow_strengths.push_back(0.8f);
  if (strength < 0.2f) return;
  std::vector<Vec2> top;
  for (const Vec2& p : base) top.push_back({p.u + dx, p.v + dz});
  for (size_t i = 0; i < base.size(); ++i) {  // what each side sweeps; the painter keeps the darkest
    const size_t k = i + 1 == base.size() ? 0 : i + 1;
    shadows.push_back({base[i], base[k], top[k], top[i]});
    shadow_strengths.push_back(strength);
  }
  shadows.push_back(std::move(top));
  shadow_strengths.push_back(strength);
}

void Scene::cast_shadow(Vec3 foot, double half_width, double height) {
  const double dx = -height * light.to_sun.x / light.to_sun.y, dz = -height * light.to_sun.z / light.to_sun.y;
  const double scale = half_width / std::max(0.05, std::sqrt(dx * dx + dz * dz));
  const double ax = -dz * scale, az = dx * scale;
  shadows.push_back({{foot.x - ax, foot.z - az},
                     {foot.x + ax, foot.z + az},
                     {foot.x + ax + dx, foot.z + az + dz},
                     {foot.x - ax + dx, foot.z - az + dz}});
  shadow_strengths.push_back(clamp01(light.sun.g * 2.2f));
  shadows.push_back(ellipse(foot.x, foot.z, half_width * 1.3, half_width * 1.3, 8));
  shadow_strengths.push_back(0.6f);
}

Colour background_colour(const Scene& scene, Dice& dice) {
  const Look& look = scene.look;
  const Colour base = dice.pick<Colour>({look.asphalt, look.paving, look.facades[0], look.facades[1], look.facades[2],
                                         look.foliage, look.terrain, look.sky_low, look.sky_high, look.foliage_other});
  return dice.jitter(base, 0.1);
}

std::array<Vec2, 4> footprint(Vec3 c, Turn heading, double half_length, double half_width) {
  const double fx = heading.sine * half_length, fz = heading.cosine * half_length;
  const double rx = heading.cosine * half_width, rz = -heading.sine * half_width;
  return {{{c.x - fx - rx, c.z - fz - rz},
           {c.x - fx + rx, c.z - fz + rz},
           {c.x + fx + rx, c.z + fz + rz},
           {c.x + fx - rx, c.z + fz - rz}}};
}

std::vector<Vec2> ellipse(double u, double v, double radius_u, double radius_v, int points) {
  const int step = 16 / points;
  std::vector<Vec2> outline;
  for (int k = 0; k < 16; k += step) {
    const Vec2 p = on_circle(k);
    outline.push_back({u + radius_u * p.u, v + radius_v * p.v});
  }
  return outline;
}

std::array<Vec2, 4> bar(Vec2 a, Vec2 b, double half_a, double half_b) {
  const double du = b.u - a.u, dv = b.v - a.v;
  const double r = 1 / std::max(1e-9, std::sqrt(du * du + dv * dv));
  const double nu = -dv * r, nv = du * r;
  return {{{a.u - nu * half_a, a.v - nv * half_a},
           {a.u + nu * half_a, a.v + nv * half_a},
           {b.u + nu * half_b, b.v + nv * half_b},
           {b.u - nu * half_b, b.v - nv * half_b}}};
}

Plane billboard(const Camera& camera, Vec3 foot) {
  // Turned towards the eye, so that things at the picture's edges are not stretched more than the lens does.
  const Vec3 away = unit({foot.x - camera.eye.x, 0, foot.z - camera.eye.z});
  return {foot, {away.z, 0, -away.x}, kUp};
}

Scene plan_scene(const SceneSeed& seed, int width, int height) {
  auto dice = [&](uint64_t part) { return Dice(seed.seed, stream_of({seed.index, part})); };
  Scene scene;
  scene.camouflage = 0.5 * seed.difficulty;
  plan_camera(scene, dice(1), width, height);
  plan_light(scene, dice(2), seed.difficulty);
  plan_sky(scene, dice(3));
  plan_colours(scene, dice(4));
  plan_sensor(scene, dice(5), width, height, seed.difficulty);
  plan_street(scene, dice(6), seed.difficulty);
  scene.camera.eye.x = scene.street.ego;
  plan_buildings(scene, dice(7));
  plan_roadside(scene, dice(8));
  plan_furniture(scene, dice(9));
  plan_vehicles(scene, dice(10));
  plan_people(scene, dice(11));
  std::stable_sort(scene.drawables.begin(), scene.drawables.end(),
                   [](const Drawable& a, const Drawable& b) { return a.depth > b.depth; });
  return scene;
}

void paint_scene(const Scene& scene, Painter& painter) {
  for (size_t i = 0; i < scene.drawables.size(); ++i)
    if (scene.drawables[i].occlude) scene.drawables[i].occlude(painter, static_cast<uint16_t>(i + 1));
  paint_sky(scene, painter);
  for (size_t i = 0; i < scene.shadows.size(); ++i) painter.shadow(scene.shadows[i], scene.shadow_strengths[i]);
  paint_ground(scene, painter);
  for (size_t i = 0; i < scene.drawables.size(); ++i) {
    painter.set_order(static_cast<uint16_t>(i + 1));
    scene.drawables[i].draw(painter);
  }
}

}  // namespace segrt::data::streets
