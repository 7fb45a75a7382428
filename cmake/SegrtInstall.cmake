# `cmake --install`: programs, libraries, headers, model configs, and a package: find_package(segrt) gives segrt::train and the rest.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(SEGRT_CUDA STREQUAL "EMULATE" OR SEGRT_SANITIZE)
  return()  # a test build: nothing of it is for use elsewhere
endif()

get_property(_segrt_targets GLOBAL PROPERTY SEGRT_TARGETS)
if(SEGRT_BUNDLE)
  return()  # not a package to build against: SegrtBundle.cmake says what goes into it
endif()
install(TARGETS ${_segrt_targets} EXPORT segrtTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(_folder core kernels autograd nn models data train)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${_folder}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/segrt/${_folder}
    FILES_MATCHING PATTERN "*.h")
endforeach()
get_property(_segrt_programs GLOBAL PROPERTY SEGRT_PROGRAMS)
install(TARGETS ${_segrt_programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/segrt/models
  FILES_MATCHING PATTERN "*.toml")
install(EXPORT segrtTargets NAMESPACE segrt:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/segrt)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/segrtConfig.cmake.in ${PROJECT_BINARY_DIR}/segrtConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/segrt)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/segrtConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/segrtConfig.cmake ${PROJECT_BINARY_DIR}/segrtConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/segrt)
