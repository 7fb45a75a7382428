// A golden file of the test procedure: pictures in, predictions, colour pictures, confusion matrix and scores out.
#pragma once

#include "tests/tools/segrt_golden/families.h"

namespace segrt::golden {

// Runs train/evaluator.h over the file's pictures. Predictions count only where the two largest summed
// log-probabilities are more than 1e-3 apart; matrix and scores are those of the stored predictions.
void run_test_procedure(GoldenFile& file, const NetworkRules& rules, Device& device, Report& report);

}  // namespace segrt::golden
