#include "kernels/gated_sum.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "tests/kernels/reference_resize.h"
#include "tests/support/tensors.h"

namespace segrt {
namespace {
using namespace test;
using kernels::GatedTerm;
enum class Rule : uint8_t { plain, gated };

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

DType gate_dtype(DType map) { return map == DType::f64 ? DType::f64 : DType::f32; }

struct TermSpec {
  Rule rule;
  bool upsample2 = false;
  int gate = 0;  // which of the case's gates [N,3]
  int slot = 0;
};
struct Case {
  Shape y;
  std::vector<TermSpec> terms;
};
const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {{1, 1, 1, 1}, {{Rule::plain}}},
      {{1, 1, 1, 3}, {{Rule::gated}}},
      {{3, 5, 7, 19}, {{Rule::gated, false, 0, 1}, {Rule::gated, false, 1}, {Rule::plain}}},
      // A cell of the routing space: what came down, kept (with its pass-through), and up.
      {{4, 6, 8, 16},
       {{Rule::gated, false, 0, 2}, {Rule::gated, false, 1}, {Rule::gated, false, 1, 0}, {Rule::gated, true, 2, 1}}},
      {{2, 2, 2, 5}, {{Rule::plain, true}, {Rule::gated, true, 0, 2}}},
      {{1, 2, 10, 33}, {{Rule::gated, true}}},
      {{3, 10, 2, 8}, {{Rule::gated, true}, {Rule::plain}}},
      {{2, 4, 2, 1032}, {{Rule::gated, false, 0, 1}, {Rule::gated, true, 0, 1}}},  // a pixel is half a chunk
      {{2, 3, 600, 8}, {{Rule::gated}, {Rule::plain}}},                            // a row is several chunks
      {{2, 4, 600, 8}, {{Rule::gated, true, 1, 2}, {Rule::gated, false, 0, 0}}},
      {{2, 37, 3, 4}, {{Rule::gated}, {Rule::gated, false, 0, 1}, {Rule::gated, false, 0, 2}}},
      {{0, 4, 4, 2}, {{Rule::gated}}},
  };
  return all;
}

// The tensors of a case. Sample n = 1 mod 3 has all gates closed, n = 2 mod 3 slot 0 alone. Where a term's factor is 0,
// its x is NaN: it must not be read.
struct Operands {
  Operands(const Case& c, DType dtype, Device& device) : shape(c.y), specs(c.terms) {
    std::vector<std::vector<double>> values;
    for (uint64_t k = 0; k < 3; ++k) {
      values.push_back(to_doubles(random_uniform({shape[0], 3}, gate_dtype(dtype), device, 0.2, 1, 40 + k)));
      for (size_t e = 0; e < values[k].size(); ++e) {
        const size_t n = e / 3;
        if (n % 3 == 1 || (n % 3 == 2 && e % 3 == 0)) values[k][e] = 0;
      }
      gates.push_back(from_doubles({shape[0], 3}, values[k], gate_dtype(dtype), device));
    }
    for (size_t t = 0; t < specs.size(); ++t) {
      const TermSpec& s = specs[t];
      for (size_t n = 0; n < static_cast<size_t>(shape[0]); ++n) {
        const double* g = values[static_cast<size_t>(s.gate)].data() + 3 * n;
        factors.push_back(s.rule == Rule::plain ? 1 : g[s.slot]);
      }
      const int64_t shrink = s.upsample2 ? 2 : 1;
      const Shape map{shape[0], shape[1] / shrink, shape[2] / shrink, shape[3]};
      std::vector<double> pixels = to_doubles(random_normal(map, dtype, device, {.seed = 50 + t}));
      for (size_t e = 0; e < pixels.size(); ++e)
        if (factor(t, static_cast<int64_t>(e) / (map.numel() / map[0])) == 0) pixels[e] = kNan;
      x.push_back(from_doubles(map, pixels, dtype, device));
    }
  }
  double factor(size_t t, int64_t n) const {
    return factors[t * static_cast<size_t>(shape[0]) + static_cast<size_t>(n)];
  }
  std::vector<GatedTerm> terms() const {
    std::vector<GatedTerm> result;
    for (size_t t = 0; t < specs.size(); ++t) {
      const TermSpec& s = specs[t];
      const Tensor* gate = s.rule == Rule::plain ? nullptr : &gates[static_cast<size_t>(s.gate)];
      result.push_back({&x[t], gate, s.slot, s.upsample2});
    }
    return result;
  }
  // R x_t as a map of y's shape; NaN where x is.
  std::vector<double> shown(size_t t) const {
    if (!specs[t].upsample2) return to_doubles(x[t]);
    const auto axis = [&](int64_t out) { return bilinear_matrix(out / 2, out, kernels::Coordinates::half_pixel); };
    return resized(to_doubles(x[t]), x[t].shape(), axis(shape[1]), axis(shape[2]));
  }
  // R^T of a map of y's shape.
  std::vector<double> gathered(size_t t, const std::vector<double>& map) const {
    if (!specs[t].upsample2) return map;
    const auto axis = [&](int64_t out) {
      return transposed(bilinear_matrix(out / 2, out, kernels::Coordinates::half_pixel));
    };
    return resized(map, shape, axis(shape[1]), axis(shape[2]));
  }

