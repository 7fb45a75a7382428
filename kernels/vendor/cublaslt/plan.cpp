#include "kernels/vendor/cublaslt/plan.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <string_view>

namespace segrt::kernels::vendor::cublaslt {
namespace {
constexpr int kOffered = 16;
constexpr size_t kWords = std::size(cublasLtMatmulAlgo_t{}.data);

// The next word of hexadecimal digits; consumes it and one blank.
std::optional<uint64_t> next_word(std::string_view& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  return value;
}

std::string setting(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t name,
                    const char* text) {
  std::array<char, 8> bytes{};  // of 2 or 4 each, little endian
  size_t written = 0;
  if (cublasLtMatmulAlgoConfigGetAttribute(&algorithm, name, bytes.data(), sizeof(uint32_t), &written) !=
          CUBLAS_STATUS_SUCCESS &&
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, name, bytes.data(), sizeof(uint16_t), &written) !=
          CUBLAS_STATUS_SUCCESS)
    return "";
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return fmt::format("{} {}", text, value);
}
}  // namespace

std::string text_of(const Plan& plan) {
  std::string text;
  for (const uint64_t word : plan.algorithm().data) text += fmt::format("{:016x} ", word);
  return text + fmt::format("{:x}", plan.workspace_bytes());
}

std::optional<Plan> plan_from(const std::string& text, std::shared_ptr<const Operation> operation) {
  std::string_view rest(text);
  cublasLtMatmulAlgo_t algorithm{};
  for (size_t i = 0; i < kWords; ++i) {
    const std::optional<uint64_t> word = next_word(rest);
    if (!word) return std::nullopt;
    algorithm.data[i] = *word;
  }
  const std::optional<uint64_t> workspace_bytes = next_word(rest);
  if (!workspace_bytes || !rest.empty()) return std::nullopt;
  return Plan(std::move(operation), algorithm, *workspace_bytes);
}

std::string describe(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  for (const std::string& part : {setting(algorithm, CUBLASLT_ALGO_CONFIG_ID, "algorithm"),
                                  setting(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, "tile"),
                                  setting(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID, "stages"),
                                  setting(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, "split")})
    if (!part.empty()) text += (text.empty() ? "" : ", ") + part;
  return text.empty() ? "algorithm" : text;
}

void for_each_plan(cublasLtHandle_t handle, const MatmulProblem& problem,
                   const std::function<bool(Candidate<Plan>)>& consider) {
  const auto operation = std::make_shared<const Operation>(problem);
  std::array<cublasLtMatmulHeuristicResult_t, kOffered> offered{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, operation->description(), operation->a(), operation->b(), operation->c(),
                                     operation->c(), Preference().get(), kOffered, offered.data(), &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return;
  require_success(status, "cublasLtMatmulAlgoGetHeuristic");
  for (int i = 0; i < count; ++i) {
    const cublasLtMatmulHeuristicResult_t& result = offered[static_cast<size_t>(i)];
    if (result.state != CUBLAS_STATUS_SUCCESS || result.workspaceSize > Preference::kWorkspaceBytes) continue;
    if (!consider({Plan(operation, result.algo, result.workspaceSize), describe(result.algo)})) return;
  }
}

std::optional<Plan> restored_plan(cublasLtHandle_t handle, const MatmulProblem& problem, const std::string& text) {
  const auto operation = std::make_shared<const Operation>(problem);
  const std::optional<Plan> plan = plan_from(text, operation);
  if (!plan) return std::nullopt;
  cublasLtMatmulHeuristicResult_t result{};
  if (cublasLtMatmulAlgoCheck(handle, operation->description(), operation->a(), operation->b(), operation->c(),
                              operation->c(), &plan->algorithm(), &result) != CUBLAS_STATUS_SUCCESS ||
      result.workspaceSize > Preference::kWorkspaceBytes)
    return std::nullopt;
  return Plan(operation, plan->algorithm(), result.workspaceSize);
}

}  // namespace segrt::kernels::vendor::cublaslt
