// What of cuBLASLt can be had without a driver: problems, descriptions and layouts read back, plans as text. Handles,
// and with them heuristics, need a GPU.
#if SEGRT_HAS_CUBLASLT
#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "kernels/vendor/choice_file.h"
#include "kernels/vendor/cublaslt/plan.h"
#include "tests/core/temporary_folder.h"
#include "tests/support/tensors.h"

namespace segrt::kernels::vendor::cublaslt {
namespace {
// c[5,7] = a[5,11] b[11,7].
MatmulProblem small(DType dtype = DType::bf16) {
  MatmulProblem p;
  p.dtype = dtype;
  p.m = 5;
  p.n = 7;
  p.k = 11;
  return p;
}

template <typename T>
T read(const Operation& o, cublasLtMatmulDescAttributes_t name) {
  T value{};
  size_t written = 0;
  require_success(cublasLtMatmulDescGetAttribute(o.description(), name, &value, sizeof(value), &written), "get");
  CHECK(written == sizeof(value));
  return value;
}

struct Layout {
  uint32_t type;
  uint64_t rows, columns;
  int64_t stride;
  int32_t batch;
  int64_t batch_stride;
  bool operator==(const Layout&) const = default;
};
template <typename T>
T read(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t name) {
  T value{};
  size_t written = 0;
  require_success(cublasLtMatrixLayoutGetAttribute(layout, name, &value, sizeof(value), &written), "get");
  return value;
}
Layout read(cublasLtMatrixLayout_t l) {
  return {read<uint32_t>(l, CUBLASLT_MATRIX_LAYOUT_TYPE),
          read<uint64_t>(l, CUBLASLT_MATRIX_LAYOUT_ROWS),
          read<uint64_t>(l, CUBLASLT_MATRIX_LAYOUT_COLS),
          read<int64_t>(l, CUBLASLT_MATRIX_LAYOUT_LD),
          read<int32_t>(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT),
          read<int64_t>(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET)};
}

// One element of op(matrix) as cuBLASLt finds it in memory: column-major, `op` transposing.
int64_t offset_of(const Layout& l, int32_t op, int64_t row, int64_t column) {
  return op == CUBLAS_OP_N ? row + column * l.stride : column + row * l.stride;
}
}  // namespace

TEST_CASE("cublaslt: a product is described so that memory means the same to both") {
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true})
      for (const int64_t batch : {1, 3}) {
        MatmulProblem p = small();
        p.transpose_a = transpose_a;
        p.transpose_b = transpose_b;
        p.batch = batch;
        CAPTURE(to_string(p));
        const Operation o(p);
        const Layout a = read(o.a()), b = read(o.b()), c = read(o.c());
        const auto op_a = read<int32_t>(o, CUBLASLT_MATMUL_DESC_TRANSA);
        const auto op_b = read<int32_t>(o, CUBLASLT_MATMUL_DESC_TRANSB);
        // Theirs is D [n,m] = A [n,k] B [k,m].
        CHECK(c == Layout{CUDA_R_16BF, 7, 5, 7, static_cast<int32_t>(batch), 35});
        CHECK((op_a == CUBLAS_OP_N ? a.rows : a.columns) == 7);
        CHECK((op_a == CUBLAS_OP_N ? a.columns : a.rows) == 11);
        CHECK((op_b == CUBLAS_OP_N ? b.rows : b.columns) == 11);
        CHECK((op_b == CUBLAS_OP_N ? b.columns : b.rows) == 5);
        CHECK(a.batch_stride == 77);
        CHECK(b.batch_stride == 55);
        for (int64_t m = 0; m < 5; ++m)
          for (int64_t n = 0; n < 7; ++n) {
            CHECK(offset_of(c, CUBLAS_OP_N, n, m) == m * 7 + n);
            for (int64_t k = 0; k < 11; ++k) {
              CHECK(offset_of(b, op_b, k, m) == (transpose_a ? k * 5 + m : m * 11 + k));
              CHECK(offset_of(a, op_a, n, k) == (transpose_b ? n * 11 + k : k * 7 + n));
            }
          }
      }
}