  Shape shape;
  std::vector<TermSpec> specs;
  std::vector<double> factors;  // [terms, N]
  std::vector<Tensor> gates, x;
};

// Each map sample by sample: f(t, n, first element, elements).
template <typename F>
void for_samples(const Operands& o, const Tensor& map, const F& f) {
  const int64_t size = o.shape[0] == 0 ? 0 : map.numel() / o.shape[0];
  for (int64_t n = 0; n < o.shape[0]; ++n) f(n, static_cast<size_t>(n * size), static_cast<size_t>(size));
}

struct Gradients {
  explicit Gradients(const Operands& o) {
    for (const Tensor& x : o.x) dx.push_back(filled_with_nan(x.shape(), x.dtype(), x.device()));
    // Not zero: gradients are added.
    for (const Tensor& gate : o.gates)
      dgate.push_back(random_normal(gate.shape(), gate.dtype(), gate.device(), {.seed = 9}));
  }
  std::vector<kernels::GatedTermGrads> wanted(const Operands& o) {
    std::vector<kernels::GatedTermGrads> result;
    for (size_t t = 0; t < o.specs.size(); ++t)
      result.push_back(
          {&dx[t], o.specs[t].rule == Rule::gated ? &dgate[static_cast<size_t>(o.specs[t].gate)] : nullptr});
    return result;
  }
  std::vector<Tensor> dx, dgate;
};
}  // namespace

TEST_CASE("a gated sum agrees with float64 on every device and does not read closed paths") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : cases()) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.y);
        const Operands o(c, dtype, *device);
        std::vector<double> expected(static_cast<size_t>(c.y.numel()));
        for (size_t t = 0; t < o.specs.size(); ++t) {
          const std::vector<double> map = o.shown(t);
          for (size_t e = 0; e < map.size(); ++e) {
            const double f = o.factor(t, static_cast<int64_t>(e) / (c.y.numel() / c.y[0]));
            if (f != 0) expected[e] += f * map[e];
          }
        }
        Tensor y = filled_with_nan(c.y, dtype, *device);
        kernels::gated_sum_forward(o.terms(), y);
        CHECK(relative_l2(y, expected) <= tolerance(dtype, 4));
      }
}

