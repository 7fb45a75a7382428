#include <fmt/format.h>

#include <cmath>

#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/layer_norm.h"
#include "core/error.h"
#include "kernels/elementwise.h"
#include "models/dgmn2_blocks.h"
#include "tests/support/golden.h"
#include "tests/support/tensors.h"
#include "tests/tools/segrt_golden/dgmn2.h"
#include "tests/tools/segrt_golden/maps.h"
#include "tests/tools/segrt_golden/model_state.h"

namespace segrt::golden {
namespace {
// Of the largest magnitude: in float32, outputs and gradients alike; in float64 the file's own rounding.
constexpr double kStated = 1e-5, kExact = 5e-6;

struct Block {
  models::Dgmn2Block module;
  Tensor x, grad_out;  // [N,H,W,C]
  int heads, grid;
};

std::unique_ptr<Block> build_block(GoldenFile& file, Device& device, DType dtype) {
  const int dim = file.get<int>("dim"), heads = file.get<int>("heads"), grid = file.get<int>("position_table_grid");
  const models::Dgmn2Stage stage{
      .channels = dim, .heads = heads, .mlp_ratio = file.get<int>("mlp_ratio"), .grid = grid};
  const Shape shape{file.get<int64_t>("batch"), file.get<int64_t>("H"), file.get<int64_t>("W"), dim};
  nn::Init init(device, 1);
  const auto stored = [&](const std::string& name) {
    return test::from_doubles(shape, file.values(name), dtype, device);
  };
  auto block = std::unique_ptr<Block>(
      new Block{models::Dgmn2Block({.stage = stage}, init), stored("x"), stored("grad_out"), heads, grid});
  const std::string stem = file.path().substr(file.path().rfind('/') + 1);
  const std::string prefix = "dgmn2.op." + stem.substr(0, stem.find('.')) + ".";
  block->module.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    const Shape s = p.var.shape();
    const std::vector<float> filled = fill(prefix + path, s.dims());
    std::vector<double> values(filled.begin(), filled.end());
    if (s.rank() >= 2)
      for (double& v : values) v *= 0.5;
    p.var = Var::parameter(test::from_doubles(s, values, dtype, device));
  });
  return block;
}

// [N,H,W,heads,9] position logits, from the formulas: the taps' number is the displacement, and the height term comes
// out transposed. In double; tables and queries are the module's own.
std::vector<double> position_logits(Block& b) {
  std::map<std::string, Var> parameters;
  b.module.visit_parameters([&](const std::string& path, nn::Parameter& p) { parameters[path] = p.var; });
  const auto h = static_cast<int>(b.x.dim(1)), w = static_cast<int>(b.x.dim(2));
  const NoGrad no_grad(b.x.device());
  const Var normed = autograd::layer_norm(b.x, parameters.at("norm1.weight"), parameters.at("norm1.bias"), 1e-6);
  const std::vector<double> q = test::to_doubles(
      autograd::linear(normed, parameters.at("attn.qkv.weight"), parameters.at("attn.qkv.bias")).value());
  const auto table = [&](const char* name, int n) {
    return test::to_doubles(autograd::resample_position_table(parameters.at(name), n).value());
  };
  const std::vector<double> wide = table("attn.pos_emb.rel_width", w), high = table("attn.pos_emb.rel_height", h);
  const int channels = static_cast<int>(b.x.dim(3));
  const auto product = [&](int y, int x, int head, const std::vector<double>& rows, int row) {
    double sum = 0;
    for (int c = 0; c < 64; ++c)
      sum +=
          q[static_cast<size_t>((y * w + x) * 3 * channels + head * 64 + c)] * rows[static_cast<size_t>(row * 64 + c)];
    return sum;
  };
  std::vector<double> logits;  // [heads,H,W,9], of one image
  for (int head = 0; head < b.heads; ++head)
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x)
        for (int t = 0; t < 9; ++t) {
          // Position (y, x) of the height term in an array of w rows and h columns, half-pixel.
          const auto at = [](int i, int out, int in) { return std::max((i + 0.5) * in / out - 0.5, 0.0); };
          const double py = at(y, h, w), px = at(x, w, h);
          const int y0 = static_cast<int>(py), x0 = static_cast<int>(px);
          const int y1 = std::min(y0 + 1, w - 1), x1 = std::min(x0 + 1, h - 1);
          const auto transposed = [&](int column, int row) {
            return product(row, column, head, high, h - 1 - row + t);
          };
          const double ly = py - y0, lx = px - x0;
          const double height = (1 - ly) * ((1 - lx) * transposed(y0, x0) + lx * transposed(y0, x1)) +
                                ly * ((1 - lx) * transposed(y1, x0) + lx * transposed(y1, x1));
          logits.push_back(product(y, x, head, wide, w - 1 - x + t) + height);
        }
  return logits;
}

