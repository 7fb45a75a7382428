#include "data/synthetic_raster.h"

#include <algorithm>
#include <cmath>

namespace segrt::data::streets {
namespace {
constexpr double kNear = 0.4;     // metres: nothing closer is drawn
constexpr int kRowsPerPixel = 4;  // vertical samples of coverage; horizontally it is exact
}  // namespace

Vec3 unit(Vec3 v) { return v * (1 / std::sqrt(dot(v, v))); }

Vec3 Camera::view(Vec3 d) const { return {yaw.cosine * d.x - yaw.sine * d.z, d.y, yaw.sine * d.x + yaw.cosine * d.z}; }

Vec2 Camera::pixel(Vec3 p) const {
  const double x = p.x / p.z, y = -p.y / p.z;
  return {centre_x + focal * (roll.cosine * x - roll.sine * y), horizon + focal * (roll.sine * x + roll.cosine * y)};
}

bool Camera::unproject(const Plane& plane, double (&m)[9]) const {
  const Vec3 axes[3] = {view(plane.axis_u), view(plane.axis_v), view(plane.origin - eye)};
  double h[9];  // columns: the pixel, times depth, of each axis
  for (int k = 0; k < 3; ++k) {
    const double x = axes[k].x, y = -axes[k].y, z = axes[k].z;
    h[k] = focal * (roll.cosine * x - roll.sine * y) + centre_x * z;
    h[3 + k] = focal * (roll.sine * x + roll.cosine * y) + horizon * z;
    h[6 + k] = z;
  }
  const double a = h[4] * h[8] - h[5] * h[7], b = h[5] * h[6] - h[3] * h[8], c = h[3] * h[7] - h[4] * h[6];
  const double det = h[0] * a + h[1] * b + h[2] * c;
  const double scale = focal * focal * 1e-4;  // det / focal^2 is the distance of the eye from the plane
  if (det > -scale && det < scale) return false;
  const double r = 1 / det;
  m[0] = a * r, m[3] = b * r, m[6] = c * r;
  m[1] = (h[2] * h[7] - h[1] * h[8]) * r, m[4] = (h[0] * h[8] - h[2] * h[6]) * r,
  m[7] = (h[1] * h[6] - h[0] * h[7]) * r;
  m[2] = (h[1] * h[5] - h[2] * h[4]) * r, m[5] = (h[2] * h[3] - h[0] * h[5]) * r,
  m[8] = (h[0] * h[4] - h[1] * h[3]) * r;
  return true;
}

Colour Light::on(Vec3 normal) const {
  const auto facing = static_cast<float>(std::abs(dot(normal, to_sun)));
  return ambient + sun * facing;
}

Painter::Painter(int width, int height, const Camera& camera, const Light& light, const Noise& noise)
    : width_(width),
      height_(height),
      camera_(camera),
      light_(light),
      noise_(noise),
      image_(static_cast<size_t>(width) * static_cast<size_t>(height)),
      labels_(image_.size(), uint8_t{255}),
      shadows_(image_.size()),
      hidden_(image_.size()),
      coverage_(static_cast<size_t>(width) + 2) {}

// Clips the outline to what lies before the camera and lists its edges in pixels. False where nothing can be seen.
bool Painter::begin(const Plane& plane, std::span<const Vec2> outline) {
  corners_.clear();
  for (const Vec2& p : outline)
    corners_.push_back(camera_.view(plane.origin + plane.axis_u * p.u + plane.axis_v * p.v - camera_.eye));
  clipped_.clear();
  for (size_t i = 0; i < corners_.size(); ++i) {
    const Vec3& a = corners_[i];
    const Vec3& b = corners_[i + 1 == corners_.size() ? 0 : i + 1];
    if (a.z >= kNear) clipped_.push_back(a);
    if ((a.z >= kNear) != (b.z >= kNear)) clipped_.push_back(a + (b - a) * ((kNear - a.z) / (b.z - a.z)));
  }
  if (clipped_.size() < 3) return false;

  double left = 1e30, right = -1e30, top = 1e30, bottom = -1e30;
  edges_.clear();
  Vec2 from = camera_.pixel(clipped_.back());
  for (const Vec3& corner : clipped_) {
    const Vec2 to = camera_.pixel(corner);
    left = std::min(left, to.u), right = std::max(right, to.u);
    top = std::min(top, to.v), bottom = std::max(bottom, to.v);
    const Vec2 &upper = from.v < to.v ? from : to, &lower = from.v < to.v ? to : from;
    if (lower.v > upper.v) edges_.push_back({upper.v, lower.v, upper.u, (lower.u - upper.u) / (lower.v - upper.v)});
    from = to;
  }
  if (right <= 0 || left >= width_ || bottom <= 0 || top >= height_) return false;
  first_row_ = static_cast<int>(std::max(top, 0.0));
  end_row_ = static_cast<int>(std::min(bottom + 1, static_cast<double>(height_)));
  return camera_.unproject(plane, m_);
}

void Painter::add_span(double from, double to) {
  from = std::clamp(from, 0.0, static_cast<double>(width_));
  to = std::clamp(to, 0.0, static_cast<double>(width_));
  if (to <= from) return;
  // The running sum of these four terms is, pixel by pixel, the part of the pixel right of `from` and left of `to`.
  constexpr double kWeight = 1.0 / kRowsPerPixel;
  const int i = static_cast<int>(from), k = static_cast<int>(to);
  const double in_i = from - i, in_k = to - k;
  coverage_[static_cast<size_t>(i)] += static_cast<float>(kWeight * (1 - in_i));
  coverage_[static_cast<size_t>(i) + 1] += static_cast<float>(kWeight * in_i);
  coverage_[static_cast<size_t>(k)] -= static_cast<float>(kWeight * (1 - in_k));
  coverage_[static_cast<size_t>(k) + 1] -= static_cast<float>(kWeight * in_k);
  first_column_ = std::min(first_column_, i);
  end_column_ = std::max(end_column_, std::min(k + 1, width_));
}

// Coverage of row y by the even-odd rule, in coverage_[first_column_, end_column_).
bool Painter::cover_row(int y) {
  std::fill(coverage_.begin() + first_column_, coverage_.begin() + end_column_ + (end_column_ > first_column_ ? 2 : 0),
            0.0f);
  first_column_ = width_;
  end_column_ = 0;
  for (int k = 0; k < kRowsPerPixel; ++k) {
    const double at = y + (k + 0.5) / kRowsPerPixel;
    crossings_.clear();
    for (const Edge& e : edges_)
      if (at >= e.top && at < e.bottom) crossings_.push_back(e.x + (at - e.top) * e.slope);
    std::sort(crossings_.begin(), crossings_.end());
    for (size_t i = 0; i + 1 < crossings_.size(); i += 2) add_span(crossings_[i], crossings_[i + 1]);
  }
  if (end_column_ <= first_column_) {
    first_column_ = end_column_ = 0;
    return false;
  }
  float sum = 0;
  for (int x = first_column_; x < end_column_; ++x) {
    sum += coverage_[static_cast<size_t>(x)];
    coverage_[static_cast<size_t>(x)] = sum;
  }
  return true;
}

void Painter::fill(const Plane& plane, std::span<const Vec2> outline, int label, Colour colour) {
  const Vec3 &u = plane.axis_u, &v = plane.axis_v;
  const Vec3 normal{u.y * v.z - u.z * v.y, u.z * v.x - u.x * v.z, u.x * v.y - u.y * v.x};
  const Texel texel{colour * light_.on(normal)};
  fill(plane, outline, label, [&](const Surface&) { return texel; });
}

void Painter::occlude(const Plane& plane, std::span<const Vec2> outline, uint16_t order) {
  if (!begin(plane, outline)) return;
  for (int y = first_row_; y < end_row_; ++y) {
    if (!cover_row(y)) continue;
    uint16_t* until = hidden_.data() + static_cast<size_t>(y) * static_cast<size_t>(width_);
    for (int x = first_column_; x < end_column_; ++x)
      if (coverage_[static_cast<size_t>(x)] > 0.999f) until[x] = std::max(until[x], order);
  }
}

void Painter::shadow(std::span<const Vec2> outline, float strength) {
  if (!begin({{0, 0, 0}, {1, 0, 0}, {0, 0, 1}}, outline)) return;
  for (int y = first_row_; y < end_row_; ++y) {
    if (!cover_row(y)) continue;
    float* out = shadows(y);
    for (int x = first_column_; x < end_column_; ++x)
      out[x] = std::max(out[x], strength * std::min(coverage_[static_cast<size_t>(x)], 1.0f));
  }
}

}  // namespace segrt::data::streets
