# With SEGRT_BUNDLE, cpack makes one relocatable archive of what runs: programs, tests, configurations and the libraries they need, but for the
# system's C library and what CUDA's packages bring. segrt's folders are shared libraries there, so that the kernels are in it once. Libraries find
# each other through DT_RPATH, which, unlike DT_RUNPATH, also holds for what they load themselves.
if(NOT SEGRT_BUNDLE)
  return()
endif()
set(_tests segrt_golden segrt_op_vectors)
foreach(_folder core kernels autograd nn models train)
  list(APPEND _tests test_${_folder})
endforeach()
get_property(_programs GLOBAL PROPERTY SEGRT_PROGRAMS)
add_custom_target(bundle DEPENDS ${_tests} ${_programs})

get_property(_libraries GLOBAL PROPERTY SEGRT_TARGETS)
install(TARGETS ${_libraries} RUNTIME_DEPENDENCY_SET segrt_dependencies LIBRARY DESTINATION lib COMPONENT bundle)
install(TARGETS ${_programs} RUNTIME_DEPENDENCY_SET segrt_dependencies RUNTIME DESTINATION bin COMPONENT bundle)
install(TARGETS ${_tests} RUNTIME_DEPENDENCY_SET segrt_dependencies RUNTIME DESTINATION bin/tests COMPONENT bundle)
# libcudart travels: it is small, and the driver alone decides whether it works.
install(RUNTIME_DEPENDENCY_SET segrt_dependencies
  PRE_EXCLUDE_REGEXES "^libcu(blas|dnn|da)" "^libnccl" "^libnv" "^ld-linux" "^lib(c|m|dl|rt|pthread|resolv)\\.so"
  LIBRARY DESTINATION lib COMPONENT bundle)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/ DESTINATION share/segrt/models COMPONENT bundle FILES_MATCHING PATTERN "*.toml")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tests/golden DESTINATION share/segrt/tests COMPONENT bundle)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/bench/ DESTINATION bench COMPONENT bundle FILES_MATCHING PATTERN "*.py" PATTERN "results" EXCLUDE)
install(PROGRAMS ${PROJECT_SOURCE_DIR}/scripts/gpu_check.sh ${PROJECT_SOURCE_DIR}/scripts/gpu_check.py DESTINATION . COMPONENT bundle)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION . COMPONENT bundle)

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME segrt)
set(CPACK_PACKAGE_FILE_NAME segrt-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR}-sm${CMAKE_CUDA_ARCHITECTURES})
set(CPACK_STRIP_FILES ON)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)
set(CPACK_COMPONENTS_ALL bundle)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
include(CPack)
