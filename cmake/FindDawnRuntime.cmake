# Imported target dawn::webgpu_dawn, from (in this order)
#   1. CRIA_DAWN_ROOT, a folder with include/webgpu/webgpu_cpp.h and a library (the environment variable of
#      that name is its default);
#   2. the system: a package that find_package(Dawn) understands, or the header and library in /usr or /usr/local;
#   3. the private runtime that tools/setup.sh unpacks into .deps/runtime (Debian's newer packages, with
#      their own C library: programs are linked to start through that runtime's loader).
# Sets CRIA_PRIVATE_RUNTIME in the third case.
set(CRIA_DAWN_ROOT "$ENV{CRIA_DAWN_ROOT}" CACHE PATH "Folder of a Dawn installation; empty: look for one")
set(CRIA_RUNTIME_DIR "${PROJECT_SOURCE_DIR}/.deps/runtime" CACHE PATH "Private runtime with Dawn and its C library")

set(CRIA_PRIVATE_RUNTIME OFF)
# The package's configuration uses file sets of C++ modules, which older versions of CMake cannot read.
if(NOT CRIA_DAWN_ROOT AND CMAKE_VERSION VERSION_GREATER_EQUAL 3.28)
  find_package(Dawn CONFIG QUIET)
endif()

if(NOT TARGET dawn::webgpu_dawn)
  if(CRIA_DAWN_ROOT)
    set(roots "${CRIA_DAWN_ROOT}")
  elseif(WIN32)
    set(roots "")
  else()
    set(roots /usr/local /usr "${CRIA_RUNTIME_DIR}/usr")
  endif()
  set(library_folders lib lib64)
  foreach(architecture IN ITEMS x86_64 aarch64)
    list(APPEND library_folders "lib/${architecture}-linux-gnu")
  endforeach()
  find_path(CRIA_DAWN_INCLUDE webgpu/webgpu_cpp.h PATHS ${roots} PATH_SUFFIXES include NO_DEFAULT_PATH)
  find_library(CRIA_DAWN_LIBRARY NAMES webgpu_dawn PATHS ${roots} PATH_SUFFIXES ${library_folders} NO_DEFAULT_PATH)
  if(NOT CRIA_DAWN_INCLUDE OR NOT CRIA_DAWN_LIBRARY)
    list(JOIN roots ", " places)
    message(FATAL_ERROR "Dawn (webgpu/webgpu_cpp.h and libwebgpu_dawn) was not found in: ${places}. "
      "Run `make setup`, or name an installation with -DCRIA_DAWN_ROOT=DIR.")
  endif()
  add_library(dawn::webgpu_dawn UNKNOWN IMPORTED)
  set_target_properties(dawn::webgpu_dawn PROPERTIES
    IMPORTED_LOCATION "${CRIA_DAWN_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${CRIA_DAWN_INCLUDE}")
  string(FIND "${CRIA_DAWN_LIBRARY}" "${CRIA_RUNTIME_DIR}/" position)
  if(position EQUAL 0)
    set(CRIA_PRIVATE_RUNTIME ON)
    file(GLOB CRIA_RUNTIME_LOADER "${CRIA_RUNTIME_DIR}/usr/lib64/ld-linux-*.so.*"
                                  "${CRIA_RUNTIME_DIR}/usr/lib/ld-linux-*.so.*")
    list(GET CRIA_RUNTIME_LOADER 0 CRIA_RUNTIME_LOADER)
  endif()
endif()

# Programs that use the private runtime start through its loader, because Dawn needs its newer C library.
function(cria_use_runtime target)
  if(NOT CRIA_PRIVATE_RUNTIME)
    return()
  endif()
  get_filename_component(libraries "${CRIA_DAWN_LIBRARY}" DIRECTORY)
  target_link_options(${target} PRIVATE
    "-Wl,--allow-shlib-undefined" "-Wl,--disable-new-dtags"
    "-Wl,-rpath,${libraries}"
    "-Wl,--dynamic-linker=${CRIA_RUNTIME_LOADER}")
endfunction()
