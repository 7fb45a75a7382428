// The samples of DGMN2's attention, unfolded, on the CPU: what bench_attention_cpu compares with.
#pragma once

#include "autograd/tape.h"

namespace segrt::bench {

// x [N,H,W,heads*64], offset [N,H,W,heads*18], f32 -> [N*H*W*heads,9,64]: a query's nine samples of its head's
// channels.
Var unfold_samples(const Var& x, const Var& offset, int heads);

}  // namespace segrt::bench