TEST_CASE("cublaslt: types and epilogues") {
  const auto epilogue = [](const MatmulProblem& p) {
    return read<uint32_t>(Operation(p), CUBLASLT_MATMUL_DESC_EPILOGUE);
  };
  MatmulProblem p = small();
  CHECK(epilogue(p) == CUBLASLT_EPILOGUE_DEFAULT);
  p.activation = LinearActivation::relu;
  CHECK(epilogue(p) == CUBLASLT_EPILOGUE_RELU);
  p.bias = true;
  CHECK(epilogue(p) == CUBLASLT_EPILOGUE_RELU_BIAS);
  p.pre = true;  // what it is taken of is wanted, too: a pass of ours
  CHECK(epilogue(p) == CUBLASLT_EPILOGUE_BIAS);
  p.activation = LinearActivation::gelu;  // never theirs, which is another function
  CHECK(epilogue(p) == CUBLASLT_EPILOGUE_BIAS);
  p.pre = false;
  CHECK(epilogue(p) == CUBLASLT_EPILOGUE_BIAS);
  MatmulProblem weight = small();
  weight.transpose_a = weight.bias_gradient = true;
  CHECK(epilogue(weight) == CUBLASLT_EPILOGUE_BGRADB);
  for (const auto& [dtype, type] :
       {std::pair{DType::f32, CUDA_R_32F}, {DType::bf16, CUDA_R_16BF}, {DType::f16, CUDA_R_16F}}) {
    MatmulProblem typed = small(dtype);
    typed.bias = true;
    const Operation o(typed);
    CHECK(read(o.a()).type == static_cast<uint32_t>(type));
    CHECK(read<int32_t>(o, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE) == type);
    CHECK(read<int32_t>(o, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE) == CUBLAS_COMPUTE_32F);  // float32 sums, no TF32
    int place = 0;
    o.set_bias_pointer(&place);
    CHECK(read<const void*>(o, CUBLASLT_MATMUL_DESC_BIAS_POINTER) == &place);
  }
  MatmulProblem rounded = small(DType::f32);
  rounded.tf32 = true;
  CHECK(read<int32_t>(Operation(rounded), CUBLASLT_MATMUL_DESC_COMPUTE_TYPE) == CUBLAS_COMPUTE_32F_FAST_TF32);
  CHECK(test::error_of([] { Operation{small(DType::f64)}; }) == "cuBLASLt: a: expected f32, bf16 or f16, got f64");
}

TEST_CASE("cublaslt: sums split along k are added in float32, and the workspace is bounded") {
  const Preference preference;
  uint32_t mask = 0;
  uint64_t bytes = 0;
  size_t written = 0;
  require_success(cublasLtMatmulPreferenceGetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                       &mask, sizeof(mask), &written),
                  "get");
  require_success(cublasLtMatmulPreferenceGetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                       &bytes, sizeof(bytes), &written),
                  "get");
  CHECK(mask == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  CHECK(bytes == Preference::kWorkspaceBytes);
}

TEST_CASE("cublaslt: problems that differ in anything have other keys and other texts") {
  std::vector<MatmulProblem> problems(14, small());
  size_t i = 0;
  const auto next = [&]() -> MatmulProblem& { return problems[++i]; };
  next().dtype = DType::f16;
  for (int64_t MatmulProblem::*size : {&MatmulProblem::batch, &MatmulProblem::m, &MatmulProblem::n, &MatmulProblem::k})
    ++(next().*size);
  for (bool MatmulProblem::*flag :
       {&MatmulProblem::deterministic, &MatmulProblem::transpose_a, &MatmulProblem::transpose_b, &MatmulProblem::bias,
        &MatmulProblem::pre, &MatmulProblem::gelu_backward, &MatmulProblem::bias_gradient})
    next().*flag = true;
  next().activation = LinearActivation::gelu;
  CHECK(i + 1 == problems.size());
  std::set<MatmulKey> keys;
  std::set<std::string> texts;
  for (const MatmulProblem& p : problems) {
    keys.insert(key_of(p));
    texts.insert(to_string(p));
  }
  CHECK(keys.size() == problems.size());
  CHECK(texts.size() == problems.size());
  MatmulProblem exact = small(DType::f32), rounded = exact;
  rounded.tf32 = true;
  CHECK(key_of(exact) != key_of(rounded));
  MatmulProblem full = rounded;
  full.batch = 2;
  full.transpose_b = full.bias = full.pre = true;
  full.activation = LinearActivation::gelu;
  CHECK(to_string(full) == "product+bias+gelu+pre tf32 a[2,5,11] b[2,7,11]^T");
}

TEST_CASE("cublaslt: a plan goes through text and the file of choices") {
  const auto operation = std::make_shared<const Operation>(small());
  cublasLtMatmulAlgo_t algorithm{};
  for (size_t i = 0; i < std::size(algorithm.data); ++i) algorithm.data[i] = 0x0123456789abcdefull * (i + 1);
  algorithm.data[2] = 0;
  const Plan plan(operation, algorithm, 12345678);
  const TemporaryFolder folder;
  const std::string path = folder / "cublaslt.json";
  ChoiceFile(path, "GPU", "cublaslt-1").put("p", {describe(algorithm), text_of(plan), 0.25, 0.5});
  const Choice* kept = nullptr;
  const ChoiceFile file(path, "GPU", "cublaslt-1");
  REQUIRE((kept = file.find("p")) != nullptr);
  const std::optional<Plan> again = plan_from(kept->plan, operation);
  REQUIRE(again.has_value());
  CHECK(again->workspace_bytes() == 12345678);
  for (size_t i = 0; i < std::size(algorithm.data); ++i) CHECK(again->algorithm().data[i] == algorithm.data[i]);
  const std::string text = text_of(plan);
  for (const std::string& damaged : {std::string(), text.substr(0, text.size() / 2), text + "x", "z" + text})
    CHECK(!plan_from(damaged, operation).has_value());
}

TEST_CASE("cublaslt: without a driver there is no handle, and the error says so") {
  if (Device::cuda_available()) return;
  const std::string error =
      test::error_of([] { for_each_plan(nullptr, small(), [](Candidate<Plan>) { return true; }); });
  CHECK(error.starts_with("cuBLASLt: cublasLtMatmulAlgoGetHeuristic: "));
  CHECK(!restored_plan(nullptr, small(), "0").has_value());
}

}  // namespace segrt::kernels::vendor::cublaslt
#endif
