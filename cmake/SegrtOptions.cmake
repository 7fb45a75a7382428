# What a user may choose. Everything else follows from what is installed.
include(CheckCXXCompilerFlag)
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  set(_segrt_cuda_default ON)
else()
  set(_segrt_cuda_default OFF)
endif()

set(SEGRT_CUDA ${_segrt_cuda_default} CACHE STRING "ON: nvcc and a GPU; EMULATE: CUDA kernels on the CPU, for tests; OFF: CPU only")
set_property(CACHE SEGRT_CUDA PROPERTY STRINGS ON EMULATE OFF)
set(SEGRT_SANITIZE "" CACHE STRING "address (ASan + UBSan), thread (TSan) or empty")
set_property(CACHE SEGRT_SANITIZE PROPERTY STRINGS "" address thread)
set(SEGRT_MPI AUTO CACHE STRING "ON: several processes over MPI; OFF: one; AUTO: ON where MPI is installed")
set_property(CACHE SEGRT_MPI PROPERTY STRINGS AUTO ON OFF)
option(SEGRT_NATIVE "Compile for this machine's CPU (-march=native)" ON)
option(SEGRT_TESTS "Build the tests" ON)
option(SEGRT_FUZZ "Build the fuzz targets of tests/fuzz alone (clang++)" OFF)
option(SEGRT_BUNDLE "Make cpack pack programs, tests and libraries into one relocatable archive" OFF)
option(SEGRT_BENCH "Build the benchmarks of single kernels" OFF)

if(NOT SEGRT_CUDA MATCHES "^(ON|EMULATE|OFF)$")
  message(FATAL_ERROR "SEGRT_CUDA must be ON, EMULATE or OFF, got '${SEGRT_CUDA}'")
endif()
if(NOT SEGRT_MPI MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "SEGRT_MPI must be AUTO, ON or OFF, got '${SEGRT_MPI}'")
endif()
if(NOT SEGRT_SANITIZE MATCHES "^(|address|thread)$")
  message(FATAL_ERROR "SEGRT_SANITIZE must be empty, address or thread, got '${SEGRT_SANITIZE}'")
endif()
if(SEGRT_SANITIZE AND SEGRT_CUDA STREQUAL "ON")
  message(FATAL_ERROR "SEGRT_SANITIZE needs SEGRT_CUDA=EMULATE or OFF: the CUDA driver does not run under a host sanitizer")
endif()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_CXX_FLAGS_RELEASE "-O3")  # assertions stay: they are cheap here and state what cannot happen

find_program(SEGRT_CCACHE ccache)
if(SEGRT_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${SEGRT_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${SEGRT_CCACHE})
endif()

if(SEGRT_BUNDLE)
  set(BUILD_SHARED_LIBS ON)  # many programs, one copy of the kernels
endif()
if(BUILD_SHARED_LIBS)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
endif()

if(SEGRT_CUDA STREQUAL "ON")
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90)
  endif()
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know nvcc's flag
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
endif()

if(SEGRT_BUNDLE)
  set(CMAKE_INSTALL_RPATH "$ORIGIN:$ORIGIN/../lib:$ORIGIN/../../lib")
  add_link_options(LINKER:--disable-new-dtags,--as-needed)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>")
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>)
  endif()
endif()

# Flags of every target in this project (and of none that uses the installed package).
add_library(segrt_flags INTERFACE)
target_compile_options(segrt_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Werror -fno-math-errno -fno-trapping-math>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${SEGRT_NATIVE}>>:-march=native>
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings --expt-relaxed-constexpr --extended-lambda -Xcompiler=-Wall,-Wextra,-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports overlapping copies inside std::string's operator+ (GCC bug 105651) and writes past the end inside fmt at -O3 that
  # are not there.
  target_compile_options(segrt_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict -Wno-stringop-overflow>)
  # g++ 12 stores some 32-byte constants wrong with 32-byte moves (std::vector<int64_t>{1, 1, 0, 0} comes out as 1 1 1 1); with
  # 16-byte ones it does not. tests/core/compiler_test.cpp holds the cases.
  check_cxx_compiler_flag("-mmove-max=128 -mstore-max=128" SEGRT_CXX_HAS_MOVE_MAX)
  if(SEGRT_CXX_HAS_MOVE_MAX)
    target_compile_options(segrt_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-mmove-max=128 -mstore-max=128>)
  endif()
  # 512-bit vectors: the CPU kernels are memory- and FMA-bound loops over channels.
  target_compile_options(segrt_flags INTERFACE
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${SEGRT_NATIVE}>>:-mprefer-vector-width=512>)
endif()
if(SEGRT_SANITIZE STREQUAL "address")
  set(SEGRT_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
elseif(SEGRT_SANITIZE STREQUAL "thread")
  set(SEGRT_SANITIZE_FLAGS -fsanitize=thread -fno-omit-frame-pointer -g1)
endif()
if(SEGRT_SANITIZE)
  set(CMAKE_CXX_FLAGS_RELEASE "-O1")  # sanitized code gains little from more, and compiles twice as long
  target_compile_options(segrt_flags INTERFACE ${SEGRT_SANITIZE_FLAGS})
  target_link_options(segrt_flags INTERFACE ${SEGRT_SANITIZE_FLAGS})
endif()
