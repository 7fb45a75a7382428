// all-reduce of numbers in host memory over MPI, summed in the order of the ranks: the same bits everywhere and in
// every run, whatever algorithms MPI chooses, and in types that MPI does not know.
#pragma once

#include <mpi.h>

#include <vector>

#include "core/dtype.h"
#include "core/mpi/mpi_session.h"

namespace segrt {

// values[i] = sum over the ranks, i < count. Partial sums are f64 for f32 and f64, f32 for 16 bits, i64 for i64.
// `scratch`: memory for what comes from the others, which the caller keeps from one sum to the next.
void rank_order_sum(MpiSession& session, MPI_Comm comm, void* values, int64_t count, DType dtype,
                    std::vector<char>& scratch);

}  // namespace segrt
