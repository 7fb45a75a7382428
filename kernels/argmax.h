// Predictions and their tally.
#pragma once

#include "core/tensor.h"

namespace segrt::kernels {

// y[p] = first c with the largest x[p,c] (a NaN counts as largest).  x [...,C] float, y [...] u8 (C <= 256) or i32.
void argmax(const Tensor& x, Tensor& y);

// matrix[l, q] += 1 for every position with label l in [0,K) and prediction q in [0,K); others are skipped (labels:
// ignored pixels). labels, predictions u8 alike; matrix i64 [K,K]. Exact integers, so any order gives the same.
void confusion_matrix(const Tensor& labels, const Tensor& predictions, Tensor& matrix);

}  // namespace segrt::kernels
