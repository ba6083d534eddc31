# The page of `cria serve`: web/, bundled with packages from npm and embedded as a C++ source. Without npm, or where it
# fails, the source says that there is none: nothing else needs Node.js.
find_program(CRIA_NODE node)
find_program(CRIA_NPM NAMES npm.cmd npm)
set(CRIA_WEB_SCRIPT "${CMAKE_CURRENT_LIST_DIR}/embed_web_script.cmake")
set(CRIA_WEB_MISSING "${CMAKE_CURRENT_LIST_DIR}/missing_web.cpp.in")

# cria_embed_web(TARGET OUTPUT): adds the source OUTPUT to TARGET.
function(cria_embed_web target output)
  target_sources(${target} PRIVATE "${output}")
  if(NOT CRIA_NODE OR NOT CRIA_NPM)
    message(STATUS "The page of `cria serve` is left out: npm was not found (install Node.js 18 or newer, and configure again)")
    configure_file("${CRIA_WEB_MISSING}" "${output}" COPYONLY)
    return()
  endif()
  set(web "${PROJECT_SOURCE_DIR}/web")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${web}/src/*")
  list(APPEND sources "${web}/package.json" "${web}/package-lock.json" "${web}/index.html" "${web}/build.mjs"
    "${web}/tsconfig.json")
  set(folder "${CMAKE_BINARY_DIR}/web")
  # What was left out for want of the network is tried again each time that CMake runs.
  if(EXISTS "${folder}/failed")
    file(REMOVE "${folder}/failed" "${output}")
  endif()
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DWEB=${web}" "-DFOLDER=${folder}" "-DOUTPUT=${output}" "-DMISSING=${CRIA_WEB_MISSING}"
            "-DNODE=${CRIA_NODE}" "-DNPM=${CRIA_NPM}" -P "${CRIA_WEB_SCRIPT}"
    DEPENDS ${sources} "${CRIA_WEB_SCRIPT}" "${CRIA_WEB_MISSING}"
    COMMENT "Building the page of cria serve"
    VERBATIM)
endfunction()
