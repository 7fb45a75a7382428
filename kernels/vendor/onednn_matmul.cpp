#include "kernels/vendor/onednn_matmul.h"

#include <array>
#include <map>

#include "core/parallel.h"
#include "kernels/vendor/onednn.h"

namespace segrt::kernels::vendor {
namespace {
using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;

struct Kernel {
  dnnl::primitive primitive;  // empty: oneDNN has none
  Desc a, b, c, bias, scratchpad;
};

// [B,rows,columns], stored with rows and columns swapped when transposed.
Desc matrix_desc(const Tensor& t, bool transposed) {
  const int64_t batch = t.rank() == 3 ? t.dim(0) : 1, outer = t.dim(-2), inner = t.dim(-1);
  const Dims dims = transposed ? Dims{batch, inner, outer} : Dims{batch, outer, inner};
  const Dims strides = transposed ? Dims{outer * inner, 1, inner} : Dims{outer * inner, inner, 1};
  return {dims, onednn_type(t.dtype()), strides};
}

class Products {
 public:
  explicit Products(Device& device) : onednn_(device.state<OneDnn>()) {}

  const Kernel& find(const Tensor& a, const Tensor& b, const MatmulOptions& options, const Tensor& c) {
    const std::array<int64_t, 9> key{static_cast<int64_t>(a.dtype()),
                                     c.rank() == 3 ? c.dim(0) : 1,
                                     c.dim(-2),
                                     c.dim(-1),
                                     a.dim(options.transpose_a ? -2 : -1),
                                     options.transpose_a,
                                     options.transpose_b,
                                     options.bias != nullptr,
                                     threads()};
    if (const auto it = kernels_.find(key); it != kernels_.end()) return it->second;
    if (kernels_.size() >= kLimit) kernels_.clear();
    return kernels_[key] = checked("matmul", [&] { return make(a, b, options, c); });
  }

  const OneDnn& onednn() const { return onednn_; }

 private:
  static constexpr size_t kLimit = 1024;

  Kernel make(const Tensor& a, const Tensor& b, const MatmulOptions& options, const Tensor& c) const {
    Kernel k;
    k.a = matrix_desc(a, options.transpose_a);
    k.b = matrix_desc(b, options.transpose_b);
    k.c = matrix_desc(c, false);
    if (options.bias != nullptr)
      k.bias = Desc({1, 1, c.dim(-1)}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::abc);
    const dnnl::matmul::desc description =
        options.bias != nullptr ? dnnl::matmul::desc(k.a, k.b, k.bias, k.c) : dnnl::matmul::desc(k.a, k.b, k.c);
    const dnnl::matmul::primitive_desc pd(description, with_user_scratchpad(), onednn_.engine, true);
    if (!pd) return k;
    k.scratchpad = pd.scratchpad_desc();
    k.primitive = dnnl::matmul(pd);
    return k;
  }

  OneDnn& onednn_;
  std::map<std::array<int64_t, 9>, Kernel> kernels_;
};
}  // namespace

bool onednn_matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, Tensor& c) {
  Products& products = a.device().state<Products>();
  const Kernel& k = products.find(a, b, options, c);
  if (!k.primitive) return false;
  OneDnn onednn = products.onednn();
  std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, onednn.memory(k.a, a)},
                                                  {DNNL_ARG_WEIGHTS, onednn.memory(k.b, b)},
                                                  {DNNL_ARG_DST, onednn.memory(k.c, c)}};
  if (options.bias != nullptr) arguments[DNNL_ARG_BIAS] = onednn.memory(k.bias, *options.bias);
  Tensor scratchpad;
  if (k.scratchpad.get_size() > 0) {
    scratchpad = bytes_on(a.device(), k.scratchpad.get_size());
    arguments[DNNL_ARG_SCRATCHPAD] = onednn.memory(k.scratchpad, scratchpad);
  }
  checked("matmul", [&] { k.primitive.execute(onednn.stream, arguments); });
  onednn.stream.wait();
  return true;
}

}  // namespace segrt::kernels::vendor
