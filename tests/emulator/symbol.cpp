#include "symbol.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

namespace segrt::emulator {
namespace {

template <typename T>
bool read_at(std::ifstream& file, uint64_t offset, T* values, size_t count) {
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(values), static_cast<std::streamsize>(count * sizeof(T)));
  return static_cast<bool>(file);
}

// The mangled name of the function that starts `offset` bytes into the ELF file's image.
std::string symbol_at(const char* path, uint64_t offset) {
  std::ifstream file(path, std::ios::binary);
  Elf64_Ehdr header;
  if (!read_at(file, 0, &header, 1) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return {};
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  if (!read_at(file, header.e_shoff, sections.data(), sections.size())) return {};
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
    std::vector<Elf64_Sym> symbols(section.sh_size / sizeof(Elf64_Sym));
    const Elf64_Shdr& strings = sections[section.sh_link];
    std::string names(strings.sh_size, '\0');
    if (!read_at(file, section.sh_offset, symbols.data(), symbols.size()) ||
        !read_at(file, strings.sh_offset, names.data(), names.size()))
      return {};
    for (const Elf64_Sym& symbol : symbols)
      if (symbol.st_value == offset && ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_name < names.size())
        return names.c_str() + symbol.st_name;
  }
  return {};
}

// "void a::(anonymous namespace)::f<a::T>(int)" -> "f<T>"
std::string short_name(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
  std::string name = status == 0 ? demangled.get() : mangled;
  for (const char* prefix : {"(anonymous namespace)::", "segrt::kernels::cuda::", "segrt::kernels::", "segrt::"})
    for (size_t at; (at = name.find(prefix)) != std::string::npos;) name.erase(at, std::strlen(prefix));
  if (name.starts_with("void ")) name.erase(0, 5);
  int depth = 0;  // of template brackets: cut at the parameter list that is outside of them
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0 && i > 0) return name.substr(0, i);
  }
  return name;
}

}  // namespace

std::string function_name(const void* address) {
  Dl_info info;
  link_map* map = nullptr;
  if (dladdr1(address, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) != 0) {
    const char* path = map->l_name[0] ? map->l_name : "/proc/self/exe";
    const std::string mangled = symbol_at(path, reinterpret_cast<uintptr_t>(address) - map->l_addr);
    if (!mangled.empty()) return short_name(mangled);
  }
  return fmt::format("kernel at {}", address);
}

}  // namespace segrt::emulator
