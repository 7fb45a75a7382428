// DGMN2's attention in float64 from its published description, one scalar after the other: the oracle of its kernels.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <vector>

#include "core/shape.h"

namespace segrt::reference {

using Values = std::vector<double>;

struct Attention {
  int64_t batch, height, width, heads;
  Values qkv, offset, rel_height, rel_width;  // as in autograd/deform_attention.h

  int64_t pixels() const { return height * width; }
  Shape qkv_shape() const { return {batch, height, width, 3 * heads * 64}; }
  Shape offset_shape() const { return {batch, height, width, heads * 18}; }
  Shape logits_shape() const { return {batch, height, width, heads * 9}; }
  Shape transposed_shape() const { return {batch, width, height, heads * 9}; }
  Shape output_shape() const { return {batch, height, width, heads * 64}; }

  // Where values lie. part: 0 q, 1 k, 2 v.
  size_t in_qkv(int64_t n, int64_t y, int64_t x, int64_t part, int64_t j, int64_t c) const {
    return static_cast<size_t>((((n * height + y) * width + x) * 3 + part) * heads * 64 + j * 64 + c);
  }
  size_t in_map(int64_t n, int64_t y, int64_t x, int64_t j, int64_t count, int64_t i) const {
    return static_cast<size_t>((((n * height + y) * width + x) * heads + j) * count + i);
  }
  size_t in_transposed(int64_t n, int64_t x, int64_t y, int64_t j, int64_t t) const {
    return static_cast<size_t>((((n * width + x) * height + y) * heads + j) * 9 + t);
  }
  static size_t in_table(int64_t row, int64_t c) { return static_cast<size_t>(row * 64 + c); }

  // f(n, y, x, j) for every query.
  void for_queries(const std::function<void(int64_t, int64_t, int64_t, int64_t)>& f) const {
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x)
          for (int64_t j = 0; j < heads; ++j) f(n, y, x, j);
  }

  // The pixels in the map around tap t of a query: weight, and its derivatives along the two coordinates.
  struct Corner {
    int64_t y, x;
    double weight, along_y, along_x;
  };
  std::vector<Corner> corners(int64_t n, int64_t y, int64_t x, int64_t j, int64_t t) const {
    const double py = static_cast<double>(y - 1 + t / 3) + offset[in_map(n, y, x, j, 18, 2 * t)];
    const double px = static_cast<double>(x - 1 + t % 3) + offset[in_map(n, y, x, j, 18, 2 * t + 1)];
    std::vector<Corner> found;
    if (!(py > -1 && px > -1 && py < static_cast<double>(height) && px < static_cast<double>(width))) return found;
    const auto y0 = static_cast<int64_t>(std::floor(py)), x0 = static_cast<int64_t>(std::floor(px));
    for (int64_t yy = y0; yy <= y0 + 1; ++yy)
      for (int64_t xx = x0; xx <= x0 + 1; ++xx) {
        if (yy < 0 || xx < 0 || yy >= height || xx >= width) continue;
        const double wy = 1 - std::fabs(py - static_cast<double>(yy)), wx = 1 - std::fabs(px - static_cast<double>(xx));
        found.push_back({yy, xx, wy * wx, (yy == y0 ? -1 : 1) * wx, (xx == x0 ? -1 : 1) * wy});
      }
    return found;
  }

  Values height_logits() const {  // [N,W,H,heads*9]
    Values logits(static_cast<size_t>(batch * pixels() * heads * 9));
    for_queries([&](int64_t n, int64_t y, int64_t x, int64_t j) {
      for (int64_t t = 0; t < 9; ++t)
        for (int64_t c = 0; c < 64; ++c)
          logits[in_transposed(n, x, y, j, t)] +=
              qkv[in_qkv(n, y, x, 0, j, c)] * rel_height[in_table(height - 1 - y + t, c)];
    });
    return logits;
  }

  // Bilinear, half-pixel, from [W,H] to [H,W]: f(output (y,x), input (row,column), weight).
  void for_resize_taps(const std::function<void(int64_t, int64_t, int64_t, int64_t, double)>& f) const {
    const auto place = [](int64_t i, int64_t in, int64_t out) {
      return std::max(0.0, (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5);
    };
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const double py = place(y, width, height), px = place(x, height, width);
        const auto y0 = static_cast<int64_t>(py), x0 = static_cast<int64_t>(px);
        const double fy = py - static_cast<double>(y0), fx = px - static_cast<double>(x0);
        const int64_t y1 = std::min(y0 + 1, width - 1), x1 = std::min(x0 + 1, height - 1);
        f(y, x, y0, x0, (1 - fy) * (1 - fx));
        f(y, x, y0, x1, (1 - fy) * fx);
        f(y, x, y1, x0, fy * (1 - fx));
        f(y, x, y1, x1, fy * fx);
      }
  }
  Values resized(const Values& transposed) const {  // [N,W,H,heads*9] -> [N,H,W,heads*9]
    Values logits(transposed.size());
    for (int64_t n = 0; n < batch; ++n)
      for_resize_taps([&](int64_t y, int64_t x, int64_t row, int64_t column, double weight) {
        for (int64_t j = 0; j < heads; ++j)
          for (int64_t t = 0; t < 9; ++t)
            logits[in_map(n, y, x, j, 9, t)] += weight * transposed[in_transposed(n, row, column, j, t)];
      });
    return logits;
  }
  Values resized_back(const Values& dlogits) const {
    Values dtransposed(dlogits.size());
    for (int64_t n = 0; n < batch; ++n)
      for_resize_taps([&](int64_t y, int64_t x, int64_t row, int64_t column, double weight) {
        for (int64_t j = 0; j < heads; ++j)
          for (int64_t t = 0; t < 9; ++t)
            dtransposed[in_transposed(n, row, column, j, t)] += weight * dlogits[in_map(n, y, x, j, 9, t)];
      });
    return dtransposed;
  }

