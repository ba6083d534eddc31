# Imported target dawn::webgpu_dawn, from (in this order)
#   1. CRIA_DAWN_ROOT, a folder with include/webgpu/webgpu_cpp.h and a library, or an installed package
#      that find_package(Dawn) understands;
#   2. the private runtime that tools/setup.sh unpacks into .deps/runtime (Debian's newer packages, with
#      their own C library: programs are linked to start through that runtime's loader).
set(CRIA_DAWN_ROOT "" CACHE PATH "Folder of a Dawn installation; empty: look for one")
set(CRIA_RUNTIME_DIR "${PROJECT_SOURCE_DIR}/.deps/runtime" CACHE PATH "Private runtime with Dawn and its C library")

set(CRIA_PRIVATE_RUNTIME OFF)
if(NOT CRIA_DAWN_ROOT AND CMAKE_VERSION VERSION_GREATER_EQUAL 3.28)
  find_package(Dawn CONFIG QUIET)
endif()

if(NOT TARGET dawn::webgpu_dawn)
  if(CRIA_DAWN_ROOT)
    set(root "${CRIA_DAWN_ROOT}")
  else()
    set(root "${CRIA_RUNTIME_DIR}/usr")
  endif()
  find_path(CRIA_DAWN_INCLUDE webgpu/webgpu_cpp.h PATHS "${root}/include" NO_DEFAULT_PATH)
  find_library(CRIA_DAWN_LIBRARY NAMES webgpu_dawn
    PATHS "${root}/lib" "${root}/lib/x86_64-linux-gnu" "${root}/lib/aarch64-linux-gnu" NO_DEFAULT_PATH)
  if(NOT CRIA_DAWN_INCLUDE OR NOT CRIA_DAWN_LIBRARY)
    message(FATAL_ERROR "Dawn (webgpu/webgpu_cpp.h and libwebgpu_dawn) was not found in ${root}: "
      "run `make setup`, or name an installation with -DCRIA_DAWN_ROOT=DIR")
  endif()
  add_library(dawn::webgpu_dawn UNKNOWN IMPORTED)
  set_target_properties(dawn::webgpu_dawn PROPERTIES
    IMPORTED_LOCATION "${CRIA_DAWN_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${CRIA_DAWN_INCLUDE}")
  if(NOT CRIA_DAWN_ROOT)
    set(CRIA_PRIVATE_RUNTIME ON)
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
    "-Wl,--dynamic-linker=${CRIA_RUNTIME_DIR}/usr/lib64/ld-linux-x86-64.so.2")
endfunction()
