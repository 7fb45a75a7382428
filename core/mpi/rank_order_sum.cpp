#include "core/mpi/rank_order_sum.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "core/communicator.h"

namespace segrt {
namespace {
// Below this, everybody receives everything and sums all of it: one message instead of two.
constexpr int64_t kSmallBytes = 32 << 10;

// In blocks, so that the loops over the elements are those that vectorise.
template <typename T, typename Sum>
void sum_rows(const T* rows, int64_t row_stride, int ranks, int64_t count, T* out) {
  constexpr int64_t kBlock = 512;
  std::array<Sum, kBlock> sums;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    for (int64_t i = 0; i < n; ++i) sums[static_cast<size_t>(i)] = static_cast<Sum>(rows[begin + i]);
    for (int r = 1; r < ranks; ++r) {
      const T* row = rows + r * row_stride + begin;
      for (int64_t i = 0; i < n; ++i) sums[static_cast<size_t>(i)] += static_cast<Sum>(row[i]);
    }
    for (int64_t i = 0; i < n; ++i) out[begin + i] = static_cast<T>(sums[static_cast<size_t>(i)]);
  }
}

void sum_rows(const void* rows, int64_t row_stride, int ranks, int64_t count, DType dtype, void* out) {
  const auto as = [&]<typename T, typename Sum>() {
    sum_rows<T, Sum>(static_cast<const T*>(rows), row_stride, ranks, count, static_cast<T*>(out));
  };
  switch (dtype) {
    case DType::f32: return as.template operator()<float, double>();
    case DType::f64: return as.template operator()<double, double>();
    case DType::bf16: return as.template operator()<bf16, float>();
    case DType::f16: return as.template operator()<f16, float>();
    case DType::i64: return as.template operator()<int64_t, int64_t>();
    default: throw ArgumentError("all_reduce: no sum of " + std::string(to_string(dtype)));
  }
}

char* room(std::vector<char>& scratch, int64_t bytes) {
  if (scratch.size() < static_cast<size_t>(bytes)) scratch.resize(static_cast<size_t>(bytes));
  return scratch.data();
}

int as_int(int64_t bytes) {
  if (bytes > std::numeric_limits<int>::max())
    throw CommunicationError(fmt::format("all_reduce: {} bytes are more than MPI takes at once", bytes));
  return static_cast<int>(bytes);
}
}  // namespace

void rank_order_sum(MpiSession& session, MPI_Comm comm, void* values, int64_t count, DType dtype,
                    std::vector<char>& scratch) {
  const int ranks = session.size();
  const auto size = static_cast<int64_t>(size_of(dtype));
  MPI_Request request = MPI_REQUEST_NULL;
  if (count * size <= kSmallBytes) {
    char* rows = room(scratch, count * size * ranks);
    check_mpi(
        MPI_Iallgather(values, as_int(count * size), MPI_BYTE, rows, as_int(count * size), MPI_BYTE, comm, &request),
        "MPI_Iallgather");
    session.wait(request, "all_reduce");
    sum_rows(rows, count, ranks, count, dtype, values);
    return;
  }
  // Rank r sums the r-th share of everybody's values and hands the sum to everybody.
  const int64_t share = (count + ranks - 1) / ranks;
  std::vector<int> bytes, at, own_bytes, own_at;
  const auto share_of = [&](int64_t r) { return std::clamp<int64_t>(count - r * share, 0, share); };
  const int64_t own = share_of(session.rank());
  for (int r = 0; r < ranks; ++r) {
    bytes.push_back(as_int(share_of(r) * size));
    at.push_back(as_int(std::min(r * share, count) * size));
    own_bytes.push_back(as_int(own * size));
    own_at.push_back(as_int(r * own * size));
  }
  char* rows = room(scratch, own * size * ranks);
  check_mpi(MPI_Ialltoallv(values, bytes.data(), at.data(), MPI_BYTE, rows, own_bytes.data(), own_at.data(), MPI_BYTE,
                           comm, &request),
            "MPI_Ialltoallv");
  session.wait(request, "all_reduce");
  char* mine = static_cast<char*>(values) + at[static_cast<size_t>(session.rank())];
  sum_rows(rows, own, ranks, own, dtype, mine);
  check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, values, bytes.data(), at.data(), MPI_BYTE, comm, &request),
            "MPI_Iallgatherv");
  session.wait(request, "all_reduce");
}

}  // namespace segrt