TEST_CASE("a gated sum's gradients agree with float64 on every device") {
  for (const auto& device : test_devices())
    for (const DType dtype : dtypes_of(*device))
      for (const Case& c : cases()) {
        CAPTURE(device->name());
        CAPTURE(dtype);
        CAPTURE(c.y);
        const Operands o(c, dtype, *device);
        const Tensor dy = random_normal(c.y, dtype, *device, {.seed = 8});
        const std::vector<double> d = to_doubles(dy);
        Gradients gradients(o);
        std::vector<std::vector<double>> dgate, size;  // size: what roundings are relative to
        for (const Tensor& t : gradients.dgate) {
          dgate.push_back(to_doubles(t));
          size.push_back(to_doubles(t));
          for (double& v : size.back()) v = std::abs(v);
        }
        kernels::gated_sum_backward(dy, o.terms(), gradients.wanted(o));
        for (size_t t = 0; t < o.specs.size(); ++t) {
          CAPTURE(t);
          const TermSpec& s = o.specs[t];
          std::vector<double> dx = o.gathered(t, d);
          const std::vector<double> map = o.shown(t);
          for_samples(o, o.x[t], [&](int64_t n, size_t first, size_t count) {
            for (size_t e = first; e < first + count; ++e) dx[e] = o.factor(t, n) == 0 ? 0 : dx[e] * o.factor(t, n);
          });
          CHECK(relative_l2(gradients.dx[t], dx) <= tolerance(dtype, 16));
          if (s.rule != Rule::gated) continue;
          for_samples(o, dy, [&](int64_t n, size_t first, size_t count) {
            if (o.factor(t, n) == 0) return;
            const auto gate = static_cast<size_t>(s.gate), at = static_cast<size_t>(3 * n + s.slot);
            for (size_t e = first; e < first + count; ++e) {
              dgate[gate][at] += d[e] * map[e];
              size[gate][at] += std::abs(d[e] * map[e]);
            }
          });
        }
        for (size_t k = 0; k < dgate.size(); ++k) {
          const std::vector<double> found = to_doubles(gradients.dgate[k]);
          for (size_t e = 0; e < found.size(); ++e)
            CHECK(std::abs(found[e] - dgate[k][e]) <= tolerance(gate_dtype(dtype)) * size[k][e]);
        }
      }
}

TEST_CASE("gradients of a gated sum come alone, and without x where no gate wants it") {
  for (const auto& device : test_devices())
    for (const Case& c : cases()) {
      CAPTURE(device->name());
      CAPTURE(c.y);
      const Operands o(c, DType::f32, *device);
      const Tensor dy = random_normal(c.y, DType::f32, *device, {.seed = 8});
      Gradients all(o), alone(o);
      kernels::gated_sum_backward(dy, o.terms(), all.wanted(o));
      std::vector<GatedTerm> without_x = o.terms();
      for (GatedTerm& term : without_x) term.x = nullptr;
      std::vector<kernels::GatedTermGrads> dx_only = alone.wanted(o), dgate_only = dx_only;
      for (auto& g : dx_only) g.dgate = nullptr;
      for (auto& g : dgate_only) g.dx = nullptr;
      kernels::gated_sum_backward(dy, without_x, dx_only);
      kernels::gated_sum_backward(dy, o.terms(), dgate_only);
      for (size_t t = 0; t < o.specs.size(); ++t) CHECK(to_doubles(alone.dx[t]) == to_doubles(all.dx[t]));
      for (size_t k = 0; k < 3; ++k) CHECK(to_doubles(alone.dgate[k]) == to_doubles(all.dgate[k]));
    }
}

TEST_CASE("upsampling within a gated sum is PyTorch's") {
  // torch.nn.functional.interpolate([[1, 2], [3, 5]], scale_factor=2, mode="bilinear", align_corners=False)
  const std::vector<double> expected{1.0, 1.25,   1.75,   2.0,  1.5, 1.8125, 2.4375, 2.75,
                                     2.5, 2.9375, 3.8125, 4.25, 3.0, 3.5,    4.5,    5.0};
  for (const auto& device : test_devices()) {
    const Tensor x = from_doubles({1, 2, 2, 1}, {1, 2, 3, 5}, DType::f32, *device);
    Tensor y = filled_with_nan({1, 4, 4, 1}, DType::f32, *device);
    kernels::gated_sum_forward(std::vector<GatedTerm>{{.x = &x, .upsample2 = true}}, y);
    CHECK(to_doubles(y) == expected);
  }
}

