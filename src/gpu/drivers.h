// Which Vulkan drivers the Vulkan loader will find: the system's, plus one that runs on the CPU, so that
// Cria works on a machine without a GPU. Called once, before the WebGPU instance is made.
//
// The environment variable CRIA_VULKAN_DRIVER overrides the choice:
//   auto         (or unset) the system's drivers, and lavapipe beside them for machines without a GPU
//   system       the system's drivers only
//   lavapipe     lavapipe only: Mesa's driver for the CPU (every optional feature of Cria)
//   swiftshader  SwiftShader only: Google's driver for the CPU (no f16, no subgroup matrices)
//   PATH.json    only the driver that this Vulkan driver manifest names
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/error.h"

namespace cria::gpu {

/// What the choice of drivers depends on.
struct DriverSituation {
  std::string request;                ///< CRIA_VULKAN_DRIVER; empty: auto
  bool has_user_list = false;         ///< the user set VK_DRIVER_FILES or VK_ICD_FILENAMES: the loader uses just those
  std::string user_additions;         ///< VK_ADD_DRIVER_FILES, where the user set it
  std::filesystem::path lavapipe;     ///< the manifest that came with Cria, empty where there is none
  std::filesystem::path swiftshader;  ///< the same
};

/// One environment variable for the Vulkan loader.
struct EnvironmentChange {
  std::string name;
  std::string value;
};

/// Decides what to tell the Vulkan loader; nothing where its own search is right.
/// Errors: kNotFound where the driver asked for is not there, kInvalidInput for an unknown word.
Result<std::optional<EnvironmentChange>> choose_drivers(const DriverSituation& situation);

/// Applies choose_drivers() to this process.
Status prepare_drivers();

}  // namespace cria::gpu
