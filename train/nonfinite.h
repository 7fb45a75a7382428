// Finds where a NaN or an infinity came from.
#pragma once

#include <string>

#include "models/model.h"

namespace segrt::train {

// The first tensor that holds a non-finite value, in the order: input, parameters, layer outputs of a forward pass over
// `input`, auxiliary losses; with the number of such values. "every tensor is finite" if there is none (the loss itself
// overflowed).
std::string first_nonfinite(models::Model& model, const Tensor& input);

}  // namespace segrt::train
