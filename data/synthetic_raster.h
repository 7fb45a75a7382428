// A small software rasteriser for the synthetic streets: flat polygons in space, textured in their own plane's metres,
// painted far to near into an anti-aliased image and a hard label map.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/synthetic_noise.h"

namespace segrt::data::streets {

// World metres: x to the right of the street, y up, z along the street.
struct Vec3 {
  double x = 0, y = 0, z = 0;
};
inline Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec3 operator-(Vec3 a, Vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec3 operator*(Vec3 a, double s) { return {a.x * s, a.y * s, a.z * s}; }
inline double dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
Vec3 unit(Vec3 v);
inline constexpr Vec3 kUp{0, 1, 0};

struct Vec2 {
  double u = 0, v = 0;
};

// The direction at angle a in a plane, given t = tan(a / 2): no sine or cosine of a maths library.
struct Turn {
  double cosine = 1, sine = 0;
};
inline Turn half_tangent(double t) { return {(1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)}; }

// The points origin + u * axis_u + v * axis_v; both axes have length 1, so that (u, v) are metres.
struct Plane {
  Vec3 origin, axis_u, axis_v;
};

// A pinhole camera. Looking up or down moves the horizon row (a shifted lens), so that verticals stay vertical but for
// the roll.
struct Camera {
  Vec3 eye;
  Turn yaw, roll;
  double focal = 1;                  // in pixels
  double centre_x = 0, horizon = 0;  // where the view axis meets the image, in pixels

  Vec3 view(Vec3 direction) const;  // world direction -> (right, up, forward)
  Vec2 pixel(Vec3 in_view) const;   // forward > 0
  double depth(Vec3 point) const { return view(point - eye).z; }
  // Row-major 3x3 matrix m: m (x, y, 1) = (u, v, 1) / depth for the pixel (x, y) that sees (u, v) of the plane.
  // False where the camera sees the plane edge-on.
  bool unproject(const Plane& plane, double (&m)[9]) const;
};

struct Light {
  Vec3 to_sun{0, 1, 0};
  Colour sun{0.6f, 0.6f, 0.6f}, ambient{0.5f, 0.5f, 0.5f};  // on a surface that faces the sun: their sum
  Colour haze{0.7f, 0.7f, 0.7f};
  float haze_distance = 400;  // half of the light is lost there

  Colour on(Vec3 normal) const;  // of a two-sided surface's lit side
  float haze_at(float depth) const { return depth / (depth + haze_distance); }
};

// What a shader is asked and answers.
struct Surface {
  float u, v;            // metres in the plane
  float step_u, step_v;  // metres a pixel spans: details below it must fade, or they alias
  float depth;
};
inline constexpr int kLabelOfShape = -1;
struct Texel {
  Colour colour;
  float alpha = 1;            // negative: not part of the shape, neither colour nor label
  int label = kLabelOfShape;  // another label for this point where the shape is not over its own class
};

// Covers pixels with an outline, row by row.
class Painter {
 public:
  Painter(int width, int height, const Camera& camera, const Light& light, const Noise& noise);

  int width() const { return width_; }
  int height() const { return height_; }
  const Camera& camera() const { return camera_; }
  const Light& light() const { return light_; }
  const Noise& noise() const { return noise_; }
  Colour* row(int y) { return image_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_); }
  uint8_t* labels(int y) { return labels_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_); }
  float* shadows(int y) { return shadows_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_); }

  // What is painted from now on stands at this place of the far-to-near order; sky and ground are at 0.
  void set_order(uint16_t order) { order_ = order; }
  // Declares that an opaque shape will be painted there at `order`: pixels that it covers wholly skip everything that
  // is painted before. Changes no result; most of a street's houses hide other houses.
  void occlude(const Plane& plane, std::span<const Vec2> outline, uint16_t order);
  // Per pixel of row y: the order below which nothing can be seen.
  const uint16_t* hidden(int y) const { return hidden_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_); }

  // Paints the outline's inside: colour by coverage, label where at least half of a pixel is covered.
  // shade(const Surface&) -> Texel, light included; haze is added here.
  template <typename Shade>
  void fill(const Plane& plane, std::span<const Vec2> outline, int label, const Shade& shade) {
    if (!begin(plane, outline)) return;
    for (int y = first_row_; y < end_row_; ++y) {
      if (!cover_row(y)) continue;
      Colour* colours = row(y);
      uint8_t* classes = labels(y);
      const uint16_t* hidden_until = hidden(y);
      const double py = y + 0.5;
      const double u0 = m_[1] * py + m_[2], v0 = m_[4] * py + m_[5], w0 = m_[7] * py + m_[8];
      for (int x = first_column_; x < end_column_; ++x) {
        const float cover = coverage_[static_cast<size_t>(x)];
        if (cover < 1.0f / 64 || hidden_until[x] > order_) continue;
        const double px = x + 0.5;
        const double w = m_[6] * px + w0;
        if (w <= 1e-4) continue;
        const double depth = 1 / w;
        const double u = (m_[0] * px + u0) * depth, v = (m_[3] * px + v0) * depth;
        const auto span_u = static_cast<float>((m_[0] - u * m_[6]) * depth);
        const auto span_v = static_cast<float>((m_[4] - v * m_[7]) * depth);
        const Surface at{static_cast<float>(u), static_cast<float>(v), span_u < 0 ? -span_u : span_u,
                         span_v < 0 ? -span_v : span_v, static_cast<float>(depth)};
        const Texel texel = shade(at);
        if (texel.alpha < 0) continue;
        const Colour seen = mix(texel.colour, light_.haze, light_.haze_at(at.depth));
        colours[x] = mix(colours[x], seen, texel.alpha * (cover > 1 ? 1.0f : cover));
        if (cover < 0.5f) continue;
        // A doubtful edge is doubtful against something else only, not within a thing of several overlapping shapes.
        const bool edge = texel.label != kLabelOfShape && classes[x] != label;
        classes[x] = static_cast<uint8_t>(edge ? texel.label : label);
      }
    }
  }

  // One colour, lit as the plane's orientation asks.
  void fill(const Plane& plane, std::span<const Vec2> outline, int label, Colour colour);

  // Darkens the ground under the outline (on the plane y = 0 in (x, z)); the ground shader reads shadows().
  void shadow(std::span<const Vec2> outline, float strength);

 private:
  struct Edge {
    double top, bottom, x, slope;  // x at row coordinate `top`
  };

  bool begin(const Plane& plane, std::span<const Vec2> outline);
  bool cover_row(int y);
  void add_span(double from, double to);

  int width_, height_;
  const Camera& camera_;
  const Light& light_;
  const Noise& noise_;
  std::vector<Colour> image_;
  std::vector<uint8_t> labels_;
  std::vector<float> shadows_;
  std::vector<uint16_t> hidden_;
  uint16_t order_ = 0;

  // Of the outline being filled.
  double m_[9] = {};
  std::vector<Vec3> corners_, clipped_;
  std::vector<Edge> edges_;
  std::vector<double> crossings_;
  std::vector<float> coverage_;
  int first_row_ = 0, end_row_ = 0, first_column_ = 0, end_column_ = 0;
};

}  // namespace segrt::data::streets
