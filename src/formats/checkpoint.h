// Where weights come from: tensors under the names of Hugging Face's checkpoints, whatever the format of the files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor.h"

namespace cria::formats {

class Checkpoint {
 public:
  Checkpoint() = default;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;
  Checkpoint(Checkpoint&&) = default;
  Checkpoint& operator=(Checkpoint&&) = default;
  virtual ~Checkpoint() = default;

  /// What was opened: a folder, or the first file.
  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;
  /// The tensor of this name, for example "model.layers.0.mlp.up_proj.weight", or nullptr. Its view has the name that
  /// it has in the file.
  [[nodiscard]] virtual const TensorView* find(std::string_view name) const = 0;
  /// All names that `find` knows, sorted.
  [[nodiscard]] virtual std::vector<std::string> names() const = 0;
  /// The name that a tensor has, or would have, in the file.
  [[nodiscard]] virtual std::string stored_name(std::string_view name) const { return std::string(name); }
};

}  // namespace cria::formats