  struct Forward {
    Values y, probabilities;
  };
  Forward forward(const Values& height_term) const {  // [N,H,W,heads*9]
    Forward out{Values(qkv.size() / 3), Values(height_term.size())};
    for_queries([&](int64_t n, int64_t y, int64_t x, int64_t j) {
      std::array<double, 9> e;
      double sum = 0;
      for (int64_t t = 0; t < 9; ++t) {
        double logit = height_term[in_map(n, y, x, j, 9, t)];
        for (int64_t c = 0; c < 64; ++c) {
          const double q = qkv[in_qkv(n, y, x, 0, j, c)];
          logit += q * rel_width[in_table(width - 1 - x + t, c)];
          for (const Corner& k : corners(n, y, x, j, t)) logit += q * k.weight * qkv[in_qkv(n, k.y, k.x, 1, j, c)] / 8;
        }
        e[static_cast<size_t>(t)] = std::exp(logit);
        sum += e[static_cast<size_t>(t)];
      }
      for (int64_t t = 0; t < 9; ++t) {
        const double p = e[static_cast<size_t>(t)] / sum;
        out.probabilities[in_map(n, y, x, j, 9, t)] = p;
        for (const Corner& k : corners(n, y, x, j, t))
          for (int64_t c = 0; c < 64; ++c)
            out.y[in_map(n, y, x, j, 64, c)] += p * k.weight * qkv[in_qkv(n, k.y, k.x, 2, j, c)];
      }
    });
    return out;
  }

  struct Backward {
    Values dqkv, doffset, dlogits;
  };
  Backward backward(const Values& dy, const Values& probabilities) const {
    Backward out{Values(qkv.size()), Values(offset.size()), Values(probabilities.size())};
    for_queries([&](int64_t n, int64_t y, int64_t x, int64_t j) {
      std::array<double, 9> dp{};
      double mean = 0;
      for (int64_t t = 0; t < 9; ++t) {
        for (const Corner& k : corners(n, y, x, j, t))
          for (int64_t c = 0; c < 64; ++c)
            dp[static_cast<size_t>(t)] += dy[in_map(n, y, x, j, 64, c)] * k.weight * qkv[in_qkv(n, k.y, k.x, 2, j, c)];
        mean += probabilities[in_map(n, y, x, j, 9, t)] * dp[static_cast<size_t>(t)];
      }
      for (int64_t t = 0; t < 9; ++t) {
        const double p = probabilities[in_map(n, y, x, j, 9, t)], dl = p * (dp[static_cast<size_t>(t)] - mean);
        out.dlogits[in_map(n, y, x, j, 9, t)] = dl;
        for (int64_t c = 0; c < 64; ++c) {
          const double q = qkv[in_qkv(n, y, x, 0, j, c)], g = dy[in_map(n, y, x, j, 64, c)];
          out.dqkv[in_qkv(n, y, x, 0, j, c)] += dl * rel_width[in_table(width - 1 - x + t, c)];
          for (const Corner& k : corners(n, y, x, j, t)) {
            const size_t key = in_qkv(n, k.y, k.x, 1, j, c), value = in_qkv(n, k.y, k.x, 2, j, c);
            out.dqkv[in_qkv(n, y, x, 0, j, c)] += dl / 8 * k.weight * qkv[key];
            out.dqkv[key] += dl / 8 * k.weight * q;
            out.dqkv[value] += p * k.weight * g;
            const double dcorner = dl / 8 * q * qkv[key] + p * g * qkv[value];
            out.doffset[in_map(n, y, x, j, 18, 2 * t)] += k.along_y * dcorner;
            out.doffset[in_map(n, y, x, j, 18, 2 * t + 1)] += k.along_x * dcorner;
          }
        }
      }
    });
    return out;
  }

  // What comes through the height term, added to dqkv; tables.
  void add_height_backward(const Values& dtransposed, Values& dqkv) const {
    for_queries([&](int64_t n, int64_t y, int64_t x, int64_t j) {
      for (int64_t t = 0; t < 9; ++t)
        for (int64_t c = 0; c < 64; ++c)
          dqkv[in_qkv(n, y, x, 0, j, c)] +=
              dtransposed[in_transposed(n, x, y, j, t)] * rel_height[in_table(height - 1 - y + t, c)];
    });
  }
  Values dheight(const Values& dtransposed) const {
    Values dtable(rel_height.size());
    for_queries([&](int64_t n, int64_t y, int64_t x, int64_t j) {
      for (int64_t t = 0; t < 9; ++t)
        for (int64_t c = 0; c < 64; ++c)
          dtable[in_table(height - 1 - y + t, c)] +=
              dtransposed[in_transposed(n, x, y, j, t)] * qkv[in_qkv(n, y, x, 0, j, c)];
    });
    return dtable;
  }
  Values dwidth(const Values& dlogits) const {
    Values dtable(rel_width.size());
    for_queries([&](int64_t n, int64_t y, int64_t x, int64_t j) {
      for (int64_t t = 0; t < 9; ++t)
        for (int64_t c = 0; c < 64; ++c)
          dtable[in_table(width - 1 - x + t, c)] += dlogits[in_map(n, y, x, j, 9, t)] * qkv[in_qkv(n, y, x, 0, j, c)];
    });
    return dtable;
  }
};

}  // namespace segrt::reference
