// How sums over the rows of [A, R, C] data are split: into tasks of a tile of columns by a chunk of rows, for each a.
// The split depends on the shape alone and partial results are combined in order, so results do not depend on the
// number of threads. The channel sums of batch normalisation are the case of A samples, R positions in each, C
// channels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"
#include "core/tensor.h"

namespace segrt::kernels::cpu {

// Samples of x [N,...,C], whose sums over positions are taken one by one: N. All is one sample in [P,C] and [C], and in
// f64, where sums of samples would be no more exact than others.
inline int64_t samples_of(const Tensor& x) { return x.rank() > 2 && x.dtype() != DType::f64 ? x.dim(0) : 1; }

struct ColumnTask {
  int64_t outer, chunk;    // a, and which chunk of rows
  int64_t first, columns;  // columns [first, first + columns)
  int64_t begin, end;      // rows [begin, end)
};

class ColumnTasks {
 public:
  ColumnTasks(int64_t outer, int64_t rows, int64_t columns) : outer_(outer), rows_(rows), columns_(columns) {
    constexpr int64_t kElements = 32768, kMaxChunks = 128, kMaxTile = 256;
    tile_ = std::min(columns, kMaxTile);  // its float sums stay in L1
    tiles_ = (columns + tile_ - 1) / tile_;
    chunk_ = std::max((kElements + tile_ - 1) / tile_, (rows + kMaxChunks - 1) / kMaxChunks);
    chunks_ = (rows + chunk_ - 1) / chunk_;
    const int64_t elements = tile_ * std::min(rows, chunk_);
    grain_ = std::max<int64_t>(1, kElements / elements);
  }

  int64_t chunks() const { return chunks_; }
  int64_t chunk_rows(int64_t chunk) const { return std::min(rows_, (chunk + 1) * chunk_) - chunk * chunk_; }
  // Elements of [A, chunks, C] partial results, and where a task's begin there.
  size_t partials() const { return static_cast<size_t>(outer_ * chunks_ * columns_); }
  int64_t partial_offset(const ColumnTask& t) const { return (t.outer * chunks_ + t.chunk) * columns_ + t.first; }

  // f(task) for every task, in parallel.
  template <typename F>
  void for_each(const F& f) const {
    parallel_for(outer_ * chunks_ * tiles_, grain_, [&](int64_t i) {
      const int64_t first = i % tiles_ * tile_, chunk = i / tiles_ % chunks_;
      f(ColumnTask{i / (tiles_ * chunks_), chunk, first, std::min(tile_, columns_ - first), chunk * chunk_,
                   std::min(rows_, (chunk + 1) * chunk_)});
    });
  }

 private:
  int64_t outer_, rows_, columns_, tile_, tiles_, chunk_, chunks_, grain_;
};

// Rows whose sums stay in float before they go to float64: few enough to lose nothing, enough to make float64 cheap.
inline int64_t block_rows(int64_t columns) { return std::max<int64_t>(128, 8192 / columns); }

// f(row, count) for the blocks [row, row + count) of the rows [begin, end).
template <typename F>
void for_blocks(int64_t begin, int64_t end, int64_t columns, const F& f) {
  for (int64_t row = begin; row < end; row += block_rows(columns)) f(row, std::min(block_rows(columns), end - row));
}

// Rows that one pass of an inner loop covers: several where they are short and contiguous, to about 256 elements.
inline int64_t joined_rows(int64_t rows, int64_t columns, int64_t pitch) {
  return columns == pitch ? std::min(rows, std::max<int64_t>(1, 256 / columns)) : 1;
}
// f(offset, n) for every pass over `rows` rows of `columns` columns that lie `pitch` apart: n elements from `offset`.
template <typename F>
void for_joined_rows(int64_t rows, int64_t joined, int64_t columns, int64_t pitch, const F& f) {
  for (int64_t row = 0; row < rows; row += joined) f(row * pitch, std::min(joined, rows - row) * columns);
}

// sums[c] becomes sums[c] + sums[c + columns] + ...: from joined rows to columns, by halves, so that the loop stays
// wide.
template <typename Acc>
void fold(Acc* sums, int64_t width, int64_t columns) {
  for (int64_t groups = width / columns; groups > 1;) {
    const int64_t kept = (groups + 1) / 2, shift = kept * columns, n = (groups - kept) * columns;
    for (int64_t i = 0; i < n; ++i) sums[i] += sums[shift + i];
    groups = kept;
  }
}

}  // namespace segrt::kernels::cpu
