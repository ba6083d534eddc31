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

# cria_library(NAME [PUBLIC deps…] [PRIVATE deps…]): a static library of all .cpp files of src/NAME.
# A folder's headers are found through an include directory of its own, as "NAME/header.h".
function(cria_library name)
  cmake_parse_arguments(ARG "" "" "PUBLIC;PRIVATE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp")
  if(WIN32)
    list(FILTER sources EXCLUDE REGEX "_posix\\.cpp$")
  else()
    list(FILTER sources EXCLUDE REGEX "_windows\\.cpp$")
  endif()
  if(NOT sources)
    return()
  endif()
  add_library(cria_${name} STATIC ${sources})
  # A link farm with only this folder in it: what is not linked cannot be included.
  set(gate "${CMAKE_BINARY_DIR}/include-gates/${name}")
  file(MAKE_DIRECTORY "${gate}")
  file(CREATE_LINK "${CMAKE_CURRENT_SOURCE_DIR}/${name}" "${gate}/${name}" SYMBOLIC COPY_ON_ERROR)
  target_include_directories(cria_${name} PUBLIC "${gate}")
  target_link_libraries(cria_${name} PUBLIC ${ARG_PUBLIC} PRIVATE cria_flags ${ARG_PRIVATE})
endfunction()

# cria_test(FOLDER LIBRARIES…): one GoogleTest program from all *_test.cpp files of tests/FOLDER.
function(cria_test folder)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.cpp")
  if(NOT sources)
    return()
  endif()
  string(REPLACE "/" "_" name "${folder}_test")
  add_executable(${name} ${sources})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_compile_definitions(${name} PRIVATE CRIA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE cria_flags GTest::gtest_main ${ARGN})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${folder}" TIMEOUT 1500)
endfunction()
