# Turns .wgsl files into one C++ source: `std::span<const EmbeddedShader> embedded_shaders()`.
# Regenerated when a shader changes; the shader's text is not altered.
set(CRIA_EMBED_SCRIPT "${CMAKE_CURRENT_LIST_DIR}/embed_shaders_script.cmake")

function(cria_embed_shaders output)
  set(shaders ${ARGN})
  list(SORT shaders)
  string(JOIN "|" joined ${shaders})
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${output}" "-DSHADERS=${joined}" -P "${CRIA_EMBED_SCRIPT}"
    DEPENDS ${shaders} "${CRIA_EMBED_SCRIPT}"
    COMMENT "Embedding shaders"
    VERBATIM)
endfunction()
