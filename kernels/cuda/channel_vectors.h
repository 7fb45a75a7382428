// One thread, one vector along C: the width that a launch can use.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "kernels/cuda/vec.h"

namespace segrt::kernels::cuda {

// f.operator()<K>() with K = kVec<T> where the channels of every pixel are whole aligned 16-byte vectors, else K = 1.
// The pointers are to elements of T or wider ones.
template <typename T, typename F>
void dispatch_channel_vectors(int64_t channels, std::initializer_list<const void*> pointers, const F& f) {
  bool whole = channels % kVec<T> == 0;
  for (const void* p : pointers) whole = whole && is_aligned(p);
  if (whole)
    f.template operator()<kVec<T>>();
  else
    f.template operator()<1>();
}

}  // namespace segrt::kernels::cuda
