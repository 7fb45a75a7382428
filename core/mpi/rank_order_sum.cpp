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
// Larger messages go in pieces of this size: what arrives is added, and the sum sent on, while the caches hold it.
constexpr int64_t kPieceBytes = 2 << 20;

// Of every rank's values, in the order of the ranks; `out` may be one of them. In blocks, so that the loops over the
// elements are those that vectorise.
template <typename T, typename Sum>
void sum_rows(const std::vector<const char*>& rows, int64_t count, T* out) {
  constexpr int64_t kBlock = 512;
  std::array<Sum, kBlock> sums;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    sums.fill(0);
    for (const char* all : rows) {
      const T* row = reinterpret_cast<const T*>(all) + begin;
      for (int64_t i = 0; i < n; ++i) sums[static_cast<size_t>(i)] += static_cast<Sum>(row[i]);
    }
    for (int64_t i = 0; i < n; ++i) out[begin + i] = static_cast<T>(sums[static_cast<size_t>(i)]);
  }
}

void sum_rows(const std::vector<const char*>& rows, int64_t count, DType dtype, void* out) {
  const auto as = [&]<typename T, typename Sum>() { sum_rows<T, Sum>(rows, count, static_cast<T*>(out)); };
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
// At most kSmallBytes: everybody's numbers to everybody.
void sum_small(MpiSession& session, MPI_Comm comm, void* values, int64_t count, DType dtype,
               std::vector<char>& scratch) {
  const int ranks = session.size();
  const auto bytes = count * static_cast<int64_t>(size_of(dtype));
  char* rows = room(scratch, bytes * ranks);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(values, as_int(bytes), MPI_BYTE, rows, as_int(bytes), MPI_BYTE, comm, &request),
            "MPI_Iallgather");
  session.wait(request, "all_reduce");
  std::vector<const char*> of_ranks;
  for (int r = 0; r < ranks; ++r) of_ranks.push_back(rows + r * bytes);
  sum_rows(of_ranks, count, dtype, values);
}

// Rank r sums the r-th share of everybody's values, its own where they lie, and hands the sum to everybody.
void sum_piece(MpiSession& session, MPI_Comm comm, char* values, int64_t count, DType dtype,
               std::vector<char>& scratch) {
  const int ranks = session.size(), self = session.rank();
  const auto size = static_cast<int64_t>(size_of(dtype));
  const int64_t share = (count + ranks - 1) / ranks;
  const auto share_of = [&](int64_t r) { return std::clamp<int64_t>(count - r * share, 0, share); };
  const int64_t own = share_of(self);
  std::vector<int> bytes, at, sent, received, received_at;
  for (int r = 0; r < ranks; ++r) {
    bytes.push_back(as_int(share_of(r) * size));
    at.push_back(as_int(std::min(r * share, count) * size));
    sent.push_back(r == self ? 0 : bytes.back());
    received.push_back(r == self ? 0 : as_int(own * size));
    received_at.push_back(as_int(r * own * size));
  }
  char* rows = room(scratch, own * size * ranks);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ialltoallv(values, sent.data(), at.data(), MPI_BYTE, rows, received.data(), received_at.data(),
                           MPI_BYTE, comm, &request),
            "MPI_Ialltoallv");
  session.wait(request, "all_reduce");
  char* sum = values + at[static_cast<size_t>(self)];
  std::vector<const char*> of_ranks;
  for (int r = 0; r < ranks; ++r) of_ranks.push_back(r == self ? sum : rows + r * own * size);
  sum_rows(of_ranks, own, dtype, sum);
  check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, values, bytes.data(), at.data(), MPI_BYTE, comm, &request),
            "MPI_Iallgatherv");
  session.wait(request, "all_reduce");
}
}  // namespace

void rank_order_sum(MpiSession& session, MPI_Comm comm, void* values, int64_t count, DType dtype,
                    std::vector<char>& scratch) {
  const auto size = static_cast<int64_t>(size_of(dtype));
  if (count * size <= kSmallBytes) return sum_small(session, comm, values, count, dtype, scratch);
  const int64_t piece = kPieceBytes / size;
  for (int64_t begin = 0; begin < count; begin += piece)
    sum_piece(session, comm, static_cast<char*>(values) + begin * size, std::min(piece, count - begin), dtype, scratch);
}

}  // namespace segrt
