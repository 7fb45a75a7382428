// MATLAB 5 files made byte by byte ("MAT-File Format", MathWorks), and by SciPy where there is one.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace segrt::test {

inline void put32(std::string& out, uint32_t v) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(v >> shift);
}
// Tag, body, zeros to the next multiple of 8.
inline void put_element(std::string& out, uint32_t type, const std::string& body) {
  put32(out, type);
  put32(out, static_cast<uint32_t>(body.size()));
  out += body;
  out.append((8 - body.size() % 8) % 8, '\0');
}

struct MatMatrix {
  std::string name = "S";
  uint32_t rows = 0, columns = 0;
  uint8_t class_type = 9;   // mxUINT8_CLASS; 6: double
  uint32_t value_type = 2;  // miUINT8; 9: miDOUBLE
  std::string values{};     // column by column
  bool compressed = false;

  // The element of the matrix: flags, dimensions, name, values.
  std::string bytes() const {
    std::string flags, dimensions, body, element;
    put32(flags, class_type);
    put32(flags, 0);
    put32(dimensions, rows);
    put32(dimensions, columns);
    put_element(body, 6, flags);       // miUINT32
    put_element(body, 5, dimensions);  // miINT32
    put_element(body, 1, name);        // miINT8
    put_element(body, value_type, values);
    put_element(element, 14, body);  // miMATRIX
    if (!compressed) return element;
    uLongf size = compressBound(element.size());
    std::string packed(size, '\0');
    compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(element.data()),
             element.size());
    packed.resize(size);
    std::string out;
    put32(out, 15);  // miCOMPRESSED, which nothing pads
    put32(out, static_cast<uint32_t>(size));
    return out + packed;
  }
};

inline std::string mat_file(const std::vector<MatMatrix>& matrices) {
  std::string out = "MATLAB 5.0 MAT-file, made by a test";
  out.resize(124, ' ');
  out += std::string("\0\1IM", 4);
  for (const MatMatrix& m : matrices) out += m.bytes();
  return out;
}

// S from values row by row.
inline MatMatrix mat_labels(uint32_t rows, uint32_t columns, const std::vector<uint8_t>& values, bool compressed) {
  MatMatrix m{.rows = rows, .columns = columns, .compressed = compressed};
  for (uint32_t x = 0; x < columns; ++x)
    for (uint32_t y = 0; y < rows; ++y) m.values += static_cast<char>(values[y * columns + x]);
  return m;
}

}  // namespace segrt::test