Results block_results(Block& b) {
  Results r;
  Var x = Var::parameter(b.x), attended;
  const Tensor step = Tensor::zeros({1}, DType::i64, b.x.device());
  const Var y = b.module.forward(x, 0, step, &attended);
  // d sum(out * grad_out)
  backward(autograd::sum(autograd::mul(y, b.grad_out)));
  r["out"] = test::to_doubles(y.value());
  r["attn_out"] = test::to_doubles(attended.value());
  r["grad.x"] = test::to_doubles(x.grad());
  b.module.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    const std::vector<double> g = test::to_doubles(p.var.grad());
    double squares = 0;
    for (const double v : g) squares += v * v;
    r["grad_norm"].push_back(std::sqrt(squares));
    const std::string leaf = path.substr(path.rfind('.') + 1);
    if (leaf.starts_with("rel_")) r["grad." + leaf] = g;
  });
  r["pos_logits"] = position_logits(b);
  return r;
}

// The output of conv_offset, [N,H,W,heads*18].
std::vector<double> offsets(Block& b) {
  std::map<std::string, Var> p;
  b.module.visit_parameters([&](const std::string& path, nn::Parameter& v) { p[path] = v.var; });
  const NoGrad no_grad(b.x.device());
  const Var normed = autograd::layer_norm(b.x, p.at("norm1.weight"), p.at("norm1.bias"), 1e-6);
  const Var heads = autograd::reshape(normed, {b.x.numel() / 64, 64});
  return test::to_doubles(
      autograd::linear(heads, p.at("attn.conv_offset.weight"), p.at("attn.conv_offset.bias")).value());
}
}  // namespace

void run_dgmn2_block(GoldenFile& file, Device& device, Report& report) {
  for (const char* words : {"layouts", "fp32_vs_fp64", "torch", "fill"}) file.skip(words);
  const std::unique_ptr<Block> narrow = build_block(file, device, DType::f32);
  const std::unique_ptr<Block> wide = build_block(file, file.host(), DType::f64);
  std::vector<std::string> names, shapes;
  narrow->module.visit_parameters([&](const std::string& path, nn::Parameter& p) {
    names.push_back(path);
    const Shape s = p.var.shape();
    shapes.push_back(path + " " + to_string(std::vector<int64_t>(s.dims().begin(), s.dims().end())));
  });
  std::vector<std::string> expected;
  for (const auto& [name, shape] : file.get<std::vector<std::pair<std::string, std::vector<int64_t>>>>("state_shapes"))
    expected.push_back(name + " " + to_string(shape));
  report.identical("state_shapes", shapes, expected);
  report.identical("param_order", names, file.get<std::vector<std::string>>("param_order"));
  Results got = block_results(*narrow), exact = block_results(*wide);
  got["offset_linear"] = offsets(*narrow);
  exact["offset_linear"] = offsets(*wide);
  for (const auto& [row, values] : got) {
    check_of_largest(row + " (f64)", exact.at(row), file.values(row), kExact, report);
    check_of_largest(row, values, file.values(row), kStated, report);
  }
}

}  // namespace segrt::golden
