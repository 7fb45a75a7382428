# With SEGRT_BUNDLE, cpack makes one relocatable archive of what runs: programs, tests, configurations and the libraries they need, but for the
# system's own and CUDA's. Libraries find each other through DT_RPATH, which, unlike DT_RUNPATH, also holds for what they load themselves.
if(NOT SEGRT_BUNDLE)
  return()
endif()
foreach(_folder kernels autograd nn models train)
  install(TARGETS test_${_folder} RUNTIME_DEPENDENCY_SET segrt_dependencies RUNTIME DESTINATION bin/tests COMPONENT bundle)
endforeach()
install(TARGETS segrt_golden segrt_op_vectors RUNTIME_DEPENDENCY_SET segrt_dependencies RUNTIME DESTINATION bin/tests COMPONENT bundle)
install(RUNTIME_DEPENDENCY_SET segrt_dependencies
  PRE_EXCLUDE_REGEXES "^libcu" "^libnccl" "^libnv" "^ld-linux" "^lib(c|m|dl|rt|pthread|resolv)\\.so"
  LIBRARY DESTINATION lib COMPONENT bundle)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/tests/golden DESTINATION share/segrt/tests COMPONENT bundle)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/bench/ DESTINATION bench COMPONENT bundle FILES_MATCHING PATTERN "*.py")
install(PROGRAMS ${PROJECT_SOURCE_DIR}/scripts/gpu_check.sh DESTINATION . COMPONENT bundle)
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
