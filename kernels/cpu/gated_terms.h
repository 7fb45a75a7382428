// The terms of a gated sum as the CPU's loops see them, and the rows of maps that they go through.
#pragma once

#include <algorithm>
#include <array>
#include <span>

#include "kernels/cpu/vector_math.h"
#include "kernels/gated_sum.h"

namespace segrt::kernels::cpu {

// Elements of a map that are worked on at a time: what several terms add to stays in L1.
inline constexpr int64_t kGatedChunk = 2048;

// f.template operator()<V>(c) over all channels: V = Lanes<A> for channels c, c + 1, ..., then A for those left over.
template <typename A, typename F>
void for_channel_lanes(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kLanes<A> <= channels; c += kLanes<A>) f.template operator()<Lanes<A>>(c);
  for (; c < channels; ++c) f.template operator()<A>(c);
}
template <typename V, typename A>
V load_as(const A* p) {
  if constexpr (std::is_same_v<V, A>)
    return *p;
  else
    return load(p);
}
template <typename V, typename A>
void store_as(A* p, const V& v) {
  if constexpr (std::is_same_v<V, A>)
    *p = v;
  else
    store(p, v);
}

// A map [N, height, width, channels].
struct MapExtent {
  explicit MapExtent(const Shape& s) : batch(s[0]), height(s[1]), width(s[2]), channels(s[3]) {}
  int64_t row_size() const { return width * channels; }
  // Of the map that upsampling by 2 makes this one from.
  int64_t half_height() const { return height / 2; }
  int64_t half_width() const { return width / 2; }
  int64_t half_row_size() const { return half_width() * channels; }

  int64_t batch, height, width, channels;
};

template <typename T>
struct TermView {
  using A = accumulator_t<T>;

  A factor(int64_t n) const { return gate == nullptr ? A(1) : gate[n * slots + slot]; }
  // Row i of sample n of x or dx: of the half-sized map where the term is upsampled.
  template <typename P>
  P* row(P* map, const MapExtent& m, int64_t n, int64_t i) const {
    return upsample2 ? map + (n * m.half_height() + i) * m.half_row_size() : map + (n * m.height + i) * m.row_size();
  }

  const T* x = nullptr;
  const A* gate = nullptr;
  int slots = 0, slot = 0;
  bool upsample2 = false;
  T* dx = nullptr;     // backward: null where not wanted
  A* dgate = nullptr;  // the same
};

template <typename T>
struct TermViews {
  explicit TermViews(std::span<const GatedTerm> terms) : count(terms.size()) {
    using A = accumulator_t<T>;
    for (size_t t = 0; t < count; ++t) {
      const GatedTerm& from = terms[t];
      TermView<T>& view = term[t];
      view.upsample2 = from.upsample2;
      view.slot = from.slot;
      if (from.x != nullptr) view.x = from.x->template data<T>();
      if (from.gate == nullptr) continue;
      view.gate = from.gate->template data<A>();
      view.slots = static_cast<int>(from.gate->dim(1));
    }
  }
  const TermView<T>* begin() const { return term.data(); }
  const TermView<T>* end() const { return term.data() + count; }

  std::array<TermView<T>, kMaxGatedTerms> term;
  size_t count;
};

}  // namespace segrt::kernels::cpu
