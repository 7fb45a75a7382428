// Sky and ground, pixel by pixel: the ground's point is found by intersecting the pixel's ray with the plane y = 0.
#include <algorithm>
#include <cmath>

#include "data/synthetic_scene.h"

namespace segrt::data::streets {
namespace {

constexpr double kFarthest =
    420;  // metres: beyond it the ground has no texture left, and houses or trees stand before it

// 1 where a detail of this size spans several pixels, 0 where it would alias.
float visible(float step, float size) { return clamp01(1.6f - 2.2f * step / size); }

// Share of a pixel of width `step` that lies within `half` of a line at distance d.
float line_cover(float d, float half, float step) {
  return clamp01((half - std::abs(d)) / std::max(step, 0.004f) + 0.5f);
}

// Distance to the nearest multiple of `period`.
float to_grid(float x, float period) {
  const float f = fraction(x / period);
  return (f < 0.5f ? f : 1 - f) * period;
}

struct GroundPoint {
  float lateral, along, step_u, step_v;
};

class GroundShader {
 public:
  GroundShader(const Scene& scene, const Noise& noise) : street_(scene.street), look_(scene.look), noise_(noise) {}

  Texel operator()(const GroundPoint& p) const {
    const auto side = static_cast<size_t>(p.lateral < 0 ? 0 : 1);
    const Side& plan = street_.sides[side];
    float beyond = std::abs(p.lateral) - static_cast<float>(plan.kerb);
    if (beyond < 0) return {road(p), 1, kRoad};
    for (const Crossing& c : street_.crossings) {
      if (!c.open[side] || p.along < c.from - 2.5 || p.along > c.to + 2.5) continue;
      if (p.along >= c.from && p.along <= c.to) return {road(p), 1, kRoad};
      // Pavement along the side street, rounded off at the corner.
      return kerb_or(p, paving(p), static_cast<float>(std::min(std::abs(p.along - c.from), std::abs(p.along - c.to))));
    }
    const float from_kerb = beyond;
    for (const Strip& strip : plan.strips) {
      if (beyond < strip.width) {
        if (strip.label == kTerrain && from_kerb > 0.14f) return {terrain(p), 1, kTerrain};
        return kerb_or(p, paving(p), from_kerb);
      }
      beyond -= static_cast<float>(strip.width);
    }
    if (plan.district == District::city || plan.district == District::boulevard) return {paving(p), 1, kSidewalk};
    return {terrain(p), 1, kTerrain};
  }

 private:
  Texel kerb_or(const GroundPoint& p, Colour surface, float from_kerb) const {
    const float edge = line_cover(from_kerb, 0.14f, p.step_u);
    const float joint = line_cover(to_grid(p.along, 1.0f), 0.012f, p.step_v) * visible(p.step_v, 0.3f);
    return {mix(surface, look_.kerb * (1 - 0.4f * joint), edge), 1, kSidewalk};
  }

  Colour road(const GroundPoint& p) const {
    const float patches = noise_.fractal(p.lateral * 0.35f + 9, p.along * 0.11f + 31) - 0.5f;
    float tone = 1 + 0.9f * look_.asphalt_patches * patches;
    const float grain = visible(p.step_v, 0.4f), fine = visible(p.step_v, 0.08f), crack = visible(p.step_v, 0.12f);
    if (grain > 0) tone += 0.16f * grain * (noise_.smooth(p.lateral * 14, p.along * 14) - 0.5f);
    if (fine > 0) tone += 0.25f * fine * (noise_.cell(floor_int(p.lateral * 45), floor_int(p.along * 45)) - 0.5f);
    if (look_.cobbles) {
      const float row = p.along / 0.14f, odd = (floor_int(row) & 1) != 0 ? 0.5f : 0.0f;
      const float joint = std::max(line_cover(to_grid(p.along, 0.14f), 0.012f, p.step_v),
                                   line_cover(to_grid(p.lateral + 0.09f * odd, 0.18f), 0.012f, p.step_u));
      const float stone = noise_.cell(floor_int(row), floor_int(p.lateral / 0.18f + odd)) - 0.5f;
      tone *= 1 + (0.3f * stone - 0.35f * joint) * visible(p.step_v, 0.28f);
    }
    const float repaired = noise_.smooth(p.lateral * 0.5f + 60, p.along * 0.07f + 11);  // patches of newer asphalt
    if (repaired > 0.78f) tone *= 0.82f;
    if (crack > 0) {
      const float ridge = std::abs(noise_.fractal(p.lateral * 0.8f + 3, p.along * 0.8f) - 0.5f);
      tone *= 1 - 0.35f * crack * clamp01(1 - ridge * 60);
    }
    return markings(p, look_.asphalt * tone);
  }

  Colour markings(const GroundPoint& p, Colour colour) const {
    const auto side = static_cast<size_t>(p.lateral < 0 ? 0 : 1);
    const bool free = street_.in_crossing(p.along, static_cast<int>(side), 0.5);
    float paint = 0;
    if (!free) {
      for (const Line& line : street_.lines) {
        const float d = p.lateral - static_cast<float>(line.lateral);
        if (std::abs(d) > 0.5f + p.step_u) continue;
        if (line.period > 0 && fraction(p.along / static_cast<float>(line.period)) > line.share) continue;
        paint = std::max(paint, line_cover(d, static_cast<float>(line.half_width), p.step_u));
      }
      for (const double z : street_.zebras) {
        if (p.along < z || p.along > z + 3.5) continue;
        paint = std::max(paint, line_cover(to_grid(p.lateral, 1.1f), 0.27f, p.step_u));
      }
    }
    if (paint > 0) {
      const float wear = clamp01((noise_.fractal(p.lateral * 3, p.along * 3) - look_.worn * 0.75f) * 6);
      colour = mix(colour, look_.paint, paint * (0.25f + 0.75f * wear));
    }
    if (street_.tram) {
      const float d = std::abs(p.lateral - static_cast<float>(street_.tram_lateral)) - 0.72f;
      const float rail = line_cover(d, 0.05f, p.step_u);
      colour = mix(colour, {0.22f, 0.21f, 0.21f}, rail);
      colour = mix(colour, {0.62f, 0.62f, 0.63f}, line_cover(d - 0.02f, 0.02f, p.step_u));
    }
    return colour;
  }

