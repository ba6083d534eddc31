# Helpers that declare Cria's targets. A library may be linked only to the libraries of the folders
# that its own folder may use (docs/architecture.md), so a forbidden include does not compile.

add_library(cria_flags INTERFACE)
if(MSVC)
  target_compile_options(cria_flags INTERFACE /W4 /utf-8)
else()
  target_compile_options(cria_flags INTERFACE -Wall -Wextra)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12 reports impossible overlaps inside std::string (GCC bug 105651).
    target_compile_options(cria_flags INTERFACE -Wno-restrict)
  endif()
  if(CRIA_WERROR)
    target_compile_options(cria_flags INTERFACE -Werror)
  endif()
  if(CRIA_SANITIZERS)
    target_compile_options(cria_flags INTERFACE -fsanitize=${CRIA_SANITIZERS} -fno-omit-frame-pointer
                                                -fno-sanitize-recover=all)
    target_link_options(cria_flags INTERFACE -fsanitize=${CRIA_SANITIZERS})
  endif()
endif()

# cria_library(NAME SOURCES … [PUBLIC deps…] [PRIVATE deps…]): a static library of one folder of src/.
# Each folder's headers are found through an include directory of its own, as "folder/header.h".
function(cria_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(cria_${name} STATIC ${ARG_SOURCES})
  # A link farm with only this folder in it: what is not linked cannot be included.
  set(gate "${CMAKE_BINARY_DIR}/include-gates/${name}")
  file(MAKE_DIRECTORY "${gate}")
  file(CREATE_LINK "${CMAKE_CURRENT_SOURCE_DIR}/${name}" "${gate}/${name}" SYMBOLIC COPY_ON_ERROR)
  target_include_directories(cria_${name} PUBLIC "${gate}")
  target_link_libraries(cria_${name} PUBLIC ${ARG_PUBLIC} PRIVATE cria_flags ${ARG_PRIVATE})
endfunction()