TEST_CASE("maps that are not aligned to vectors give the same") {
  for (const auto& device : test_devices()) {
    const Shape shape{2, 4, 6, 8};
    const auto shifted = [&](uint64_t seed) {
      return random_normal({shape.numel() + 1}, DType::f32, *device, {.seed = seed})
          .slice(1, shape.numel())
          .reshape(shape);
    };
    const Tensor x = shifted(1), dy = shifted(2);
    const Tensor gate = random_uniform({2, 1}, DType::f32, *device, 0.2, 1);
    const auto run = [&](const Tensor& map, const Tensor& d) {
      const std::vector<GatedTerm> terms{{.x = &map, .gate = &gate}};
      Tensor y = filled_with_nan(shape, DType::f32, *device), dx = Tensor::like(y), dgate = Tensor::zeros_like(gate);
      kernels::gated_sum_forward(terms, y);
      kernels::gated_sum_backward(d, terms, std::vector<kernels::GatedTermGrads>{{&dx, &dgate}});
      std::vector<double> result = to_doubles(y);
      for (const Tensor& t : {dx, dgate})
        for (const double v : to_doubles(t)) result.push_back(v);
      return result;
    };
    CHECK(relative_l2(run(x, dy), run(x.clone(), dy.clone())) <= tolerance(DType::f32, 8));
  }
}

TEST_CASE("a gated sum does not depend on the number of threads") {
  const auto device = Device::create("cpu");
  const Operands o({{2, 66, 62, 24}, {{Rule::gated, true, 0, 1}, {Rule::gated, false, 1, 2}, {Rule::plain}}},
                   DType::f32, *device);
  const Tensor dy = random_normal(o.shape, DType::f32, *device);
  std::vector<std::vector<double>> results;
  for (const int count : {1, 3}) {
    set_threads(count);
    Tensor y = filled_with_nan(o.shape, DType::f32, *device);
    Gradients gradients(o);
    kernels::gated_sum_forward(o.terms(), y);
    kernels::gated_sum_backward(dy, o.terms(), gradients.wanted(o));
    results.push_back(to_doubles(y));
    for (const auto& list : {gradients.dx, gradients.dgate})
      for (const Tensor& t : list)
        for (const double v : to_doubles(t)) results.back().push_back(v);
  }
  set_threads(0);
  CHECK(results[0] == results[1]);
}

TEST_CASE("a gated sum names what is wrong") {
  const auto device = Device::create("cpu");
  const auto zeros = [&](const Shape& shape) { return Tensor::zeros(shape, DType::f32, *device); };
  const Tensor x = zeros({2, 4, 6, 8}), small = zeros({2, 2, 3, 8}), gate = zeros({2, 3}), odd_gate = zeros({3, 3});
  Tensor y = zeros({2, 4, 6, 8}), odd = zeros({2, 3, 6, 8}), dgate = zeros({2, 3});
  const auto forward = [&](const std::vector<GatedTerm>& terms, Tensor& to) {
    return error_of([&] { kernels::gated_sum_forward(terms, to); });
  };
  CHECK(forward({}, y) == "gated_sum: expected 1 to 4 terms, got 0");
  CHECK(forward({{}}, y) == "gated_sum: term 0: x: expected a tensor, got none");
  CHECK(forward({{.x = &x}, {.x = &small}}, y) == "gated_sum: term 1: x: expected [2,4,6,8], got [2,2,3,8]");
  CHECK(forward({{.x = &x, .upsample2 = true}}, y) == "gated_sum: term 0: x: expected [2,2,3,8], got [2,4,6,8]");
  CHECK(forward({{.x = &small, .upsample2 = true}}, odd) ==
        "gated_sum: y: expected even height and width, term 0 is upsampled by 2, got [2,3,6,8]");
  CHECK(forward({{.x = &x, .gate = &odd_gate}}, y) == "gated_sum: term 0: gate: expected [2,3], got [3,3]");
  CHECK(forward({{.x = &x, .gate = &gate, .slot = 3}}, y) ==
        "gated_sum: term 0: gate: expected one of 3 slots, got slot 3");
  CHECK(forward({{.x = &y}}, y) == "gated_sum: term 0: x: expected other memory than y");
  CHECK(error_of([&] {
          kernels::gated_sum_backward(x, std::vector<GatedTerm>{{.x = &x}},
                                      std::vector<kernels::GatedTermGrads>{{nullptr, &dgate}});
        }) == "gated_sum_backward: term 0: dgate: only a gated term has one");
}

}  // namespace segrt
