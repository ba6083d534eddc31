// The text of every .wgsl file of this folder, compiled into the program.
#pragma once

#include <span>
#include <string_view>

namespace cria::kernels {

struct EmbeddedShader {
  std::string_view name;    ///< the file's name without .wgsl
  std::string_view source;  ///< the file's text, unaltered
};

/// All shaders, sorted by name. Defined in a generated file.
std::span<const EmbeddedShader> embedded_shaders();

/// The text of `name`.wgsl; a name that does not exist is a bug of ours.
std::string_view shader_source(std::string_view name);

}  // namespace cria::kernels
