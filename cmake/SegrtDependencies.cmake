# All from the distribution's packages; scripts/setup.sh installs them.
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Eigen3 REQUIRED)
find_package(toml11 REQUIRED)
find_package(doctest)
find_package(Threads REQUIRED)
find_package(dnnl REQUIRED)
find_path(SEGRT_STB_INCLUDE stb/stb_image.h REQUIRED)

# g++'s ThreadSanitizer does not see libgomp's synchronisation and would report every parallel loop.
if(NOT SEGRT_SANITIZE STREQUAL "thread")
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()

if(SEGRT_CUDA STREQUAL "ON")
  find_package(CUDAToolkit REQUIRED)
  find_path(SEGRT_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(SEGRT_CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR})
  find_library(SEGRT_NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
endif()
