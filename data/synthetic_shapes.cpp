#include "data/synthetic_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace segrt::data {
namespace {

enum class Shape : int { disc, square, triangle, plus, ring, star };
enum class Texture : int { plain, striped, checked };
constexpr const char* kShapeNames[] = {"disc", "square", "triangle", "plus", "ring", "star"};
constexpr const char* kTextureNames[] = {"plain", "striped", "checked"};
static_assert(std::size(kShapeNames) == SyntheticShapes::kMaxShapes);
static_assert(std::size(kTextureNames) == SyntheticShapes::kMaxTextures);

using Colour = std::array<double, 3>;  // 0..1

Colour mixed(const Colour& a, const Colour& b, double t) {
  return {a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2])};
}
Colour random_colour(Rng& rng, double low, double high) {
  return {rng.uniform(low, high), rng.uniform(low, high), rng.uniform(low, high)};
}
// Of every channel: the background is below kDark, objects are of colours above kBright and shades of them.
constexpr double kDark = 0.4, kBright = 0.65;

// A turn by atan-free parameters: the same bits with every maths library.
struct Turn {
  double cosine = 1, sine = 0;
  static Turn half_tangent(double t) { return {(1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)}; }
};

// Whether (u, v) lies inside the shape of radius about 1, v downwards.
bool inside(Shape shape, double u, double v) {
  const double square = u * u + v * v;
  switch (shape) {
    case Shape::disc: return square <= 0.9;
    case Shape::square: return std::max(std::abs(u), std::abs(v)) <= 0.8;
    // Equilateral, corners on the unit circle: half-planes at distance 1/2.
    case Shape::triangle: return v <= 0.5 && std::abs(u) * 0.8660254037844386 - v * 0.5 <= 0.5;
    case Shape::plus: return std::min(std::abs(u), std::abs(v)) <= 0.3 && std::max(std::abs(u), std::abs(v)) <= 1;
    case Shape::ring: return square <= 1 && square >= 0.3;
    case Shape::star: {  // five points: inside at least four of the pentagram's five half-planes
      constexpr double kNormals[5][2] = {{0, 1},
                                         {0.9510565162951535, 0.3090169943749474},
                                         {0.5877852522924731, -0.8090169943749475},
                                         {-0.5877852522924731, -0.8090169943749475},
                                         {-0.9510565162951535, 0.3090169943749474}};
      int planes = 0;
      for (const auto& n : kNormals) planes += n[0] * u + n[1] * v <= 0.3090169943749474;
      return planes >= 4;
    }
  }
  return false;
}

// Share of the second colour, 0 or 1.
double texture_at(Texture texture, double u, double v, double period) {
  const auto odd = [period](double x) { return static_cast<int64_t>(std::floor(x / period)) & 1; };
  switch (texture) {
    case Texture::plain: return 0;
    case Texture::striped: return static_cast<double>(odd(u));
    case Texture::checked: return static_cast<double>(odd(u) ^ odd(v));
  }
  return 0;
}

struct Object {
  Shape shape = Shape::disc;
  Texture texture = Texture::plain;
  double x = 0, y = 0, radius = 1;  // in pixels
  Turn turn;
  double period = 0.4, phase_u = 0, phase_v = 0;  // of the texture, in radii
  Colour colours[2];
};

// A blot or stroke of the background: an ellipse.
struct Patch {
  double x, y, long_axis, short_axis;
  Turn turn;
  Colour colour;
};

struct Picture {
  Colour corner[2];         // of the gradient
  double slope_x, slope_y;  // its direction: t = slope_x * x/width + slope_y * y/height
  std::vector<Patch> patches;
  Object object;
  double light, noise;
};

Patch random_patch(Rng& rng, int height, int width) {
  const double side = std::min(height, width);
  Patch p{};
  p.x = rng.uniform(0, width);
  p.y = rng.uniform(0, height);
  p.long_axis = side * rng.uniform(0.06, 0.28);
  p.short_axis = p.long_axis * rng.uniform(0.08, 0.6);
  p.turn = Turn::half_tangent(rng.uniform(-1, 1));
  p.colour = random_colour(rng, 0, kDark);
  return p;
}

Picture plan(Rng& rng, Shape shape, Texture texture, int height, int width) {
  Picture p{};
  p.corner[0] = random_colour(rng, 0, kDark);
  p.corner[1] = random_colour(rng, 0, kDark);
  p.slope_x = rng.uniform();
  p.slope_y = 1 - p.slope_x;
  for (int64_t k = rng.integer(2, 6); k > 0; --k) p.patches.push_back(random_patch(rng, height, width));
  Object& o = p.object;
  o.shape = shape;
  o.texture = texture;
  o.radius = std::min(height, width) * rng.uniform(0.3, 0.44);
  o.x = rng.uniform(o.radius, width - o.radius);
  o.y = rng.uniform(o.radius, height - o.radius);
  o.turn = Turn::half_tangent(rng.uniform(-0.2, 0.2));  // up to 23 degrees: a square never becomes a diamond
  o.period = rng.uniform(0.32, 0.48);
  o.phase_u = rng.uniform(0, 2);
  o.phase_v = rng.uniform(0, 2);
  const Colour bright = random_colour(rng, kBright, 1);
  const Colour shaded = mixed({0, 0, 0}, bright, rng.uniform(0.4, 0.55));
  // A plain object has the mean colour of a textured one, or its brightness would give it away.
  o.colours[0] = texture == Texture::plain ? mixed(bright, shaded, rng.uniform(0.3, 0.7)) : bright;
  o.colours[1] = shaded;
  p.light = rng.uniform(0.7, 1);
  p.noise = rng.uniform(0.01, 0.05);
  return p;
}

