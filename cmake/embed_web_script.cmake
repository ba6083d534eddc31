# Run by cria_embed_web: builds the page of WEB in FOLDER and writes the C++ source OUTPUT, or copies MISSING to it where
# that fails. NODE and NPM are the programs.

# Copies what changed, so that the packages stay as long as their list does.
file(MAKE_DIRECTORY "${FOLDER}")
file(REMOVE_RECURSE "${FOLDER}/src")
file(COPY "${WEB}/src" "${WEB}/index.html" "${WEB}/build.mjs" "${WEB}/tsconfig.json" DESTINATION "${FOLDER}")

set(log "${FOLDER}/log.txt")
file(SHA256 "${WEB}/package-lock.json" wanted)
set(installed "")
if(EXISTS "${FOLDER}/installed")
  file(READ "${FOLDER}/installed" installed)
endif()
set(failure 0)
if(NOT installed STREQUAL wanted)
  file(REMOVE "${FOLDER}/installed")
  file(COPY "${WEB}/package.json" "${WEB}/package-lock.json" DESTINATION "${FOLDER}")
  execute_process(
    COMMAND "${NPM}" ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=20000
    WORKING_DIRECTORY "${FOLDER}" TIMEOUT 300
    RESULT_VARIABLE failure OUTPUT_FILE "${log}" ERROR_FILE "${log}")
  if(failure STREQUAL "0")
    file(WRITE "${FOLDER}/installed" "${wanted}")
  endif()
endif()
if(failure STREQUAL "0")
  execute_process(COMMAND "${NODE}" build.mjs "${OUTPUT}" WORKING_DIRECTORY "${FOLDER}" TIMEOUT 120
    RESULT_VARIABLE failure OUTPUT_FILE "${log}" ERROR_FILE "${log}")
endif()
if(failure STREQUAL "0")
  file(REMOVE "${FOLDER}/failed")
else()
  file(COPY_FILE "${MISSING}" "${OUTPUT}")
  file(WRITE "${FOLDER}/failed" "")
  message("The page of `cria serve` is left out: npm could not fetch its packages, or they did not build it; ${log} tells why. Run cmake again to try it again.")
endif()