  Colour paving(const GroundPoint& p) const {
    const float size = look_.paving_stone;
    const float blotch = noise_.fractal(p.lateral * 0.6f + 5, p.along * 0.6f) - 0.5f;
    const float stone = noise_.cell(floor_int(p.lateral / size), floor_int(p.along / size)) - 0.5f;
    const float joint = std::max(line_cover(to_grid(p.along, size), 0.012f, p.step_v),
                                 line_cover(to_grid(p.lateral, size), 0.012f, p.step_u));
    const float fine = noise_.smooth(p.lateral * 19, p.along * 19) - 0.5f;
    const float near = visible(p.step_v, size);
    return look_.paving *
           (1 + 0.22f * blotch + 0.14f * stone * near - 0.3f * joint * near + 0.15f * fine * visible(p.step_v, 0.2f));
  }

  Colour terrain(const GroundPoint& p) const {
    const float patch = noise_.fractal(p.lateral * 0.5f, p.along * 0.3f + 77);
    const float near = visible(p.step_v, 0.7f);
    const float tuft = near > 0 ? noise_.fractal(p.lateral * 7, p.along * 5) - 0.5f : 0.0f;
    const float blade = noise_.cell(floor_int(p.lateral * 30), floor_int(p.along * 18)) - 0.5f;
    const Colour base = mix(look_.terrain, look_.terrain_dry, smooth_step(clamp01(patch * 2.4f - 0.8f)));
    return base * (1 + 0.6f * tuft * near + 0.45f * blade * visible(p.step_v, 0.15f));
  }

  const Street& street_;
  const Look& look_;
  const Noise& noise_;
};

}  // namespace

void paint_sky(const Scene& scene, Painter& painter) {
  const Camera& camera = scene.camera;
  const Look& look = scene.look;
  const auto inverse_focal = static_cast<float>(1 / camera.focal);
  for (int y = 0; y < painter.height(); ++y) {
    Colour* row = painter.row(y);
    uint8_t* labels = painter.labels(y);
    const uint16_t* hidden = painter.hidden(y);
    for (int x = 0; x < painter.width(); ++x) {
      if (hidden[x] > 0) continue;
      const auto px = static_cast<float>(x + 0.5 - camera.centre_x), py = static_cast<float>(camera.horizon - y - 0.5);
      const auto roll = static_cast<float>(camera.roll.sine);
      const float rise = (py + roll * px) * inverse_focal, turn = px * inverse_focal;
      const float up = clamp01(rise * 2.2f);
      Colour colour = mix(look.sky_low, look.sky_high, up);
      if (rise > 0) {  // clouds lie on a plane: they flatten towards the horizon
        const float far = 1 / (rise + 0.12f);
        const float cloud = painter.noise().fractal(turn * far * 2.2f + 40, far * 2.6f);
        colour = mix(colour, look.cloud,
                     smooth_step(clamp01((cloud - 0.75f + 0.45f * look.cloud_cover) * 4)) * clamp01(rise * 9));
      }
      row[x] = colour;
      labels[x] = kSky;
      if (rise < -0.06f) break;  // the rest of the row is ground, but for the roll
    }
    if (y > camera.horizon + 0.2 * camera.focal) break;
  }
}

void paint_ground(const Scene& scene, Painter& painter) {
  const Camera& camera = scene.camera;
  double m[9];
  if (!camera.unproject({{0, 0, 0}, {1, 0, 0}, {0, 0, 1}}, m)) return;
  const GroundShader shade(scene, painter.noise());
  const Light& light = painter.light();
  const Colour lit = light.on(kUp), dark = light.ambient * 0.78f;
  for (int y = 0; y < painter.height(); ++y) {
    Colour* row = painter.row(y);
    uint8_t* labels = painter.labels(y);
    const float* shadows = painter.shadows(y);
    const uint16_t* hidden = painter.hidden(y);
    for (int x = 0; x < painter.width(); ++x) {
      if (hidden[x] > 0) continue;
      const double px = x + 0.5, py = y + 0.5;
      const double w = m[6] * px + m[7] * py + m[8];
      if (w < 1 / kFarthest) continue;
      const double depth = 1 / w;
      const double u = (m[0] * px + m[1] * py + m[2]) * depth, v = (m[3] * px + m[4] * py + m[5]) * depth;
      const auto step_u = static_cast<float>(std::abs(m[0] - u * m[6]) * depth);
      const auto step_v = static_cast<float>(std::abs(m[4] - v * m[7]) * depth);
      const GroundPoint at{static_cast<float>(u - scene.street.curve * v * v), static_cast<float>(v), step_u, step_v};
      const Texel texel = shade(at);
      const Colour seen = texel.colour * mix(lit, dark, shadows[x]);
      row[x] = mix(seen, light.haze, light.haze_at(static_cast<float>(depth)));
      labels[x] = static_cast<uint8_t>(texel.label);
    }
  }
}

}  // namespace segrt::data::streets