// The colour at a point in pixels.
Colour colour_at(const Picture& p, double x, double y, int height, int width) {
  const Object& o = p.object;
  const double dx = (x - o.x) / o.radius, dy = (y - o.y) / o.radius;
  const double u = o.turn.cosine * dx + o.turn.sine * dy, v = o.turn.cosine * dy - o.turn.sine * dx;
  if (inside(o.shape, u, v))
    return o.colours[texture_at(o.texture, u + o.phase_u, v + o.phase_v, o.period) > 0.5 ? 1 : 0];
  for (auto patch = p.patches.rbegin(); patch != p.patches.rend(); ++patch) {
    const double px = x - patch->x, py = y - patch->y;
    const double a = (patch->turn.cosine * px + patch->turn.sine * py) / patch->long_axis;
    const double b = (patch->turn.cosine * py - patch->turn.sine * px) / patch->short_axis;
    if (a * a + b * b <= 1) return patch->colour;
  }
  return mixed(p.corner[0], p.corner[1], p.slope_x * x / width + p.slope_y * y / height);
}

Image painted(const Picture& p, Rng& rng, int height, int width) {
  constexpr int kPoints = 3;  // a pixel is the mean of 3x3 points
  Image image(height, width, 3);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      Colour sum{};
      for (int i = 0; i < kPoints * kPoints; ++i) {
        const Colour c =
            colour_at(p, x + (i % kPoints + 0.5) / kPoints, y + (i / kPoints + 0.5) / kPoints, height, width);
        for (size_t k = 0; k < 3; ++k) sum[k] += c[k];
      }
      for (size_t k = 0; k < 3; ++k) {
        // The sum of three uniform numbers stands for a normal one: std 1/2, no logarithm of a maths library.
        const double noise = 2 * p.noise * (rng.uniform() + rng.uniform() + rng.uniform() - 1.5);
        const double value = p.light * sum[k] / (kPoints * kPoints) + noise;
        image.row(y)[3 * static_cast<size_t>(x) + k] = static_cast<uint8_t>(std::clamp(255 * value + 0.5, 0.0, 255.0));
      }
    }
  return image;
}

void require(bool holds, const char* option, const std::string& expected, int64_t got) {
  if (!holds) throw ArgumentError(fmt::format("SyntheticShapes: {} expects {}, got {}", option, expected, got));
}

}  // namespace

SyntheticShapes::SyntheticShapes(Options options) : options_(std::move(options)) {
  const Options& o = options_;
  require(o.size >= 1, "size", "at least 1", o.size);
  require(o.height >= 16 && o.height <= 4096, "height", "16 to 4096", o.height);
  require(o.width >= 16 && o.width <= 4096, "width", "16 to 4096", o.width);
  require(o.shapes >= 1 && o.shapes <= kMaxShapes, "shapes", fmt::format("1 to {}", kMaxShapes), o.shapes);
  require(o.textures >= 1 && o.textures <= kMaxTextures, "textures", fmt::format("1 to {}", kMaxTextures), o.textures);
  require(o.first >= 0, "first", "0 or more", o.first);
  std::vector<std::string> names;
  for (int shape = 0; shape < o.shapes; ++shape)
    for (int texture = 0; texture < o.textures; ++texture)
      names.push_back(fmt::format("{} {}", kShapeNames[shape], kTextureNames[texture]));
  classes_ = class_names(std::move(names));
}

void SyntheticShapes::require_index(int64_t index) const {
  require(index >= 0 && index < size(), "index", fmt::format("0 to {}", size() - 1), index);
}

int64_t SyntheticShapes::class_of(int64_t index) const {
  require_index(index);
  return (options_.first + index) % classes_.size();
}

Sample SyntheticShapes::load(int64_t index) const {
  const auto kind = static_cast<int>(class_of(index));
  const auto number = static_cast<uint64_t>(options_.first + index);
  Rng rng(options_.seed, stream_of({number}));
  const Picture picture = plan(rng, static_cast<Shape>(kind / options_.textures),
                               static_cast<Texture>(kind % options_.textures), options_.height, options_.width);
  Rng noise(options_.seed, stream_of({number, 1}));
  return {.image = painted(picture, noise, options_.height, options_.width),
          .label = {},
          .name = fmt::format("seed{}/{:06}.png", options_.seed, number)};
}

// Measured over pictures 0..3999 of seed 3 at 64x64, 4 shapes and 3 textures.
std::array<double, 3> SyntheticShapes::mean() const { return {0.276, 0.276, 0.276}; }
std::array<double, 3> SyntheticShapes::std() const { return {0.197, 0.197, 0.197}; }

}  // namespace segrt::data
